"""The last stages: a first evaluation and a first map."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.baselines import BaselineInput, Volume, embed_baselines
from mora.benchmark import (
    Report,
    ScoreFile,
    Task,
    evaluate,
    find_leaks,
    make_readout,
    print_report,
    to_markdown,
)
from mora.errors import MissingColumnError, NoGeometryError
from mora.explore.map import write_map
from mora.modalities import Features, read_features
from mora.pipeline.display import Terminal
from mora.pipeline.folder import read_json, write_json
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, read_mobility
from mora.pipeline.rows import read_numbers, token_of_rows
from mora.pipeline.tasks import named_labels, read_tasks, token_labels
from mora.tokens import Tokens

MODEL = "mora"
EVALUATION_THREADS = 2
LIGHTGBM = {
    "quick": "lightgbm",
    "paper": "lightgbm-paper",
    "paper-county": "lightgbm-paper-county",
}


def check_evaluation(context: RunContext) -> None:
    """Refuse labels, blocks and baselines that could not be used.

    Raises:
        MoraError: saying which and why.
    """
    config = context.config.evaluation
    embed_baselines(config.baselines, BaselineInput())
    if config.labels:
        mobility = read_mobility(context.folder / "graph")
        # A model that knows nothing meets every check and takes no time.
        nothing = {"nothing": np.zeros((len(mobility.tokens), 1), np.float32)}
        tasks = list(read_tasks(context, mobility))
        evaluate(tasks, nothing, repeats=config.splits, readouts=["ridge"])


def check_map(context: RunContext) -> None:
    """Refuse a table of names that could not be used."""
    _place_names(context, read_mobility(context.folder / "graph").tokens)


def run_evaluate(context: RunContext, folder: Path) -> dict[str, Any]:
    """Score the vectors and the baselines; leaves ``report.json`` in the run."""
    config = context.config.evaluation
    mobility = read_mobility(context.folder / "graph")
    counts = {"cells": len(mobility.tokens), "edges": mobility.graph.edges}
    if not config.labels:
        write_json(context.folder / "report.json", {**counts, "tasks": {}})
        context.display.say("  no labels: nothing to evaluate")
        return counts
    features = _features(context)
    tasks = list(read_tasks(context, mobility))
    vectors, left_out = _models(context, mobility, features)
    readouts = {
        "lightgbm": make_readout(LIGHTGBM[config.setting], seed=context.config.seed),
        "ridge": make_readout("ridge"),
    }
    with context.display.bar("Evaluating", "fits") as progress:
        report = evaluate(
            tasks,
            vectors,
            repeats=config.splits,
            seed=context.config.seed,
            readouts=readouts,
            threads=EVALUATION_THREADS,
            score_file=ScoreFile(folder / "scores.jsonl"),
            progress=lambda done, total, _: progress(done, total),
        )
    report = replace(
        report,
        left_out=left_out,
        warnings=_leak_warnings(tasks, _inputs(mobility, features)),
        notes=list(context.config.notes),
        pairs=[(MODEL, name) for name in vectors if name != MODEL],
    )
    _write_report(context, report, tasks, counts)
    return counts


def _write_report(
    context: RunContext, report: Report, tasks: list[Task], counts: dict[str, Any]
) -> None:
    """Write and print the report; cells and zones have means of their own."""
    groups = {
        "tokens": [task.name for task in tasks if task.pooling is None],
        "zones": [task.name for task in tasks if task.pooling is not None],
    }
    parts = {unit: report.only(names) for unit, names in groups.items() if names}
    summaries = {unit: part.to_json() for unit, part in parts.items()}
    first = next(iter(summaries.values()))
    shared = {key: first[key] for key in ("means", "comparisons")}
    units = {
        unit: {"tasks": list(summary["tasks"])}
        | {key: summary[key] for key in ("means", "comparisons")}
        for unit, summary in summaries.items()
    }
    content = {**counts, **report.to_json(), **shared, "units": units}
    write_json(context.folder / "report.json", content)
    text = "\n".join(
        f"# Labels of {unit}\n\n{to_markdown(part)}" for unit, part in parts.items()
    )
    (context.folder / "report.md").write_text(text)
    if isinstance(context.display, Terminal):
        for unit, part in parts.items():
            context.display.say(f"\nLabels of {unit}\n")
            print_report(part, context.display.console)
    context.display.say(f"  wrote {context.folder / 'report.json'} and report.md")


def _features(context: RunContext) -> dict[str, Features]:
    folder = context.folder / "features"
    return {name: read_features(folder, name) for name in context.config.modalities}


def _with_gaps(features: Features) -> Float[np.ndarray, "tokens columns"]:
    """Give the values with NaN for tokens that have none."""
    return np.where(features.present[:, None], features.values, np.nan)


def _models(
    context: RunContext, mobility: Mobility, features: Mapping[str, Features]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Give the vectors of the run and of every baseline that has its inputs."""
    graph, config = mobility.graph, context.config.evaluation
    flows = (np.array(graph.outflow), np.array(graph.inflow), np.array(graph.within))
    given = BaselineInput(
        lonlat=_lonlat(mobility.tokens),
        line=np.load(context.folder / "line" / "vectors.npy", allow_pickle=False),
        volume=Volume(*flows),
        features={name: _with_gaps(f) for name, f in features.items()},
    )
    degree = {"harmonics": {"degree": config.harmonics_degree}}
    baselines, left_out = embed_baselines(config.baselines, given, degree)
    trained = np.load(context.folder / "train" / "vectors.npy", allow_pickle=False)
    return {MODEL: trained, **baselines}, left_out


def _lonlat(tokens: Tokens) -> np.ndarray | None:
    try:
        return tokens.centroids()
    except NoGeometryError:
        return None


def _inputs(
    mobility: Mobility, features: Mapping[str, Features]
) -> dict[str, tuple[np.ndarray, Sequence[str]]]:
    """Give every input column that could give a label away, movement included."""
    flows = [mobility.graph.outflow, mobility.graph.inflow, mobility.graph.within]
    inputs: dict[str, tuple[np.ndarray, Sequence[str]]] = {
        name: (_with_gaps(f), f.columns) for name, f in features.items()
    }
    inputs["movement"] = np.column_stack(flows), ("outflow", "inflow", "within")
    return inputs


def _leak_warnings(
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


def run_map(context: RunContext, _folder: Path) -> dict[str, Any]:
    """Draw the map, ``map.html`` in the run's folder."""
    mobility = read_mobility(context.folder / "graph")
    vectors = np.load(context.folder / "train" / "vectors.npy", allow_pickle=False)
    path = context.folder / "map.html"
    try:
        mobility.tokens.polygons()
    except NoGeometryError as reason:
        context.display.say(f"  no map: {reason}")
        return {"map": None, "reason": str(reason)}
    report = read_json(context.folder / "report.json") or {}
    write_map(
        path,
        mobility.tokens,
        vectors,
        title=context.config.name,
        notes=context.config.notes,
        layers=_layers(context, mobility),
        labels=_place_names(context, mobility.tokens),
        scores=_score_rows(report),
        similar=context.config.map.similar,
    )
    context.display.say(f"  wrote {path}")
    return {"map": path.name}


def _layers(context: RunContext, mobility: Mobility) -> dict[str, np.ndarray]:
    """Give what can be shown in place of the vectors: movement, people, labels."""
    flow = np.asarray(mobility.graph.outflow) + np.asarray(mobility.graph.inflow)
    layers = {"Movement in and out": flow.astype(np.float64)}
    if mobility.population is not None:
        layers["Population"] = mobility.population
    for number, labels in enumerate(context.config.evaluation.labels):
        if labels.unit == "token":
            place = f"evaluation.labels.{number}.table"
            frame = read_numbers(context, named_labels(labels).table, place, [])
            values = token_labels(mobility.tokens, frame, labels)
            layers |= {n: values[:, i] for i, n in enumerate(labels.values)}
    return layers


def _place_names(context: RunContext, tokens: Tokens) -> list[str] | None:
    """Give each token the first name that the configured table has for it."""
    table = context.config.map.names
    if table is None:
        return None
    frame = context.frame(table, "map.names", "names")
    if "name" not in frame:
        raise MissingColumnError("map.names", ["name"], list(frame.columns))
    frame = frame[frame["name"].notna()]
    token = token_of_rows(tokens, frame)
    names = [""] * len(tokens)
    for row, name in zip(token[::-1], frame["name"].iloc[::-1], strict=True):
        if row >= 0:
            names[row] = str(name)
    return names


def _score_rows(report: dict[str, Any]) -> list[tuple[str, ...]] | None:
    """Give mean R2 of each model for the page."""
    means = report.get("means")
    if not means:
        return None
    rows = [("model", "blocked R2", "random R2")]
    best_first = sorted(means.items(), key=lambda item: -item[1]["blocked"]["mean"])
    for model, scores in best_first:
        cells = (f"{scores[p]['mean']:.2f}" for p in ("blocked", "random"))
        rows.append((model, *cells))
    return rows
