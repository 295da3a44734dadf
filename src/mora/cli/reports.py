"""The subcommand that builds a run's report."""

from pathlib import Path
from typing import Annotated

import typer

from mora.cli.app import app
from mora.cli.benchmark import QUICK
from mora.cli.options import ConfigOption, Folder, config_or_default


@app.command("report")
def report_command(
    config: ConfigOption = None,
    folder: Folder = None,
    output: Annotated[
        Path | None, typer.Option(help="The page; report.html in the run by default.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ridge alone: a check in seconds.")
    ] = False,
) -> None:
    """Build one self-contained page: scores, maps, errors, sources, model card."""
    # Imported here: `mora --help` should not wait for numba and pandas.
    from mora.pipeline.display import Terminal
    from mora.pipeline.reporting import report_run

    try:
        report_run(
            config_or_default(config),
            folder=folder,
            changes=QUICK if quick else {},
            path=output,
            display=Terminal(),
        )
    except KeyboardInterrupt:
        typer.echo("Stopped. Start the same command again to go on.", err=True)
        raise typer.Exit(130) from None
