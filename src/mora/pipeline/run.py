"""A run: the stages in their order, each skipped when nothing changed."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from mora.config import RunConfig, TableInput, load_config
from mora.embeddings import Embeddings, read_embeddings
from mora.errors import ConfigError, MoraError, RunError
from mora.memory import peak_mb, reset_peak
from mora.pipeline.display import Display
from mora.pipeline.folder import CONFIG, LAYOUT, StageFolder, fingerprint, write_json
from mora.pipeline.headers import check_headers
from mora.pipeline.inputs import RunContext, checksums, names_file
from mora.pipeline.learning import check_line, check_modalities
from mora.pipeline.spark.session import check_engine
from mora.pipeline.stages import STAGES, Stage
from mora.training.launch import Processes, joined_processes

# Settings of how the work is done, not of what comes out: another value of theirs goes
# on from what is there.
OF_THE_WORK = {f"training.{key}" for key in ("devices", "checkpoint_seconds")}


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
    reuse: Sequence[Path] = (),
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
        reuse: folders of other runs; a stage that one of them has done with the same
            settings and inputs is taken from there.
        display: what shows text and progress; nothing by default.

    Returns:
        The embeddings; None if the run ends before they are made, and in every process
        but the first.

    Raises:
        MoraError: if the configuration or an input cannot be used, or memory or space
            runs out; what earlier stages wrote is intact.
    """
    settings = load_config(config)
    frames = _frames(settings, tables or {}, visits, flows)
    check_line(settings.line)
    check_modalities(settings.modalities)
    check_engine(settings.mobility)
    check_headers(settings, frames)
    path = Path(folder or settings.folder or Path("runs") / settings.name)
    context = RunContext(settings, path, display or Display(), frames)
    names = [stage.name for stage in STAGES]
    if until not in names:
        raise ConfigError(f"stage {until!r}; expected one of {', '.join(names)}.")
    stages = STAGES[: names.index(until) + 1]
    with joined_processes(settings.training.devices) as processes:
        if processes.rank > 0:
            return _take_part(context, stages, processes)
        _lead(context, _plan(context, stages), processes, reuse)
        write_json(path / CONFIG, settings.model_dump(mode="json"))
    product = path / "embeddings.parquet"
    return read_embeddings(product) if len(stages) > names.index("embed") else None


def _lead(
    context: RunContext,
    jobs: Sequence[Job],
    processes: Processes,
    reuse: Sequence[Path],
) -> None:
    """Do every stage that is not done; for shared ones the other processes wait."""
    for job in jobs:
        if not job.done():
            context.folder.mkdir(parents=True, exist_ok=True)
            any(job.folder.take_from(other) for other in reuse)
        if job.stage.name == "line":
            _check_ahead(context, jobs)
        with _others_intact(job, jobs):
            wanted = _begin(context, job)
            if job.stage.shared:
                processes.agree(wanted)
            if wanted:
                _do(context, job)


def _take_part(
    context: RunContext, stages: Sequence[Stage], processes: Processes
) -> None:
    """Wait for the stages that all processes do together; the first one writes."""
    quiet = replace(context, display=Display(), reports=[])
    for stage in stages:
        if stage.shared and processes.agree():
            stage.work(quiet, context.folder / stage.name)


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
            [
                LAYOUT,
                [stage.name, stage.revision] if stage.revision else stage.name,
                _of_the_result(settings, stage.ignores),
                inputs,
                before,
            ]
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


@contextmanager
def _others_intact(job: Job, jobs: Sequence[Job]) -> Iterator[None]:
    """Tell, when a stage finds no memory or no space, what is still there.

    Raises:
        RunError: naming the stages that are done.
    """
    try:
        yield
    except (MemoryError, OSError) as error:
        if isinstance(error, MoraError | FileNotFoundError):
            raise
        done = [other.stage.name for other in jobs if other.done()]
        raise RunError(
            f"stage {job.stage.name!r} stopped: {str(error) or 'out of memory'}. What "
            f"earlier stages wrote is intact ({', '.join(done) or 'none is done'}); "
            f"free space or memory, and start again."
        ) from error


def _begin(context: RunContext, job: Job) -> bool:
    """Make the folder of a stage ready; False if the stage is done."""
    stage, other = job.stage, job.folder.other_layout()
    if job.done():
        context.display.say(f"{stage.title}: unchanged")
        return False
    if other is not None:
        context.display.say(
            f"{stage.name}: made by another version of Mora (layout {other}, now "
            f"{LAYOUT}); done again"
        )
    context.display.say(f"{stage.title}")
    job.folder.begin()
    context.reports.clear()
    return True


def _do(context: RunContext, job: Job) -> None:
    """Do a stage and write down what it took."""
    reset_peak()
    begun = time.monotonic()
    facts = job.stage.work(context, job.folder.path)
    cost = {"seconds": time.monotonic() - begun, "peak_mb": peak_mb()}
    facts = {**facts, "tables": [report.to_json() for report in context.reports]}
    job.folder.finish(job.settings, job.inputs, facts, cost)
    context.display.say(f"  done in {cost['seconds']:.1f} s")


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    if isinstance(part, Mapping):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(value) for value in part]
    return part


def _of_the_result(settings: Any, ignored: Sequence[str], place: str = "") -> Any:
    """Leave out the settings that name a file, say how work is done, or are ignored."""
    if isinstance(settings, Mapping):
        kept = {}
        for key, value in settings.items():
            at = f"{place}.{key}".lstrip(".")
            if any(_matches(at, pattern) for pattern in ignored):
                continue
            if isinstance(value, Mapping) or not (names_file(at) or at in OF_THE_WORK):
                kept[key] = _of_the_result(value, ignored, at)
        return kept
    if isinstance(settings, list):
        return [_of_the_result(value, ignored, place) for value in settings]
    return settings


def _matches(place: str, pattern: str) -> bool:
    """Say whether a setting is one that a pattern names, step by step."""
    steps, wanted = place.split("."), pattern.split(".")
    return len(steps) == len(wanted) and all(map(fnmatch, steps, wanted))


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
