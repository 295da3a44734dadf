"""Options that several subcommands share."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mora.errors import ConfigError, MissingFileError

DEFAULT_CONFIG = Path("configs/demo.yaml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(help=f"YAML file of the run; {DEFAULT_CONFIG} by default."),
]
Folder = Annotated[
    Path | None, typer.Option(help="Where the run is kept; runs/NAME by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def config_or_default(config: Path | None) -> Path:
    """Give the configuration that was named, or the demo's.

    Raises:
        MissingFileError: if none was named and the demo's is not there.
    """
    if config is None and not DEFAULT_CONFIG.is_file():
        raise MissingFileError(DEFAULT_CONFIG, "--config")
    return config or DEFAULT_CONFIG


def split_names(text: str | None) -> list[str] | None:
    """Take a list of names with commas apart; None where there is none."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def split_pairs(texts: list[str], option: str) -> dict[str, Path]:
    """Take NAME=PATH apart.

    Raises:
        ConfigError: if a text is no such pair, or a name comes twice.
    """
    pairs: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in pairs:
            raise ConfigError(
                f"{option} {text!r}: expected NAME=PATH, each name once, such as "
                f"mine=vectors.parquet."
            )
        pairs[name] = Path(path)
    return pairs


def print_json(content: Any) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(content, indent=1, default=str))


def stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Let Ctrl-C end a command that can be gone on with, with status 130."""

    @wraps(command)
    def stopped_in_order(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            typer.echo("Stopped. Start the same command again to go on.", err=True)
            raise typer.Exit(130) from None

    return stopped_in_order
