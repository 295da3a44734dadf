"""The contrastive loss, in tiles: memory grows with the batch, not with its square."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TILE_ROWS = 256  # a tile of 16,000 columns takes 16 MB
SAFE_TEMPERATURE = 0.03  # below it exp(-2 / temperature) leaves float32's range


def info_nce(
    anchor: Float[Tensor, "batch dim"],
    other: Float[Tensor, "batch dim"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Contrast matching rows against all other rows, averaged over both directions.

    Source: Radford et al. 2021, CLIP, fig. 3; MoRA eq. 4 and 5. One tile of logits at
    a time serves both directions and is computed again for the gradient.

    Args:
        anchor: mobility embeddings; need not be normalised.
        other: embeddings of one modality, row i the same token as ``anchor`` row i.
        temperature: divides the cosine similarities; > 0.

    Returns:
        Mean cross-entropy in nats; log(batch) when all rows look alike, 0 for one row.

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

    Cosines are at most 1, so ``scale`` bounds the logits and one fixed shift serves
    every softmax; where float32 would underflow, log-sum-exp is used instead.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, scale: float) -> Tensor:
        log_sums = _shifted_sums if scale * SAFE_TEMPERATURE <= 1 else _running_sums
        rows, columns = log_sums(a, b, scale)
        matched = (a * b).sum(dim=1) * scale
        ctx.save_for_backward(a, b, rows, columns)
        ctx.scale = scale
        return ((rows + columns) / 2 - matched).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, rows, columns = ctx.saved_tensors
        factor = gradients[0] * ctx.scale / len(a)
        softmax = _shifted if ctx.scale * SAFE_TEMPERATURE <= 1 else _exact
        grad_a, grad_b = torch.empty_like(a), torch.zeros_like(b)
        for part in _tiles(len(a)):
            tile = softmax(a[part], b, ctx.scale, rows[part], columns)
            grad_a[part] = tile @ b
            grad_b.addmm_(tile.T, a[part])
        grad_a.mul_(factor / 2).sub_(factor * b)
        grad_b.mul_(factor / 2).sub_(factor * a)
        return grad_a, grad_b, None


def _tiles(rows: int) -> Iterator[slice]:
    return (slice(start, start + TILE_ROWS) for start in range(0, rows, TILE_ROWS))


def _exponentials(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Give exp(scale * (cosine - 1)), at most 1."""
    return torch.addmm(a.new_full((1,), -scale), a * scale, b.T).exp_()


def _shifted_sums(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and column of the logits, with a fixed shift."""
    rows, columns = a.new_empty(len(a)), a.new_zeros(len(b))
    for part in _tiles(len(a)):
        tile = _exponentials(a[part], b, scale)
        rows[part] = tile.sum(dim=1)
        columns += tile.sum(dim=0)
    return rows.log_().add_(scale), columns.log_().add_(scale)


def _shifted(
    a: Tensor, b: Tensor, scale: float, rows: Tensor, columns: Tensor
) -> Tensor:
    """Add the softmax over rows and that over columns of a tile, one exp for both."""
    weight = torch.exp(scale - rows)[:, None] + torch.exp(scale - columns)
    return _exponentials(a, b, scale).mul_(weight)


def _running_sums(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and column, whatever the scale."""
    rows = a.new_empty(len(a))
    columns = a.new_full((len(b),), -torch.inf)
    for part in _tiles(len(a)):
        logits = scale * (a[part] @ b.T)
        rows[part] = torch.logsumexp(logits, dim=1)
        columns = torch.logaddexp(columns, torch.logsumexp(logits, dim=0))
    return rows, columns


def _exact(a: Tensor, b: Tensor, scale: float, rows: Tensor, columns: Tensor) -> Tensor:
    """Add the softmax over rows and that over columns of a tile, whatever the scale."""
    logits = scale * (a @ b.T)
    return torch.exp(logits - rows[:, None]) + torch.exp(logits - columns)
