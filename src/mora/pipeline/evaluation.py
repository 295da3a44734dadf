"""The last stages: a first evaluation and a first map."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float, Int

from mora.baselines import BaselineInput, Volume, embed_baselines
from mora.benchmark import (
    Report,
    ScoreFile,
    Task,
    degree_blocks,
    evaluate,
    find_leaks,
    group_blocks,
    make_readout,
    pooling_matrix,
    print_report,
    to_markdown,
)
from mora.config import EvaluationConfig, LabelsConfig
from mora.errors import NoGeometryError, TableError
from mora.explore.map import write_map
from mora.modalities import Features, read_features
from mora.modalities.rows import weighted_group_means
from mora.pipeline.folder import read_json, write_json
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, read_mobility
from mora.pipeline.rows import read_numbers, token_of_rows
from mora.tokens import Tokens

MODEL = "mora"
EVALUATION_THREADS = 2
LIGHTGBM = {
    "quick": "lightgbm",
    "paper": "lightgbm-paper",
    "paper-county": "lightgbm-paper-county",
}


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
    tasks = list(_tasks(context, mobility))
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
        warnings=_leak_warnings(tasks, features),
        notes=list(context.config.notes),
        pairs=[(MODEL, name) for name in vectors if name != MODEL],
    )
    _write_report(context, report, counts)
    return counts


def _write_report(context: RunContext, report: Report, counts: dict[str, Any]) -> None:
    write_json(context.folder / "report.json", {**counts, **report.to_json()})
    (context.folder / "report.md").write_text(to_markdown(report))
    if hasattr(context.display, "console"):
        print_report(report, context.display.console)
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


def _tasks(context: RunContext, mobility: Mobility) -> Iterator[Task]:
    """Read every label table and bring its labels to their units."""
    config = context.config.evaluation
    blocks = token_blocks(config, mobility)
    for number, labels in enumerate(config.labels):
        place = f"evaluation.labels.{number}.table"
        frame = read_numbers(context, _named(labels).table, place, [])
        if labels.unit == "token":
            values = _token_labels(mobility.tokens, frame, labels)
            unit_blocks, pooling = blocks, None
        else:
            values, unit_blocks, pooling = _zone_labels(mobility, frame, labels, config)
        for column, name in enumerate(labels.values):
            yield Task(
                name,
                values[:, column],
                unit_blocks,
                pooling,
                labels.transform.get(name),
                labels.given_away.get(name),
            )


def _named(labels: LabelsConfig) -> LabelsConfig:
    """Read the labels under their own names, beside the keys."""
    columns = {**labels.table.columns, **labels.values}
    table = labels.table.model_copy(update={"columns": columns})
    return labels.model_copy(update={"table": table})


def _token_labels(
    tokens: Tokens, frame: pd.DataFrame, labels: LabelsConfig
) -> Float[np.ndarray, "tokens labels"]:
    """Average the rows of each token, by ``weight`` where there is one."""
    token = token_of_rows(tokens, frame)
    weight = frame["weight"] if "weight" in frame else pd.Series(1.0, frame.index)
    values = frame[list(labels.values)].to_numpy(np.float64)
    return weighted_group_means(token, values, weight.to_numpy(float), len(tokens))


def _zone_labels(
    mobility: Mobility,
    frame: pd.DataFrame,
    labels: LabelsConfig,
    config: EvaluationConfig,
) -> tuple[np.ndarray, Int[np.ndarray, " zones"], sp.csr_array]:
    """Give labels, blocks and pooling of zones that several tokens make up.

    Raises:
        TableError: if the run has no zones, or none of the labels' zones is known.
    """
    zones = mobility.zones
    if zones.empty:
        raise TableError(
            "labels of zones need zones in the run; its mobility has none. Expected "
            "`unit: token`, or mobility kind gravity or radiation with a zone column."
        )
    names = np.unique(zones["zone"])
    row = pd.Index(frame["id"]).get_indexer(names)
    if (row < 0).all():
        raise TableError(
            f"none of {len(frame)} labels names one of {len(names)} zones (first "
            f"labels: {', '.join(frame['id'].head(3))}; first zones: "
            f"{', '.join(names[:3])}). Check that both use the same ids."
        )
    found = frame[list(labels.values)].to_numpy(np.float64)[row]
    values = np.where(row[:, None] >= 0, found, np.nan)
    zone = np.searchsorted(names, zones["zone"])
    token = zones["token"].to_numpy()
    weight = {
        "mean": np.ones(len(zones)),
        "population": zones["population"].to_numpy(),
        "area": mobility.tokens.areas_km2()[token],
    }[labels.pool]
    shape = (len(names), len(mobility.tokens))
    middle = _zone_middles(mobility, zone, len(names))
    blocks = degree_blocks(middle, config.degrees)
    return values, blocks, pooling_matrix(zone, token, weight, shape)


def _zone_middles(
    mobility: Mobility, zone: np.ndarray, zones: int
) -> Float[np.ndarray, "zones 2"]:
    """Give the population-weighted middle of each zone."""
    token = mobility.zones["token"].to_numpy()
    people = mobility.zones["population"].to_numpy()
    centroids = mobility.tokens.centroids()[token]
    return weighted_group_means(zone, centroids, people, zones)


def token_blocks(
    config: EvaluationConfig, mobility: Mobility
) -> Int[np.ndarray, " tokens"]:
    """Give the block of each token; no block divides a zone that an input came from.

    Args:
        config: how blocks are made.
        mobility: tokens and, where there are any, zones. A token belongs to the zone
            with most of its people.

    Returns:
        Block numbers. On a grid without a place on Earth, squares of 20 x 20 cells.
    """
    tokens = mobility.tokens
    if config.blocks == "parent":
        return np.unique(tokens.parents(config.parent_resolution), return_inverse=True)[
            1
        ]
    if tokens.kind == "grid":
        square = (tokens.xy() - 1) // 20
        return np.unique(square, axis=0, return_inverse=True)[1].ravel()
    lonlat = _lonlat(tokens)
    if lonlat is None:
        raise NoGeometryError(
            tokens.kind, "place, so blocked splits cannot be made", "Give `areas:`."
        )
    blocks = degree_blocks(lonlat, config.degrees)
    if mobility.zones.empty:
        return blocks
    names, zone = np.unique(mobility.zones["zone"], return_inverse=True)
    order = np.argsort(mobility.zones["population"].to_numpy(), kind="stable")
    main = np.full(len(tokens), -1, np.int64)
    main[mobility.zones["token"].to_numpy()[order]] = zone[order]
    middle = _zone_middles(mobility, zone, len(names))
    zoned = main >= 0  # every token of a run with zones is in one
    blocks[zoned] = group_blocks(main[zoned], middle, config.degrees)
    return blocks


def _leak_warnings(tasks: list[Task], features: Mapping[str, Features]) -> list[str]:
    """Warn of inputs of which one column predicts a label, of zones or of tokens."""
    warnings = []
    for pooling in {id(task.pooling): task.pooling for task in tasks}.values():
        alike = [task for task in tasks if task.pooling is pooling]
        units = replace(alike[0], labels=np.zeros(len(alike[0].labels)))
        named = {
            name: (units.pool(_with_gaps(f)), f.columns) for name, f in features.items()
        }
        labels = {task.name: task.labels[units.units()] for task in alike}
        warnings += [str(leak) for leak in find_leaks(named, labels)]
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
            frame = read_numbers(context, _named(labels).table, place, [])
            values = _token_labels(mobility.tokens, frame, labels)
            layers |= {n: values[:, i] for i, n in enumerate(labels.values)}
    return layers


def _place_names(context: RunContext, tokens: Tokens) -> list[str] | None:
    """Give each token the first name that the configured table has for it."""
    table = context.config.map.names
    if table is None:
        return None
    frame = context.frame(table, "map.names", "names")
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
    for model, scores in means.items():
        cells = (f"{scores[p]['mean']:.2f}" for p in ("blocked", "random"))
        rows.append((model, *cells))
    return rows
