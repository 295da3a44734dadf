"""One whole training step: propagation, three heads, loss, gradients and AdamW.

200,000 tokens in batches of 20,480, over a sampled graph of 40 and of 240 million
entries, on one thread. Memory is the most that the process held, building the operator
included. The quick run is a tenth of the first in all three and scales it up.
"""

from collections.abc import Callable
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from benchmarks.contrastive import TEMPERATURE, plain
from benchmarks.measure import Cost, measure, one_thread, print_ratio, quick_mode
from benchmarks.propagation import DIM, make_operator
from mora.config import TrainingConfig
from mora.encoder.heads import make_head
from mora.encoder.lightgcn import LightGCN, Operator, Propagation
from mora.encoder.model import AlignedModel, ModalityBatch
from mora.memory import GB, available_gb, peak_mb, reset_peak
from mora.training.loop import make_optimiser

TOKENS, BATCH = 200_000, 20_480
SMALL, LARGE = 40_000_000, 240_000_000
QUICK_PART = 10
HEADS = {"imagery": ("linear", 1024), "poi": ("linear", 768), "people": ("mlp", 36)}
LIMIT_SMALL_GB, LIMIT_LARGE_GB = 8, 16
# An entry takes 8 bytes in the operator, and 4 in the graph that it is built from.
BYTES_AN_ENTRY = 12
TOLERANCE = 1e-6  # of the largest gradient


def main() -> None:
    """Check, measure and print."""
    quick = quick_mode(__doc__)
    one_thread()
    require_same()
    start_gb = reset_peak() / 1000
    print("| tokens | batch | entries | precision | CPU s | seconds | peak GB |")
    print("|---|---|---|---|---|---|---|")
    if quick:
        part = [size // QUICK_PART for size in (TOKENS, BATCH, SMALL)]
        small = start_gb + QUICK_PART * (measure_step(*part) - start_gb)
        large = small + (LARGE - SMALL) * BYTES_AN_ENTRY / GB
        print("\nMemory below is projected: ten times the tokens, batch and entries.")
    else:
        small = measure_step(TOKENS, BATCH, SMALL, precisions=(False, True))
        large = small + (LARGE - SMALL) * BYTES_AN_ENTRY / GB
        if available_gb() >= LIMIT_LARGE_GB:
            large = measure_step(TOKENS, BATCH, LARGE)
        else:
            print(f"\n{available_gb():.0f} GB are free: 240 million are projected.")
    print()
    print_ratio("step_memory_40m", LIMIT_SMALL_GB / small, goal=1)
    print_ratio("step_memory_240m", LIMIT_LARGE_GB / large, goal=1)


def measure_step(
    tokens: int, batch: int, entries: int, precisions: tuple[bool, ...] = (False,)
) -> float:
    """Print what a step costs; give the most memory that was held, in GB.

    Args:
        tokens: rows of the operator and of every feature.
        batch: tokens contrasted.
        entries: of the operator, about.
        precisions: False for float32, True for bfloat16 where autocast uses it.
    """
    reset_peak()
    operator = make_operator(tokens, entries)
    peaks = [peak_mb()]
    step = make_step(operator, tokens, batch)
    for bfloat16 in precisions:
        measure(lambda: step(bfloat16))  # noqa: B023 - called at once; makes the moments
        _, cost = measure(lambda: step(bfloat16))  # noqa: B023
        peaks.append(peak_mb())
        _print_row(tokens, batch, len(operator[1]), bfloat16, cost, peaks[-1])
    return max(peaks) / 1000


def _print_row(
    tokens: int, batch: int, entries: int, bfloat16: bool, cost: Cost, peak: float
) -> None:
    precision = "bf16-mixed" if bfloat16 else "32-true"
    print(
        f"| {tokens:,} | {batch:,} | {entries:,} | {precision} | {cost.cpu:.2f} | "
        f"{cost.seconds:.2f} | {peak / 1000:.2f} |",
        flush=True,
    )


def make_step(operator: Operator, tokens: int, batch: int) -> Callable[[bool], Any]:
    """Build model, features and optimiser; give what takes one step."""
    model, modalities, chosen = make_model(operator, tokens, batch)
    optimiser = make_optimiser(model, TrainingConfig())

    def step(bfloat16: bool) -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(chosen, modalities)
        loss.backward()
        optimiser.step()

    return step


def make_model(
    operator: Operator, tokens: int, batch: int
) -> tuple[AlignedModel, dict[str, ModalityBatch], Tensor]:
    """Build a model with its features, all random, and draw a batch."""
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(tokens, DIM, generator=generator)
    heads = {k: make_head(*HEADS[k], DIM, generator) for k in HEADS}
    model = AlignedModel(
        LightGCN(line, Propagation(*operator)), heads, dict.fromkeys(HEADS, TEMPERATURE)
    )
    present = torch.ones(tokens, dtype=torch.bool)
    modalities = {
        name: ModalityBatch(torch.randn(tokens, width, generator=generator), present)
        for name, (_, width) in HEADS.items()
    }
    return model, modalities, torch.randperm(tokens, generator=generator)[:batch]


def require_same(tokens: int = 2_000, batch: int = 256) -> None:
    """End unless a small step agrees with dense products and the plain loss."""
    operator = make_operator(tokens, 50 * tokens)
    model, modalities, chosen = make_model(operator, tokens, batch)
    features = model.mobility.features
    (ours,) = torch.autograd.grad(model(chosen, modalities), features)
    indptr, indices, data = operator
    dense = torch.from_numpy(sp.csr_array((data, indices, indptr)).toarray())
    mobility = (features + dense @ features + dense @ (dense @ features))[chosen]
    losses = [
        plain(mobility, model.heads[name](modalities[name].values[chosen]))
        for name in HEADS
    ]
    (theirs,) = torch.autograd.grad(torch.stack(losses).mean(), features)
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    if not error <= TOLERANCE:
        raise SystemExit(f"The gradient is off by {error:.1e} of the largest.")


if __name__ == "__main__":
    main()
