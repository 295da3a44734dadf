"""The report as a table on the screen and in Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mora.benchmark.results import Report, summarise


@dataclass(frozen=True)
class ScoreTable:
    """Scores as text, ready to be drawn.

    Attributes:
        title: what the numbers are.
        columns: headers; the first is that of the models' names.
        rows: a model's name and its scores.
        best: whether each score of each row is the highest of its column.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    best: list[list[bool]]


def print_report(report: Report, console: Console) -> None:
    """Draw the tables and remarks on a console: tasks as rows, so that it fits."""
    for table in score_tables(report):
        console.print(Text(table.title, "italic"))
        console.print(_drawn(table))
    for remark in remarks(report):
        console.print(Text(remark))


def _drawn(table: ScoreTable) -> Table:
    """Lay a table out with a column a model and means alone, deviations last."""
    drawn = Table(box=SIMPLE_HEAD, padding=0)
    drawn.add_column("", no_wrap=True)
    for model, *_ in table.rows:
        drawn.add_column(Text(f"  {model}"), justify="right", no_wrap=True)
    for position, task in enumerate(table.columns[1:]):
        cells = [
            Text(row[position + 1].split(" ")[0], "bold" if best[position] else "")
            for row, best in zip(table.rows, table.best, strict=True)
        ]
        drawn.add_row(Text(task.split(" (")[0]), *cells)
    if table.columns[-1] == "mean":
        spread = [" ".join(row[-1].split(" ")[1:]) for row in table.rows]
        drawn.add_row("over splits", *spread)
    return drawn


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
        parts += [f"**{table.title}**", "\n".join(lines)]
    parts.append("\n".join(f"- {remark}" for remark in remarks(report)))
    return "\n\n".join(parts) + "\n"


def score_tables(report: Report) -> Iterator[ScoreTable]:
    """Give one table per readout and protocol, then those of tasks given away."""
    for tasks, addition in (
        (report.fair_tasks, ""),
        (list(report.leaky), "; given away by the inputs, in no mean"),
    ):
        for readout, description in report.readouts.items() if tasks else ():
            for protocol in report.protocols:
                title = (
                    f"R2, {protocol} splits ({report.splits}), {description}; mean ± "
                    f"standard deviation over splits{addition}"
                )
                yield _score_table(report, title, readout, protocol, tasks)


def remarks(report: Report) -> list[str]:
    """Say in sentences what the tables cannot: comparisons, gaps, warnings, notes."""
    said = [f"Note: {note}" for note in report.notes]
    said += [f"Warning: {warning}" for warning in report.warnings]
    said += [f"Given away: {task}: {why}" for task, why in report.leaky.items()]
    said += [f"Left out: {model}: {why}" for model, why in report.left_out.items()]
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
    return (
        f"{first} against {second} ({readout}, {protocol}): R2 {found.difference:+.3f} "
        f"± {found.standard_error:.3f} (plain {found.plain_error:.3f}) over "
        f"{found.tasks} tasks and {found.splits} splits; higher on {found.wins} of "
        f"{found.tasks} tasks"
    )


def _score_table(
    report: Report, title: str, readout: str, protocol: str, tasks: list[str]
) -> ScoreTable:
    """Lay out models as rows and tasks as columns, their mean last."""
    columns = ["model", *(f"{task} (n={report.samples[task]:,})" for task in tasks)]
    scores = {m: report.table(m, readout, protocol, tasks) for m in report.models}
    if tasks == report.fair_tasks and len(tasks) > 1:
        columns.append("mean")
        scores = {m: np.vstack([s, s.mean(axis=0)]) for m, s in scores.items()}
    # The best model comes first, ours or not: by its last column, the mean.
    scores = dict(sorted(scores.items(), key=lambda item: -item[1][-1].mean()))
    means = np.array([table.mean(axis=1) for table in scores.values()])
    return ScoreTable(
        title=title,
        columns=columns,
        rows=[[m, *(_cell(row) for row in table)] for m, table in scores.items()],
        best=(means == means.max(axis=0)).tolist(),
    )


def _cell(scores: Float[np.ndarray, " splits"]) -> str:
    """Write mean and deviation; the mean alone for a single split."""
    found = summarise(scores)
    if found["std"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} ± {found['std']:.3f}"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
