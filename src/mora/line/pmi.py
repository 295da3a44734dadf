"""Shifted pointwise mutual information, computed anew while the graph streams by."""

import numpy as np
from jaxtyping import Float32
from numba import prange

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph
from mora.graph.streaming import stream_product
from mora.kernels import kernel
from mora.progress import Progress, silent


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

        The result is the same bit for bit whatever the number of threads.

        Args:
            x: the dense matrix.
            progress: told the edges done and in all.

        Returns:
            The product, float32; zero where a token has no edge above the shift.
        """
        return stream_product(self.graph, x, self._values, progress)

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
