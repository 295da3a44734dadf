"""Visits on their way to co-visits: who was where, grouped by user and week."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32, UInt64

from mora.errors import GraphError
from mora.graph.grouping import Groups
from mora.graph.numbering import Numbering
from mora.kernels import GOLDEN_GAMMA, kernel
from mora.memory import GB, require_memory
from mora.progress import Progress, silent

BUCKETS = 32
RECORD = np.dtype([("user", "u8"), ("week", "i4"), ("place", "i4")])
RECENT_BITS = 12
SMALLEST_GB = 0.02
# Bytes that one visit takes: in a batch (its record and place), in the largest file
# (its record, key and user), in the result (its place and half a user-week).
BATCH_BYTES, FILE_BYTES, RESULT_BYTES = 32, 48, 10
PLACE_BYTES = 80


@dataclass(frozen=True, eq=False)
class UserWeeks:
    """Distinct (user, week, place) records, grouped by user and week.

    A user-week with one place makes no pair and is left out; it counts in ``visitors``.

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
        return int(size @ (size - 1)) // 2


class UserWeekBuilder:
    """Collects visits batch by batch on disk and groups them by user and week.

    Records are spread over files by the user, so that only one file's users are in
    memory at a time. The files are deleted when grouping is done, or when it fails.

    Args:
        folder: an empty folder for the record files.
        memory_gb: GB that it may take, beside the batches given to it.

    Raises:
        MemoryLimitError: if ``memory_gb`` is too little for any work.
    """

    def __init__(self, folder: Path, *, memory_gb: float = 2.0) -> None:
        require_memory(SMALLEST_GB * GB, "Collecting visits", memory_gb)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.memory_gb = memory_gb
        self.batch = int(memory_gb * GB / 4 / BATCH_BYTES)
        self.numbering = Numbering()
        self.records = 0
        self.weeks: tuple[int, int] | None = None

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

        Raises:
            GraphError: if a week does not fit 32 bits.
            MemoryLimitError: if there are too many places for ``memory_gb``.
            OSError: if the disk is full; the record files are gone then.
        """
        with self._deleted_on_failure():
            self._see_weeks(week)
            for first in range(0, len(user), self.batch):
                part = slice(first, first + self.batch)
                number = self.numbering.number(place[part])
                self._require_room(
                    0, f"Telling {len(self.numbering.ids):,} places apart"
                )
                self._write(user[part], week[part], number)

    def group(self, progress: Progress = silent) -> UserWeeks:
        """Remove repeats within a week and group the rest.

        Args:
            progress: told the files done and in all.

        Returns:
            The grouped records, the same whatever the batches and ``memory_gb``; no
            user-week where nobody was in two places in a week.

        Raises:
            GraphError: if no visit was added, or records are missing.
            MemoryLimitError: if the grouped records do not fit ``memory_gb``.
        """
        with self._deleted_on_failure():
            self._require_ready()
            order = np.argsort(self.numbering.ids)
            rank = np.empty(len(order), np.int32)
            rank[order] = np.arange(len(order), dtype=np.int32)
            groups = Groups(len(order), self.records, self.weeks)
            for number in range(BUCKETS):
                path = self._file(number)
                if path.exists():
                    groups.add(np.memmap(path, RECORD, "r"), rank)
                    path.unlink()
                progress(number + 1, BUCKETS)
            return UserWeeks(
                self.numbering.ids[order], groups.visitors, *groups.grown()
            )

    def _see_weeks(self, week: Int[np.ndarray, " visits"]) -> None:
        """Widen the range of weeks; refuse weeks that a record cannot hold."""
        if len(week) == 0:
            return
        low, high = int(week.min()), int(week.max())
        span = np.iinfo(RECORD["week"])
        if low < span.min or high > span.max:
            raise GraphError(
                f"weeks run from {low} to {high}; expected running numbers of weeks "
                f"within 32 bits. Check the times."
            )
        first, last = self.weeks or (low, high)
        self.weeks = (min(first, low), max(last, high))

    def _write(
        self,
        user: UInt64[np.ndarray, " visits"],
        week: Int[np.ndarray, " visits"],
        place: Int32[np.ndarray, " visits"],
    ) -> None:
        """Append the records to the files of their users."""
        fresh = _mark_fresh(user, week, place)
        record = np.empty(np.count_nonzero(fresh), RECORD)
        ends = _spread(user, week, place, fresh, record)
        for number, part in enumerate(np.split(record, ends[:-1])):
            if len(part):
                with self._file(number).open("ab") as file:
                    file.write(part.data)
        self.records += len(record)

    def _require_ready(self) -> None:
        """Refuse to group nothing, lost records, or more than memory holds."""
        if self.records == 0:
            raise GraphError("no visits to build a graph from; expected at least one.")
        sizes = [file.stat().st_size for file in self.folder.glob("*.bin")]
        found = sum(sizes) // RECORD.itemsize
        if found != self.records:
            raise GraphError(
                f"{self.folder} holds {found:,} of the {self.records:,} records that "
                f"were written; expected all. Collect them again, into an empty folder."
            )
        largest = max(sizes) // RECORD.itemsize
        self._require_room(
            RESULT_BYTES * self.records + FILE_BYTES * largest,
            f"Grouping {self.records:,} visits by user and week",
        )

    def _require_room(self, needed: int, work: str) -> None:
        """Refuse work that needs so many bytes beside what the places take."""
        places = PLACE_BYTES * len(self.numbering.ids)
        require_memory(places + needed, work, self.memory_gb)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.bin"

    @contextmanager
    def _deleted_on_failure(self) -> Iterator[None]:
        """Leave no hashed user behind when a step fails."""
        try:
            yield
        except BaseException:
            for number in range(BUCKETS):
                self._file(number).unlink(missing_ok=True)
            raise


@kernel()
def _mark_fresh(user: np.ndarray, week: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Mark the visits that do not repeat a recent one.

    Of visits with the same hash only the latest is remembered, so the table fits the
    cache. Repeats that it misses are removed by grouping.
    """
    fresh, latest = np.empty(len(user), np.bool_), np.zeros(2**RECENT_BITS, np.int64)
    for i in range(len(user)):
        when_and_where = (np.uint64(place[i]) << np.uint64(8)) ^ np.uint64(week[i])
        mixed = (user[i] ^ when_and_where) * GOLDEN_GAMMA
        slot = mixed >> np.uint64(64 - RECENT_BITS)
        j = latest[slot]
        fresh[i] = (user[j] != user[i]) | (week[j] != week[i]) | (place[j] != place[i])
        latest[slot] = i
    fresh[:1] = True  # an empty slot points to the first
    return fresh


@kernel()
def _spread(
    user: np.ndarray,
    week: np.ndarray,
    place: np.ndarray,
    fresh: np.ndarray,
    record: np.ndarray,
) -> np.ndarray:
    """Put fresh visits in the order of the users' files; give where each file ends."""
    at = np.zeros(BUCKETS + 1, np.int64)
    for i in range(len(user)):
        at[user[i] % np.uint64(BUCKETS) + np.uint64(1)] += fresh[i]
    at = np.cumsum(at)[:-1].copy()
    for i in range(len(user)):
        if fresh[i]:
            bucket = user[i] % np.uint64(BUCKETS)
            to = record[at[bucket]]
            to.user, to.week, to.place = user[i], week[i], place[i]
            at[bucket] += 1
    return at
