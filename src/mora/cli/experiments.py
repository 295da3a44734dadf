"""Subcommands that rerun the studies of the paper."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mora.cli.app import app
from mora.cli.options import (
    ConfigOption,
    Folder,
    Json,
    config_or_default,
    print_json,
    split_names,
    stoppable,
)

if TYPE_CHECKING:
    from mora.embeddings import Embeddings
    from mora.pipeline.display import Display


@app.command("experiment")
@stoppable
def experiment_command(
    name: Annotated[str | None, typer.Argument(help="Which study; see --list.")] = None,
    config: ConfigOption = None,
    folder: Folder = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each variant; 5, or 2 if quick.")
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="Only these, with commas between them.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; 2 where cores allow.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ten epochs and Ridge alone: a first look.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Say what there is.")] = False,
    as_json: Json = False,
) -> None:
    """Rerun a study of the paper: a list of changes to a run, several seeds each."""
    # Imported here: `mora --help` should not wait for numba and pandas.
    from mora.config import load_config
    from mora.experiments import EXPERIMENTS, make_experiment, run_experiment
    from mora.experiments.tables import to_markdown, write_outcome
    from mora.pipeline import run
    from mora.pipeline.display import Display, Terminal

    if listed or name is None:
        for key, maker in EXPERIMENTS.items():
            typer.echo(f"{key:12} {(maker.__doc__ or '').splitlines()[0]}")
        typer.echo("distill      Depth and width of the distilled encoder.")
        return
    settings = load_config(config_or_default(config))
    home = Path(folder or settings.folder or Path("runs") / settings.name)
    display = Display() if as_json else Terminal()
    if name == "distill":
        vectors = run(settings, folder=home, until="embed", display=display)
        _distill(vectors, home, seeds or 3, display)
        return
    run(settings, folder=home, until="features", display=display)
    study = make_experiment(name, settings, home)
    if variants is not None:
        study = study.only(split_names(variants) or [])
    display.say(f"{study.title}: {len(study.variants)} variants")
    outcome = run_experiment(
        study,
        settings,
        home,
        seeds=seeds or (2 if quick else 5),
        quick=quick,
        jobs=jobs or min(2, os.cpu_count() or 1),
        display=display,
    )
    written = write_outcome(outcome, outcome.folder)
    if as_json:
        print_json(outcome.to_json())
        return
    display.say("\n" + to_markdown(outcome))
    display.say(f"wrote {', '.join(file.name for file in written)} in {outcome.folder}")


def _distill(
    embeddings: "Embeddings | None", home: Path, seeds: int, display: "Display"
) -> None:
    """Distil a run into networks of several depths and widths."""
    from mora.distill.sweep import depth_and_width

    assert embeddings is not None
    with display.bar("Distilling", "runs") as progress:
        found = depth_and_width(
            embeddings, home / "experiments" / "distill", seeds=seeds, progress=progress
        )
    written = found.write(home / "experiments" / "distill")
    display.say("\n" + found.to_markdown())
    display.say(f"wrote {', '.join(str(file) for file in written)}")
