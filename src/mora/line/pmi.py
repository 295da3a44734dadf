"""Shifted pointwise mutual information, computed anew while the graph streams by."""

import numpy as np
from jaxtyping import Float32
from numba import prange

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph
from mora.kernels import kernel
from mora.progress import Progress, silent

# Columns that one thread works on: a constant, so that the loops become vector code.
SLICE = 48


class ShiftedPmi:
    """The matrix that LINE's samples factorise, as an operator.

    Its entries are ``max(0, log(vol w_ij / (d_i d_j)) - log b)`` with ``d`` the degrees
    and ``vol`` their sum. Source: Levy & Goldberg 2014, eq. 11 and section 3.3; Qiu et
    al. 2018, NetMF, table 1 (LINE). Each entry is multiplied by the ``scale`` of both
    its ends, a power of the degree. Never stored: a product streams the half-stored
    graph once and serves both directions of an edge.

    Args:
        graph: the mobility graph; nearby tokens in nearby rows make it fast.
        shift: ``b``, > 0; scaling all weights changes nothing.
        weighting: a least-squares factorisation of the scaled matrix counts the error
            of each entry by ``(d_i d_j)^weighting``; 0 counts all alike.

    Raises:
        GraphError: if ``shift`` is not positive, or there is no edge.
    """

    def __init__(
        self, graph: MobilityGraph, shift: float = 0.25, weighting: float = 0.0
    ) -> None:
        if shift <= 0 or graph.edges == 0:
            raise GraphError(
                f"shift {shift} on a graph of {graph.edges} edges; expected a shift "
                f"above 0, such as 0.25, and at least one edge."
            )
        self.graph, self.shift = graph, shift
        degree = graph.degree()
        with np.errstate(divide="ignore"):  # tokens without edges are never looked up
            self.log_degree = np.log(degree)
        self.log_volume = float(np.log(degree.sum() / shift))
        used = degree > 0
        ratio = np.where(used, degree, 1) / degree[used].mean()
        self.scale = np.where(used, ratio ** (weighting / 2), 1)

    def __len__(self) -> int:
        return len(self.graph)

    def multiply(
        self,
        x: Float32[np.ndarray, "tokens columns"],
        progress: Progress = silent,
    ) -> Float32[np.ndarray, "tokens columns"]:
        """Multiply the matrix by a dense one.

        Each column is summed by one thread in the order of the edges: the result is the
        same bit for bit whatever the number of threads.

        Args:
            x: the dense matrix.
            progress: told the edges done and in all.

        Returns:
            The product, float32; zero where a token has no edge above the shift.
        """
        sliced = _into_slices(x)
        product = np.zeros_like(sliced)
        for first, last in self.graph.row_blocks():
            indptr, neighbour, weight = self.graph.block(first, last)
            value = self._values(first, indptr, neighbour, weight)
            _add_products(first, indptr, neighbour, value, sliced, product)
            progress(int(self.graph.indptr[last]), self.graph.edges)
        whole = product.transpose(1, 0, 2).reshape(len(x), -1)
        return np.ascontiguousarray(whole[:, : x.shape[1]])

    def _values(
        self,
        first: int,
        indptr: np.ndarray,
        neighbour: np.ndarray,
        weight: np.ndarray,
    ) -> Float32[np.ndarray, " block_edges"]:
        """Give the entries of a block of rows."""
        value = np.empty(len(weight), np.float32)
        log_weight = np.log(weight, dtype=np.float64)
        constants = (self.log_degree, self.log_volume, self.scale)
        _fill_values(first, indptr, neighbour, log_weight, *constants, value)
        return value


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
def _fill_values(
    first: int,
    indptr: np.ndarray,
    neighbour: np.ndarray,
    log_weight: np.ndarray,
    log_degree: np.ndarray,
    log_volume: float,
    scale: np.ndarray,
    value: np.ndarray,
) -> None:
    """Compute the entry of each edge; 0 where it is not above the shift."""
    for row in prange(len(indptr) - 1):
        own = log_volume - log_degree[first + row]
        for k in range(indptr[row], indptr[row + 1]):
            other = neighbour[k]
            above = max(0.0, own + log_weight[k] - log_degree[other])
            value[k] = above * scale[first + row] * scale[other]


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
