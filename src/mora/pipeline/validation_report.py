"""What the checks of a run found, for people and for the exit status."""

from dataclasses import dataclass
from typing import Literal

from mora.tables.report import MOST_EXAMPLES

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was looked at.
        level: ``ok``, ``warning`` (look at it) or ``error`` (do not use the run).
        found: with counts.
        examples: at most three places, rows or weeks; never a user id.
        advice: what to do; empty where all is well.
    """

    name: str
    level: Level
    found: str
    examples: tuple[str, ...] = ()
    advice: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", self.examples[:MOST_EXAMPLES])
        if self.level == "ok":
            object.__setattr__(self, "advice", "")


@dataclass(frozen=True)
class ValidationReport:
    """What the checks of a run found.

    Attributes:
        subject: the folder or configuration.
        checks: in the order in which they were made.
    """

    subject: str
    checks: tuple[Check, ...]

    def count(self, level: Level) -> int:
        """Count the checks of a level."""
        return sum(check.level == level for check in self.checks)

    def exit_status(self, *, strict: bool = False) -> int:
        """Give 1 where there are errors, or warnings under ``strict``; else 0."""
        return int(self.count("error") > 0 or (strict and self.count("warning") > 0))

    def to_markdown(self) -> str:
        """Write a table with one row a check, errors first."""
        order = ("error", "warning", "ok")
        counts = ", ".join(f"{self.count(level)} {level}" for level in order)
        lines = [
            f"# Validation of {self.subject}", "", f"Checks: {counts}.", "",
            "| level | check | found | examples | what to do |",
            "|---|---|---|---|---|",
        ]  # fmt: skip
        for check in sorted(self.checks, key=lambda check: order.index(check.level)):
            cells = [check.level, check.name, check.found]
            cells += ["; ".join(check.examples), check.advice]
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
