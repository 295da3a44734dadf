"""The evaluation of a run: its vectors beside baselines, on the same splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mora.benchmark import (
    Readout,
    Report,
    ScoreFile,
    Task,
    evaluate,
    find_leaks,
    make_readout,
    print_report,
    to_markdown,
)
from mora.config import EvaluationConfig
from mora.modalities import Features
from mora.pipeline.display import Terminal
from mora.pipeline.folder import write_json
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, read_mobility
from mora.pipeline.models import (
    MODEL,
    Models,
    check_baselines,
    embed_baselines_of_run,
    run_features,
    run_vectors,
    with_gaps,
)
from mora.pipeline.tasks import about_tasks, read_tasks

EVALUATION_THREADS = 2
LIGHTGBM = {"quick": "lightgbm", "paper": "lightgbm-paper"}


def check_evaluation(context: RunContext) -> None:
    """Refuse labels, blocks, protocols and baselines that could not be used.

    Raises:
        MoraError: saying which and why.
    """
    config = context.config.evaluation
    check_baselines(context)
    if config.labels:
        mobility = read_mobility(context.folder / "graph")
        # A model that knows nothing meets every check and takes no time.
        nothing = {"nothing": np.zeros((len(mobility.tokens), 1), np.float32)}
        tasks = list(read_tasks(context, mobility))
        evaluate(
            tasks,
            nothing,
            protocols=config.protocols,
            repeats=config.splits,
            readouts=["ridge"],
        )


def run_evaluate(context: RunContext, folder: Path) -> dict[str, Any]:
    """Score the vectors and the baselines; leaves ``report.json`` in the run."""
    config = context.config.evaluation
    mobility = read_mobility(context.folder / "graph")
    counts = {"cells": len(mobility.tokens), "edges": mobility.graph.edges}
    if not config.labels:
        write_json(context.folder / "report.json", {**counts, "tasks": {}})
        context.display.say("  no labels: nothing to evaluate")
        return counts
    tasks = list(read_tasks(context, mobility))
    baselines, left_out = embed_baselines_of_run(
        context, mobility, config.baselines, folder / "baselines"
    )
    models: Models = {MODEL: run_vectors(context), **baselines}
    report = score_models(context, tasks, models, ScoreFile(folder / "scores.jsonl"))
    warnings = leak_warnings(tasks, input_columns(mobility, run_features(context)))
    report = replace(report, left_out=left_out, warnings=warnings)
    content = {**counts, **report_content(context, report, tasks)}
    write_json(context.folder / "report.json", content)
    (context.folder / "report.md").write_text(report_text(report, tasks))
    show_report(context, report, tasks)
    context.display.say(f"  wrote {context.folder / 'report.json'} and report.md")
    return counts


def score_models(
    context: RunContext, tasks: list[Task], models: Models, score_file: ScoreFile
) -> Report:
    """Score models as the run's configuration says, the first against all others."""
    config = context.config.evaluation
    with context.display.bar("Evaluating", "fits") as progress:
        report = evaluate(
            tasks,
            models,
            protocols=config.protocols,
            repeats=config.splits,
            seed=config.seed,
            readouts=chosen_readouts(config),
            threads=EVALUATION_THREADS,
            score_file=score_file,
            progress=lambda done, total, _: progress(done, total),
        )
    first, *others = models
    return replace(
        report,
        notes=list(context.config.notes),
        pairs=[(first, name) for name in others],
    )


def chosen_readouts(config: EvaluationConfig) -> dict[str, Readout]:
    """Make the readouts that a configuration asks for, the main one first."""
    readouts = {"ridge": make_readout("ridge")}
    if config.readouts == "both":
        trees = make_readout(LIGHTGBM[config.setting], seed=config.seed)
        readouts = {"lightgbm": trees, **readouts}
    return readouts


def report_content(
    context: RunContext, report: Report, tasks: list[Task]
) -> dict[str, Any]:
    """Give the report for JSON; cells and zones have means of their own."""
    summaries = {unit: part.to_json() for unit, part in by_unit(report, tasks).items()}
    first = next(iter(summaries.values()))
    shared = {key: first[key] for key in ("means", "comparisons")}
    units = {
        unit: {"tasks": list(summary["tasks"])}
        | {key: summary[key] for key in ("means", "comparisons")}
        for unit, summary in summaries.items()
    }
    about = about_tasks(context)
    return {**report.to_json(), **shared, "units": units, "about": about}


def report_text(report: Report, tasks: list[Task]) -> str:
    """Give the report in Markdown."""
    parts = by_unit(report, tasks).items()
    return "\n".join(f"# Labels of {unit}\n\n{to_markdown(p)}" for unit, p in parts)


def show_report(context: RunContext, report: Report, tasks: list[Task]) -> None:
    """Show the tables where there is a terminal."""
    if isinstance(context.display, Terminal):
        for unit, part in by_unit(report, tasks).items():
            context.display.say(f"\nLabels of {unit}\n")
            print_report(part, context.display.console)


def by_unit(report: Report, tasks: list[Task]) -> dict[str, Report]:
    """Divide a report into labels of tokens and labels of coarser units."""
    groups = {
        "tokens": [task.name for task in tasks if task.pooling is None],
        "zones": [task.name for task in tasks if task.pooling is not None],
    }
    return {unit: report.only(names) for unit, names in groups.items() if names}


def input_columns(
    mobility: Mobility, features: Mapping[str, Features]
) -> dict[str, tuple[np.ndarray, Sequence[str]]]:
    """Give every input column that could give a label away, movement included."""
    flows = [mobility.graph.outflow, mobility.graph.inflow, mobility.graph.within]
    inputs: dict[str, tuple[np.ndarray, Sequence[str]]] = {
        name: (with_gaps(f), f.columns) for name, f in features.items()
    }
    inputs["movement"] = np.column_stack(flows), ("outflow", "inflow", "within")
    return inputs


def leak_warnings(
    tasks: list[Task], inputs: Mapping[str, tuple[np.ndarray, Sequence[str]]]
) -> list[str]:
    """Warn of inputs of which one column predicts a label, of zones or of tokens."""
    warnings = []
    for pooling in {id(task.pooling): task.pooling for task in tasks}.values():
        alike = [task for task in tasks if task.pooling is pooling]
        units = replace(alike[0], labels=np.zeros(len(alike[0].labels)))
        pooled = {
            name: (units.pool(v), columns) for name, (v, columns) in inputs.items()
        }
        labels = {task.name: task.labels[units.units()] for task in alike}
        warnings += [str(leak) for leak in find_leaks(pooled, labels)]
    return warnings
