"""The command line: runs, benchmark, experiments, report, encoder, humob ..."""

import sys

import typer

from mora.cli import (
    benchmark,
    coordinates,
    data,
    experiments,
    fetching,
    humob,
    raw,
    reports,
    runs,
    sharing,
)
from mora.cli.app import app
from mora.errors import MoraError

__all__ = [
    "app",
    "benchmark",
    "coordinates",
    "data",
    "experiments",
    "fetching",
    "humob",
    "main",
    "raw",
    "reports",
    "runs",
    "sharing",
]


def main() -> None:
    """Run the command line; a user's mistake ends with its message and status 1."""
    try:
        app()
    except MoraError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)
