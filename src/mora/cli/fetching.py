"""The subcommand that fetches open data."""

from pathlib import Path
from typing import Annotated

import typer

from mora.cli.app import app
from mora.cli.options import stoppable
from mora.errors import ConfigError


@app.command("fetch")
@stoppable
def fetch_command(
    plan: Annotated[
        str | None,
        typer.Argument(help="A publisher (none: list them), or a YAML list of files."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--with", help="Of the publisher, such as state=de; repeatable."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where files go.")] = Path("data"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list files, sizes and addresses.")
    ] = False,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Of a dry run: ask the servers for sizes.")
    ] = False,
    unpack: Annotated[
        bool, typer.Option("--unpack", help="Unpack archives, each in its own folder.")
    ] = False,
) -> None:
    """Fetch open data: resumed, checked, and never written over."""
    # Imported here: `mora --help` should not wait for them.
    from mora.pipeline.display import Terminal
    from mora.sources.fetch import fetch
    from mora.sources.fetch_plan import FETCHABLE
    from mora.sources.fetchable import BY_HAND, plan_of, read_plan

    if plan is None:
        for name, entry in sorted(FETCHABLE.items()):
            typer.echo(f"{name}: {entry.about} {entry.home}")
        for name, how in sorted(BY_HAND.items()):
            typer.echo(f"{name} (by hand): {how}")
        return
    if plan.endswith((".yaml", ".yml")):
        files = read_plan(plan)
    else:
        files = plan_of(plan, **_options(options or []))
    with Terminal().bar(f"Fetching {plan}", "bytes") as progress:
        rows = fetch(
            files,
            folder,
            dry_run=dry_run,
            ask_sizes=sizes,
            unpack_archives=unpack,
            progress=progress,
        )
    for row in rows:
        size = "size unknown" if row.size is None else f"{row.size / 1e6:.1f} MB"
        typer.echo(f"{row.status}: {row.name}, {size}, {row.address}")


def _options(texts: list[str]) -> dict[str, str]:
    """Take NAME=VALUE apart."""
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise ConfigError(f"--with {wrong[0]!r}: expected NAME=VALUE such as state=de.")
    return dict(text.split("=", 1) for text in texts)
