"""A run: the stages in their order, each skipped when nothing changed."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from mora.config import RunConfig, TableInput, load_config
from mora.embeddings import Embeddings, read_embeddings
from mora.errors import ConfigError, RunError
from mora.pipeline.display import Display
from mora.pipeline.evaluation import (
    check_evaluation,
    check_map,
    run_evaluate,
    run_map,
)
from mora.pipeline.flows import (
    mobility_from_arrays,
    mobility_from_flows,
    mobility_from_gravity,
    mobility_from_neighbours,
    mobility_from_radiation,
)
from mora.pipeline.folder import LAYOUT, StageFolder, fingerprint
from mora.pipeline.inputs import RunContext, checksums, names_file
from mora.pipeline.learning import (
    check_line,
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
    facts = {"tokens": len(tokens), "edges": graph.edges, **mobility.facts}
    shutil.rmtree(folder / "counted", ignore_errors=True)  # as large as the graph
    return facts


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also its folder and its subcommand.
        title: what it does, for people.
        after: stages whose result it reads.
        sections: parts of the configuration that it depends on.
        work: does it and gives facts for the manifest.
        products: files in the run's folder that it may leave.
        check: refuses what the stage could not use, before the stages that take long.
    """

    name: str
    title: str
    after: tuple[str, ...]
    sections: tuple[str, ...]
    work: Callable[[RunContext, Path], dict[str, Any]]
    products: tuple[str, ...] = ()
    check: Callable[[RunContext], None] | None = None


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
        run_evaluate, ("report.json", "report.md"), check_evaluation,
    ),
    Stage(
        "map", "Map", ("evaluate",), ("name", "map", "evaluation", "notes"), run_map,
        ("map.html",), check_map,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A stage with what it is told and where it writes.

    Attributes:
        stage: the stage.
        settings: the parts of the configuration that it depends on, as plain values.
        inputs: checksums of its files and frames.
        folder: where it writes.
    """

    stage: Stage
    settings: dict[str, Any]
    inputs: dict[str, str]
    folder: StageFolder

    def done(self) -> bool:
        """Say whether the folder holds its whole result."""
        return self.folder.manifest() is not None


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
    settings = load_config(config)
    frames = _frames(settings, tables or {}, visits, flows)
    check_line(settings.line)
    check_modalities(settings.modalities)
    path = Path(folder or settings.folder or Path("runs") / settings.name)
    context = RunContext(settings, path, display or Display(), frames)
    names = [stage.name for stage in STAGES]
    if until not in names:
        raise ConfigError(f"stage {until!r}; expected one of {', '.join(names)}.")
    jobs = _plan(context, STAGES[: names.index(until) + 1])
    for job in jobs:
        if job.stage.name == "line":
            _check_ahead(context, jobs)
        _do(context, job)
    product = path / "embeddings.parquet"
    return read_embeddings(product) if len(jobs) > names.index("embed") else None


def _plan(context: RunContext, stages: Sequence[Stage]) -> list[Job]:
    """Say what each stage depends on; a missing file is found before any work."""
    needed = {name: None for stage in stages for name in stage.sections}
    parts = {name: getattr(context.config, name) for name in needed}
    sums = {name: checksums(p, context.frames, name) for name, p in parts.items()}
    jobs, marks = [], {}
    for stage in stages:
        settings = {name: _plain(parts[name]) for name in stage.sections}
        inputs = {k: v for name in stage.sections for k, v in sums[name].items()}
        before = [marks[name] for name in stage.after]
        # Files count by content, not by name: a run may move with its inputs.
        marks[stage.name] = fingerprint(
            [LAYOUT, stage.name, _without_paths(settings), inputs, before]
        )
        path = context.folder / stage.name
        folder = StageFolder(path, marks[stage.name], stage.products)
        jobs.append(Job(stage, settings, inputs, folder))
    return jobs


def _check_ahead(context: RunContext, jobs: Sequence[Job]) -> None:
    """Let later stages refuse their inputs before hours are spent on earlier ones."""
    quiet = replace(context, display=Display(), reports=[])
    for job in jobs:
        if job.stage.check is not None and not job.done():
            job.stage.check(quiet)


def _do(context: RunContext, job: Job) -> None:
    """Do a stage unless it is done."""
    stage = job.stage
    if job.done():
        context.display.say(f"{stage.title}: unchanged")
        return
    context.display.say(f"{stage.title}")
    begun = time.monotonic()
    try:
        job.folder.begin()
        context.reports.clear()
        facts = stage.work(context, job.folder.path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RunError(
            f"stage {stage.name!r} stopped: {error}. What earlier stages wrote is "
            f"intact; free space or memory, and start again."
        ) from error
    reports = [report.to_json() for report in context.reports]
    seconds = time.monotonic() - begun
    facts = {**facts, "tables": reports}
    job.folder.finish(job.settings, job.inputs, facts, seconds)
    context.display.say(f"  done in {seconds:.1f} s")


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    if isinstance(part, Mapping):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(value) for value in part]
    return part


def _without_paths(settings: Any, place: str = "") -> Any:
    if isinstance(settings, Mapping):
        parts = {k: _without_paths(v, f"{place}.{k}") for k, v in settings.items()}
        return {
            k: v
            for k, v in parts.items()
            if isinstance(v, Mapping) or not names_file(f"{place}.{k}")
        }
    if isinstance(settings, list):
        return [_without_paths(value, place) for value in settings]
    return settings


def _frames(
    config: RunConfig,
    tables: Mapping[str, pd.DataFrame],
    visits: pd.DataFrame | None,
    flows: pd.DataFrame | None,
) -> dict[str, pd.DataFrame]:
    """Check that every frame has a table to stand in for.

    Raises:
        ConfigError: if a place is not one of a table, or records of one kind are given
            for another.
    """
    frames, kind = dict(tables), config.mobility.kind
    takes = {"visits": "visits", "flows": "flows", "gravity": "flows"}.get(kind)
    for name, frame in (("visits", visits), ("flows", flows)):
        if frame is not None and name != takes:
            raise ConfigError(
                f"got {name}, but mobility kind {kind!r} takes {takes or 'neither'}. "
                f"Change `mobility: kind:`, or leave the {name} out."
            )
        if frame is not None:
            frames["mobility.table"] = frame
    for place in frames:
        part: Any = config
        for step in place.split("."):
            part = _step(part, step)
        if not isinstance(part, TableInput):
            raise ConfigError(
                f"no table at {place!r} in the configuration; expected a place such "
                f"as mobility.table or modalities.poi.inputs.0."
            )
    return frames


def _step(part: Any, step: str) -> Any:
    if isinstance(part, Mapping):
        return part.get(step)
    if isinstance(part, list | tuple):
        return part[int(step)] if step.isdigit() and int(step) < len(part) else None
    return getattr(part, step, None)
