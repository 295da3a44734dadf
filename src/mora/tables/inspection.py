"""A table under inspection: no row leaves it without a reason and a count."""

from typing import Any, NoReturn

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mora.errors import TableError
from mora.tables.report import MOST_EXAMPLES, Action, Problem, TableReport
from mora.tables.schema import require_columns

LONGEST_VALUE = 40  # characters of a value that a message shows


class Inspection:
    """A table under inspection, from which rows leave only with a reason.

    Args:
        frame: the rows as read; an index of integers, none twice, is taken for their
            place in the source, from 0. The frame itself is not changed.
        kind: a key of :data:`mora.tables.schema.SCHEMAS`.
        source: where the rows came from, for messages.

    Attributes:
        frame: the rows still in.
        problems: the findings so far.
    """

    def __init__(self, frame: pd.DataFrame, kind: str, source: str) -> None:
        require_columns([str(name) for name in frame.columns], kind)
        self.frame = frame.copy(deep=False)
        if not (pd.api.types.is_integer_dtype(frame.index) and frame.index.is_unique):
            self.frame.index = pd.RangeIndex(len(frame))
        self.kind = kind
        self.source = source
        self.rows_read = len(frame)
        self.problems: list[Problem] = []

    def __len__(self) -> int:
        return len(self.frame)

    def __contains__(self, column: str) -> bool:
        return column in self.frame

    def put(self, column: str, values: pd.Series | np.ndarray) -> None:
        """Replace a column by its values as read, aligned with :attr:`frame`."""
        self.frame = self.frame.assign(**{column: values})

    def drop(self, bad: Bool[np.ndarray, " rows"], name: str, *shown: str) -> None:
        """Take the marked rows out and count them.

        Args:
            bad: aligned with :attr:`frame`.
            name: what is the matter with them.
            shown: columns whose values the examples show; never a user id.
        """
        if bad.any():
            self._add(bad, name, "dropped", shown)
            self.frame = self.frame[~bad]

    def note(self, marked: Bool[np.ndarray, " rows"], name: str, *shown: str) -> None:
        """Count the marked rows and leave them in."""
        if marked.any():
            self._add(marked, name, "kept", shown)

    def refuse(
        self, bad: Bool[np.ndarray, " rows"], name: str, hint: str, *shown: str
    ) -> None:
        """Refuse the whole table if any row is marked.

        Raises:
            TableError: with count, examples and the hint what to do.
        """
        if bad.any():
            self._add(bad, name, "refused", shown)
            self._fail(self.problems[-1:], hint)

    def refuse_mostly_bad(self, max_bad_share: float) -> None:
        """Refuse the whole table if too many rows have been dropped so far.

        Raises:
            TableError: if more than ``max_bad_share`` of the rows are gone.
        """
        gone = self.rows_read - len(self)
        if gone > max_bad_share * self.rows_read:
            dropped = [p for p in self.problems if p.action == "dropped"]
            self._fail(
                dropped,
                f"Together they are more than the accepted share of {max_bad_share:g}. "
                f"Check `columns:`, that coordinates are degrees (WGS84) and times ISO "
                f"8601, such as 2024-05-01T13:45:00+08:00.",
            )

    def result(self) -> tuple[pd.DataFrame, TableReport]:
        """Give the rows that are left, numbered anew, and the report."""
        problems = tuple(self.problems)
        report = TableReport(
            self.kind, self.source, self.rows_read, len(self), problems
        )
        return self.frame.reset_index(drop=True), report

    def _add(
        self,
        marked: Bool[np.ndarray, " rows"],
        name: str,
        action: Action,
        shown: tuple[str, ...],
    ) -> None:
        first = self.frame.iloc[np.flatnonzero(marked)[:MOST_EXAMPLES]]
        examples = []
        for index, row in zip(
            first.index, first[[*shown]].to_numpy(object), strict=True
        ):
            values = [f"{c} {_short(v)}" for c, v in zip(shown, row, strict=True)]
            number = f"row {index + 1}"
            examples.append(f"{number}: {', '.join(values)}" if shown else number)
        self.problems.append(Problem(name, int(marked.sum()), tuple(examples), action))

    def _fail(self, problems: list[Problem], hint: str) -> NoReturn:
        found = "; ".join(p.describe(self.kind, self.rows_read) for p in problems)
        raise TableError(f"{self.source}: {found}. {hint}")


def _short(value: Any) -> str:
    """Write a value in short: of a visit's coordinates about a kilometre remains."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
