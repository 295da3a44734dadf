"""Subcommands about data: sources, checks of a run, change between two runs."""

from pathlib import Path
from typing import Annotated

import typer

from mora.cli.app import app
from mora.cli.options import Json, print_json


@app.command("sources")
def sources_command(as_json: Json = False) -> None:
    """List the open data that Mora reads: what each gives, its licence and size."""
    from mora.sources import list_sources

    rows = list_sources()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']:18} {row['gives']:10} {row['licence']}")
        typer.echo(f"{'':18} {row['size']}; {row['home']}")
        typer.echo(f"{'':18} {row['use']}")


@app.command("validate")
def validate_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its YAML file.")],
    against: Annotated[
        Path | None, typer.Option(help="Another run, to measure drift.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings count as errors.")
    ] = False,
    inputs: Annotated[
        bool, typer.Option(help="Also read the records of movement again.")
    ] = True,
) -> None:
    """Check a run's inputs and outputs; the exit status says whether all is well."""
    from mora.pipeline.validation import validate_run

    report = validate_run(run, against, read_inputs=inputs)
    typer.echo(report.to_markdown())
    raise typer.Exit(report.exit_status(strict=strict))


@app.command("compare")
def compare_command(
    before: Annotated[Path, typer.Argument(help="Folder of a run.")],
    after: Annotated[Path, typer.Argument(help="Folder of a run, later.")],
    top: Annotated[int, typer.Option(min=1, help="How many places.")] = 20,
    as_json: Json = False,
) -> None:
    """Rank places by how much their use changed from one run to another."""
    from mora.pipeline.validation import compare_runs

    found = compare_runs(before, after).head(top)
    if as_json:
        print_json(found.reset_index().to_dict("records"))
        return
    typer.echo(found.to_string())
