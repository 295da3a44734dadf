"""Forecasts of places come back to, and of steps beyond a gap."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.periodic_users import MINUTES, periodic_users

from mora.config import TrainingConfig
from mora.errors import MoraError
from mora.trajectories.raw.forecast import evaluate_forecast, forecast
from mora.trajectories.raw.inputs import make_inputs
from mora.trajectories.raw.network import make_network
from mora.trajectories.raw.outputs import output_width, point_forecast, step_losses
from mora.trajectories.raw.presets import raw_preset
from mora.trajectories.raw.pretraining import (
    HIDDEN_RUN,
    NextPointTask,
    draw_hidden,
    pretrain_raw,
)
from mora.trajectories.raw.visited import (
    VisitedHead,
    least_distance,
    visited_losses,
    visited_weights,
)

BOX = (139.6, 35.6, 139.9, 35.9)
OURS = {"target": "visited", "point": "median", "gap_mask": True, "ahead": "gaps"}


def config(**changes):
    return raw_preset("test", **{"minutes": MINUTES, "box": BOX, **OURS, **changes})


def drawn(users=3, steps=6, width=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    states = torch.randn(users, steps, width, generator=rng)
    points = torch.rand(users, steps, 2, generator=rng)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VisitedHead(width, steps, 4), states, points


def test_weights_are_of_known_steps_so_far():
    head, states, _ = drawn()
    known = torch.ones(3, 6, dtype=torch.bool)
    known[:, 2] = False
    known[1, :4] = False
    weights = visited_weights(head(states, known), 6)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 6))
    assert (weights.triu(1) == 0).all()
    assert (weights[0, 2:, 2] == 0).all()
    assert torch.equal(weights[1, :4, :4], torch.eye(4))  # nothing known: its own


def test_before_training_users_stay_or_do_as_the_day_before():
    made = make_network(config(point="heaviest"), 0)
    with torch.no_grad():
        made.head.query.weight.zero_()
        made.head.stay.weight.zero_()
    inputs = make_inputs(periodic_users(2), made.config)
    weights = visited_weights(made(*inputs), 20)[0, 12].tolist()
    stay, lags = 1 / (1 + math.exp(-1)), [13 - j for j in range(13)]
    marks = [math.exp(4 if lag % 4 == 0 else 0) for lag in lags]
    expected = [(1 - stay) * mark / sum(marks) for mark in marks]
    expected[12] += stay
    assert weights[:13] == pytest.approx(expected, rel=1e-3)
    found = point_forecast(made(*inputs), made.config, inputs.points)
    assert torch.equal(found, inputs.points)  # the likeliest is to stay


def test_loss_by_hand():
    # One step, two kernels of equal chance with spreads of 1 and 2.
    half, one = math.log(0.5), torch.zeros(1, 1, 2)
    output = torch.tensor([[[0.0, half, half, 1.0, 2.0]]])
    near = 0.5 / (2 * math.pi) * math.exp(-0.5) + 0.5 / (8 * math.pi) * math.exp(-1 / 8)
    target = torch.tensor([[[1.0, 0.0]]])
    assert visited_losses(output, target, one).item() == pytest.approx(-math.log(near))


def test_losses_are_those_of_a_mixture():
    head, states, points = drawn()
    known = torch.ones(3, 6, dtype=torch.bool)
    output, target = head(states, known), torch.rand(3, 6, 2)
    got = visited_losses(output, target, points)
    weights, kernels, spreads = output.double().split([6, 2, 2], dim=2)
    for user, step in [(0, 0), (1, 3), (2, 5)]:
        density = 0.0
        for j in range(step + 1):
            off = ((target[user, step] - points[user, j]) ** 2).sum().item()
            for k in range(2):
                s = spreads[user, step, k].item()
                normal = math.exp(-off / (2 * s * s)) / (2 * math.pi * s * s)
                chance = (weights[user, step, j] + kernels[user, step, k]).exp().item()
                density += chance * normal
        assert got[user, step].item() == pytest.approx(-math.log(density), rel=1e-4)


def test_moving_everything_changes_no_loss():
    head, states, points = drawn()
    output = head(states, torch.ones(3, 6, dtype=torch.bool))
    moved = visited_losses(output, points + 0.5, points + 0.5)
    torch.testing.assert_close(visited_losses(output, points, points), moved)


def test_the_middle_point_is_least_far_off():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    even = torch.ones(3) / 3
    assert least_distance(even, points).tolist() == [1.0, 0.0]
    heavy = torch.tensor([0.1, 0.1, 0.8])
    assert least_distance(heavy, points).tolist() == [5.0, 0.0]


def test_what_is_forecast_of_a_density():
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]]])
    chances = torch.tensor([[[0.35, 0.25, 0.4, 1, 1, 1, 1]]]).log()
    found = {
        kind: point_forecast(chances, config(point=kind), points)[0, 0].tolist()
        for kind in ("mean", "heaviest", "median")
    }
    assert found["mean"] == pytest.approx([2.25, 0.0])
    assert found["heaviest"] == [5.0, 0.0]
    assert found["median"] == [1.0, 0.0]


def test_a_mixture_has_a_median_too():
    own = raw_preset("test", output="mixture", components=3, point="median")
    output = torch.zeros(1, 1, output_width(own)).unflatten(2, (3, 5))
    output[..., 1] = torch.tensor([0.0, 1.0, 5.0])
    assert point_forecast(output.flatten(2), own)[0, 0].tolist() == [1.0, 0.0]


def test_the_next_points_have_no_part_in_a_step():
    made, steps = make_network(config(), 0), periodic_users(3)
    inputs = make_inputs(steps, made.config)
    output = made(*inputs)
    later = inputs.points.clone()
    later[:, 10:] += 1
    other = made(*inputs._replace(points=later))
    torch.testing.assert_close(output[:, :10], other[:, :10])
    losses = step_losses(output[:, :-1], inputs.points[:, 1:], made.config, later)
    assert losses.isfinite().all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    settings = TrainingConfig(
        learning_rate=5e-3, batch_size=32, epochs=16, patience=16, accelerator="cpu"
    )
    own = raw_preset(
        "test", minutes=MINUTES, layers=1, time_features=True, hidden=0.1, **OURS
    )
    folder = tmp_path_factory.mktemp("visited")
    return pretrain_raw(periodic_users(), own, settings, folder)


def test_users_who_come_back_are_forecast(trained):
    errors = evaluate_forecast(trained.network, periodic_users(40, seed=9), 3)
    gain = errors.compare("RAW")
    assert (gain["gain_km"] > 4 * gain["standard_error_km"]).all()


def test_how_steps_ahead_are_forecast_changes_them():
    steps = periodic_users(3)
    beyond, onwards = (
        forecast(make_network(config(ahead=ahead), 0), steps, 3)
        for ahead in ("gaps", "points")
    )
    np.testing.assert_allclose(beyond[:, 0], onwards[:, 0], atol=1e-6)
    plain = {"target": "point", "point": "mean"}
    beyond, onwards = (
        forecast(make_network(config(ahead=ahead, **plain), 0), steps, 3)
        for ahead in ("gaps", "points")
    )
    assert not np.allclose(beyond[:, 1:], onwards[:, 1:])


def test_all_steps_at_once_are_those_beyond_a_gap():
    steps = periodic_users(3)
    made = make_network(config(target="point", point="mean", time_features=True), 0)
    got = forecast(made, steps, 3)
    gap = replace(
        steps,
        lonlat=np.concatenate([steps.lonlat, steps.lonlat[:, -1:]], axis=1),
        known=np.concatenate([steps.known, np.zeros((3, 1), bool)], axis=1),
    )
    np.testing.assert_allclose(got[:, 1:2], forecast(made, gap, 1), atol=1e-5)


def test_horizons_beyond_the_network_are_refused():
    with pytest.raises(MoraError, match="horizon 33 of a network for 32 steps"):
        forecast(make_network(config(), 0), periodic_users(2), 33)


def test_the_share_and_the_runs_of_what_is_hidden():
    known = torch.ones(400, 80, dtype=torch.bool)
    hidden = draw_hidden(known, 0.3, [0])
    assert hidden.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(hidden, draw_hidden(known, 0.3, [0]))
    assert not torch.equal(hidden, draw_hidden(known, 0.3, [1]))
    assert not draw_hidden(known, 0.0, [0]).any()
    changes = (hidden[:, 1:] != hidden[:, :-1]).sum(dim=1)
    assert changes.max() <= 80 // HIDDEN_RUN + 1


def test_hiding_changes_the_loss():
    losses = []
    for share in (0.0, 0.5):
        settings = TrainingConfig(batch_size=8, accelerator="cpu")
        task = NextPointTask(periodic_users(9), config(hidden=share), settings, 0)
        losses.append(task.loss(task.model, task.batches(0)[0]).item())
    assert losses[0] != losses[1]


def test_steps_before_the_first_fix_are_not_scored():
    # They are filled with it, and so would tell the future.
    steps = periodic_users(6)
    known = steps.known.copy()
    known[:, :4] = False
    settings = TrainingConfig(batch_size=8, accelerator="cpu")
    task = NextPointTask(replace(steps, known=known), config(), settings, 0)
    _, count = task._score(task.model, torch.arange(6), [0])
    assert count == 6 * (20 - 5)


@pytest.mark.parametrize("changes", [{"hidden": 0.1}, {"ahead": "gaps"}])
def test_gaps_need_their_mask(changes):
    with pytest.raises(ValueError, match="expected gap_mask: true"):
        raw_preset("test", **changes)
