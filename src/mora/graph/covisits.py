"""Weekly co-visits: who was in two places in one week joins the two places."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numba
import numpy as np
from jaxtyping import Int64, Shaped

from mora.errors import GraphError
from mora.graph.array_file import ArrayFile
from mora.graph.covisit_rows import (
    TALLY,
    Edges,
    Incidence,
    add_degrees,
    count_places,
    count_rows,
    weeks_of_places,
)
from mora.graph.privacy import ThresholdTable
from mora.graph.storage import MobilityGraph, read_graph
from mora.graph.user_weeks import RECORD, UserWeekBuilder, UserWeeks
from mora.graph.weights import WeightFile
from mora.memory import GB, require_memory
from mora.progress import Progress, silent

__all__ = ["RECORD", "UserWeekBuilder", "UserWeeks", "build_covisit_graph"]

PAIRS_A_BLOCK = 2_000_000  # larger blocks are no faster
EDGE_KINDS = (np.int32, np.uint32, np.uint32)  # neighbour, weight, users
EDGE_BYTES = 12
PLACE_BYTES = 64  # of the counts that are kept of each place


def build_covisit_graph(
    visits: UserWeeks,
    folder: Path,
    *,
    min_users: int = 2,
    memory_gb: float = 2.0,
    progress: Progress = silent,
) -> tuple[MobilityGraph, Shaped[np.ndarray, " places"], ThresholdTable]:
    """Join places that the same user visited in the same week.

    Each user and week adds 1 to the edge of every pair of places; weeks are summed
    (MoRA, section 4.1.1). An edge or a place stays only if ``min_users`` distinct
    users made it over the whole period. ``numba.get_num_threads()`` threads count
    blocks of rows, and finished blocks go to disk, so memory does not grow with the
    number of pairs. The graph is the same bit for bit whatever the number of threads
    and ``memory_gb``.

    Args:
        visits: records grouped by user and week.
        folder: where the graph's files are written.
        min_users: distinct users per edge and per place; 1 hides nothing.
        memory_gb: GB that it may take, ``visits`` included; less makes smaller blocks.
        progress: told the rows done and in all, after each block.

    Returns:
        The graph over the kept places, memory-mapped; which of ``visits.places``
        are kept; what each threshold would lose.

    Raises:
        GraphError: if no place has enough users.
        MemoryLimitError: if the smallest blocks do not fit ``memory_gb``.
        OSError: if the disk is full; the files that were begun cannot be read then.
    """
    kept, pairs = _require_users(visits, min_users), visits.pairs()
    table = ThresholdTable.empty(places=visits.visitors, chosen=min_users)
    blocks = RowBlocks(visits, kept, table, memory_gb)
    folder.mkdir(parents=True, exist_ok=True)
    row_edges, degree, by_users = _write_edges(blocks, pairs, folder, progress)
    for position, threshold in enumerate(table.thresholds):
        passing = by_users[threshold:].sum(axis=0).tolist()
        table.edges[position], table.weight[position] = passing
    np.save(folder / "indptr.npy", np.append(0, np.cumsum(row_edges[kept])))
    np.save(folder / "within.npy", np.zeros(kept.sum()))
    for name in ("outflow", "inflow"):
        np.save(folder / f"{name}.npy", degree[: kept.sum()].astype(np.float64))
    return read_graph(folder), kept, table


def _write_edges(
    blocks: "RowBlocks", pairs: int, folder: Path, progress: Progress
) -> tuple[
    Int64[np.ndarray, " places"],
    Int64[np.ndarray, " places"],
    Int64[np.ndarray, "levels 2"],
]:
    """Write block after block; give edges of each row, degrees, and edges by users.

    Raises:
        GraphError: if the edges do not weigh as much as there are ``pairs``.
    """
    rows_in_all = len(blocks.number)
    row_edges, degree = np.zeros((2, rows_in_all), np.int64)
    by_users = np.zeros((blocks.levels, 2), np.int64)
    with (
        ArrayFile(folder / "neighbour.npy", np.int32) as neighbours,
        WeightFile(folder) as weights,
        ArrayFile(folder / "users.npy", np.uint32) as users,
    ):
        for rows, edges in blocks.counted():
            found = edges.of_row.sum()
            neighbours.append(edges.neighbour[:found])
            weights.append(edges.weight[:found])
            users.append(edges.users[:found])
            row_edges[rows] = edges.of_row
            add_degrees(blocks.number[rows], edges, degree)
            by_users += edges.by_users
            progress(rows.stop, rows_in_all)
        weight = int(by_users[:, 1].sum())
        if weight != pairs:  # while the files do not look whole yet
            raise GraphError(
                f"the edges weigh {weight}, but the user-weeks make {pairs} pairs; the "
                f"graph is not complete. Report this."
            )
    return row_edges, degree, by_users


def _require_users(visits: UserWeeks, min_users: int) -> Shaped[np.ndarray, " places"]:
    """Mark the places with enough users; refuse to build a graph of none."""
    if min_users < 1:
        raise GraphError(
            f"min_users is {min_users}; expected 1 (hides nothing) or more."
        )
    kept = visits.visitors >= min_users
    if not kept.any():
        raise GraphError(
            f"none of {len(kept)} places has {min_users} distinct users (at most "
            f"{visits.visitors.max()}); use larger places or a lower min_users."
        )
    return kept


class RowBlocks:
    """Blocks of rows, small enough for the memory and counted in threads.

    Args:
        visits: records grouped by user and week.
        kept: places that stay in the graph.
        table: the thresholds, and the one that an edge needs.
        memory_gb: GB for all of it, ``visits`` included.
    """

    def __init__(
        self,
        visits: UserWeeks,
        kept: Shaped[np.ndarray, " places"],
        table: ThresholdTable,
        memory_gb: float,
    ) -> None:
        rows = len(kept)
        self.number = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        self.min_users = table.chosen
        users = int(visits.user.max(initial=0)) + 1
        self.levels = min(max(table.thresholds), users) + 1
        weeks, pairs = count_places(visits.start, visits.place, rows)
        # A row has at most as many partners as pairs, and as places behind it.
        self.bound = np.minimum(pairs, rows - 1 - np.arange(rows))
        self.threads = numba.get_num_threads()
        self.room = self._room(visits, memory_gb)
        self.free: SimpleQueue[tuple[np.ndarray, ...]] = SimpleQueue()
        first = np.append(0, np.cumsum(weeks))
        kind = np.int32 if len(visits.user) < 2**31 else np.int64
        week = np.empty(len(visits.place), kind)
        weeks_of_places(visits.start, visits.place, first, week)
        self.incidence = Incidence(visits.start, visits.place, visits.user, first, week)

    def _room(self, visits: UserWeeks, memory_gb: float) -> int:
        """Give the edges that a block may have at most."""
        held = sum(array.nbytes for array in vars(visits).values())
        held += visits.place.nbytes  # the user-weeks of each place
        held += len(self.bound) * (PLACE_BYTES + self.threads * TALLY.itemsize)
        edge = EDGE_BYTES * (self.threads + 1)  # one block is written meanwhile
        largest = int(self.bound.max())
        require_memory(held + edge * largest, "Counting co-visits", memory_gb)
        fits = int((memory_gb * GB - held) / edge)
        return max(largest, min(fits, PAIRS_A_BLOCK, int(self.bound.sum())))

    def cuts(self) -> Iterator[slice]:
        """Cut the rows so that a block's possible edges fit the room."""
        total = np.append(0, np.cumsum(self.bound))
        first, rows = 0, len(self.bound)
        while first < rows:
            last = np.searchsorted(total, total[first] + self.room, "right") - 1
            yield slice(first, int(last))
            first = int(last)

    def counted(self) -> Iterator[tuple[slice, Edges]]:
        """Give rows and edges of each block, in order; the next overwrites them."""
        for _ in range(self.threads + 1):
            self.free.put(tuple(np.empty(self.room, kind) for kind in EDGE_KINDS))
        begun: deque[tuple[slice, Future[Edges]]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            for rows in self.cuts():
                begun.append((rows, pool.submit(self.count, rows)))
                if len(begun) > self.threads:
                    yield from self._finish(*begun.popleft())
            while begun:
                yield from self._finish(*begun.popleft())

    def _finish(
        self, rows: slice, begun: "Future[Edges]"
    ) -> Iterator[tuple[slice, Edges]]:
        edges = begun.result()
        yield rows, edges
        self.free.put(edges[:3])

    def count(self, rows: slice) -> Edges:
        """Count the edges of a block."""
        of_row = np.zeros(rows.stop - rows.start, np.int64)
        by_users = np.zeros((self.levels, 2), np.int64)
        edges = Edges(*self.free.get(), of_row, by_users)
        count_rows(rows.start, self.incidence, self.number, self.min_users, edges)
        return edges
