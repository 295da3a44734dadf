"""The strongest edges of every place, for pages that cannot hold the whole graph."""

import numpy as np
from jaxtyping import Float32, Int, UInt32

from mora.errors import MoraError
from mora.graph.shown_edges import shown_edges
from mora.graph.storage import MobilityGraph
from mora.kernels import kernel


def strongest_edges(
    graph: MobilityGraph,
    most: int = 16,
    min_users: int = 5,
    *,
    published: bool = False,
) -> tuple[
    UInt32[np.ndarray, " rows_and_one"],
    UInt32[np.ndarray, " edges"],
    Float32[np.ndarray, " edges"],
]:
    """Give each place its strongest edges, the strongest first.

    The edge of a pair can be among those of one end and not of the other. The graph is
    read in blocks, so it may be larger than memory.

    Args:
        graph: edges between places.
        most: edges kept a place; >= 1.
        min_users: see :func:`mora.graph.shown_edges.shown_edges`.
        published: see there.

    Returns:
        Where the edges of each place begin (CSR), the place at the other end, and the
        weight of both directions together; among equals the lower place comes first.
        No edges for places without any that may be shown.

    Raises:
        MoraError: if ``most`` or ``min_users`` is below 1.
    """
    if most < 1:
        raise MoraError(f"most is {most}; expected at least one edge a place.")
    other = np.zeros((len(graph), most), np.uint32)
    strength = np.zeros((len(graph), most), np.float32)
    for first, last in graph.row_blocks():
        indptr, neighbour, weight = graph.block(first, last)
        weight = weight.astype(np.float32)
        block = slice(graph.indptr[first], graph.indptr[last])
        shown = shown_edges(graph, min_users, published=published, edges=block)
        weight[~shown] = 0  # no edge is weaker, so it is never kept
        _keep_strongest(first, indptr, neighbour, weight, other, strength)
    kept = strength > 0
    starts = np.append(0, np.cumsum(kept.sum(axis=1))).astype(np.uint32)
    return starts, other[kept], strength[kept]


@kernel()
def _keep_strongest(
    first: int,
    indptr: Int[np.ndarray, " rows_and_one"],
    neighbour: Int[np.ndarray, " edges"],
    weight: Float32[np.ndarray, " edges"],
    other: UInt32[np.ndarray, "tokens most"],
    strength: Float32[np.ndarray, "tokens most"],
) -> None:
    """Offer every edge of a block of rows to the lists of its two ends."""
    for row in range(len(indptr) - 1):
        for edge in range(indptr[row], indptr[row + 1]):
            low, high = first + row, neighbour[edge]
            _offer(other[low], strength[low], high, weight[edge])
            _offer(other[high], strength[high], low, weight[edge])


@kernel()
def _offer(
    other: UInt32[np.ndarray, " most"],
    strength: Float32[np.ndarray, " most"],
    place: int,
    weight: float,
) -> None:
    """Insert an edge into a list in descending order, if it is strong enough."""
    slot = len(strength)
    while slot > 0 and weight > strength[slot - 1]:
        slot -= 1
    if slot == len(strength):
        return
    for later in range(len(strength) - 1, slot, -1):
        other[later], strength[later] = other[later - 1], strength[later - 1]
    other[slot], strength[slot] = place, weight
