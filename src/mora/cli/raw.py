"""Subcommands of RAW, a GPT over trajectories."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mora.cli.app import app
from mora.cli.options import Json, print_json, stoppable

if TYPE_CHECKING:
    from mora.pipeline.raw import RawRun

raw = typer.Typer(
    help="Users and regions as vectors, from a GPT over trajectories (RAW).",
    no_args_is_help=True,
)
app.add_typer(raw, name="raw")

DEFAULT_CONFIG = Path("configs/raw.yaml")
Config = Annotated[
    Path, typer.Option(help="YAML file of trajectories, network, training.")
]
Folder = Annotated[
    Path | None, typer.Option(help="Where the run is kept; runs/NAME by default.")
]


@raw.command("train")
@stoppable
def train_command(config: Config = DEFAULT_CONFIG, folder: Folder = None) -> None:
    """Pretrain the network on the users that are not set aside."""
    _run(config, folder).train()


@raw.command("embed-users")
@stoppable
def embed_users_command(config: Config = DEFAULT_CONFIG, folder: Folder = None) -> None:
    """Write a vector for every user, under hashed ids, to a folder marked personal."""
    typer.echo(f"wrote {_run(config, folder).embed_users()}")


@raw.command("embed-regions")
@stoppable
def embed_regions_command(
    config: Config = DEFAULT_CONFIG, folder: Folder = None
) -> None:
    """Write embeddings.parquet of the cells, made of who is seen there."""
    run = _run(config, folder)
    pooled = run.embed_regions()
    hidden = pooled.provenance["regions_hidden"]
    typer.echo(
        f"wrote {run.home / 'embeddings.parquet'}: {len(pooled):,} cells, {hidden:,} "
        f"with too few users hidden"
    )


@raw.command("predict")
@stoppable
def predict_command(config: Config = DEFAULT_CONFIG, folder: Folder = None) -> None:
    """Forecast where every user goes next, to a folder marked personal."""
    typer.echo(f"wrote {_run(config, folder).predict()}")


@raw.command("evaluate")
@stoppable
def evaluate_command(
    config: Config = DEFAULT_CONFIG, folder: Folder = None, as_json: Json = False
) -> None:
    """Judge vectors and forecasts on users whom the network never saw."""
    run = _run(config, folder, quiet=as_json)
    found = run.evaluate()
    if as_json:
        keys = ("task", "metric", "model", "mean", "std")
        print_json([{key: getattr(s, key) for key in keys} for s in found.scores])
        return
    run.display.say("\n" + found.to_markdown())
    run.display.say(f"wrote evaluation.md and evaluation.csv in {run.home}")


@raw.command("experiment")
@stoppable
def experiment_command(
    name: Annotated[str | None, typer.Argument(help="Which study; see --list.")] = None,
    config: Config = DEFAULT_CONFIG,
    folder: Folder = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 3,
    listed: Annotated[bool, typer.Option("--list", help="Say what there is.")] = False,
) -> None:
    """Run a study: variants of the run, several seeds each, compared in pairs."""
    from mora.pipeline.raw_experiments import STUDIES, run_study

    if listed or name is None:
        for key, maker in STUDIES.items():
            typer.echo(f"{key:12} {(maker.__doc__ or '').splitlines()[0]}")
        return
    run = _run(config, folder)
    # Seed 0 is the one the generator's settings were looked at with.
    found = run_study(
        name, run.config, run.home, range(1, seeds + 1), display=run.display
    )
    run.display.say("\n" + found.to_markdown())
    run.display.say(f"wrote {name}.md and {name}.csv in {run.home}/experiments/{name}")


@raw.command("probe")
@stoppable
def probe_command(config: Config = DEFAULT_CONFIG, folder: Folder = None) -> None:
    """Show what the states know: probes with a shuffled-time control, attention."""
    from mora.pipeline.raw_probes import probe_run

    run = _run(config, folder)
    run.display.say("\n" + probe_run(run))
    run.display.say(f"wrote probes.md, attention.csv and attention.png in {run.home}")


def _run(config: Path, folder: Path | None, quiet: bool = False) -> "RawRun":
    # Imported here: `mora --help` should not wait for numba and torch.
    from mora.config import load_section
    from mora.pipeline.display import Display, Terminal
    from mora.pipeline.raw import RawRun
    from mora.pipeline.raw_config import RawRunConfig

    settings = load_section(config, RawRunConfig)
    home = Path(folder or settings.folder or Path("runs") / settings.name)
    return RawRun(settings, home, Display() if quiet else Terminal())
