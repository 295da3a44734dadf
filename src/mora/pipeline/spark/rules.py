"""Rules that rows must follow, and what the rows that do not are reported as."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mora.errors import TableError
from mora.pipeline.spark.tables import Table
from mora.pipeline.spark.values import is_blank
from mora.tables import Problem, TableReport
from mora.tables.inspection import _short
from mora.tables.report import MOST_EXAMPLES
from mora.tables.rules import SWAP_ALARM
from mora.tables.schema import TEXT_COLUMNS

GOOD = -1  # stands for the rule that a good row breaks
HEADER = 0  # number of the rule for headers
SWAPPED_SHARE = 0.5  # these two as in the checks of the embedded engine
MAX_BAD_SHARE = 0.5
RAW = ("_unread", "_text")  # endings of columns with values as written


@dataclass(frozen=True)
class Rule:
    """One thing that can be the matter with a row.

    Attributes:
        name: what is the matter.
        bad: which rows; those that break an earlier rule are not asked.
        shown: columns whose values the examples show; never a user.
        hint: what to do; rows with a hint make the table refused, others are dropped.
        swapped: which of the bad rows swapping the two columns shown would repair.
    """

    name: str
    bad: Column
    shown: tuple[str, ...] = ()
    hint: str | None = None
    swapped: Column | None = None


def line_rules() -> list[Rule]:
    """Tell headers from rows, and refuse lines that could be read in another way."""
    line = F.col("line")
    return [
        Rule("the header", line == "header"),
        Rule(
            "another number of fields than the header",
            line == "fields",
            hint="Expected as many fields as in the header.",
        ),
        Rule(
            "quotes that do not close",
            line == "quotes",
            hint="Engine spark reads CSV line by line; expected double quotes that "
            "open and close in one. Write a table with line ends in it as Parquet.",
        ),
        Rule("not UTF-8", line == "UTF-8", hint="Expected UTF-8. Convert the file."),
    ]


def blank_rule(column: str) -> Rule:
    """Drop rows without an id."""
    return Rule(f"no {column}", is_blank(F.col(column)))


def unread_rule(column: str, hint: str | None = None) -> Rule:
    """Drop rows whose value is not a number, or refuse them with a hint."""
    unread = f"{column}_unread"
    bad = F.col(unread).isNotNull()
    return Rule(f"{column} is not a number", bad, (unread,), hint)


def coordinate_rules(lon: str = "lon", lat: str = "lat") -> list[Rule]:
    """Drop points that are nowhere, as :func:`mora.tables.rules.check_coordinates`.

    Args:
        lon: column of longitudes, degrees.
        lat: column of latitudes, degrees.
    """
    x, y, both = F.abs(F.col(lon)), F.abs(F.col(lat)), (lon, lat)
    return [
        unread_rule(lon),
        unread_rule(lat),
        Rule(f"no {lon} or no {lat}", x.isNull() | y.isNull(), both),
        Rule(
            "coordinates out of range",
            (x > 180) | (y > 90),
            both,
            swapped=(x <= 90) & (y <= 180),
        ),
        Rule(f"{lon} and {lat} are both 0", (x == 0) & (y == 0), both),
    ]


def mark(rows: DataFrame, rules: Sequence[Rule]) -> DataFrame:
    """Add the number of the first ``rule`` that a row breaks, or :data:`GOOD`.

    Beside it stand ``shown``, the values for an example, and ``swapped``.
    """
    numbered = list(enumerate(rules))
    broken = [F.when(rule.bad, F.lit(n)) for n, rule in numbered]
    rows = rows.withColumn("rule", F.coalesce(*broken, F.lit(GOOD)))
    shown = [
        F.when(F.col("rule") == n, F.array(*[F.col(c).cast("string") for c in r.shown]))
        for n, r in numbered
        if r.shown
    ]
    swapped = [
        F.when(F.col("rule") == n, r.swapped)
        for n, r in numbered
        if r.swapped is not None
    ]
    return rows.withColumns(
        {
            "shown": F.coalesce(*shown, F.lit(None)),
            "swapped": F.coalesce(*swapped, F.lit(False)),
        }
    )


class Findings:
    """What the rules found in a table: counts and examples; the rows stay in Spark.

    Args:
        kind: of the table.
        table: where the rows are from.
        groups: marked rows; each stands for ``n`` that are alike.
        further: what else to add up over the groups of good rows.

    Attributes:
        good: ``further`` and ``groups``, the number of groups, of the good rows.
        left: rows that no rule has dropped so far.
        problems: the findings so far.

    Raises:
        TableError: if headers cannot be told from rows.
    """

    def __init__(
        self,
        kind: str,
        table: Table,
        groups: DataFrame,
        further: Mapping[str, Column],
    ) -> None:
        swapped = F.sum(F.when(F.col("swapped"), F.col("n")).otherwise(0))
        counts = {"n": F.sum("n"), "swapped": swapped, "groups": F.count("*")}
        sums = [value.alias(name) for name, value in {**counts, **further}.items()]
        rows = {r["rule"]: r for r in groups.groupBy("rule").agg(*sums).collect()}
        self.kind, self.source = kind, table.source
        self.good = rows[GOOD].asDict() if GOOD in rows else defaultdict(int)
        headers = rows.pop(HEADER)["n"] if HEADER in rows else 0
        if headers != table.headers:
            raise TableError(
                f"{self.source}: {headers:,} lines are headers, of {table.headers:,} "
                f"files; expected one each. Take the others out, or write Parquet."
            )
        self.counts = {rule: (r["n"], r["swapped"]) for rule, r in rows.items()}
        self.rows_read = self.left = sum(n for n, _ in self.counts.values())
        self.examples = _examples(groups) if self.counts.keys() - {GOOD} else {}
        self.problems: list[Problem] = []

    def follow(self, rules: Sequence[Rule], first: int = 0) -> None:
        """Count what the rules drop.

        Args:
            rules: some of those that the rows were marked with.
            first: number of the first of them.

        Raises:
            TableError: if a rule refuses the table, or two columns look swapped.
        """
        for number, rule in enumerate(rules, first):
            count, swapped = self.counts.get(number, (0, 0))
            if count == 0:
                continue
            values = self.examples.get(number, [])
            shown = tuple(_example(rule.shown, value) for value in values)
            many = rule.swapped is not None and count > SWAP_ALARM * self.left
            if many and swapped > SWAPPED_SHARE * count:
                lon, lat = rule.shown
                name = f"{lon} and {lat} look swapped"
                hint = f"Swap the two under `columns:`; {lon} runs from -180 to 180."
                self._refuse([Problem(name, swapped, shown, "refused")], hint)
            if rule.hint is not None:
                found = Problem(rule.name, count, shown, "refused")
                self._refuse([found], rule.hint)
            self.drop(rule.name, count, shown)

    def drop(self, name: str, count: int, shown: tuple[str, ...] = ()) -> None:
        """Count rows that are taken out."""
        if count:
            self.problems.append(Problem(name, count, shown, "dropped"))
            self.left -= count

    def note(self, name: str, count: int) -> None:
        """Count rows that stay in."""
        if count:
            self.problems.append(Problem(name, count, (), "kept"))

    def refuse_mostly_bad(self) -> None:
        """Refuse the table if most rows were dropped so far.

        Raises:
            TableError: if they were.
        """
        if self.rows_read - self.left > MAX_BAD_SHARE * self.rows_read:
            hint = (
                f"Together they are more than the accepted share of {MAX_BAD_SHARE:g}. "
                f"Check `columns:` and that coordinates are degrees (WGS84)."
            )
            self._refuse(self.problems, hint)

    def report(self) -> TableReport:
        """Give the findings as the report of the whole table."""
        problems = tuple(self.problems)
        return TableReport(self.kind, self.source, self.rows_read, self.left, problems)

    def _refuse(self, problems: Sequence[Problem], hint: str) -> NoReturn:
        found = "; ".join(p.describe(self.kind, self.rows_read) for p in problems)
        raise TableError(f"{self.source}: {found}. {hint}")


def _examples(groups: DataFrame) -> dict[int, list[list[str | None]]]:
    """Give the first values, in the order of their text, that break each rule."""
    order = Window.partitionBy("rule").orderBy("shown")
    shown = groups.where(F.col("shown").isNotNull()).select(
        "rule", "shown", F.row_number().over(order).alias("place")
    )
    found: dict[int, list[list[str | None]]] = {}
    for row in shown.where(F.col("place") <= MOST_EXAMPLES).orderBy("place").collect():
        found.setdefault(row["rule"], []).append(row["shown"])
    return found


def _example(columns: Sequence[str], values: Sequence[str | None]) -> str:
    """Write the values of a row; numbers in short."""
    said = []
    for column, value in zip(columns, values, strict=True):
        name = column.removesuffix(RAW[0]).removesuffix(RAW[1])
        written = column.endswith(RAW) or column in TEXT_COLUMNS
        said.append(f"{name} {_short(value if written else float(value or 'nan'))}")
    return ", ".join(said)
