"""Export of a run's labels and splits, and scores of vectors on what was exported."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mora.baselines import BaselineInput, find_baseline
from mora.benchmark import Report, evaluate
from mora.benchmark.bundle import read_bundle, write_bundle
from mora.benchmark.protocols import Draw
from mora.config import EvaluationConfig, RunConfig, load_config
from mora.errors import ConfigError
from mora.pipeline.display import Display
from mora.pipeline.evaluation import EVALUATION_THREADS, chosen_readouts
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import read_mobility
from mora.pipeline.run import run
from mora.pipeline.tasks import about_tasks, read_tasks


def export_bundle(
    config: Path | str | Mapping[str, Any] | RunConfig,
    target: Path,
    *,
    folder: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    display: Display | None = None,
) -> list[Path]:
    """Write a run's labels with fixed splits, so that others can score vectors.

    Args:
        config: of the run; its graph is built first where it is not.
        target: folder of the bundle.
        folder: where the run is kept, instead of what the configuration says.
        changes: settings of ``evaluation`` that go over the configuration's.
        display: what shows text and progress; nothing by default.

    Returns:
        The files.
    """
    settings = load_config(config, {"evaluation": dict(changes or {})})
    path = Path(folder or settings.folder or Path("runs") / settings.name)
    run(settings, folder=path, until="graph", display=display)
    context = RunContext(settings, path)
    mobility = read_mobility(path / "graph")
    evaluation = settings.evaluation
    return write_bundle(
        target,
        settings.name,
        list(read_tasks(context, mobility)),
        mobility.tokens.names(),
        about_tasks(context),
        protocols=evaluation.protocols,
        draw=Draw(repeats=evaluation.splits, seed=evaluation.seed),
    )


def score_bundle(
    folder: Path,
    vectors: Mapping[str, Path],
    changes: Mapping[str, Any],
    display: Display,
) -> Report:
    """Score vectors on an exported bundle.

    Args:
        folder: of the bundle.
        vectors: name -> Parquet or CSV of vectors by place.
        changes: settings of ``evaluation`` (``readouts``, ``setting``); labels and
            splits are the bundle's.
        display: what shows progress.

    Raises:
        ConfigError: if no vectors are given, or splits are asked for.
        MoraError: if the bundle was changed or vectors meet none of its places.
    """
    fixed = [key for key in ("protocols", "splits", "baselines") if key in changes]
    usual = {"splits": 3, "protocols": ["blocked", "random"]}  # of --quick
    asked = [key for key in fixed if changes[key] != usual.get(key)]
    if not vectors or asked:
        raise ConfigError(
            f"--bundle with {len(vectors)} vectors and {', '.join(asked) or 'nothing'} "
            f"set; expected at least one --vectors NAME=PATH, and no other splits than "
            f"the bundle's."
        )
    bundle = read_bundle(folder)
    given = BaselineInput(tokens=bundle.tokens)
    read = find_baseline("vectors")
    models = {name: read(given, path=str(path)) for name, path in vectors.items()}
    settings = {key: v for key, v in changes.items() if key not in fixed}
    config = EvaluationConfig.model_validate(settings)
    with display.bar("Evaluating", "fits") as progress:
        report = evaluate(
            bundle.tasks,
            models,
            trials=bundle.trials,
            readouts=chosen_readouts(config),
            threads=EVALUATION_THREADS,
            progress=lambda done, total, _: progress(done, total),
        )
    first, *others = models
    pairs = [(first, name) for name in others]
    return replace(
        report, pairs=pairs, notes=[f"bundle {bundle.name} {bundle.checksum[:12]}"]
    )
