"""The subgraph that the encoder propagates over, chosen and scaled in blocks of edges.

Nothing here holds the whole graph: edges are read in blocks from the (memory-mapped)
arrays, and what is kept between blocks grows with the tokens only.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt32

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph
from mora.kernels import kernel, mix_bits

SHIFTS = (24, 16, 8, 0)  # the bytes of a 32-bit key, the highest first


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
    ``ceil(share n)`` edges, so at least one; ties go to the lower edge number. The
    weight of the last edge that a node keeps is found byte by byte, which reads the
    edges five times and takes 1 KB a token beside the marks.

    Args:
        graph: the full graph.
        share: part of a node's edges to keep, in (0, 1]; 0.1 in the paper.
        by: ``weight``, or ``random`` for as many edges drawn by chance.
        ends: keep an edge that either end chose (``union``) or both did.
        seed: of the random choice.

    Returns:
        Mark of each kept edge; all True for share 1.

    Raises:
        GraphError: if ``share`` is outside (0, 1], or the weights are neither uint32
            nor float32.
    """
    if not 0 < share <= 1:
        raise GraphError(f"share must be in (0, 1], got {share!r}.")
    drawn = None if by == "weight" else seed
    last, ties = _last_keys(graph, share, drawn)
    votes = 1 if ends == "union" else 2
    kept = np.empty(graph.edges, bool)
    for edge, block in _key_blocks(graph, drawn):
        _mark(*block, last, ties, votes, kept[edge:])
    return kept


def normalise(
    graph: MobilityGraph, *, by: Literal["weighted", "unweighted"] = "weighted"
) -> tuple[
    Int64[np.ndarray, " rows_and_one"],
    Int32[np.ndarray, " entries"],
    Float32[np.ndarray, " entries"],
]:
    """Scale the edges symmetrically by degree, D^-1/2 A D^-1/2.

    Source: the released code divides by the square root of summed weights + 1e-10
    (``weighted``); MoRA eq. 2 counts neighbours instead (``unweighted``, all weights
    taken as 1).

    Args:
        graph: the sampled graph.
        by: which degree, and whether weights count.

    Returns:
        The symmetric operator in CSR form, columns ascending in a row; rows without
        edges are empty.
    """
    size = np.diff(graph.indptr)
    for first, last in graph.row_blocks():
        size += np.bincount(graph.block(first, last)[1], minlength=len(graph))
    degree = graph.degree() if by == "weighted" else size
    indptr = np.append(0, np.cumsum(size))
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    scale, free = 1 / np.sqrt(degree + 1e-10), indptr[:-1].copy()
    for first, last in graph.row_blocks():
        begins, neighbour, weight = graph.block(first, last)
        weight = weight if by == "weighted" else np.ones_like(weight)
        _fill_rows(first, begins, neighbour, weight, scale, free, indices, data)
    return indptr, indices, data


# First row, and where each row begins; neighbours; 32-bit keys that rank the edges.
KeyBlock = tuple[
    int,
    Int64[np.ndarray, " rows_and_one"],
    Int32[np.ndarray, " edges"],
    UInt32[np.ndarray, " edges"],
]


def _key_blocks(
    graph: MobilityGraph, seed: int | None
) -> Iterator[tuple[int, KeyBlock]]:
    """Read the edges in blocks of rows, each after the number of its first edge.

    Args:
        graph: the full graph.
        seed: of random keys; None ranks by weight.
    """
    for first, last in graph.row_blocks():
        edge = int(graph.indptr[first])
        begins, neighbour, weight = graph.block(first, last)
        if seed is not None:
            key = _hash(edge, len(neighbour), np.uint64(seed % 2**64))
        elif weight.dtype in (np.uint32, np.float32):
            # The bits of positive floats, as whole numbers, rank as the floats do.
            key = weight.view(np.uint32)
        else:
            raise GraphError(
                f"the weights are {weight.dtype}; expected uint32 or float32, as "
                f"MobilityGraph.from_matrix stores them."
            )
        yield edge, (first, begins, neighbour, key)


def _last_keys(
    graph: MobilityGraph, share: float, seed: int | None
) -> tuple[UInt32[np.ndarray, " tokens"], Int64[np.ndarray, " tokens"]]:
    """Find the lowest key that each node chooses, and how many of its ties it takes.

    A radix selection: each pass counts, at every node, the next byte of the keys that
    begin with the bytes found so far.
    """
    count = np.empty((len(graph), 256), np.uint32)
    last = np.zeros(len(graph), np.uint32)
    wanted = np.zeros(len(graph), np.int64)
    for shift in SHIFTS:
        count[:] = 0
        for _, block in _key_blocks(graph, seed):
            _count_bytes(*block, last, shift, count)
        if shift == SHIFTS[0]:
            degree = count.sum(axis=1, dtype=np.int64)
            up = np.ceil(share * degree - 1e-9)  # 0.28 * 25 is above 7 in binary
            wanted = np.maximum(up, degree > 0).astype(np.int64)
        _descend(count, shift, last, wanted)
    return last, wanted


@kernel()
def _hash(edge: int, count: int, seed: np.uint64) -> np.ndarray:
    """Give each edge from ``edge`` on 32 random bits, for each seed others."""
    start = mix_bits(seed) + np.uint64(edge)
    bits = np.empty(count, np.uint32)
    for k in range(count):
        bits[k] = mix_bits(start + np.uint64(k)) >> np.uint64(32)
    return bits


@kernel()
def _count_bytes(
    first: int,
    begins: np.ndarray,
    neighbour: np.ndarray,
    key: np.ndarray,
    last: np.ndarray,
    shift: int,
    count: np.ndarray,
) -> None:
    """Count the byte at ``shift`` of keys whose higher bytes are those of ``last``."""
    for row in range(len(begins) - 1):
        for k in range(begins[row], begins[row + 1]):
            found = np.int64(key[k])
            for node in (first + row, np.int64(neighbour[k])):
                if found >> (shift + 8) == np.int64(last[node]) >> (shift + 8):
                    count[node, (found >> shift) & 255] += 1


@kernel()
def _descend(
    count: np.ndarray, shift: int, last: np.ndarray, wanted: np.ndarray
) -> None:
    """Settle one byte of ``last``; ``wanted`` is then counted among its ties."""
    for node in range(len(last)):
        if wanted[node] == 0:
            continue
        byte = 255
        while wanted[node] > count[node, byte]:
            wanted[node] -= count[node, byte]
            byte -= 1
        last[node] |= np.uint32(byte << shift)


@kernel()
def _mark(
    first: int,
    begins: np.ndarray,
    neighbour: np.ndarray,
    key: np.ndarray,
    last: np.ndarray,
    ties: np.ndarray,
    votes: int,
    kept: np.ndarray,
) -> None:
    """Mark the edges that enough ends choose; each tie taken is taken off ``ties``."""
    for row in range(len(begins) - 1):
        for k in range(begins[row], begins[row + 1]):
            chosen = 0
            for node in (first + row, np.int64(neighbour[k])):
                if key[k] > last[node]:
                    chosen += 1
                elif key[k] == last[node] and ties[node] > 0:
                    ties[node] -= 1
                    chosen += 1
            kept[k] = chosen >= votes


@kernel()
def _fill_rows(
    first: int,
    begins: np.ndarray,
    neighbour: np.ndarray,
    weight: np.ndarray,
    scale: np.ndarray,
    free: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
) -> None:
    """Write a block's edges into the rows of both ends, at the next free place.

    Columns ascend by themselves: when the edges of row i come, all rows below i have
    left theirs in it, in ascending order.
    """
    for row in range(len(begins) - 1):
        i = first + row
        for k in range(begins[row], begins[row + 1]):
            j = np.int64(neighbour[k])
            value = weight[k] * (scale[i] * scale[j])  # symmetric to the bit
            for node, column in ((i, j), (j, i)):
                indices[free[node]] = column
                data[free[node]] = value
                free[node] += 1
