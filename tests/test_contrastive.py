import math

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from mora.encoder import contrastive
from mora.encoder.contrastive import info_nce


def plain(anchor, other, temperature):
    """Write the loss the obvious way, in float64."""
    a, b = F.normalize(anchor.double(), dim=1), F.normalize(other.double(), dim=1)
    logits = a @ b.T / temperature
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def pair(rows=70, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, rows, dim, generator=generator).requires_grad_().unbind()


def test_indistinct_rows_give_log_batch():
    same = torch.ones(8, 4)
    assert info_nce(same, same, temperature=0.2).item() == pytest.approx(math.log(8))


def test_two_rows_by_hand():
    # cosines 1 on the diagonal, 0 beside it: -log(e^2 / (e^2 + 1)) at temperature 1/2
    rows = torch.eye(2)
    expected = math.log(1 + math.exp(-2))
    assert info_nce(rows, rows, temperature=0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.7, 0.2, 0.04, 0.02])
def test_loss_and_gradients_agree_with_plain_torch(temperature, monkeypatch):
    monkeypatch.setattr(contrastive, "TILE_ROWS", 16)  # several tiles, the last short
    a, b = pair()
    ours = info_nce(a, b, temperature=temperature)
    theirs = plain(a, b, temperature)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for mine, oracle in zip(
        torch.autograd.grad(ours, (a, b)),
        torch.autograd.grad(theirs, (a, b)),
        strict=True,
    ):
        torch.testing.assert_close(mine, oracle, rtol=1e-4, atol=1e-6)


def test_orthogonal_rows_at_a_low_temperature_stay_finite():
    a = torch.eye(6, requires_grad=True)
    loss = info_nce(a, torch.eye(6).roll(1, 0), temperature=0.01)
    assert loss.item() == pytest.approx(100.0, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, a)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_swapping_the_arguments_changes_nothing():
    a, b = pair()
    torch.testing.assert_close(
        info_nce(a, b, temperature=0.3), info_nce(b, a, temperature=0.3)
    )


def test_temperature_changes_the_loss():
    a, b = pair()
    assert info_nce(a, b, temperature=0.2) != info_nce(a, b, temperature=0.5)


def test_batches_of_unequal_size_are_refused():
    with pytest.raises(TypeCheckError, match="batch=6"):
        info_nce(torch.randn(6, 3), torch.randn(5, 3), temperature=0.3)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive, got"):
        info_nce(torch.ones(2, 2), torch.ones(2, 2), temperature=temperature)
