"""What the explorer page shows of a run, tables that its configuration names included."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mora.benchmark import Task
from mora.benchmark.diagnostics import Diagnosis
from mora.explore.explorer_run import (
    Column,
    ExplorerRun,
    read_explorer_run,
    residual_columns,
)
from mora.modalities.poi import clean_text, count_values
from mora.pipeline.benchmarking import diagnose_all
from mora.pipeline.inputs import RunContext
from mora.pipeline.mapping import _place_names
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
    tasks = [t for t in read_tasks(context, _mobility(context)) if t.pooling is None]
    columns = dict(_labels(context, tasks))
    if predictions and tasks:
        diagnoses = diagnose_all(context, tasks, run_vectors(context))
        for task, diagnosis in zip(tasks, diagnoses, strict=True):
            columns |= _predictions(context, task, diagnosis)
    return replace(
        found,
        name=context.config.name,
        notes=list(context.config.notes),
        names=_place_names(context, tokens),
        inside=_inside(context, tokens),
        columns={**columns, **found.columns},
    )


def _mobility(context: RunContext):
    return read_mobility(context.folder / "graph")


def _labels(context: RunContext, tasks: list[Task]) -> Iterator[tuple[str, Column]]:
    for task in tasks:
        name, unit, about = _about(context, task)
        yield name, Column(task.labels, "label", unit, about)
