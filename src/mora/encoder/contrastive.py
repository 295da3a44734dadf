"""The contrastive loss, in tiles: memory grows with the batch, not with its square."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TILE_ROWS = 1024
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
    a, b = F.normalize(anchor, dim=1), F.normalize(other, dim=1)
    return _TiledCrossEntropy.apply(a, b, 1 / temperature)


class _TiledCrossEntropy(torch.autograd.Function):
    """Symmetric cross-entropy of scale * a @ b.T against the diagonal."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows, columns = _log_sums(a, b, scale)
        matched = (a * b).sum(dim=1) * scale
        ctx.save_for_backward(a, b, rows, columns)
        ctx.scale = scale
        return ((rows + columns) / 2 - matched).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, rows, columns = ctx.saved_tensors
        factor = gradients[0] * ctx.scale / len(a)
        grad_a, grad_b = torch.empty_like(a), torch.zeros_like(b)
        for start in range(0, len(a), TILE_ROWS):
            part = slice(start, start + TILE_ROWS)
            logits = ctx.scale * (a[part] @ b.T)
            softmax = torch.exp(logits - rows[part, None])
            softmax += logits.sub_(columns).exp_()
            softmax *= factor / 2
            grad_a[part] = softmax @ b
            grad_b.addmm_(softmax.T, a[part])
        return grad_a.sub_(factor * b), grad_b.sub_(factor * a), None


def _log_sums(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Give log-sum-exp of every row and every column of scale * a @ b.T.

    Cosines are at most 1, so ``scale`` is a bound on the logits and one shift serves
    all; where float32 would underflow, the running maximum is used instead.
    """
    rows = a.new_empty(len(a))
    if scale * SAFE_TEMPERATURE <= 1:
        sums = a.new_zeros(len(b))
        for start in range(0, len(a), TILE_ROWS):
            part = slice(start, start + TILE_ROWS)
            tile = (scale * (a[part] @ b.T)).sub_(scale).exp_()
            rows[part] = tile.sum(dim=1).log_().add_(scale)
            sums += tile.sum(dim=0)
        return rows, sums.log_().add_(scale)
    columns = a.new_full((len(b),), -torch.inf)
    for start in range(0, len(a), TILE_ROWS):
        part = slice(start, start + TILE_ROWS)
        logits = scale * (a[part] @ b.T)
        rows[part] = torch.logsumexp(logits, dim=1)
        columns = torch.logaddexp(columns, torch.logsumexp(logits, dim=0))
    return rows, columns
