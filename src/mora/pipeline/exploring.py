"""What the explorer page shows of a run: its folder, and the tables it was made of."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mora.benchmark import Task
from mora.explore.explorer_run import (
    Column,
    ExplorerRun,
    read_explorer_run,
    residual_columns,
)
from mora.modalities.poi import clean_text, count_values
from mora.pipeline.benchmarking import diagnose_all
from mora.pipeline.inputs import RunContext
from mora.pipeline.mapping import place_names
from mora.pipeline.mobility import read_mobility
from mora.pipeline.models import run_vectors
from mora.pipeline.rows import read_modality, token_of_rows
from mora.pipeline.tasks import about_tasks, read_tasks
from mora.tokens import Tokens

INSIDE = 12  # names kept a place


def gather_explorer_run(
    context: RunContext, *, predictions: bool = True
) -> ExplorerRun:
    """Gather a run with names, labels, what is in each place, and predictions.

    Args:
        context: a finished run.
        predictions: also predict each label from vectors of held-out places, which
            takes some seconds a label.

    Returns:
        The run; labels of coarser units than tokens are left out, for they say
        nothing of one token.
    """
    found = read_explorer_run(context.folder)
    tokens = found.embeddings.tokens
    mobility = read_mobility(context.folder / "graph")
    tasks = [t for t in read_tasks(context, mobility) if t.pooling is None]
    columns = dict(_labels(context, tasks))
    if predictions and tasks:
        columns |= _predictions(context, tasks)
    return replace(
        found,
        name=context.config.name,
        notes=list(context.config.notes),
        names=place_names(context, tokens),
        inside=_inside(context, tokens),
        columns={**columns, **found.columns},
    )


def _labels(context: RunContext, tasks: list[Task]) -> Iterator[tuple[str, Column]]:
    about = about_tasks(context)
    for task in tasks:
        name, unit = name_and_unit(about[task.name]["description"])
        source = [about[task.name][key] for key in ("source", "year")]
        yield name, Column(task.labels, "label", unit, ", ".join(filter(None, source)))


def name_and_unit(description: str) -> tuple[str, str]:
    """Divide a description such as ``Median household income, USD``.

    Args:
        description: of a label; its unit follows the last comma.

    Returns:
        Name and unit; the unit is empty without a comma.
    """
    name, _, unit = description.rpartition(", ")
    return (name, unit) if name else (unit, "")


def _predictions(context: RunContext, tasks: list[Task]) -> dict[str, Column]:
    """Predict each label where it is known, every block of places held out once."""
    columns = {}
    about = about_tasks(context)
    found = diagnose_all(context, tasks, run_vectors(context))
    for task, diagnosis in zip(tasks, found, strict=True):
        predicted = np.full(len(task.labels), np.nan)
        values = diagnosis.predicted
        # The readout learns log(1 + label) of such labels.
        back = np.expm1(values) if task.transform == "log1p" else values
        predicted[task.units()] = back
        name, unit = name_and_unit(about[task.name]["description"])
        columns |= residual_columns(name, task.labels, predicted, unit)
    return columns


def _inside(context: RunContext, tokens: Tokens) -> list[list[str]] | None:
    """Name the points of interest of each place, the most frequent names first."""
    modalities = context.config.modalities.items()
    name, modality = next((m for m in modalities if m[1].kind == "poi"), (None, None))
    if name is None or modality is None:
        return None
    rows = read_modality(context, name, modality, tokens)
    if rows is None or "name" not in rows:
        return None
    token = token_of_rows(tokens, rows)
    rows, token = rows[token >= 0], token[token >= 0]
    counts, names = count_values(token, clean_text(rows["name"]), len(tokens))
    found = []
    for place in range(len(tokens)):
        own = slice(counts.indptr[place], counts.indptr[place + 1])
        order = np.argsort(-counts.data[own], kind="stable")[:INSIDE]
        found.append([str(word) for word in names[counts.indices[own][order]]])
    return found
