"""Subcommands that do a run, or one stage of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mora.cli.app import app

Config = Annotated[Path, typer.Argument(help="YAML file of the run.")]
Folder = Annotated[
    Path | None, typer.Option(help="Where the run is kept; runs/NAME by default.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.")]
SUBCOMMANDS = {
    "graph": "Read and check the records; build places and mobility graph.",
    "line": "Pre-encode the full graph with LINE.",
    "features": "Build the features of every place: text, imagery, demographics.",
    "train": "Align the modalities with mobility.",
    "embed": "Write embeddings.parquet.",
    "evaluate": "Score the vectors beside the baselines; write report.json.",
    "map": "Draw map.html.",
}


@app.command("run")
def run_command(config: Config, folder: Folder = None, quiet: Quiet = False) -> None:
    """Do a whole run, or go on with one that was stopped."""
    _run(config, folder, quiet, "map")


def _add_stage(name: str, text: str) -> None:
    """Make one stage a subcommand; the stages that it needs are done first."""

    def command(config: Config, folder: Folder = None, quiet: Quiet = False) -> None:
        _run(config, folder, quiet, name)

    described: Callable[..., None] = command
    described.__doc__ = f"{text} Earlier stages are done first where they are not."
    app.command(name)(described)


for _name, _text in SUBCOMMANDS.items():
    _add_stage(_name, _text)


def _run(config: Path, folder: Path | None, quiet: bool, until: str) -> None:
    # Imported here: `mora --help` should not wait for numba and pandas.
    from mora.pipeline import run
    from mora.pipeline.display import Display, Terminal

    display = Display() if quiet else Terminal()
    try:
        run(config, folder=folder, until=until, display=display)
    except KeyboardInterrupt:
        typer.echo("Stopped. Start the same command again to go on.", err=True)
        raise typer.Exit(130) from None
