"""The contrastive loss, in tiles: memory grows with the batch, not with its square."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
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


@dataclass(frozen=True)
class Lookalikes:
    """Which pairs of tokens are too alike to be told apart: false negatives.

    Attributes:
        rows: features of each token of the batch, of unit length, or 0.
        threshold: pairs with a cosine above it are alike; < 1.
    """

    rows: Float[Tensor, "batch columns"]
    threshold: float


def info_nce(
    anchor: Float[Tensor, "batch dim"],
    other: Float[Tensor, "batch dim"],
    *,
    temperature: float | Float[Tensor, ""],
    lookalikes: Lookalikes | None = None,
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
        temperature: divides the cosine similarities; > 0; a tensor has a gradient.
        lookalikes: tokens that are not contrasted with each other.

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
        scale = 1 / temperature
        if isinstance(scale, Tensor):
            # The logits are scale * a @ b.T: a of the same size carries its gradient.
            a, scale = a * (scale / scale.detach()), float(scale.detach())
        return _TiledCrossEntropy.apply(a, b, scale, lookalikes)


class _TiledCrossEntropy(torch.autograd.Function):
    """Symmetric cross-entropy of scale * a @ b.T against the diagonal.

    A process computes the logits of its rows ``a`` with the rows ``b`` of all. Cosines
    are at most 1, so ``scale`` bounds the logits: where exp() of them fits float32
    it is summed as it is, elsewhere by log-sum-exp.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        own_b: Tensor,
        scale: float,
        lookalikes: Lookalikes | None,
    ) -> Tensor:
        b, own = gather_rows(own_b)
        left_out = None if lookalikes is None else _LeftOut(lookalikes)
        log_sums = _plain_sums if scale * SAFE_TEMPERATURE <= 1 else _running_sums
        rows, columns = log_sums(a, b, scale, left_out)
        matched = (a * own_b).sum(dim=1) * scale
        ctx.save_for_backward(a, b, rows, columns)
        ctx.scale, ctx.own, ctx.left_out = scale, own, left_out
        losses = (rows + columns[own]) / 2 - matched
        return sum_over_processes(losses.sum()) / len(b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, b, rows, columns = ctx.saved_tensors
        # Each process differentiates its copy of the one loss: the copies add up.
        factor = gradients[0] * ctx.scale * process_count() / len(b)
        softmax = _plain_softmax if ctx.scale * SAFE_TEMPERATURE <= 1 else _softmax
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        for i, j in _tiles(len(a), len(b)):
            tile = softmax(a[i], b[j], ctx.scale, rows[i], columns[j])
            if ctx.left_out is not None:
                tile.masked_fill_(ctx.left_out(i, j), 0)
            grad_a[i].addmm_(tile, b[j])
            grad_b[j].addmm_(tile.T, a[i])
        grad_b = sum_over_processes(grad_b)[ctx.own]
        grad_a.mul_(factor / 2).sub_(factor * b[ctx.own])
        grad_b.mul_(factor / 2).sub_(factor * a)
        return grad_a, grad_b, None, None


class _LeftOut:
    """The pairs of lookalikes in a tile; a token is contrasted with itself always."""

    def __init__(self, lookalikes: Lookalikes) -> None:
        self.rows, self.threshold = lookalikes.rows, lookalikes.threshold
        self.every, own = gather_rows(self.rows)
        self.number = torch.arange(len(self.every), device=self.rows.device)
        self.own_number = self.number[own]

    def __call__(self, i: slice, j: slice) -> Bool[Tensor, "rows columns"]:
        alike = self.rows[i] @ self.every[j].T > self.threshold
        return alike & (self.own_number[i, None] != self.number[j])


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, TILE):
        for column in range(0, columns, TILE):
            yield slice(row, row + TILE), slice(column, column + TILE)


def _plain_sums(
    a: Tensor, b: Tensor, scale: float, left_out: _LeftOut | None
) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and column of the logits, all of them small."""
    rows, columns = a.new_zeros(len(a)), b.new_zeros(len(b))
    for i, j in _tiles(len(a), len(b)):
        tile = ((scale * a[i]) @ b[j].T).exp_()
        if left_out is not None:
            tile.masked_fill_(left_out(i, j), 0)
        rows[i] += tile.sum(dim=1)
        columns[j] += tile.sum(dim=0)
    return rows.log_(), sum_over_processes(columns).log_()


def _plain_softmax(
    a: Tensor, b: Tensor, scale: float, rows: Tensor, columns: Tensor
) -> Tensor:
    """Add the softmax over rows and that over columns of a tile, one exp for both."""
    weight = torch.exp(-rows)[:, None] + torch.exp(-columns)
    return ((scale * a) @ b.T).exp_().mul_(weight)


def _running_sums(
    a: Tensor, b: Tensor, scale: float, left_out: _LeftOut | None
) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and column, whatever the scale."""
    rows = a.new_full((len(a),), -torch.inf)
    columns = b.new_full((len(b),), -torch.inf)
    for i, j in _tiles(len(a), len(b)):
        logits = (scale * a[i]) @ b[j].T
        if left_out is not None:
            logits.masked_fill_(left_out(i, j), -torch.inf)
        rows[i] = torch.logaddexp(rows[i], torch.logsumexp(logits, dim=1))
        columns[j] = torch.logaddexp(columns[j], torch.logsumexp(logits, dim=0))
    return rows, log_sum_over_processes(columns)


def _softmax(
    a: Tensor, b: Tensor, scale: float, rows: Tensor, columns: Tensor
) -> Tensor:
    """Add the softmax over rows and that over columns of a tile, whatever the scale."""
    logits = (scale * a) @ b.T
    return torch.exp(logits - rows[:, None]) + torch.exp(logits - columns)
