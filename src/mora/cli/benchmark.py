"""Subcommands that score vectors and list what they are compared with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mora.cli.app import app
from mora.cli.options import (
    ConfigOption,
    Folder,
    Json,
    config_or_default,
    print_json,
    split_names,
    split_pairs,
)

QUICK = {"readouts": "ridge", "splits": 3, "protocols": ["blocked", "random"]}
Names = Annotated[str | None, typer.Option(help="Names with commas between them.")]


@app.command("benchmark")
def benchmark_command(
    config: ConfigOption = None,
    folder: Folder = None,
    vectors: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH of a Parquet of vectors; may be repeated."),
    ] = None,
    baselines: Names = None,
    protocols: Names = None,
    splits: Annotated[int | None, typer.Option(min=2)] = None,
    setting: Annotated[str | None, typer.Option(help="quick or paper.")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Tune every baseline.")] = False,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Where and for whom the model errs.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ridge alone: a check in seconds.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="Score --vectors on an exported bundle.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write labels and splits as a bundle, and stop.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Print the tasks, as the paper's Table 1.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score vectors on every task, beside baselines, on the same splits."""
    from mora.pipeline.display import Display, Terminal

    display = Display() if as_json else Terminal()
    changes = _changes(baselines, protocols, splits, setting, tune, quick)
    pairs = split_pairs(vectors or [], "--vectors")
    if listed:
        _list_tasks(config, folder, as_json, display)
    elif bundle is not None:
        _score_bundle(bundle, pairs, changes, as_json, display)
    elif export is not None:
        _export(config_or_default(config), folder, export, changes, display)
    else:
        _benchmark(
            config_or_default(config),
            folder,
            pairs,
            changes,
            diagnose,
            as_json,
            display,
        )


@app.command("baselines")
def baselines_command(as_json: Json = False) -> None:
    """List what vectors can be compared with, and how each was checked."""
    from rich.console import Console

    from mora.baselines import BASELINES

    rows = [
        {
            "name": entry.name,
            "group": entry.group,
            "source": entry.source,
            "needs": [*entry.needs, *(["a file"] if entry.needs_file else [])],
            "settings": len(entry.settings),
            "checked": str(entry.reproduction),
            "description": entry.description,
        }
        for entry in BASELINES.values()
    ]
    if as_json:
        print_json(rows)
        return
    shown = [
        {**row, "needs": ", ".join(row["needs"])}
        for row in sorted(rows, key=lambda row: GROUPS.index(row["group"]))
    ]
    columns = ("name", "group", "source", "needs", "checked")
    Console().print(_table(columns, shown))


GROUPS = ("input", "analytical", "pretrained", "trained")


def _changes(
    baselines: str | None,
    protocols: str | None,
    splits: int | None,
    setting: str | None,
    tune: bool,
    quick: bool,
) -> dict[str, Any]:
    """Turn options into settings of the evaluation; what is not given stays."""
    given = {
        "baselines": split_names(baselines),
        "protocols": split_names(protocols),
        "splits": splits,
        "setting": setting,
        "tune": True if tune else None,
    }
    own = {key: value for key, value in given.items() if value is not None}
    return {**(QUICK if quick else {}), **own}


def _benchmark(
    config: Path,
    folder: Path | None,
    pairs: dict[str, Path],
    changes: dict[str, Any],
    with_diagnoses: bool,
    as_json: bool,
    display: Any,
) -> None:
    from mora.pipeline.benchmarking import benchmark_run, describe
    from mora.pipeline.evaluation import show_report

    try:
        found = benchmark_run(
            config,
            folder=folder,
            vectors=pairs,
            changes=changes,
            with_diagnoses=with_diagnoses,
            display=display,
        )
    except KeyboardInterrupt:
        typer.echo("Stopped. Start the same command again to go on.", err=True)
        raise typer.Exit(130) from None
    written = found.write()
    if as_json:
        print_json(found.to_json())
        return
    show_report(found.context, found.report, found.tasks)
    for diagnosis in found.diagnoses:
        display.say(describe(diagnosis))
    display.say(f"wrote {', '.join(p.name for p in written)} in {found.folder}")


def _list_tasks(
    config: Path | None, folder: Path | None, as_json: bool, display: Any
) -> None:
    """Print the tasks of a configuration, or all that are declared."""
    from mora.pipeline.listing import declared_tasks, tasks_of_run

    declared = config is None
    rows = declared_tasks() if declared else tasks_of_run(config, folder, display)
    if as_json:
        print_json(rows)
        return
    columns = ("task", "description", "domain", "scale", "samples", "source", "public")
    display.print(_table(columns, rows))


def _score_bundle(
    bundle: Path,
    pairs: dict[str, Path],
    changes: dict[str, Any],
    as_json: bool,
    display: Any,
) -> None:
    from rich.console import Console

    from mora.benchmark import print_report
    from mora.pipeline.bundle import score_bundle

    report = score_bundle(bundle, pairs, changes, display)
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report, Console())


def _export(
    config: Path,
    folder: Path | None,
    target: Path,
    changes: dict[str, Any],
    display: Any,
) -> None:
    from mora.pipeline.bundle import export_bundle

    written = export_bundle(config, target, folder=folder, changes=changes)
    display.say(f"wrote {', '.join(file.name for file in written)} in {target}")


def _table(columns: Iterable[str], rows: list[dict[str, Any]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "task"))
    for row in rows:
        table.add_row(*(Text(_shown(row[column])) for column in columns))
    return table


def _shown(value: Any) -> str:
    """Write a cell as the paper's Table 1 does."""
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
