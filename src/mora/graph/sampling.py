"""The subgraph that the encoder propagates over."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph
from mora.kernels import kernel


def sample_edges(
    graph: MobilityGraph,
    share: float = 0.1,
    *,
    by: Literal["weight", "random"] = "weight",
    ends: Literal["union", "intersection"] = "union",
    seed: int = 0,
) -> Bool[np.ndarray, " edges"]:
    """Choose the heaviest share of each node's edges.

    Source: MoRA, section 3.1, top-k sampling. A node of degree n keeps
    ``ceil(share n)`` edges, so at least one; ties go to the lower edge number.

    Args:
        graph: the full graph.
        share: part of a node's edges to keep, in (0, 1]; 0.1 in the paper.
        by: ``weight``, or ``random`` for as many edges drawn by chance.
        ends: keep an edge that either end chose (``union``) or both did.
        seed: of the random choice.

    Returns:
        Mark of each kept edge; all True for share 1.

    Raises:
        GraphError: if ``share`` is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise GraphError(f"share must be in (0, 1], got {share!r}.")
    if by == "weight":
        rank = np.asarray(graph.weight, dtype=np.float64)
    else:
        rank = np.random.default_rng(seed).random(graph.edges)
    start, edge = _incident_edges(graph)
    votes = _vote(start, edge, rank, share)
    return votes >= (1 if ends == "union" else 2)


def _incident_edges(
    graph: MobilityGraph,
) -> tuple[Int[np.ndarray, " rows_and_one"], Int[np.ndarray, " ends"]]:
    """List the numbers of the edges at each node, both ends counted."""
    shape = (len(graph), len(graph))
    number = np.arange(1, graph.edges + 1, dtype=np.int64)
    upper = sp.csr_array((number, graph.neighbour, graph.indptr), shape=shape)
    both = sp.csr_array(upper + upper.T)
    return both.indptr.astype(np.int64), both.data - 1


@kernel()
def _vote(
    start: np.ndarray, edge: np.ndarray, rank: np.ndarray, share: float
) -> np.ndarray:
    """Count for each edge how many of its ends chose it."""
    votes = np.zeros(len(rank), np.uint8)
    for node in range(len(start) - 1):
        here = np.sort(edge[start[node] : start[node + 1]])
        keep = int(np.ceil(share * len(here) - 1e-9))
        best = np.argsort(-rank[here], kind="mergesort")[:keep]
        for k in best:
            votes[here[k]] += 1
    return votes


def normalise(
    graph: MobilityGraph, *, by: Literal["weighted", "unweighted"] = "weighted"
) -> tuple[
    Int[np.ndarray, " rows_and_one"],
    Int[np.ndarray, " entries"],
    Float[np.ndarray, " entries"],
]:
    """Scale the edges symmetrically by degree, D^-1/2 A D^-1/2.

    Source: the released code divides by the square root of summed weights + 1e-10
    (``weighted``); MoRA eq. 2 counts neighbours instead (``unweighted``, all weights
    taken as 1).

    Args:
        graph: the sampled graph.
        by: which degree, and whether weights count.

    Returns:
        The symmetric operator in CSR form, float32; rows without edges are empty.
    """
    full = graph.symmetric()
    if by == "unweighted":
        full.data[:] = 1.0
    scale = 1 / np.sqrt(np.asarray(full.sum(axis=1)).ravel() + 1e-10)
    row = np.repeat(np.arange(len(graph)), np.diff(full.indptr))
    value = full.data * (scale[row] * scale[full.indices])  # symmetric to the bit
    return (
        full.indptr.astype(np.int64),
        full.indices.astype(np.int32),
        value.astype(np.float32),
    )
