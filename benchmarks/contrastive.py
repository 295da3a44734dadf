"""The contrastive loss and its gradients, tile by tile, against plain PyTorch.

Three modalities are contrasted with the same anchor one after the other, as in a
training step. The bound is what the four matrix products of our way alone cost.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import (
    Cost,
    in_turn,
    one_thread,
    print_costs,
    print_ratio,
    quick_mode,
    ratio,
)
from mora.encoder.contrastive import info_nce
from mora.memory import available_gb

DIM = 128
BATCH, QUICK_BATCH = 20_480, 5_120
TEMPERATURE = 0.2
CHECKED = 2_048  # rows on which both are held to double precision
TOLERANCE = 1e-6  # of the loss, and of the largest gradient
ROUNDING = 1e-5  # of plain PyTorch in float32, at any size
BOUND_ROWS = 1024  # a tile of the bound stays near the core
PLAIN_BYTES = 24  # a pair of the batch: logits, two softmaxes and their gradients

Result = tuple[Tensor, list[Tensor]]


def plain(anchor: Tensor, other: Tensor) -> Tensor:
    """Write the loss as CLIP's authors do."""
    a, b = F.normalize(anchor, dim=1), F.normalize(other, dim=1)
    logits = a @ b.T / TEMPERATURE
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def ours(anchor: Tensor, other: Tensor) -> Tensor:
    """Take the loss of the package."""
    return info_nce(anchor, other, temperature=TEMPERATURE)


def main() -> None:
    """Compare, check and print."""
    quick = quick_mode(__doc__)
    batch, modalities = (QUICK_BATCH, 1) if quick else (BATCH, 3)
    needed = 1.2 * PLAIN_BYTES * batch**2 / 1e9
    if available_gb() < needed:
        raise SystemExit(
            f"The plain way needs about {needed:.0f} GB; {available_gb():.1f} GB are "
            f"free. Use --quick, or close what else is running."
        )
    one_thread()
    print(
        f"{batch:,} x {DIM}, {modalities} modalities, forward and backward, one thread:"
        f"\n"
    )
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1 + modalities, batch, DIM, generator=generator)
    few = rows[:, :CHECKED]
    require_same(step(ours, few), step(plain, few.double()), TOLERANCE)
    sides = {
        "ours": lambda: step(ours, rows),
        "plain PyTorch": lambda: step(plain, rows),
        "bound (GEMM)": lambda: multiply_only(rows),
    }
    results, costs = in_turn(sides, 3 if quick else 1)
    require_same(results["ours"], results["plain PyTorch"], ROUNDING)
    print_costs(costs)
    print_ratios(costs, batch)


def step(loss_of, rows: Tensor) -> Result:
    """Give loss and gradients of every modality, one after the other."""
    anchor = rows[0].clone().requires_grad_()
    total, gradients = torch.zeros(()), []
    for features in rows[1:]:
        other = features.clone().requires_grad_()
        loss = loss_of(anchor, other) / (len(rows) - 1)
        loss.backward()
        total += loss.detach()
        gradients.append(other.grad)
    return total, [anchor.grad, *gradients]


def multiply_only(rows: Tensor) -> None:
    """Do the four products that loss and gradients take, tile by tile."""
    gradient = torch.zeros_like(rows[0])
    a = F.normalize(rows[0], dim=1).split(BOUND_ROWS)
    for other in rows[1:]:
        b = other.split(BOUND_ROWS)
        for i, j in itertools.product(range(len(a)), repeat=2):
            _ = a[i] @ b[j].T  # of the sums
            tile = a[i] @ b[j].T  # again, for the gradients
            gradient[: len(a[i])].addmm_(tile, b[j])
            gradient[: len(b[j])].addmm_(tile.T, a[i])


def require_same(ours: Result, theirs: Result, tolerance: float) -> None:
    """End unless loss and gradients agree."""
    pairs = zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True)
    for mine, expected in pairs:
        error = float((mine - expected).abs().max() / expected.abs().max())
        if not error <= tolerance:
            raise SystemExit(
                f"Loss or gradients are off by {error:.1e} of the largest."
            )


def print_ratios(costs: dict[str, list[Cost]], batch: int) -> None:
    """Print what the goals ask; memory is that of the paper's batch."""
    peer, own, bound = costs["plain PyTorch"], costs["ours"], costs["bound (GEMM)"]
    print(f"ours / bound: {ratio(own, bound):.2f}")
    memory = ratio(peer, own, "peak_mb")
    if batch < BATCH:
        # Plain grows with the square of the batch, ours at most with the batch.
        memory *= BATCH / batch
        print(f"memory: projected from {batch:,} to {BATCH:,} rows")
    print()
    print_ratio("contrastive_memory", memory, goal=30)
    print_ratio("contrastive", ratio(peer, own), goal=2)


if __name__ == "__main__":
    main()
