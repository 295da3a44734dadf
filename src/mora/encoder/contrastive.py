"""The contrastive loss, in tiles: memory grows with the batch, not with its square."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mora.training.processes import (
    gather_rows,
    log_sum_over_processes,
    process_count,
    sum_over_processes,
)

TILE = 1024  # rows and columns; 4 MB in float32, which stays near the core
# From here on exp(cosine / temperature) lies within 3e-15 to 3e14, well inside float32.
SAFE_TEMPERATURE = 0.03


def info_nce(
    anchor: Float[Tensor, "batch dim"],
    other: Float[Tensor, "batch dim"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Contrast matching rows against all other rows, averaged over both directions.

    Source: Radford et al. 2021, CLIP, fig. 3; MoRA eq. 4 and 5. One tile of logits at
    a time serves both directions and is computed again for the gradient.

    Where several processes train together, each hands over its own rows; the rows of
    all are contrasted. The gradients are those of the sum of the processes' copies of
    the loss, so that their mean over the processes, which
    ``DistributedDataParallel`` takes, is that of one process with all rows.

    Args:
        anchor: mobility embeddings; need not be normalised.
        other: embeddings of one modality, row i the same token as ``anchor`` row i.
        temperature: divides the cosine similarities; > 0.

    Returns:
        Mean cross-entropy in nats, the same in every process; log(batch) when all
        rows look alike, 0 for one row.

    Raises:
        ValueError: if ``temperature`` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}.")
    wide = torch.promote_types(anchor.dtype, other.dtype)
    with torch.autocast(anchor.device.type, enabled=False):  # sums need all digits
        a, b = (F.normalize(x.to(wide), dim=1) for x in (anchor, other))
        return _TiledCrossEntropy.apply(a, b, 1 / temperature)


class _TiledCrossEntropy(torch.autograd.Function):
    """Symmetric cross-entropy of scale * a @ b.T against the diagonal.

    A process computes the logits of its rows ``a`` with the rows ``b`` of all. Cosines
    are at most 1, so ``scale`` bounds the logits: where exp() of them fits float32
    it is summed as it is, elsewhere by log-sum-exp.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, own_b: Tensor, scale: float) -> Tensor:
        b, own = gather_rows(own_b)
        log_sums = _plain_sums if scale * SAFE_TEMPERATURE <= 1 else _running_sums
        rows, columns = log_sums(a, b, scale)
        matched = (a * own_b).sum(dim=1) * scale
        ctx.save_for_backward(a, b, rows, columns)
        ctx.scale, ctx.own = scale, own
        losses = (rows + columns[own]) / 2 - matched
        return sum_over_processes(losses.sum()) / len(b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, rows, columns = ctx.saved_tensors
        # Each process differentiates its copy of the one loss: the copies add up.
        factor = gradients[0] * ctx.scale * process_count() / len(b)
        softmax = _plain_softmax if ctx.scale * SAFE_TEMPERATURE <= 1 else _softmax
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        for i, j in _tiles(len(a), len(b)):
            tile = softmax(a[i], b[j], ctx.scale, rows[i], columns[j])
            grad_a[i].addmm_(tile, b[j])
            grad_b[j].addmm_(tile.T, a[i])
        grad_b = sum_over_processes(grad_b)[ctx.own]
        grad_a.mul_(factor / 2).sub_(factor * b[ctx.own])
        grad_b.mul_(factor / 2).sub_(factor * a)
        return grad_a, grad_b, None


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, TILE):
        for column in range(0, columns, TILE):
            yield slice(row, row + TILE), slice(column, column + TILE)


def _plain_sums(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and column of the logits, all of them small."""
    rows, columns = a.new_zeros(len(a)), b.new_zeros(len(b))
    for i, j in _tiles(len(a), len(b)):
        tile = ((scale * a[i]) @ b[j].T).exp_()
        rows[i] += tile.sum(dim=1)
        columns[j] += tile.sum(dim=0)
    return rows.log_(), sum_over_processes(columns).log_()


def _plain_softmax(
    a: Tensor, b: Tensor, scale: float, rows: Tensor, columns: Tensor
) -> Tensor:
    """Add the softmax over rows and that over columns of a tile, one exp for both."""
    weight = torch.exp(-rows)[:, None] + torch.exp(-columns)
    return ((scale * a) @ b.T).exp_().mul_(weight)


def _running_sums(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and column, whatever the scale."""
    rows = a.new_full((len(a),), -torch.inf)
    columns = b.new_full((len(b),), -torch.inf)
    for i, j in _tiles(len(a), len(b)):
        logits = (scale * a[i]) @ b[j].T
        rows[i] = torch.logaddexp(rows[i], torch.logsumexp(logits, dim=1))
        columns[j] = torch.logaddexp(columns[j], torch.logsumexp(logits, dim=0))
    return rows, log_sum_over_processes(columns)


def _softmax(
    a: Tensor, b: Tensor, scale: float, rows: Tensor, columns: Tensor
) -> Tensor:
    """Add the softmax over rows and that over columns of a tile, whatever the scale."""
    logits = (scale * a) @ b.T
    return torch.exp(logits - rows[:, None]) + torch.exp(logits - columns)
