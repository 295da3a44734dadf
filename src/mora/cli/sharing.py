"""Subcommands that share a run: publish, search, serve, explore."""

from pathlib import Path
from typing import Annotated

import typer

from mora.cli.app import app
from mora.cli.options import Json, print_json, stoppable

Run = Annotated[Path, typer.Argument(help="Folder of a finished run, runs/NAME.")]
PublishedFlows = Annotated[
    bool,
    typer.Option(
        "--published-flows",
        help="Draw flows that count no users: their publisher has hidden small groups.",
    ),
]
Count = Annotated[int, typer.Option("--count", "-k", min=1, help="How many places.")]


@app.command("publish")
@stoppable
def publish_command(
    run: Run,
    to: Annotated[Path, typer.Option(help="The new folder.")],
    config: Annotated[
        Path, typer.Option(help="YAML: licence, period, thresholds, limits.")
    ],
    encoder: Annotated[
        Path | None, typer.Option(help="A distilled encoder of this run.")
    ] = None,
    distilling: Annotated[
        Path | None,
        typer.Option(help="YAML with `distill:` and `training:`, where none is given."),
    ] = None,
    attack_users: Annotated[
        int,
        typer.Option(
            min=0,
            help="Tell who was in the data: learn the run again so many times (even).",
        ),
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what was published before.")
    ] = False,
) -> None:
    """Write a folder fit for a model hub: weights, card, checksums, privacy report."""
    from mora.config import load_section
    from mora.pipeline import attacking
    from mora.pipeline.display import Terminal
    from mora.pipeline.distilling import read_distilling
    from mora.pipeline.validation_inputs import days_of_records
    from mora.progress import Progress
    from mora.publish.config import PublishConfig
    from mora.publish.folder import publish
    from mora.publish.user_membership import UserAttack

    display, settings = Terminal(), load_section(config, PublishConfig)
    network = read_distilling(distilling, None)

    def attack_people(progress: Progress) -> UserAttack:
        return attacking.attack_users(
            run,
            attack_users,
            people=settings.attack_people,
            seed=settings.seed,
            progress=progress,
        )

    with display.bar("Publishing", "steps") as progress:
        done = publish(
            run,
            to,
            settings,
            encoder=encoder,
            distillation=network.distill,
            training=network.training,
            attack_users=attack_people,
            days_of_records=lambda: days_of_records(run),
            force=force,
            progress=progress,
        )
    display.say(f"wrote {to}")
    if done.attacks is not None:
        display.say("\n".join([*done.attacks.verdict(), *done.attacks.skipped]))


@app.command("search")
def search_command(
    run: Run,
    text: Annotated[str, typer.Argument(help="What places are about, in words.")],
    count: Count = 10,
    movement: Annotated[
        float, typer.Option(min=0, help="Weight of how busy a place is; 0 for none.")
    ] = 0.5,  # as PlaceSearch.words
    as_json: Json = False,
) -> None:
    """Search in words: rank the places that a text is about."""
    from mora.pipeline.searching import search_words

    _show(search_words(run, text, count, movement), as_json)


@app.command("similar")
def similar_command(
    run: Run,
    place: Annotated[list[str], typer.Option(help="Be like this place; repeatable.")],
    unlike: Annotated[
        list[str] | None, typer.Option(help="Be unlike this one; repeatable.")
    ] = None,
    within: Annotated[
        str | None, typer.Option(help="west,south,east,north in degrees.")
    ] = None,
    count: Count = 10,
    as_json: Json = False,
) -> None:
    """Find places that are used like others, everywhere or within an area."""
    from mora.pipeline.searching import search_similar

    _show(search_similar(run, place, unlike or [], within, count), as_json)


@app.command("serve")
def serve_command(
    run: Run,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8000,
    public: Annotated[
        bool, typer.Option("--public", help="Allow addresses others can reach.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(help="Ask for this bearer token.", envvar="MORA_TOKEN"),
    ] = None,
    published_flows: PublishedFlows = False,
) -> None:
    """Answer questions over HTTP, and show the explorer, on this computer alone."""
    from mora.pipeline.site import served_site
    from mora.serve import require_loopback, serve

    require_loopback(host, public)
    # A page in a browser has no way to send the token.
    page = None if token else served_site(run, published=published_flows)
    if page is None and not token:
        typer.echo("No explorer: its page is not built, or the places have no outlines")
    typer.echo(f"http://{host}:{port}  (Ctrl-C to stop)")
    serve(run, host=host, port=port, public=public, token=token, page=page)


@app.command("explore")
def explore_command(
    run: Run,
    to: Annotated[Path, typer.Option(help="Folder of the page; works offline.")],
    second: Annotated[
        Path | None, typer.Option(help="Another run, to be seen beside.")
    ] = None,
    min_users: Annotated[
        int, typer.Option(min=1, help="Least users of a flow that is drawn.")
    ] = 5,
    published_flows: PublishedFlows = False,
) -> None:
    """Write the explorer: a map of a run that a browser opens without a server."""
    from mora.pipeline.site import write_site

    write_site(run, to, second, min_users=min_users, published=published_flows)
    typer.echo(f"wrote {to / 'index.html'}")


def _show(found: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for row in found:
        where = "" if row["lon"] is None else f"({row['lon']:.3f}, {row['lat']:.3f})"
        told = " ".join(str(part) for part in (row["name"], where) if part)
        typer.echo(f"{row['score']:.3f}  {row['place']}  {told}")
