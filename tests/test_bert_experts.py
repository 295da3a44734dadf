"""The mixture of experts and the loss that balances it."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from mora.trajectories.bert.experts import (
    MixtureOfExperts,
    balance_loss,
    keep_largest,
)


def mixture(experts=4, size=6, top_k=None):
    torch.manual_seed(0)
    return MixtureOfExperts(experts, size, top_k)


def states(batch=2, events=5, size=6):
    return torch.randn(batch, events, size, generator=torch.Generator().manual_seed(1))


def test_one_expert_is_gelu_of_a_linear_layer():
    moe = MixtureOfExperts(1, 1)
    with torch.no_grad():
        moe.experts[0].fc.weight.fill_(2.0)
        moe.experts[0].fc.bias.fill_(-1.0)
    out, _ = moe(torch.ones(1, 1, 1))
    assert out.item() == pytest.approx(0.8413447)  # GELU(1) = Phi(1)


def test_all_experts_are_mixed_by_the_softmax_of_the_gate():
    moe, x = mixture(), states()
    expected = torch.zeros_like(x)
    for b in range(2):
        for e in range(5):
            shares = torch.softmax(moe.gate.weight @ x[b, e] + moe.gate.bias, 0)
            for share, expert in zip(shares, moe.experts, strict=True):
                answer = F.gelu(expert.fc.weight @ x[b, e] + expert.fc.bias)
                expected[b, e] += share * answer
    torch.testing.assert_close(moe(x)[0], expected)


def test_keeping_all_experts_is_the_dense_mixture():
    x = states()
    torch.testing.assert_close(mixture(top_k=4)(x)[0], mixture()(x)[0])


def test_experts_that_are_not_chosen_say_nothing():
    shares = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    expected = torch.tensor([[0.0, 0.6, 0.0], [0.5, 0.0, 0.0]])
    torch.testing.assert_close(keep_largest(shares, 1), expected)
    torch.testing.assert_close(keep_largest(shares, None), shares)
    x = states()
    assert not torch.allclose(mixture(top_k=1)(x)[0], mixture(top_k=2)(x)[0])


def test_the_gate_learns_even_with_one_expert_an_event():
    moe = mixture(top_k=1)
    moe(states())[0].square().sum().backward()
    assert moe.gate.weight.grad.abs().max() > 0


def test_exactly_k_stay_when_shares_are_equal():
    kept = keep_largest(torch.full((5, 4), 0.25), 2)
    assert ((kept > 0).sum(dim=1) == 2).all()


def test_balance_loss_by_hand():
    # Two events choose expert 0, one chooses 1: f = (2/3, 1/3); P = (0.6, 0.4).
    shares = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    loss = balance_loss(shares, keep_largest(shares, 1))
    assert loss.item() == pytest.approx(2 * (2 / 3 * 0.6 + 1 / 3 * 0.4))
    # Without a choice f is P.
    assert balance_loss(shares).item() == pytest.approx(2 * (0.6**2 + 0.4**2))


def test_balance_loss_is_one_at_best_and_the_number_of_experts_at_worst():
    even = torch.full((8, 4), 0.25)
    assert balance_loss(even).item() == pytest.approx(1)
    alone = F.one_hot(torch.zeros(8, dtype=torch.int64), 4).float()
    assert balance_loss(alone, alone).item() == pytest.approx(4)
    turns = torch.eye(4)
    assert balance_loss(turns, turns).item() == pytest.approx(1)


def test_balance_loss_does_not_know_the_order():
    shares = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    shares = shares / shares.sum(dim=1, keepdim=True)
    expected = balance_loss(shares, keep_largest(shares, 2))
    moved = shares.flip(0)[:, [2, 0, 3, 1]]
    torch.testing.assert_close(balance_loss(moved, keep_largest(moved, 2)), expected)


def test_balance_loss_of_nothing_is_zero():
    assert balance_loss(torch.zeros(0, 3)).item() == 0


@pytest.mark.parametrize("top_k", [None, 1])
def test_padding_does_not_count_in_the_balance_loss(top_k):
    moe, x = mixture(top_k=top_k), states()
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[:, 3:] = True
    _, expected = moe(x[:, :3])
    _, loss = moe(x, padding)
    torch.testing.assert_close(loss, expected)
    assert loss.item() != pytest.approx(moe(x)[1].item(), abs=1e-6)


def test_lowering_the_balance_loss_spreads_the_events():
    moe, x = mixture(top_k=1), states(8, 16)
    with torch.no_grad():
        moe.gate.bias[0] = 3.0
    optimiser = torch.optim.Adam(moe.parameters(), lr=0.05)
    before = moe(x)[1].item()
    for _ in range(40):
        optimiser.zero_grad()
        moe(x)[1].backward()
        optimiser.step()
    assert before > 3
    assert moe(x)[1].item() < 1.5


def test_shares_and_weights_of_other_events_are_refused():
    with pytest.raises(TypeCheckError, match="events=3"):
        balance_loss(torch.ones(3, 2), torch.ones(4, 2))
