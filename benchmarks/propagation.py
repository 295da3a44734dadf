"""One propagation step, forward and backward, against PyTorch's CSR product and scipy.

Both sides run on one thread. The operator is symmetric and joins rows that are near:
the ids of places are in spatial order. ``batch`` is the last layer of a training step,
of which only a tenth of the rows is needed.
"""

import warnings

import numpy as np
import scipy.sparse as sp
import torch

from benchmarks.measure import (
    in_turn,
    measure,
    one_thread,
    print_costs,
    print_ratio,
    quick_mode,
    ratio,
)
from mora.encoder.lightgcn import Operator, Propagation
from mora.graph.sampling import normalise
from mora.graph.storage import MobilityGraph
from mora.kernels import kernel

DIM = 128
BATCH_SHARE = 0.1
TOLERANCE = 1e-5  # of the largest value: float32 sums in another order
SPREAD = 6.0  # the farthest neighbour is about exp(6) / 6 = 67 rows a neighbour off


def make_operator(tokens: int, entries: int) -> Operator:
    """Make a normalised graph whose density falls with the distance of the rows.

    Args:
        tokens: rows.
        entries: about so many, at most.
    """
    graph = _make_graph(tokens, entries // 2 // tokens)
    return normalise(graph)


def _make_graph(tokens: int, each: int) -> MobilityGraph:
    """Join every token to about ``each`` tokens after it."""
    neighbour = np.empty(tokens * each, np.int32)
    weight = np.empty(tokens * each, np.float32)
    indptr = _fill_graph(np.random.default_rng(0), tokens, each, neighbour, weight)
    nobody = np.zeros(tokens)
    edges = indptr[-1]
    return MobilityGraph(
        indptr,
        neighbour[:edges],
        weight[:edges],
        np.zeros(0, np.uint32),
        nobody,
        nobody,
        nobody,
    )


@kernel()
def _fill_graph(
    draw: np.random.Generator,
    tokens: int,
    each: int,
    neighbour: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Draw neighbours whose gaps grow with the distance, as a gravity law's do."""
    indptr = np.zeros(tokens + 1, np.int64)
    edge = 0
    for row in range(tokens):
        distance = 0
        for _ in range(each):
            gap = draw.exponential(SPREAD / each * distance)
            distance += 1 + int(gap)
            if row + distance >= tokens:
                break
            neighbour[edge] = row + distance
            weight[edge] = draw.exponential(1.0) / distance + 1e-6
            edge += 1
        indptr[row + 1] = edge
    return indptr


def main() -> None:
    """Compare, check and print."""
    quick = quick_mode(__doc__)
    one_thread()
    warnings.filterwarnings("ignore", message="Sparse")  # torch: CSR is in beta
    tokens, entries = (50_000, 5_000_000) if quick else (200_000, 20_000_000)
    operator, made = measure(lambda: make_operator(tokens, entries))
    print(
        f"{tokens:,} tokens, {len(operator[1]):,} entries (made in {made.cpu:.1f} CPU "
        f"s), {DIM} columns, forward and backward, one thread:\n"
    )
    sides = _sides(operator)
    results, costs = in_turn(sides, 3)
    _require_same(results)
    print_costs(costs)
    batch = ratio(costs["ours"], costs["ours, batch"])
    print_ratio("propagation_batch", batch, goal=3)
    print_ratio("propagation", ratio(costs["torch CSR"], costs["ours"]), goal=4)


def _sides(operator: Operator) -> dict:
    """Give what is compared; each returns the product and the gradient of x."""
    indptr, indices, data = operator
    tokens = len(indptr) - 1
    rng = np.random.default_rng(0)
    x, pull = rng.standard_normal((2, tokens, DIM), np.float32)
    rows = np.sort(rng.permutation(tokens)[: int(tokens * BATCH_SHARE)])
    rows = torch.from_numpy(rows)
    features = torch.from_numpy(x).requires_grad_()
    pulls = torch.from_numpy(pull)
    propagation = Propagation(*operator)
    matrix = torch.sparse_csr_tensor(
        torch.from_numpy(indptr),
        torch.from_numpy(indices).long(),
        torch.from_numpy(data),
        (tokens, tokens),
    )
    scipys = sp.csr_array((data, indices, indptr), shape=(tokens, tokens))

    def by_torch(product, pulls):
        (gradient,) = torch.autograd.grad(product, features, pulls)
        return product.detach().numpy(), gradient.numpy()

    return {
        "ours": lambda: by_torch(propagation(features), pulls),
        "ours, batch": lambda: by_torch(propagation(features, rows), pulls[rows]),
        "torch CSR": lambda: by_torch(matrix @ features, pulls),
        "scipy": lambda: (scipys @ x, scipys.T @ pull),
    }


def _require_same(results: dict) -> None:
    """End unless all sides agree."""
    product, gradient = results["torch CSR"]
    for name, (ours, pulled) in results.items():
        if name == "ours, batch":
            continue  # a part of the rows: held to the whole by tests/test_lightgcn.py
        for mine, theirs in ((ours, product), (pulled, gradient)):
            error = np.abs(mine - theirs).max() / np.abs(theirs).max()
            if not error <= TOLERANCE:
                raise SystemExit(f"{name} is off by {error:.1e} of the largest value.")


if __name__ == "__main__":
    main()
