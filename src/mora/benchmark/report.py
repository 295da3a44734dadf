"""The report on the screen, in Markdown and in CSV."""

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mora.benchmark.results import Report
from mora.benchmark.tables import ScoreTable, score_tables, to_csv

__all__ = ["ScoreTable", "print_report", "remarks", "score_tables", "to_csv"]
NARROWEST = 9  # of a column of scores with the gap before it
GAIN = "gain"
GAIN_NOTE = (
    "The gain is by how many percent the first model's mean R2 exceeds that of the "
    "best other model of the same column; blank where that is not above 0. The paper "
    "reports 12.9 % over its nine tasks, 10.8 % over the social and 16.0 % over the "
    "economic ones (MoRA, section 4.2)."
)


def print_report(report: Report, console: Console) -> None:
    """Draw the tables and remarks on a console: tasks as rows, so that it fits.

    Models that do not fit beside each other are drawn below each other.
    """
    for table in score_tables(report):
        console.print(Text(table.title, "italic"))
        for part in _drawn(table, console.width):
            console.print(part)
    for remark in remarks(report):
        console.print(Text(remark))


def _drawn(table: ScoreTable, width: int) -> Iterator[Table]:
    """Lay a table out with a column a model and means alone, deviations last."""
    tasks = [task.split(" (")[0] for task in table.columns[1:]]
    # Long names of tasks may wrap: the scores beside them may not.
    names = min(max(len(task) for task in [*tasks, "over splits"]), width // 3)
    heads = [f"  {model}" for model, *_ in table.rows]
    for group in _fitting([max(len(h), NARROWEST) for h in heads], width - names - 2):
        drawn = Table(box=SIMPLE_HEAD, padding=0)
        drawn.add_column("", max_width=names)
        for position in group:
            drawn.add_column(Text(heads[position]), justify="right", no_wrap=True)
        shows_gain = bool(table.gains) and group[-1] == len(heads) - 1
        if shows_gain:
            drawn.add_column(f"  {GAIN}", justify="right", no_wrap=True)
        for row, task in enumerate(tasks):
            cells = [
                Text(
                    table.rows[position][row + 1].split(" ")[0],
                    "bold" if table.best[position][row] else "",
                )
                for position in group
            ]
            gains = [f" {table.gains[row]}"] if shows_gain else []
            drawn.add_row(Text(task), *cells, *gains)
        ends = [table.rows[position][-1] for position in group]
        spread = [" ".join(end.split(" ")[1:]) for end in ends]
        if table.columns[-1] == "mean" and any(spread):
            drawn.add_row("over splits", *spread)
        yield drawn


def _fitting(widths: list[int], room: int) -> Iterator[list[int]]:
    """Group columns, in order, so that each group and a gain fit into the room."""
    group: list[int] = []
    used = 0
    for position, width in enumerate(widths):
        if group and used + width > room - NARROWEST:
            yield group
            group, used = [], 0
        group.append(position)
        used += width
    yield group


def to_markdown(report: Report) -> str:
    """Write the same tables and remarks as Markdown."""
    parts = []
    for table in score_tables(report):
        lines = [_markdown_row(table.columns)]
        lines.append("| --- |" + " ---: |" * (len(table.columns) - 1))
        for (model, *cells), best in zip(table.rows, table.best, strict=True):
            bold = [
                f"**{cell}**" if top else cell
                for cell, top in zip(cells, best, strict=True)
            ]
            lines.append(_markdown_row([model, *bold]))
        if table.gains:
            lines.append(_markdown_row([GAIN, *table.gains]))
        parts += [f"**{table.title}**", "\n".join(lines)]
    parts.append("\n".join(f"- {remark}" for remark in remarks(report)))
    return "\n\n".join(parts) + "\n"


def remarks(report: Report) -> list[str]:
    """Say in sentences what the tables cannot: comparisons, gaps, warnings, notes."""
    said = [f"Note: {note}" for note in report.notes]
    said += [f"Warning: {warning}" for warning in report.warnings]
    said += [f"Given away: {task}: {why}" for task, why in report.leaky.items()]
    said += [f"Left out: {model}: {why}" for model, why in report.left_out.items()]
    if len(report.models) > 1:
        said.append(GAIN_NOTE)
    if report.chosen:
        said.append(
            f"Tuned within the training rows: {', '.join(report.chosen)}; the settings "
            f"taken are in the report's `chosen`."
        )
    main = next(iter(report.readouts))
    for first, second in report.pairs if report.fair_tasks else ():
        said.append(_comparison(report, first, second, main, report.protocols[0]))
    if report.pairs and report.fair_tasks:
        said.append(
            "Splits overlap, so the plain standard error of a difference is too small; "
            "the one after ± is corrected (Nadeau and Bengio 2003)."
        )
    return said


def _comparison(
    report: Report, first: str, second: str, readout: str, protocol: str
) -> str:
    found = report.compare(first, second, readout, protocol)
    error = f"± {found.standard_error:.3f} (plain {found.plain_error:.3f})"
    if math.isnan(found.standard_error):
        error = "(error unknown from a single split)"
    return (
        f"{first} against {second} ({readout}, {protocol}): R2 {found.difference:+.3f} "
        f"{error} over {found.tasks} tasks and {found.splits} splits; higher on "
        f"{found.wins} of {found.tasks} tasks"
    )


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
