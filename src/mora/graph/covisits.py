"""Weekly co-visits: who was in two places in one week joins the two places."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt64
from numba import prange

from mora.errors import GraphError
from mora.graph.privacy import ThresholdTable
from mora.graph.storage import ArrayFile, MobilityGraph, read_graph
from mora.kernels import kernel
from mora.progress import Progress, silent

BUCKETS = 64
PAIRS_A_BLOCK = 16_000_000  # bounds the memory of a row block: 12 bytes a pair
RECORD = np.dtype([("user", "u8"), ("week", "i4"), ("place", "u8")])


@dataclass(frozen=True, eq=False)
class UserWeeks:
    """Distinct (user, week, place) records, grouped by user and week.

    Attributes:
        places: ids of all places seen, ascending.
        visitors: distinct users of each place over the whole period.
        start: where each user-week begins in ``place``; one more closes the last.
        user: number of the user of each user-week, ascending; meaningless elsewhere.
        place: rows of ``places``, ascending within a user-week.
    """

    places: UInt64[np.ndarray, " places"]
    visitors: Int[np.ndarray, " places"]
    start: Int[np.ndarray, " weeks_and_one"]
    user: Int[np.ndarray, " weeks"]
    place: Int[np.ndarray, " records"]

    def pairs(self) -> int:
        """Count the pairs that the user-weeks make: the sum of n (n - 1) / 2."""
        size = np.diff(self.start)
        return int((size * (size - 1) // 2).sum())


class UserWeekBuilder:
    """Collects visits batch by batch on disk and groups them by user and week.

    Records are spread over files by a hash of the user, so that only one file's
    users are in memory at a time. The files are deleted when grouping is done.

    Args:
        folder: an empty folder for the record files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.places = np.zeros(0, np.uint64)
        self.first_week: int | None = None

    def add(
        self,
        user: UInt64[np.ndarray, " visits"],
        week: Int[np.ndarray, " visits"],
        place: UInt64[np.ndarray, " visits"],
    ) -> None:
        """Take a batch of visits.

        Args:
            user: hashed user ids; no other id is ever written.
            week: running number of the ISO week.
            place: H3 cell or grid id.
        """
        record = np.empty(len(user), RECORD)
        record["user"], record["week"], record["place"] = user, week, place
        self.places = np.union1d(self.places, place)
        bucket = (user % np.uint64(BUCKETS)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=BUCKETS))
        for number, part in enumerate(np.split(record[order], ends[:-1])):
            if len(part):
                with (self.folder / f"{number}.bin").open("ab") as file:
                    part.tofile(file)

    def group(self, progress: Progress = silent) -> UserWeeks:
        """Remove repeats within a week and group the rest.

        Returns:
            The grouped records; user-weeks with one place stay, they make no pair.

        Raises:
            GraphError: if no visit was added.
        """
        if len(self.places) == 0:
            raise GraphError("no visits to build a graph from; expected at least one.")
        visitors = np.zeros(len(self.places), np.int64)
        sizes, users, places, known_users = [], [], [], 0
        for number in range(BUCKETS):
            path = self.folder / f"{number}.bin"
            if path.exists():
                size, user, place = self._group_file(path, visitors)
                sizes.append(size)
                users.append(user + known_users)
                places.append(place)
                known_users += int(user[-1]) + 1
                path.unlink()
            progress(number + 1, BUCKETS)
        start = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
        return UserWeeks(
            self.places,
            visitors,
            start.astype(np.int64),
            np.concatenate(users),
            np.concatenate(places),
        )

    def _group_file(
        self, path: Path, visitors: Int[np.ndarray, " places"]
    ) -> tuple[
        Int[np.ndarray, " weeks"],
        Int[np.ndarray, " weeks"],
        Int[np.ndarray, " records"],
    ]:
        record = np.fromfile(path, RECORD)
        user = np.unique(record["user"], return_inverse=True)[1]
        first, last = record["week"].min(), record["week"].max()
        week = record["week"].astype(np.int64) - first
        weeks, many = int(last - first) + 1, len(self.places)
        if (int(user.max()) + 1) * weeks * many >= 2**63:
            raise GraphError(
                f"{user.max() + 1} users x {weeks} weeks x {many} places in one of "
                f"{BUCKETS} files do not fit a 64-bit key; check the times."
            )
        place = np.searchsorted(self.places, record["place"])
        key = np.unique((user * weeks + week) * many + place)
        user_week, place = key // many, (key % many).astype(np.int32)
        begins = np.flatnonzero(np.diff(user_week, prepend=-1))
        size = np.diff(np.append(begins, len(key)))
        user = (user_week[begins] // weeks).astype(np.int32)
        seen = np.unique(np.repeat(user, size).astype(np.int64) * many + place)
        visitors += np.bincount(seen % many, minlength=many)
        return size, user, place


def build_covisit_graph(
    visits: UserWeeks,
    folder: Path,
    *,
    min_users: int = 2,
    progress: Progress = silent,
) -> tuple[MobilityGraph, Shaped[np.ndarray, " places"], ThresholdTable]:
    """Join places that the same user visited in the same week.

    Each user and week adds 1 to the edge of every pair of places; weeks are summed
    (MoRA, section 4.1.1). An edge or a place stays only if ``min_users`` distinct
    users made it over the whole period. One row-wise sparse product counts weight
    and users together; finished rows go to disk, so memory does not grow with the
    number of pairs.

    Args:
        visits: records grouped by user and week.
        folder: where the graph's files are written.
        min_users: distinct users per edge and per place; 1 hides nothing.
        progress: told the rows done and in all.

    Returns:
        The graph over the kept places, memory-mapped; which of ``visits.places``
        are kept; what each threshold would lose.

    Raises:
        GraphError: if no place has enough users.
    """
    kept = visits.visitors >= min_users
    if not kept.any():
        raise GraphError(
            f"none of {len(kept)} places has {min_users} distinct users (at most "
            f"{visits.visitors.max()}); use larger places or a lower min_users."
        )
    table = ThresholdTable.empty(places=visits.visitors, chosen=min_users)
    renumber = np.cumsum(kept) - 1
    counter = _PairCounter(visits)
    degree = np.zeros(len(kept))
    folder.mkdir(parents=True, exist_ok=True)
    with (
        ArrayFile(folder / "neighbour.npy", np.int32) as neighbours,
        ArrayFile(folder / "weight.npy", np.uint32) as weights,
        ArrayFile(folder / "users.npy", np.uint32) as users,
    ):
        row_edges = np.zeros(len(kept), np.int64)
        for block in counter.blocks():
            row, other, weight, people = counter.count(block)
            table.add(weight, people)
            keep = people >= min_users
            row, other, weight, people = (x[keep] for x in (row, other, weight, people))
            row_edges += np.bincount(row, minlength=len(kept))
            degree += np.bincount(row, weight, len(kept))
            degree += np.bincount(other, weight, len(kept))
            neighbours.append(renumber[other].astype(np.int32))
            weights.append(weight)
            users.append(people)
            progress(block[1], len(kept))
    if table.weight[0] != visits.pairs():
        raise GraphError(
            f"the edges weigh {table.weight[0]}, but the user-weeks make "
            f"{visits.pairs()} pairs; the graph is not complete. Report this."
        )
    np.save(folder / "indptr.npy", np.append(0, np.cumsum(row_edges[kept])))
    np.save(folder / "within.npy", np.zeros(int(kept.sum())))
    for name in ("outflow", "inflow"):
        np.save(folder / f"{name}.npy", degree[kept])
    return read_graph(folder), kept, table


class _PairCounter:
    """The row-wise product of (places x user-weeks) with its transpose."""

    def __init__(self, visits: UserWeeks) -> None:
        self.place, self.start = visits.place, visits.start
        week = np.repeat(
            np.arange(len(visits.user), dtype=np.int64), np.diff(visits.start)
        )
        self.end, self.user = visits.start[1:][week], visits.user[week]
        self.visit = np.argsort(visits.place, kind="stable")
        count = np.bincount(visits.place, minlength=len(visits.places))
        self.first = np.append(0, np.cumsum(count))
        after = np.zeros(len(visits.places), np.int64)
        np.add.at(after, visits.place, self.end - np.arange(len(week)) - 1)
        most = len(visits.places) - 1 - np.arange(len(visits.places))
        self.bound = np.minimum(after, most)  # of the distinct partners of a row

    def blocks(self) -> Iterable[tuple[int, int]]:
        """Cut the rows so that a block's possible edges fit the buffer."""
        total = np.append(0, np.cumsum(self.bound))
        first, rows = 0, len(self.bound)
        while first < rows:
            last = np.searchsorted(total, total[first] + PAIRS_A_BLOCK, "right") - 1
            last = min(max(int(last), first + 1), rows)
            yield first, last
            first = last

    def count(self, block: tuple[int, int]) -> tuple[np.ndarray, ...]:
        """Give row, other end, weight and distinct users of a block's edges."""
        bound = self.bound[block[0] : block[1]]
        slot = np.append(0, np.cumsum(bound))
        other = np.empty(slot[-1], np.int32)
        weight = np.empty(slot[-1], np.uint32)
        users = np.empty(slot[-1], np.uint32)
        size = _count_rows(
            block[0], slot, self.first, self.visit, self.place, self.end, self.user,
            len(self.bound), other, weight, users,
        )  # fmt: skip
        row = np.repeat(np.arange(*block), size)
        filled = np.arange(slot[-1]) < np.repeat(slot[:-1] + size, bound)
        return row, other[filled], weight[filled], users[filled]


@kernel(parallel=True)
def _count_rows(
    first_row: int,
    slot: np.ndarray,
    first: np.ndarray,
    visit: np.ndarray,
    place: np.ndarray,
    end: np.ndarray,
    user: np.ndarray,
    places: int,
    other: np.ndarray,
    weight: np.ndarray,
    users: np.ndarray,
) -> np.ndarray:
    """Count each row's partners into its slot; returns the partners of each row."""
    rows = len(slot) - 1
    size = np.zeros(rows, np.int64)
    threads = min(rows, 64)
    for thread in prange(threads):
        times = np.zeros(places, np.uint32)
        people = np.zeros(places, np.uint32)
        latest = np.full(places, -1, np.int32)
        for local in range(thread, rows, threads):
            base, found = slot[local], 0
            row = first_row + local
            for k in range(first[row], first[row + 1]):
                here = visit[k]
                who = user[here]
                for there in range(here + 1, end[here]):
                    partner = place[there]
                    if times[partner] == 0:
                        other[base + found] = partner
                        found += 1
                    times[partner] += 1
                    if latest[partner] != who:
                        latest[partner] = who
                        people[partner] += 1
            partners = other[base : base + found]
            partners.sort()
            for k in range(found):
                partner = partners[k]
                weight[base + k] = times[partner]
                users[base + k] = people[partner]
                times[partner] = 0
                people[partner] = 0
                latest[partner] = -1
            size[local] = found
    return size
