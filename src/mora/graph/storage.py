"""The mobility graph on disk and in memory: symmetric, every edge stored once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Float64, Int, Shaped

from mora.errors import GraphError
from mora.graph.weights import PackedWeights, WeightFile, compact_weights
from mora.kernels import kernel

# Edges of a block of rows that is worked on together: 20 bytes each at most.
EDGES_A_BLOCK = 4_000_000

# What numpy and scipy raise on files that are damaged or hold something else.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, ZlibError)


@dataclass(frozen=True, eq=False)
class MobilityGraph:
    """Weighted undirected edges between tokens, upper triangle in CSR order.

    Row ``i`` holds its edges to tokens ``j > i``. Whole-number weights are uint32 and
    exact up to 4,294,967,295, packed into two bytes on disk; others are float32 with a
    relative error of 6e-8.

    Attributes:
        indptr: where each row begins.
        neighbour: the other end ``j > i`` of each edge, ascending within a row.
        weight: weight of each edge, > 0.
        users: distinct users of each edge over the whole period; empty where the
            source counts none (flow tables).
        within: movement from each token to itself, kept beside the edges.
        outflow: movement from each token to all others, or co-visits with them.
        inflow: movement to each token from all others; equals ``outflow`` where the
            source is undirected.
    """

    indptr: Int[np.ndarray, " rows_and_one"]
    neighbour: Int[np.ndarray, " edges"]
    weight: Shaped[np.ndarray, " edges"] | PackedWeights
    users: Shaped[np.ndarray, " counted"]
    within: Float[np.ndarray, " tokens"]
    outflow: Float[np.ndarray, " tokens"]
    inflow: Float[np.ndarray, " tokens"]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def edges(self) -> int:
        """Count the undirected edges."""
        return len(self.neighbour)

    @classmethod
    def from_matrix(
        cls,
        flows: sp.sparray | sp.spmatrix,
        users: sp.sparray | sp.spmatrix | None = None,
    ) -> "MobilityGraph":
        """Build the graph from directed flows; both directions of a pair are added.

        Args:
            flows: ``(tokens, tokens)``, ``flows[i, j]`` moves from i to j; the
                diagonal is kept apart as ``within``.
            users: distinct users per pair, symmetric, with the same pattern.

        Returns:
            The graph; its total weight is the sum of ``flows`` off the diagonal.

        Raises:
            GraphError: if a weight is negative, not finite or too large to be exact.
        """
        flows = sp.csr_array(flows).astype(np.float64)
        if not (np.isfinite(flows.data).all() and (flows.data >= 0).all()):
            bad = flows.data[~(np.isfinite(flows.data) & (flows.data >= 0))]
            raise GraphError(
                f"{len(bad)} of {flows.nnz} weights are negative or not finite "
                f"(first: {bad[:3].tolist()}); expected weights >= 0."
            )
        within = flows.diagonal()
        outflow = np.asarray(flows.sum(axis=1)).ravel() - within
        inflow = np.asarray(flows.sum(axis=0)).ravel() - within
        upper = sp.csr_array(sp.triu(flows + flows.T, k=1))
        upper.eliminate_zeros()
        upper.sort_indices()
        counted = np.zeros(0, np.uint32)
        if users is not None:
            counted = _paired_values(sp.csr_array(users), upper)
        return cls(
            upper.indptr.astype(np.int64),
            upper.indices.astype(np.int32),
            compact_weights(upper.data),
            counted,
            within,
            outflow,
            inflow,
        )

    def rows(self) -> Int[np.ndarray, " edges"]:
        """Give the lower end ``i`` of each edge."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.indptr))

    def row_blocks(self) -> Iterator[tuple[int, int]]:
        """Cut the rows into ranges with about as many edges, to stream the file.

        Yields:
            First row and the row after the last; a row is never divided.
        """
        first = 0
        while first < len(self):
            full = self.indptr[first] + EDGES_A_BLOCK
            last = int(np.searchsorted(self.indptr, full, "right")) - 1
            last = min(max(last, first + 1), len(self))
            yield first, last
            first = last

    def block(
        self, first: int, last: int
    ) -> tuple[
        Int[np.ndarray, " rows_and_one"],
        Int[np.ndarray, " block_edges"],
        Shaped[np.ndarray, " block_edges"],
    ]:
        """Read a range of rows into memory: its ``indptr``, neighbours and weights."""
        start, stop = self.indptr[first], self.indptr[last]
        neighbour = np.array(self.neighbour[start:stop])
        weight = np.array(self.weight[start:stop])
        return np.array(self.indptr[first : last + 1]) - start, neighbour, weight

    def total_weight(self) -> float:
        """Sum the weights, each edge once."""
        blocks = (self.block(*rows) for rows in self.row_blocks())
        return float(sum(np.sum(w, dtype=np.float64) for _, _, w in blocks))

    def degree(self) -> Float64[np.ndarray, " tokens"]:
        """Sum the weights at each token, over both directions."""
        total = np.zeros(len(self))
        for first, last in self.row_blocks():
            _add_degrees(first, *self.block(first, last), total)
        return total

    def symmetric(self) -> sp.csr_array:
        """Give the full matrix in float64, both directions of every edge stored."""
        shape = (len(self), len(self))
        data = np.asarray(self.weight, dtype=np.float64)
        upper = sp.csr_array((data, self.neighbour, self.indptr), shape=shape)
        full = sp.csr_array(upper + upper.T)
        full.sort_indices()
        return full

    def select(self, keep: Bool[np.ndarray, " edges"]) -> "MobilityGraph":
        """Keep the marked edges; the totals of each token stay as observed."""
        ends = [np.zeros(1, np.int64)]
        neighbours, weights = [np.zeros(0, np.int32)], [self.weight[:0]]
        users = [np.array(self.users[:0])]
        for first, last in self.row_blocks():
            start, stop = self.indptr[first], self.indptr[last]
            indptr, neighbour, weight = self.block(first, last)
            chosen = keep[start:stop]
            before = np.append(0, np.cumsum(chosen))  # chosen edges before each edge
            ends.append(ends[-1][-1] + before[indptr[1:]])
            neighbours.append(neighbour[chosen])
            weights.append(weight[chosen])
            if len(self.users):
                users.append(self.users[start:stop][chosen])
        edges = (np.concatenate(part) for part in (ends, neighbours, weights, users))
        return MobilityGraph(*edges, self.within, self.outflow, self.inflow)

    def reorder(self, token: Int[np.ndarray, " tokens"]) -> "MobilityGraph":
        """Renumber the nodes; ``token[i]`` is the new number of node ``i``."""
        if (token == np.arange(len(self))).all():
            return self
        first, second = token[self.rows()], token[self.neighbour]
        low, high = np.minimum(first, second), np.maximum(first, second)
        order = np.lexsort([high, low])
        indptr = np.append(0, np.cumsum(np.bincount(low, minlength=len(self))))
        old = np.argsort(token)
        return MobilityGraph(
            indptr.astype(np.int64),
            high[order].astype(np.int32),
            self.weight[order],
            self.users[order] if len(self.users) else self.users,
            self.within[old],
            self.outflow[old],
            self.inflow[old],
        )

    def write(self, folder: Path) -> None:
        """Write one ``.npy`` an array into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for field in fields(self):
            if field.name != "weight" or self.weight.dtype != np.uint32:
                np.save(folder / f"{field.name}.npy", getattr(self, field.name))
        if self.weight.dtype == np.uint32:
            with WeightFile(folder) as file:
                for first, last in self.row_blocks():
                    file.append(self.block(first, last)[2])


def read_graph(folder: Path) -> MobilityGraph:
    """Open a graph memory-mapped.

    Raises:
        GraphError: if a file is missing, cut short or of another length.
    """
    names = [field.name for field in fields(MobilityGraph)]
    arrays: dict[str, Any] = {name: _open(folder / f"{name}.npy") for name in names}
    _require_whole(arrays, folder)
    if arrays["weight"].dtype == np.uint16:
        large = [_open(folder / f"large_{name}.npy") for name in ("edge", "weight")]
        arrays["weight"] = PackedWeights(arrays["weight"], *large)
    return MobilityGraph(**arrays)


def _open(path: Path) -> np.ndarray:
    """Open an array memory-mapped."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        raise GraphError(
            f"{path} cannot be read ({error}); expected a whole .npy file. Build the "
            f"graph again."
        ) from error


def _require_whole(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    length = {name: len(array) for name, array in arrays.items()}
    tokens = max(length["indptr"] - 1, 0)
    edges = int(arrays["indptr"][tokens]) if length["indptr"] else 0
    counted = edges if length["users"] else 0  # flow tables count no users
    expected = {"neighbour": edges, "weight": edges, "users": counted}
    expected |= dict.fromkeys(["within", "outflow", "inflow"], tokens)
    expected["indptr"] = tokens + 1
    wrong = [name for name, size in expected.items() if length[name] != size]
    if wrong:
        found = ", ".join(f"{n} {length[n]} instead of {expected[n]}" for n in wrong)
        raise GraphError(
            f"{folder}: the arrays of {tokens} rows and {edges} edges have other "
            f"lengths than expected ({found}). Build the graph again."
        )


def read_matrix(path: Path) -> sp.csr_array:
    """Read a sparse matrix from ``.npz``: scipy's form, or row, col and weight.

    Raises:
        GraphError: if the file holds neither, or the matrix is not square.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if {"row", "col", "weight"} <= set(file.files):
                ends = (file["row"], file["col"])
                size = int(max(end.max() for end in ends)) + 1
                size = int(file["n"]) if "n" in file.files else size
                return sp.csr_array((file["weight"], ends), shape=(size, size))
            found = file.files
        matrix = sp.csr_array(sp.load_npz(path))
    except DAMAGED as error:
        raise GraphError(
            f"{path} holds no sparse matrix ({error}); expected scipy.sparse.save_npz "
            f"or arrays row, col, weight."
        ) from error
    if matrix.shape[0] != matrix.shape[1]:
        raise GraphError(
            f"{path} is of shape {matrix.shape} ({', '.join(found)}); expected a "
            f"square matrix."
        )
    return matrix


def _paired_values(matrix: sp.csr_array, pattern: sp.csr_array) -> np.ndarray:
    """Read ``matrix`` at the non-zeros of ``pattern``."""
    row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    return np.asarray(matrix[row, pattern.indices]).ravel().astype(np.uint32)


@kernel()
def _add_degrees(
    first_row: int,
    indptr: np.ndarray,
    neighbour: np.ndarray,
    weight: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add the weights of a block of rows at both of their ends."""
    for row in range(len(indptr) - 1):
        for k in range(indptr[row], indptr[row + 1]):
            total[first_row + row] += weight[k]
            total[neighbour[k]] += weight[k]
