"""The tables of a report: models, tasks, means and gains, as numbers and as text."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from mora.benchmark.results import Report, summarise


@dataclass(frozen=True)
class ScoreTable:
    """Scores as text, ready to be drawn.

    Attributes:
        title: what the numbers are.
        columns: headers; the first is that of the models' names.
        rows: a model's name, its width where known, and its scores.
        best: whether each cell of each row is the highest score of its column.
        gains: by how many percent the first model of the report exceeds the best of
            the others in each column, empty where that is not above 0; no cells where
            there is nothing to compare.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    best: list[list[bool]]
    gains: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Column:
    """One column of a table: a task or a mean over several."""

    name: str
    tasks: list[str]
    header: str


def score_tables(report: Report) -> Iterator[ScoreTable]:
    """Give one table per readout and protocol, then those of tasks given away."""
    for tasks, addition in _parts(report):
        for readout, description in report.readouts.items():
            for protocol in report.protocols:
                spread = "mean ± standard deviation over splits"
                if report.trials(protocol) == 1:
                    spread = "one score, so no deviation is known"
                title = (
                    f"R2, {protocol} splits ({report.trials(protocol)}), "
                    f"{description}; {spread}{addition}"
                )
                yield _score_table(report, title, readout, protocol, tasks)


def to_csv(report: Report) -> str:
    """Write the tables as CSV, one row per readout, protocol, task and model.

    Means over several tasks are rows too, with the mean's name as task and its number
    of tasks. ``gain_percent`` stands at the first model alone; see :class:`ScoreTable`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = "readout protocol task tasks units model dim mean std splits gain_percent"
    writer.writerow(header.split())
    for tasks, _ in _parts(report):
        for column in _columns(report, tasks):
            units = report.samples.get(column.name, "")
            for readout in report.readouts:
                for protocol in report.protocols:
                    for row in _csv_rows(report, column, readout, protocol):
                        place = (readout, protocol, column.name, len(column.tasks))
                        writer.writerow([*place, units, *row])
    return text.getvalue()


def gain_percent(ours: float, others: Float[np.ndarray, " models"]) -> float | None:
    """Give by how many percent a score exceeds the best of others.

    Args:
        ours: R2 of one model.
        others: R2 of the models to compare with.

    Returns:
        0 where they are equal; None where there is nothing above 0 to exceed.
    """
    best = others.max(initial=-np.inf)
    return float(100 * (ours - best) / best) if best > 0 else None


def _parts(report: Report) -> Iterator[tuple[list[str], str]]:
    """Give the tasks of fair tables and of those given away, where there are any."""
    parts = (
        (report.fair_tasks, ""),
        (list(report.leaky), "; given away by the inputs, in no mean"),
    )
    return (part for part in parts if part[0])


def _columns(report: Report, tasks: list[str]) -> list[_Column]:
    """List tasks, then means where they are fair."""
    columns = [_Column(t, [t], f"{t} (n={report.samples[t]:,})") for t in tasks]
    if tasks == report.fair_tasks:
        means = report.fair_means().items()
        columns += [_Column(name, over, name) for name, over in means]
    return columns


def _score_table(
    report: Report, title: str, readout: str, protocol: str, tasks: list[str]
) -> ScoreTable:
    """Lay out models as rows and tasks as columns, their means last."""
    columns = _columns(report, tasks)
    scores = {
        model: [_scores(report, model, readout, protocol, c) for c in columns]
        for model in report.models
    }
    means = {m: np.array([s.mean() for s in row]) for m, row in scores.items()}
    first, *others = report.models
    # The best model comes first, ours or not: by its last column, the mean.
    order = sorted(report.models, key=lambda model: -means[model][-1])
    highest = np.max(list(means.values()), axis=0)
    dims = {m: [f"{report.dims[m]:,}"] if m in report.dims else [] for m in order}
    width = ["dim"] if report.dims else []
    gains = [
        gain_percent(means[first][i], np.array([means[other][i] for other in others]))
        for i in range(len(columns))
    ]
    return ScoreTable(
        title=title,
        columns=["model", *width, *(column.header for column in columns)],
        rows=[[m, *dims[m], *map(_cell, scores[m])] for m in order],
        best=[[False for _ in width] + (means[m] == highest).tolist() for m in order],
        gains=["" for _ in width]
        + ["" if gain is None else f"{gain:+.1f} %" for gain in gains]
        if others
        else [],
    )


def _csv_rows(
    report: Report, column: _Column, readout: str, protocol: str
) -> Iterator[list[object]]:
    """Give model, width, mean, deviation, splits and gain of each model."""
    scores = {m: _scores(report, m, readout, protocol, column) for m in report.models}
    first, *others = report.models
    found = np.array([scores[model].mean() for model in others])
    gain = gain_percent(float(scores[first].mean()), found)
    for model, by_split in scores.items():
        told = summarise(by_split)
        dim = report.dims.get(model, "")
        gained = gain if model == first else None
        cells = [model, dim, told["mean"], told["std"], len(by_split), gained]
        yield ["" if cell is None else cell for cell in cells]


def _scores(
    report: Report, model: str, readout: str, protocol: str, column: _Column
) -> Float[np.ndarray, " splits"]:
    """Give a model's scores in a column, averaged over its tasks."""
    return report.table(model, readout, protocol, column.tasks).mean(axis=0)


def _cell(scores: Float[np.ndarray, " splits"]) -> str:
    """Write mean and deviation; the mean alone for a single split."""
    found = summarise(scores)
    if found["std"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} ± {found['std']:.3f}"
