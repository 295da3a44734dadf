import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from mora.trajectories.raw.network import (
    CausalBlock,
    RawNetwork,
    last_known_points,
    make_network,
)
from mora.trajectories.raw.outputs import point_forecast
from mora.trajectories.raw.presets import raw_preset

OPTIONS = [
    {},
    {"time_features": True},
    {"gap_mask": True},
    {"output": "mixture"},
    {"output": "mixture", "covariance": "full", "time_features": True},
    {"target": "move"},
    {"target": "move", "output": "mixture", "gap_mask": True},
]


def network(seed=0, **changes):
    """Weights are large enough for every part to matter."""
    made = make_network(raw_preset("test", **changes), seed).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(5.0)
    return made


def some_inputs(users=3, steps=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(users, steps, 2, generator=generator) * 2 - 1
    times = torch.rand(users, steps, 4, generator=generator) * 2 - 1
    known = torch.rand(users, steps, generator=generator) < 0.7
    return points, times, known


def test_known_answer_without_attention():
    # The blocks add nothing; (3, 1) is normalised to (1, -1); the head adds its bias.
    made = RawNetwork(raw_preset("test", width=2, heads=1, layers=1))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.norm.weight.fill_(1.0)
        made.point[2].bias.copy_(torch.tensor([3.0, 1.0]))
        made.head[3].bias.copy_(torch.tensor([0.25, -0.5]))
    inputs = some_inputs()
    states = made.states(*inputs)
    torch.testing.assert_close(
        states, torch.tensor([1.0, -1.0]).expand(3, 7, 2), atol=1e-4, rtol=0
    )
    expected = torch.tensor([0.25, -0.5]).expand(3, 7, 2)
    torch.testing.assert_close(made(*inputs).detach(), expected)


def normalised(x, norm):
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + norm.eps)
    scaled = (x - x.mean(axis=-1, keepdims=True)) / spread
    return scaled * array(norm.weight) + array(norm.bias)


def array(tensor):
    return tensor.detach().double().numpy()


def linear(x, layer):
    return x @ array(layer.weight).T + array(layer.bias)


def silu(x):
    return x / (1 + np.exp(-x))


def dense_block(block, x):
    """One user's states, step by step and head by head."""
    parts = linear(normalised(x, block.attention_norm), block.split)
    query, key, value = np.split(parts, 3, axis=1)
    attended = np.zeros_like(x)
    size = x.shape[1] // block.heads
    for step in range(len(x)):
        for head in range(block.heads):
            own = slice(head * size, (head + 1) * size)
            scores = key[: step + 1, own] @ query[step, own] / math.sqrt(size)
            weight = np.exp(scores) / np.exp(scores).sum()
            attended[step, own] = weight @ value[: step + 1, own]
    x = x + linear(attended, block.join)
    hidden = silu(linear(normalised(x, block.ffn_norm), block.ffn[0]))
    return x + linear(hidden, block.ffn[2])


def test_agrees_with_numpy():
    made = network()
    points, times, known = some_inputs(users=2, steps=5)
    for user in range(2):
        x = linear(array(points[user]), made.point[0])
        x = linear(np.maximum(x, 0), made.point[2]) + array(made.position.weight[:5])
        for block in made.blocks:
            x = dense_block(block, x)
        x = silu(linear(normalised(x, made.norm), made.head[0]))
        expected = linear(linear(x, made.head[2]), made.head[3])
        got = array(made(points, times, known)[user])
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("step", [0, 3, 6])
def test_a_step_changes_nothing_before_it(options, step):
    made = network(**options)
    inputs = points, times, known = some_inputs()
    points, times, known = points.clone(), times.clone(), known.clone()
    points[:, step] += 0.5
    times[:, step] *= -1
    known[:, step] = ~known[:, step]
    before, after = made(*inputs), made(points, times, known)
    assert torch.equal(before[:, :step], after[:, :step])
    assert not torch.equal(before[:, step], after[:, step])


def test_users_do_not_see_each_other():
    made, inputs = network(), some_inputs()
    alone = made(*(part[1:2] for part in inputs))
    torch.testing.assert_close(made(*inputs)[1:2], alone)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_single_step_is_finite(options):
    made = network(**options)
    inputs = some_inputs(steps=1)
    assert made(*inputs).isfinite().all()


def test_times_matter_only_with_time_features():
    points, times, known = some_inputs()
    for option in (False, True):
        made = network(time_features=option)
        same = torch.equal(made(points, times, known), made(points, -times, known))
        assert same is not option


def test_known_matters_only_with_gap_mask():
    points, times, known = some_inputs()
    for option in (False, True):
        made = network(gap_mask=option)
        same = torch.equal(made(points, times, known), made(points, times, ~known))
        assert same is not option


def test_what_is_not_known_is_not_seen():
    made = network(gap_mask=True)
    points, times, known = some_inputs()
    hidden = points.masked_fill(~known[..., None], math.nan)
    output = made(hidden, times, known)
    assert torch.equal(output, made(points, times, known))
    output.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())
    assert made.unknown.grad.abs().sum() > 0


def test_first_shifts_the_positions():
    made, inputs = network(), some_inputs(steps=4)
    shifted = made.states(*inputs, first=2)
    assert not torch.allclose(shifted, made.states(*inputs))
    with torch.no_grad():
        made.position.weight.copy_(made.position.weight.roll(-2, dims=0))
    torch.testing.assert_close(made.states(*inputs), shifted)


@pytest.mark.parametrize("change", [{"heads": 2}, {"layers": 1}, {"ffn_factor": 2}])
def test_sizes_change_the_output(change):
    inputs = some_inputs()
    assert not torch.allclose(network()(*inputs), network(**change)(*inputs))


def test_dropout_acts_while_training_only():
    made, inputs = network(dropout=0.5), some_inputs()
    torch.manual_seed(0)
    assert torch.equal(made(*inputs), made(*inputs))
    made.train()
    assert not torch.equal(made(*inputs), made(*inputs))


def test_attention_maps_look_back_and_add_up_to_one():
    maps = network().attention_maps(*some_inputs())
    assert maps.shape == (2, 3, 4, 7, 7)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 3, 4, 7))
    assert (maps.triu(1) == 0).all()
    assert (maps[..., 0, 0] == 1).all()


def test_attention_maps_are_the_weights_of_the_block():
    block = network().blocks[0]
    x = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    _, _, value = block._split_heads(x)
    attended = (block.attention(x) @ value).transpose(1, 2).flatten(2)
    middle = x + block.join(attended)
    expected = middle + block.ffn(block.ffn_norm(middle))
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def test_the_seed_gives_the_weights():
    config = raw_preset("test")
    first, again, other = (make_network(config, seed) for seed in (3, 3, 4))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.head[0].weight, other.head[0].weight)


def test_making_a_network_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make_network(raw_preset("test"), seed=5)
    assert torch.equal(torch.rand(3), expected)


def test_points_must_have_two_coordinates():
    points, times, known = some_inputs()
    with pytest.raises(TypeCheckError, match="points"):
        network()(points[..., :1], times, known)


def test_a_block_keeps_the_shape():
    x = torch.zeros(2, 3, 32)
    assert CausalBlock(raw_preset("test"))(x).shape == x.shape


def test_where_a_user_was_last_seen():
    points = torch.arange(10.0).reshape(1, 5, 2)
    known = torch.tensor([[False, True, False, False, True]])
    found = last_known_points(points, known)
    assert found[0, :, 0].tolist() == [0.0, 2.0, 2.0, 2.0, 8.0]
    every = torch.ones(1, 5, dtype=torch.bool)
    assert torch.equal(last_known_points(points, every), points)


@pytest.mark.parametrize("output", ["mse", "mixture"])
def test_without_a_move_users_stay_where_they_were_last_seen(output):
    config = raw_preset("test", target="move", output=output)
    made = make_network(config, 0)
    with torch.no_grad():
        made.head[3].weight.zero_()
    points, times, known = some_inputs()
    found = point_forecast(made(points, times, known), config)
    torch.testing.assert_close(found, last_known_points(points, known))
    filled = torch.where(known[..., None], points, 7.0)  # what fills gaps is not read
    filled[:, 0] = points[:, 0]
    torch.testing.assert_close(
        point_forecast(made(filled, times, known), config), found
    )
