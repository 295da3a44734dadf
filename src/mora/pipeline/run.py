"""A run: the stages in their order, each skipped when nothing changed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from mora.config import RunConfig, TableInput, load_config
from mora.embeddings import Embeddings, read_embeddings
from mora.errors import ConfigError, RunError
from mora.pipeline.display import Display
from mora.pipeline.evaluation import run_evaluate, run_map
from mora.pipeline.flows import (
    mobility_from_arrays,
    mobility_from_flows,
    mobility_from_gravity,
    mobility_from_neighbours,
    mobility_from_radiation,
)
from mora.pipeline.folder import LAYOUT, StageFolder, fingerprint
from mora.pipeline.inputs import RunContext, checksums
from mora.pipeline.learning import (
    check_modalities,
    run_embed,
    run_features,
    run_line,
    run_train,
)
from mora.pipeline.visits import mobility_from_visits

MOBILITY = {
    "visits": mobility_from_visits,
    "flows": mobility_from_flows,
    "gravity": mobility_from_gravity,
    "radiation": mobility_from_radiation,
    "neighbours": mobility_from_neighbours,
    "arrays": mobility_from_arrays,
}


def run_graph(context: RunContext, folder: Path) -> dict[str, Any]:
    """Turn records or flows into tokens and a graph."""
    config = context.config.mobility
    mobility = MOBILITY[config.kind](context, config, folder)
    mobility.write(folder)
    tokens, graph = mobility.tokens, mobility.graph
    context.display.say(
        f"  {len(tokens):,} {tokens.kind} tokens, {graph.edges:,} edges of total "
        f"weight {graph.total_weight():,.0f}"
    )
    return {"tokens": len(tokens), "edges": graph.edges, **mobility.facts}


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also its folder and its subcommand.
        title: what it does, for people.
        after: stages whose result it reads.
        sections: parts of the configuration that it depends on.
        work: does it and gives facts for the manifest.
        products: files in the run's folder that it leaves.
    """

    name: str
    title: str
    after: tuple[str, ...]
    sections: tuple[str, ...]
    work: Callable[[RunContext, Path], dict[str, Any]]
    products: tuple[str, ...] = ()


STAGES = (
    Stage("graph", "Places and mobility graph", (), ("tokens", "mobility"), run_graph),
    Stage("line", "LINE pre-encoding", ("graph",), ("line", "seed"), run_line),
    Stage(
        "features", "Features of every place", ("graph",),
        ("tokens", "modalities"), run_features,
    ),
    Stage(
        "train", "Aligning the modalities with mobility", ("line", "features"),
        ("sample", "encoder", "training", "modalities", "seed"), run_train,
    ),
    Stage(
        "embed", "Embeddings", ("train",), ("name", "preset", "notes"), run_embed,
        ("embeddings.parquet",),
    ),
    Stage(
        "evaluate", "Evaluation", ("train",), ("evaluation", "notes", "seed"),
        run_evaluate, ("report.json",),
    ),
    Stage(
        "map", "Map", ("evaluate",), ("name", "map", "evaluation", "notes"), run_map,
    ),
)  # fmt: skip


def run(
    config: Path | str | Mapping[str, Any] | RunConfig,
    *,
    visits: pd.DataFrame | None = None,
    flows: pd.DataFrame | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    folder: Path | str | None = None,
    until: str = "map",
    display: Display | None = None,
) -> Embeddings | None:
    """Do a run, or go on with one that was stopped.

    Args:
        config: a YAML file, a dictionary, or settings.
        visits: records to use instead of the file under ``mobility: table:``.
        flows: the same, for flows.
        tables: frames for further tables, by their place in the configuration, such
            as ``mobility.population`` or ``modalities.poi.inputs.0``.
        folder: where the run is kept, instead of what the configuration says.
        until: the last stage to do.
        display: what shows text and progress; nothing by default.

    Returns:
        The embeddings; None if the run ends before they are made.

    Raises:
        MoraError: if the configuration or an input cannot be used; what earlier
            stages wrote is intact.
    """
    frames = dict(tables or {})
    given = visits if visits is not None else flows
    if given is not None:
        frames["mobility.table"] = given
    settings = _with_frames(load_config(config), frames)
    check_modalities(settings.modalities)
    path = Path(folder or settings.folder or Path("runs") / settings.name)
    context = RunContext(settings, path, display or Display(), frames)
    names = [stage.name for stage in STAGES]
    if until not in names:
        raise ConfigError(f"stage {until!r}; expected one of {', '.join(names)}.")
    prints: dict[str, str] = {}
    for stage in STAGES[: names.index(until) + 1]:
        prints[stage.name] = _do_stage(context, stage, prints)
    product = path / "embeddings.parquet"
    return read_embeddings(product) if "embed" in prints else None


def _do_stage(context: RunContext, stage: Stage, prints: Mapping[str, str]) -> str:
    """Do a stage unless it is done; give its fingerprint."""
    parts = {name: getattr(context.config, name) for name in stage.sections}
    inputs: dict[str, str] = {}
    for name, part in parts.items():
        inputs |= checksums(part, context.frames, name)
    settings = {name: _plain(part) for name, part in parts.items()}
    before = {name: prints[name] for name in stage.after}
    # Files count by content, not by place: a run may move with its inputs.
    mark = fingerprint(
        [LAYOUT, stage.name, _without_paths(settings), sorted(inputs.values()), before]
    )
    folder = StageFolder(context.folder / stage.name, mark)
    made = all((context.folder / product).is_file() for product in stage.products)
    if folder.manifest() is not None and made:
        context.display.say(f"{stage.title}: unchanged")
        return mark
    context.display.say(f"{stage.title}")
    begun = time.monotonic()
    try:
        folder.begin()
        context.reports.clear()
        facts = stage.work(context, folder.path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RunError(
            f"stage {stage.name!r} stopped: {error}. What earlier stages wrote is "
            f"intact; free space or memory, and start again."
        ) from error
    reports = [report.to_json() for report in context.reports]
    seconds = time.monotonic() - begun
    folder.finish(settings, inputs, {**facts, "tables": reports}, seconds)
    context.display.say(f"  done in {seconds:.1f} s")
    return mark


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    if isinstance(part, Mapping):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(value) for value in part]
    return part


def _without_paths(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        hidden = ("path", "graph", "cells", "memory")
        return {k: _without_paths(v) for k, v in settings.items() if k not in hidden}
    if isinstance(settings, list):
        return [_without_paths(value) for value in settings]
    return settings


def _with_frames(config: RunConfig, frames: Mapping[str, pd.DataFrame]) -> RunConfig:
    """Check that every frame has a table to stand in for.

    Raises:
        ConfigError: if a place is not one of a table.
    """
    for place in frames:
        part: Any = config
        for step in place.split("."):
            part = _step(part, step)
        if not isinstance(part, TableInput):
            raise ConfigError(
                f"no table at {place!r} in the configuration; expected a place such "
                f"as mobility.table or modalities.poi.inputs.0."
            )
    return config


def _step(part: Any, step: str) -> Any:
    if isinstance(part, Mapping):
        return part.get(step)
    if isinstance(part, list | tuple):
        return part[int(step)] if step.isdigit() and int(step) < len(part) else None
    return getattr(part, step, None)
