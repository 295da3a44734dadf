"""Vectors of places by our fast path against the network in float64 all the way.

``python -m benchmarks.distill_inference [--quick]``

The reference is the released way: each of the 1,024 harmonics by a closed form of its
own in PyTorch, and the layers in float64. Our own network in float64 is measured too;
it has no slow harmonics, so only the precision of the layers is left to save.
"""

from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from benchmarks.harmonics import by_closed_form
from benchmarks.measure import (
    in_turn,
    one_thread,
    print_costs,
    print_ratio,
    quick_mode,
    ratio,
)
from mora.distill import DistilledModel, FastNetwork

ERROR = 1e-6  # of a vector, by its length
BLOCK = 2048  # places at a time for the sides in float64; no faster on more
REFERENCE, MODULE = "float64, harmonics by closed form", "float64, our network"


def places(count: int) -> np.ndarray:
    """Strew places evenly over the globe."""
    rng = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    return np.column_stack([rng.uniform(-180, 180, count), lat])


def in_blocks(
    network: Callable[[np.ndarray], torch.Tensor], lonlat: np.ndarray
) -> np.ndarray:
    """Call a network of PyTorch block by block."""
    with torch.no_grad():
        blocks = np.array_split(lonlat, max(1, len(lonlat) // BLOCK))
        return np.concatenate([network(block).numpy() for block in blocks])


def error_of(vectors: np.ndarray, reference: np.ndarray) -> float:
    """Give the largest error of a vector by the length of the vector."""
    away = np.linalg.norm(vectors - reference, axis=1)
    return float((away / np.linalg.norm(reference, axis=1)).max())


def main() -> None:
    """Check, measure and compare."""
    quick = quick_mode(__doc__)
    one_thread()
    torch.set_num_threads(1)
    lonlat = places(4_096 if quick else 32_768)
    model = (
        DistilledModel().eval()
    )  # the paper's sizes; the time is that of any weights
    fast = FastNetwork(model)
    sides = {
        "ours, fast": lambda: fast(lonlat),
        MODULE: lambda: in_blocks(lambda x: model(torch.from_numpy(x)), lonlat),
        REFERENCE: lambda: in_blocks(
            lambda x: model.network(torch.from_numpy(by_closed_form(x))), lonlat
        ),
    }
    results, costs = in_turn(sides, 3 if quick else 7)
    print(f"{len(lonlat):,} places, degree {model.degree}, widths {model.widths}:\n")
    print_costs(costs)
    for name, vectors in results.items():
        rate = len(lonlat) / median(cost.cpu for cost in costs[name])
        error = error_of(vectors, results[REFERENCE])
        print(f"{name}: {rate:,.0f} places a CPU second, relative error {error:.1e}")
        if not error <= ERROR:
            raise SystemExit(f"{name} is {error:.1e} away; expected at most {ERROR}.")
    print()
    ours = costs["ours, fast"]
    # float32 does twice the arithmetic of float64 in a second, and no more: without
    # slow harmonics on the other side, 4 is out of reach.
    print_ratio("distill_inference_module", ratio(costs[MODULE], ours), 4)
    print_ratio("distill_inference", ratio(costs[REFERENCE], ours), 4)


if __name__ == "__main__":
    main()
