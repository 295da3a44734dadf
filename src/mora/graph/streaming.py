"""Products of the mobility graph with dense matrices, streamed from its file."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from numba import prange

from mora.graph.storage import MobilityGraph
from mora.kernels import kernel
from mora.progress import Progress, silent

# Columns that one thread works on: a constant, so that the loops become vector code.
SLICE = 48

# First row, indptr, neighbours and weights of a block of rows -> value of each edge.
EntriesOf = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def stream_product(
    graph: MobilityGraph,
    x: Float32[np.ndarray, "tokens columns"],
    entries: EntriesOf,
    progress: Progress = silent,
) -> Float32[np.ndarray, "tokens columns"]:
    """Multiply a symmetric matrix on the graph's edges by a dense one.

    The half-stored graph is streamed once and serves both directions of an edge. Each
    column is summed by one thread in the order of the edges: the result is the same
    bit for bit whatever the number of threads.

    Args:
        graph: the mobility graph; nearby tokens in nearby rows make it fast.
        x: the dense matrix.
        entries: gives the matrix's entries, float32, of a block of rows.
        progress: told the edges done and in all.

    Returns:
        The product; zero where a token has no edge.
    """
    sliced = _into_slices(x)
    product = np.zeros_like(sliced)
    for first, last in graph.row_blocks():
        indptr, neighbour, weight = graph.block(first, last)
        value = entries(first, indptr, neighbour, weight)
        _add_products(first, indptr, neighbour, value, sliced, product)
        progress(int(graph.indptr[last]), graph.edges)
    whole = product.transpose(1, 0, 2).reshape(len(x), -1)
    return np.ascontiguousarray(whole[:, : x.shape[1]])


def _into_slices(
    x: Float32[np.ndarray, "tokens columns"],
) -> Float32[np.ndarray, "slices tokens 48"]:
    """Put every 48 columns into an array of their own, zeros behind the last."""
    slices = -(-x.shape[1] // SLICE)
    padded = np.zeros((len(x), slices * SLICE), np.float32)
    padded[:, : x.shape[1]] = x
    split = padded.reshape(len(x), slices, SLICE).transpose(1, 0, 2)
    return np.ascontiguousarray(split)


@kernel(parallel=True)
def _add_products(
    first: int,
    indptr: np.ndarray,
    neighbour: np.ndarray,
    value: np.ndarray,
    x: np.ndarray,
    product: np.ndarray,
) -> None:
    """Add a block of rows and, by symmetry, of columns."""
    for part in prange(len(x)):
        there, result = x[part], product[part]
        for row in range(len(indptr) - 1):
            own, total = there[first + row], result[first + row]
            for k in range(indptr[row], indptr[row + 1]):
                v, other = value[k], there[neighbour[k]]
                target = result[neighbour[k]]
                for c in range(SLICE):
                    total[c] += v * other[c]
                for c in range(SLICE):
                    target[c] += v * own[c]
