"""What was wrong with a table, for people and for the run's manifest."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from mora.errors import TableError

Action = Literal["refused", "dropped", "kept"]
MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """One kind of finding in a table.

    Attributes:
        name: what is the matter, without numbers, so that batches can be added up.
        count: rows concerned.
        examples: up to three, each a row number and the offending value; row 1 is the
            first below the header. A user id is never shown.
        action: what happened to the rows: refused, dropped or kept.
    """

    name: str
    count: int
    examples: tuple[str, ...]
    action: Action

    def describe(self, kind: str, rows: int) -> str:
        """Say it in one line."""
        text = f"{self.count:,} of {rows:,} {kind} {self.action}: {self.name}"
        return text + (f" (first: {'; '.join(self.examples)})" if self.examples else "")


@dataclass(frozen=True)
class TableReport:
    """What a check found.

    Attributes:
        kind: visits, flows, places, areas, labels or rows.
        source: the file, or another name for where the rows came from.
        rows_read: rows before the check.
        rows_kept: rows after it; repeated flows that were summed count once.
        problems: findings in the order of the rules.
    """

    kind: str
    source: str
    rows_read: int
    rows_kept: int
    problems: tuple[Problem, ...] = ()

    def merge(self, other: "TableReport") -> "TableReport":
        """Add the report of another batch or file of the same kind.

        Returns:
            Counts added up, with the first three examples of each problem.

        Raises:
            TableError: if the kinds differ.
        """
        if self.kind != other.kind:
            raise TableError(
                f"reports on {self.kind} and on {other.kind} cannot be merged; "
                f"expected one kind of table."
            )
        merged = {(p.name, p.action): p for p in self.problems}
        for problem in other.problems:
            key = (problem.name, problem.action)
            merged[key] = _add(merged[key], problem) if key in merged else problem
        sources = dict.fromkeys(self.source.split(", ") + other.source.split(", "))
        return TableReport(
            self.kind,
            ", ".join(sources),
            self.rows_read + other.rows_read,
            self.rows_kept + other.rows_kept,
            tuple(merged.values()),
        )

    def describe(self) -> str:
        """Say what was read, kept and found, a line each."""
        kept = f"{self.rows_kept:,} of {self.rows_read:,} {self.kind} kept"
        found = [
            problem.describe(self.kind, self.rows_read) for problem in self.problems
        ]
        return "\n  ".join([f"{self.source}: {kept}", *found])

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain values that ``json.dumps`` writes."""
        problems = [vars(p) | {"examples": list(p.examples)} for p in self.problems]
        return vars(self) | {"problems": problems}


def _add(first: Problem, second: Problem) -> Problem:
    """Join two findings of one name, the examples of the first in front."""
    examples = (first.examples + second.examples)[:MOST_EXAMPLES]
    return replace(first, count=first.count + second.count, examples=examples)
