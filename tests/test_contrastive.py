import math

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from mora.encoder import contrastive
from mora.encoder.contrastive import SAFE_TEMPERATURE, info_nce

EITHER_SIDE = [SAFE_TEMPERATURE * 1.01, SAFE_TEMPERATURE * 0.99]


def plain(anchor, other, temperature):
    """Write the loss the obvious way, in the precision of the rows."""
    a, b = F.normalize(anchor, dim=1), F.normalize(other, dim=1)
    logits = a @ b.T / temperature
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def pair(rows=70, dim=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    return rows.to(dtype).requires_grad_().unbind()


def assert_alike(loss, oracle, rows, tolerance):
    """Compare losses, and gradients by the largest of each."""
    assert loss.item() == pytest.approx(oracle.item(), rel=tolerance)
    mine, theirs = (torch.autograd.grad(x, rows) for x in (loss, oracle))
    for ours, plain_torch in zip(mine, theirs, strict=True):
        scale = plain_torch.abs().max().item()
        torch.testing.assert_close(ours, plain_torch, rtol=0, atol=tolerance * scale)


def test_indistinct_rows_give_log_batch():
    same = torch.ones(8, 4)
    assert info_nce(same, same, temperature=0.2).item() == pytest.approx(math.log(8))


def test_one_row_has_nothing_to_tell_apart():
    row = torch.ones(1, 4, requires_grad=True)
    loss = info_nce(row, torch.randn(1, 4), temperature=0.2)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(torch.autograd.grad(loss, row)[0], torch.zeros(1, 4))


def test_two_rows_by_hand():
    # cosines 1 on the diagonal, 0 beside it: -log(e^2 / (e^2 + 1)) at temperature 1/2
    rows = torch.eye(2)
    expected = math.log(1 + math.exp(-2))
    assert info_nce(rows, rows, temperature=0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize("tile", [16, 70, 1024])
@pytest.mark.parametrize("temperature", [0.7, 0.2, 0.07, *EITHER_SIDE, 0.02, 0.01])
def test_agrees_with_plain_torch(temperature, tile, monkeypatch):
    monkeypatch.setattr(contrastive, "TILE", tile)  # 16: several tiles, the last short
    a, b = pair(dtype=torch.float64)
    ours, theirs = info_nce(a, b, temperature=temperature), plain(a, b, temperature)
    assert_alike(ours, theirs, (a, b), 1e-10)


@pytest.mark.parametrize(
    ("temperature", "tolerance"),
    [
        *[(temperature, 1e-6) for temperature in (0.7, 0.2, 0.07, EITHER_SIDE[0])],
        *[(temperature, 3e-6) for temperature in (EITHER_SIDE[1], 0.02, 0.01)],
    ],
)
def test_agrees_with_plain_torch_in_float32(temperature, tolerance, monkeypatch):
    monkeypatch.setattr(contrastive, "TILE", 256)
    a, b = pair(rows=600, dim=128)
    ours = info_nce(a, b, temperature=temperature)
    # The oracle works in float64: in float32 it would be the less exact of the two.
    # A logit of 100 is rounded by 4e-6.
    theirs = plain(a.double(), b.double(), temperature)
    assert_alike(ours, theirs, (a, b), tolerance)


@pytest.mark.parametrize("temperature", [*EITHER_SIDE, 0.01])
def test_the_widest_logits_neither_vanish_nor_overflow(temperature):
    # Cosines of -1 on the diagonal and 1 beside it: the largest loss there is.
    a = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = info_nce(a, -a.detach(), temperature=temperature)
    assert loss.item() == pytest.approx(2 / temperature, rel=1e-6)
    rows = torch.eye(2).repeat(1, 2).requires_grad_()
    loss = info_nce(rows, rows.detach().roll(1, 0), temperature=temperature)
    assert loss.item() == pytest.approx(1 / temperature, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, rows)
    # Towards the own row of the other side: a quarter for each of its two columns.
    expected = -rows.detach().roll(1, 0) / 4 / temperature
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_orthogonal_rows_at_a_low_temperature_stay_finite():
    a = torch.eye(6, requires_grad=True)
    loss = info_nce(a, torch.eye(6).roll(1, 0), temperature=0.01)
    assert loss.item() == pytest.approx(100.0, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, a)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("temperature", [0.3, 0.01])
def test_swapping_the_arguments_changes_nothing(temperature):
    a, b = pair()
    there = info_nce(a, b, temperature=temperature)
    torch.testing.assert_close(there, info_nce(b, a, temperature=temperature))


def test_length_of_rows_changes_nothing():
    a, b = pair()
    torch.testing.assert_close(
        info_nce(3 * a, 0.1 * b, temperature=0.2), info_nce(a, b, temperature=0.2)
    )


def test_the_order_of_tokens_changes_nothing():
    a, b = pair()
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        info_nce(a[order], b[order], temperature=0.2), info_nce(a, b, temperature=0.2)
    )


def test_the_gradient_grows_with_what_is_made_of_the_loss():
    a, b = pair()
    (once,) = torch.autograd.grad(info_nce(a, b, temperature=0.2), a)
    (thrice,) = torch.autograd.grad(3 * info_nce(a, b, temperature=0.2), a)
    torch.testing.assert_close(thrice, 3 * once)


def test_half_precision_of_one_side_is_summed_in_full():
    a, b = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(a, b.bfloat16(), temperature=0.2)
    assert loss.dtype == torch.float32
    expected = info_nce(a, b.bfloat16().float(), temperature=0.2)
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)


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
