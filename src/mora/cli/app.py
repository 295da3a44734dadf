"""The command line that subcommands are added to."""

import typer

app = typer.Typer(
    help="Places as vectors that know how people use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
