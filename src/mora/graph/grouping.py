"""Records of who was where in which week become distinct ones, grouped."""

import numpy as np
from jaxtyping import Int32, Int64, Shaped

from mora.errors import GraphError
from mora.graph.numbering import Numbering
from mora.kernels import kernel


class Groups:
    """User-weeks of two places or more that grow file by file.

    Args:
        places: how many there are.
        visits: how many records will come, at most.
        weeks: the first and the last week of all.
    """

    def __init__(self, places: int, visits: int, weeks: tuple[int, int]) -> None:
        # Room for visits without any repeat; pages never written take no memory.
        self.place = np.empty(visits, np.int32)
        self.start = np.zeros(visits // 2 + 1, np.int64)
        self.user = np.empty(visits // 2, np.int32)
        self.week_range = weeks
        self.visitors = np.zeros(places, np.int64)
        self._latest = np.full(places, -1, np.int32)
        self._records = self._weeks = self._users = 0

    def add(
        self, record: Shaped[np.ndarray, " records"], rank: Int32[np.ndarray, " places"]
    ) -> None:
        """Group the records of some users, none of whom comes again.

        Args:
            record: user, week and number of the place, in any order, repeats allowed.
            rank: row of each place's number.

        Raises:
            GraphError: if users, weeks and places do not fit one sortable number.
        """
        numbering = Numbering()
        user = numbering.number(record["user"])
        users = len(numbering.ids)
        # Users in the order of their ids, so that the order of visits changes nothing.
        user_rank = np.argsort(np.argsort(numbering.ids))
        first, last = self.week_range
        week_bits, place_bits = (last - first).bit_length(), len(rank).bit_length()
        if users.bit_length() + week_bits + place_bits > 63:
            raise GraphError(
                f"{users} users x {last - first + 1} weeks x {len(rank)} places in one "
                f"file of records do not fit a 64-bit key; check the times."
            )
        key = _pack(record, user, user_rank, first, rank, week_bits, place_bits)
        key.sort()
        self._records, self._weeks = _group(
            key, week_bits, place_bits, self._users, self._latest, self.visitors,
            self.place, self.start, self.user, self._records, self._weeks,
        )  # fmt: skip
        self._users += users

    def grown(
        self,
    ) -> tuple[
        Int64[np.ndarray, " weeks_and_one"],
        Int32[np.ndarray, " weeks"],
        Int32[np.ndarray, " records"],
    ]:
        """Give where each user-week begins, its user, and its places, ascending."""
        weeks = self._weeks
        return self.start[: weeks + 1], self.user[:weeks], self.place[: self._records]


@kernel()
def _pack(
    record: np.ndarray,
    user: np.ndarray,
    user_rank: np.ndarray,
    first_week: int,
    rank: np.ndarray,
    week_bits: int,
    place_bits: int,
) -> np.ndarray:
    """Put user, week and place of each record into one sortable number."""
    key = np.empty(len(record), np.int64)
    for i in range(len(record)):
        week = np.int64(record[i].week) - first_week
        user_week = (user_rank[user[i]] << week_bits) | week
        key[i] = (user_week << place_bits) | rank[record[i].place]
    return key


@kernel()
def _group(
    key: np.ndarray,
    week_bits: int,
    place_bits: int,
    known_users: int,
    latest: np.ndarray,
    visitors: np.ndarray,
    place: np.ndarray,
    start: np.ndarray,
    user: np.ndarray,
    records: int,
    weeks: int,
) -> tuple[int, int]:
    """Append the user-weeks of sorted keys; give the records and user-weeks so far."""
    i, mask = 0, (1 << place_bits) - 1
    while i < len(key):
        user_week, begin = key[i] >> place_bits, records
        who = known_users + (user_week >> week_bits)
        while i < len(key) and key[i] >> place_bits == user_week:
            if records == begin or place[records - 1] != key[i] & mask:
                here = key[i] & mask
                place[records] = here
                records += 1
                # No branch: the processor could not foresee it.
                visitors[here] += latest[here] != who
                latest[here] = who
            i += 1
        if records == begin + 1:  # one place makes no pair
            records = begin
        else:
            user[weeks] = who
            weeks += 1
            start[weeks] = records
    return records, weeks
