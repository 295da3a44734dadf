"""The last stage: an offline map of the places and their vectors."""

from pathlib import Path
from typing import Any

import numpy as np

from mora.embeddings import read_embeddings
from mora.errors import MissingColumnError, NoGeometryError
from mora.explore.map import write_map
from mora.pipeline.folder import read_json
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, read_mobility
from mora.pipeline.rows import read_numbers, token_of_rows
from mora.pipeline.tasks import named_labels, token_labels
from mora.tokens import Tokens


def check_map(context: RunContext) -> None:
    """Refuse a table of names that could not be used."""
    place_names(context, read_mobility(context.folder / "graph").tokens)


def run_map(context: RunContext, _folder: Path) -> dict[str, Any]:
    """Draw the map, ``map.html`` in the run's folder."""
    mobility = read_mobility(context.folder / "graph")
    embeddings = read_embeddings(context.folder / "embeddings.parquet")
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
        embeddings.comparable(),
        title=context.config.name,
        notes=context.config.notes,
        layers=_layers(context, mobility),
        labels=place_names(context, mobility.tokens),
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


def place_names(context: RunContext, tokens: Tokens) -> list[str] | None:
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
