"""The report of a run: one page with scores, maps, errors, sources and limits."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mora.benchmark import Task
from mora.benchmark.diagnostics import Diagnosis, GroupError
from mora.benchmark.report import remarks
from mora.benchmark.tables import score_tables
from mora.config import RunConfig
from mora.errors import MoraError
from mora.explore.figure_maps import (
    choropleth,
    diverging_scale,
    sequential_scale,
)
from mora.explore.figures import as_png_data_uri, as_svg, scatter
from mora.explore.report_page import write_report
from mora.explore.report_parts import (
    Illustration,
    ReportPage,
    RepresentativenessSection,
    Table,
    TaskSection,
)
from mora.explore.report_sections import representativeness_section
from mora.pipeline.benchmarking import Benchmark, benchmark_run, diagnose_all
from mora.pipeline.coverage import draw_coverage, on_tokens, outlines_of
from mora.pipeline.display import Display
from mora.pipeline.evaluation import by_unit
from mora.pipeline.folder import versions
from mora.pipeline.homes import compare_with_population
from mora.pipeline.mobility import Mobility, read_mobility
from mora.pipeline.models import MODEL
from mora.pipeline.report_card import model_card, sources
from mora.pipeline.tasks import about_tasks
from mora.tokens import GridTokens


def report_run(
    config: Path | str | Mapping[str, Any] | RunConfig,
    *,
    folder: Path | str | None = None,
    changes: Mapping[str, Any] | None = None,
    path: Path | None = None,
    display: Display | None = None,
) -> Path:
    """Build the report of a run, doing first what is not done.

    Args:
        config: of the run.
        folder: where the run is kept, instead of what the configuration says.
        changes: settings of ``evaluation`` that go over the configuration's.
        path: the page; ``report.html`` in the run's folder by default.
        display: what shows text and progress; nothing by default.

    Returns:
        The page.

    Raises:
        MoraError: if the run cannot be evaluated.
    """
    display = display or Display()
    found = benchmark_run(config, folder=folder, changes=changes, display=display)
    found.write()
    diagnoses = diagnose_all(found.context, found.tasks, found.models[MODEL])
    path = path or found.context.folder / "report.html"
    display.say("Drawing the report")
    write_report(path, _page(found, diagnoses))
    display.say(f"  wrote {path}")
    return path


def _page(found: Benchmark, diagnoses: list[Diagnosis]) -> ReportPage:
    context = found.context
    mobility = read_mobility(context.folder / "graph")
    about = about_tasks(context)
    return ReportPage(
        title=f"{context.config.name}: places and what their vectors tell",
        warnings=list(found.report.warnings),
        notes=list(context.config.notes),
        summary=list(_summary(found)),
        tables=list(_tables(found)),
        figures=list(_coverage(found.tasks, mobility)),
        tasks=[
            _section(task, diagnosis, about[task.name]["description"], mobility)
            for task, diagnosis in zip(found.tasks, diagnoses, strict=True)
        ],
        representativeness=_representativeness(found, mobility),
        model_card=model_card(found.context, found.report, mobility),
        data=list(sources(context.folder)),
        configuration=yaml.safe_dump(
            context.config.model_dump(mode="json", exclude_defaults=True),
            sort_keys=False,
            width=100,
        ),
        versions=versions(),
    )


def _summary(found: Benchmark) -> Iterator[str]:
    """Say first who wins."""
    for unit, part in by_unit(found.report, found.tasks).items():
        readout, protocol = next(iter(part.readouts)), part.protocols[0]
        means = {
            model: float(part.table(model, readout, protocol, part.fair_tasks).mean())
            for model in part.models
            if part.fair_tasks
        }
        best = sorted(means, key=lambda name: -means[name])
        shown = ", ".join(f"{name} {means[name]:.3f}" for name in best[:5])
        yield (
            f"Mean R2 over {len(part.fair_tasks)} labels of {unit}, {protocol} splits, "
            f"{part.readouts[readout]}; best first: {shown}."
        )
        said = remarks(part)  # the notes stand at the top of the page
        yield from (text for text in said if not text.startswith("Note: "))


def _tables(found: Benchmark) -> Iterator[Table]:
    for unit, part in by_unit(found.report, found.tasks).items():
        for table in score_tables(part):
            caption = f"Labels of {unit}. {table.title}"
            yield Table(caption, table.columns, table.rows, table.best)
    yield _task_table(found)


def _task_table(found: Benchmark) -> Table:
    """List the tasks as the paper's Table 1 does."""
    about = about_tasks(found.context)
    rows = [
        (
            task.name,
            said["description"],
            said["domain"],
            said["scale"],
            f"{len(task.units()):,}",
            said["source"],
            said["year"],
            said["licence"],
        )
        for task, said in ((task, about[task.name]) for task in found.tasks)
    ]
    header = (
        "label",
        "what",
        "domain",
        "scale",
        "samples",
        "source",
        "year",
        "licence",
    )
    return Table("The labels", header, rows, words=True)


def _coverage(tasks: list[Task], mobility: Mobility) -> Iterator[Illustration]:
    """Show which places have each label."""
    figure = draw_coverage(tasks, mobility)
    if figure is not None:
        counts = ", ".join(f"{task.name} {len(task.units()):,}" for task in tasks)
        alt = f"Maps of the places with a label; units with one: {counts}."
        image = as_png_data_uri(figure)
        yield Illustration(image, alt, "Places with a label", whole=True)


def _section(
    task: Task, diagnosis: Diagnosis, description: str, mobility: Mobility
) -> TaskSection:
    """Show one label: where it is, where it is predicted, where the model errs."""
    interval = diagnosis.r2
    said = [
        f"R2 {interval.value:.3f} ({interval.level:.0%} interval {interval.low:.3f} to "
        f"{interval.high:.3f}, {interval.blocks} blocks drawn again) for predictions "
        f"of held-out blocks; {diagnosis.readout}."
    ]
    if task.leaky is not None:
        said.append(f"Given away, and in no mean: {task.leaky}.")
    if task.transform:
        said.append(f"The label is transformed: {task.transform}.")
    covered = diagnosis.coverage
    return TaskSection(
        name=f"{task.name}: {description}",
        remarks=said,
        moran=None if diagnosis.moran is None else diagnosis.moran.i,
        coverage=(covered.coverage, covered.level),
        figures=list(_figures(task, diagnosis, mobility)),
        tables=[
            _group_table(name, errors)
            for name, errors in diagnosis.groups.items()
            if errors
        ],
    )


def _figures(
    task: Task, diagnosis: Diagnosis, mobility: Mobility
) -> Iterator[Illustration]:
    truth = task.targets()
    outlines = outlines_of(mobility)
    if outlines is not None:
        geographic = not isinstance(mobility.tokens, GridTokens)
        scale = sequential_scale(truth)
        residual = diverging_scale(diagnosis.residuals)
        for name, values, colours in (
            ("label", truth, scale),
            ("prediction", diagnosis.predicted, scale),
            ("residual", diagnosis.residuals, residual),
        ):
            whole = np.full(len(task.labels), np.nan)
            whole[task.units()] = values
            title = f"{task.name}: {name}"
            drawn = on_tokens(task, whole)
            figure = choropleth(
                outlines, drawn, title=title, scale=colours, geographic=geographic
            )
            yield Illustration(as_png_data_uri(figure), f"Map of the {name}s.")
    figure = scatter(truth, diagnosis.predicted, title=task.name)
    yield Illustration(
        as_svg(figure) if len(truth) <= 2000 else as_png_data_uri(figure),
        f"Predictions against labels of {len(truth):,} places.",
    )


def _group_table(name: str, errors: Mapping[str, GroupError]) -> Table:
    rows = [
        (
            group,
            f"{error.units:,}",
            "" if error.r2 is None else f"{error.r2:.3f}",
            _amount(error.rmse),
            _amount(error.bias, "+"),
        )
        for group, error in errors.items()
    ]
    header = ("group", "places", "R2 within", "RMSE", "bias")
    return Table(f"Errors by {name}", header, rows)


def _amount(value: float, sign: str = "") -> str:
    """Write a number in the unit of a label, large ones without fractions."""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"


def _representativeness(
    found: Benchmark, mobility: Mobility
) -> RepresentativenessSection:
    """Compare homes and people, or say why that cannot be done."""
    groups = next((dict(t.groups) for t in found.tasks if t.pooling is None), {})
    try:
        compared = compare_with_population(found.context, mobility, groups)
    except MoraError as reason:
        return RepresentativenessSection(remark=f"Not compared: {reason}")
    return representativeness_section(compared)
