"""Rows of many users in one table, with the rows of each user together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Int, Shaped

Table = TypeVar("Table", bound="ByUser")


@dataclass(frozen=True, eq=False)
class ByUser:
    """What tables sorted by user have in common.

    Attributes:
        users: own id of each user, ascending, none twice.
        offsets: rows of the user at position ``i`` are ``offsets[i]:offsets[i + 1]``.
        ROWS: names of the columns that have a value for each row.
    """

    ROWS: ClassVar[tuple[str, ...]] = ()
    users: Shaped[np.ndarray, " users"]
    offsets: Int[np.ndarray, " bounds"]

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def counts(self) -> Int[np.ndarray, " users"]:
        """Give the number of rows of each user."""
        return np.diff(self.offsets)

    def user_rows(self) -> Int[np.ndarray, " rows"]:
        """Give the position of the user of each row."""
        return np.repeat(np.arange(len(self.users)), self.counts())

    def take_users(
        self: Table, positions: Int[np.ndarray, " kept"] | Sequence[int]
    ) -> Table:
        """Give the rows of some users, in ascending order of the users.

        Args:
            positions: of users, none twice.
        """
        kept = np.zeros(len(self.users), bool)
        kept[np.asarray(positions, dtype=np.int64)] = True
        return replace(
            self.select(kept[self.user_rows()]),
            users=self.users[kept],
            offsets=offsets_of(self.counts()[kept]),
        )

    def select(self: Table, keep: Bool[np.ndarray, " rows"]) -> Table:
        """Give some of the rows; a user who has none left stays, with none."""
        counts = np.bincount(self.user_rows()[keep], minlength=len(self.users))
        columns = {name: getattr(self, name)[keep] for name in self.ROWS}
        return replace(self, offsets=offsets_of(counts), **columns)


def offsets_of(counts: Int[np.ndarray, " users"]) -> Int[np.ndarray, " bounds"]:
    """Give where the rows of each user begin, and where the last ones end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
