"""The benchmark of a finished run: any vectors, any baselines, any protocol."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mora.baselines import find_baseline
from mora.benchmark import Report, ScoreFile, Task, to_csv
from mora.benchmark.diagnostics import Diagnosis, diagnose
from mora.benchmark.protocols import check_protocols
from mora.config import RunConfig, load_config
from mora.errors import ConfigError
from mora.personal import require_not_personal
from mora.pipeline.display import Display
from mora.pipeline.evaluation import (
    LIGHTGBM,
    input_columns,
    leak_warnings,
    report_content,
    report_text,
    score_models,
)
from mora.pipeline.folder import write_json
from mora.pipeline.inputs import RunContext, locate
from mora.pipeline.mobility import Mobility, read_mobility
from mora.pipeline.models import (
    MODEL,
    Models,
    baseline_input,
    check_baselines,
    embed_baselines_of_run,
    run_features,
    run_vectors,
)
from mora.pipeline.run import run
from mora.pipeline.tasks import read_tasks


def describe(diagnosis: Diagnosis) -> str:
    """Say in a few lines where and for whom a model errs."""
    r2, moran, covered = diagnosis.r2, diagnosis.moran, diagnosis.coverage
    lines = [
        f"{diagnosis.task}: R2 {r2.value:.3f} ({r2.low:.3f} to {r2.high:.3f}), "
        f"{covered.coverage:.0%} of labels within {covered.level:.0%} intervals of "
        f"width {covered.mean_width:.3g}"
        + ("" if moran is None else f"; Moran's I of residuals {moran.i:.2f}")
    ]
    for name, errors in diagnosis.groups.items():
        parts = [
            f"{g} RMSE {e.rmse:.3g}, bias {e.bias:+.3g}" for g, e in errors.items()
        ]
        lines.append(f"  by {name}: {'; '.join(parts)}")
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What a benchmark found.

    Attributes:
        context: the run.
        tasks: the labels.
        models: the vectors, ours or the first of the user's first.
        report: scores.
        diagnoses: of the first model on each task; empty unless asked for.
    """

    context: RunContext
    tasks: list[Task]
    models: Models
    report: Report
    diagnoses: list[Diagnosis]

    @property
    def folder(self) -> Path:
        """Give the folder that reports are written to."""
        return self.context.folder / "benchmark"

    def to_json(self) -> dict[str, Any]:
        """Give scores and diagnoses as plain values."""
        content = report_content(self.context, self.report, self.tasks)
        return {**content, "diagnoses": [d.to_json() for d in self.diagnoses]}

    def write(self) -> list[Path]:
        """Write ``report.json``, ``report.md`` and ``scores.csv``; give their paths."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "report.json", self.to_json())
        texts = {
            "report.md": report_text(self.report, self.tasks),
            "scores.csv": to_csv(self.report),
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text)
        return [self.folder / name for name in ("report.json", *texts)]


def benchmark_run(
    config: Path | str | Mapping[str, Any] | RunConfig,
    *,
    folder: Path | str | None = None,
    vectors: Mapping[str, Path] | None = None,
    changes: Mapping[str, Any] | None = None,
    with_diagnoses: bool = False,
    display: Display | None = None,
) -> Benchmark:
    """Score a run's vectors beside baselines and any other vectors.

    Stages of the run that are not done are done first. Finished scores are kept, so
    that a stopped benchmark goes on.

    Args:
        config: of the run.
        folder: where the run is kept, instead of what the configuration says.
        vectors: name -> Parquet or CSV of vectors by place.
        changes: settings of ``evaluation`` that go over the configuration's, such as
            ``{"protocols": ["region"], "splits": 10}``.
        with_diagnoses: also tell where and for whom the first model errs.
        display: what shows text and progress; nothing by default.

    Raises:
        ConfigError: if the run has no labels, or two models have one name.
        MoraError: if a task, a protocol or vectors cannot be used.
    """
    settings = load_config(config, {"evaluation": dict(changes or {})})
    if not settings.evaluation.labels:
        raise ConfigError(
            "evaluation.labels: none; a benchmark needs at least one table of labels."
        )
    path = Path(folder or settings.folder or Path("runs") / settings.name)
    display = display or Display()
    context = RunContext(settings, path, display)
    _check(context, vectors or {})
    run(settings, folder=path, until="embed", display=display)
    mobility = read_mobility(path / "graph")
    tasks = list(read_tasks(context, mobility))
    models, left_out = _models(context, mobility, vectors or {})
    report = score_models(context, tasks, models, _score_file(path))
    warnings = leak_warnings(tasks, input_columns(mobility, run_features(context)))
    warnings += _coverage_warnings({name: models[name] for name in vectors or {}})
    report = replace(report, left_out=left_out, warnings=warnings)
    diagnoses = diagnose_all(context, tasks, models[MODEL]) if with_diagnoses else []
    return Benchmark(context, tasks, models, report, diagnoses)


def _check(context: RunContext, vectors: Mapping[str, Path]) -> None:
    """Refuse names and files that are not there before the run is done."""
    config = context.config.evaluation
    check_baselines(context)
    check_protocols(config.protocols)
    taken = [name for name in vectors if name in (MODEL, *config.baselines)]
    if taken:
        raise ConfigError(
            f"vectors {', '.join(taken)}: the name is that of a model or baseline; "
            f"expected another one."
        )
    for path in vectors.values():
        require_not_personal(locate(str(path), "vectors"))


def _score_file(folder: Path) -> ScoreFile:
    """Open the benchmark's scores; those of the run's evaluation count too."""
    file, evaluated = folder / "benchmark" / "scores.jsonl", folder / "evaluate"
    file.parent.mkdir(exist_ok=True)
    if not file.exists() and (evaluated / file.name).is_file():
        shutil.copyfile(evaluated / file.name, file)
    return ScoreFile(file)


def _models(
    context: RunContext, mobility: Mobility, vectors: Mapping[str, Path]
) -> tuple[Models, dict[str, str]]:
    """Give the run's own vectors, the user's, and those of the baselines."""
    names = context.config.evaluation.baselines
    given = baseline_input(context, mobility, ["vectors"])
    read = find_baseline("vectors")
    own = {name: read(given, path=str(path)) for name, path in vectors.items()}
    cache = context.folder / "benchmark" / "baselines"
    baselines, left_out = embed_baselines_of_run(context, mobility, names, cache)
    return {MODEL: run_vectors(context), **own, **baselines}, left_out


def _coverage_warnings(vectors: Models) -> list[str]:
    """Say which of the user's vectors lack places that others are scored on."""
    without = {name: np.isnan(rows).any(axis=1) for name, rows in vectors.items()}
    return [
        f"{name} has no vector, or not all of it, for {lacks.sum():,} of "
        f"{len(lacks):,} places; Ridge takes the mean of the others there, and trees "
        f"that it is missing."
        for name, lacks in without.items()
        if lacks.any()
    ]


def diagnose_all(
    context: RunContext, tasks: Sequence[Task], vectors: np.ndarray
) -> list[Diagnosis]:
    """Tell of each task where and for whom a model errs."""
    config = context.config.evaluation
    readout = "ridge" if config.readouts == "ridge" else LIGHTGBM[config.setting]
    found = []
    with context.display.bar("Diagnosing", "tasks") as progress:
        for done, task in enumerate(tasks):
            progress(done, len(tasks))
            found.append(diagnose(task, vectors, readout=readout, seed=config.seed))
    return found
