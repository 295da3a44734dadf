"""Tables of tasks: what is declared, and what a run has labels of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mora.config import RunConfig, load_config
from mora.config.declarations import declarations, paper_samples
from mora.config.evaluation import LabelsConfig
from mora.explore.drawing import save_figure
from mora.pipeline.coverage import draw_coverage
from mora.pipeline.display import Display
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import read_mobility
from mora.pipeline.run import run
from mora.pipeline.tasks import about_labels, about_tasks, read_tasks


def declared_tasks() -> list[dict[str, Any]]:
    """List the tasks that come declared with Mora, the paper's nine first."""
    samples = paper_samples()
    rows = []
    for declaration, settings in declarations().items():
        labels = LabelsConfig.model_construct(**_complete(settings))
        for name, said in about_labels(labels).items():
            beside = {"declared": declaration, "samples": samples.get(name)}
            rows.append({"task": name, **said, **beside})
    return sorted(rows, key=lambda row: not row["declared"].startswith("paper."))


def _complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Add what a declaration leaves to the user: nothing is read from it here."""
    fields = LabelsConfig.model_fields
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in fields.items()
        if name not in settings and not field.is_required()
    }
    return {**defaults, **settings}


def tasks_of_run(
    config: Path | str | Mapping[str, Any] | RunConfig,
    folder: Path | None,
    display: Display,
) -> list[dict[str, Any]]:
    """List the tasks of a configuration with the number of labelled places.

    A map a task of where its labels are goes to ``coverage.png`` in the run's folder.

    Args:
        config: of the run; its graph is built first where it is not.
        folder: where the run is kept, instead of what the configuration says.
        display: what shows text and progress.
    """
    settings = load_config(config)
    path = Path(folder or settings.folder or Path("runs") / settings.name)
    run(settings, folder=path, until="graph", display=display)
    context = RunContext(settings, path)
    mobility = read_mobility(path / "graph")
    about, tasks = about_tasks(context), list(read_tasks(context, mobility))
    figure = draw_coverage(tasks, mobility)
    if figure is not None:
        picture, _ = save_figure(figure, path / "coverage")
        display.say(f"wrote {picture} and {picture.stem}.svg")
    return [
        {
            "task": task.name,
            **about[task.name],
            "samples": len(task.units()),
            "given_away": task.leaky,
            "lowest": float(np.nanmin(task.labels)),
            "highest": float(np.nanmax(task.labels)),
        }
        for task in tasks
    ]
