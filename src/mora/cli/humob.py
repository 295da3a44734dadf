"""Subcommands of the HuMob challenge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mora.cli.app import app
from mora.cli.options import Json, print_json, split_names, stoppable

if TYPE_CHECKING:
    from mora.pipeline.humob import HumobRun

humob = typer.Typer(
    help="Where people will be: the HuMob challenge, with ST-MoE-BERT and baselines.",
    no_args_is_help=True,
)
app.add_typer(humob, name="humob")

DEFAULT_CONFIG = Path("configs/humob.yaml")
Config = Annotated[Path, typer.Option(help="YAML file of cities, network, training.")]
Folder = Annotated[
    Path | None, typer.Option(help="Where the run is kept; runs/NAME by default.")
]
City = Annotated[str, typer.Option(help="Name of the city in the configuration.")]
Rules = Annotated[
    str, typer.Option(help="humob2023, humob2024 or giscup2025.", metavar="YEAR")
]


@humob.command("pipeline")
@stoppable
def pipeline_command(
    config: Config = DEFAULT_CONFIG, folder: Folder = None, as_json: Json = False
) -> None:
    """Train on one city, tune to the others, predict, and score beside baselines."""
    _score(_run(config, folder, quiet=as_json), None, as_json)


@humob.command("train")
@stoppable
def train_command(config: Config = DEFAULT_CONFIG, folder: Folder = None) -> None:
    """Train the network on the first city."""
    _run(config, folder).train()


@humob.command("finetune")
@stoppable
def finetune_command(
    city: City, config: Config = DEFAULT_CONFIG, folder: Folder = None
) -> None:
    """Tune the trained network to another city."""
    _run(config, folder).finetune(city)


@humob.command("predict")
@stoppable
def predict_command(
    city: City,
    config: Config = DEFAULT_CONFIG,
    folder: Folder = None,
    model: Annotated[
        str,
        typer.Option(
            help="network, medoid, or recommended: what did better on held-out days."
        ),
    ] = "recommended",
    submission: Annotated[
        Path | None,
        typer.Option(help="Folder for a submission, with the original user ids."),
    ] = None,
    team: Annotated[str, typer.Option(help="Part of the submission's name.")] = "team",
    rules: Rules = "humob2024",
) -> None:
    """Predict what is asked for in a city; write a submission if one is wanted."""
    from mora.errors import ConfigError

    if model not in ("recommended", "network", "medoid"):
        raise ConfigError(
            f"--model {model!r}; expected recommended, network or medoid."
        )
    run = _run(config, folder)
    if submission is None:
        tokens = run.predict(city, model)
        typer.echo(f"{len(tokens):,} events of city {city} predicted")
        return
    typer.echo(f"wrote {run.submit(city, model, submission, team, rules)}")


@humob.command("score")
@stoppable
def score_command(
    config: Config = DEFAULT_CONFIG,
    folder: Folder = None,
    cities: Annotated[
        str | None, typer.Option(help="Only these, with commas between them.")
    ] = None,
    predicted: Annotated[
        Path | None, typer.Option(help="Any file uid,d,t,x,y, instead of a run.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Its true places.")] = None,
    rules: Rules = "humob2024",
    as_json: Json = False,
) -> None:
    """Score a run beside the baselines, or any file against its truth."""
    from mora.errors import ConfigError

    if (predicted is None) != (truth is None):
        raise ConfigError("--predicted and --truth belong together; give both.")
    if predicted is None or truth is None:
        _score(_run(config, folder, quiet=as_json), split_names(cities), as_json)
        return
    from mora.pipeline.humob_export import score_files

    print_json(score_files(predicted, truth, rules))


@humob.command("validate")
def validate_command(
    submission: Annotated[Path, typer.Argument(help="The file to be sent.")],
    challenge: Annotated[Path, typer.Option(help="The organisers' file.")],
    rules: Rules = "humob2024",
) -> None:
    """Check a submission by the rules of its year; status 1 if it would be refused."""
    from mora.trajectories.humob.submission import validate_submission

    report = validate_submission(submission, challenge, rules)
    typer.echo(str(report))
    if report.findings:
        raise typer.Exit(1)


@humob.command("generate")
def generate_command(
    to: Annotated[Path, typer.Argument(help="Folder of the files.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the configured cities as files of the challenge."""
    from mora.config import load_section
    from mora.pipeline.humob_config import HumobConfig
    from mora.pipeline.humob_export import write_cities

    written = write_cities(load_section(config, HumobConfig), to)
    typer.echo(f"wrote {', '.join(file.name for file in written)} in {to}")


def _run(config: Path, folder: Path | None, quiet: bool = False) -> "HumobRun":
    # Imported here: `mora --help` should not wait for numba and torch.
    from mora.config import load_section
    from mora.pipeline.display import Display, Terminal
    from mora.pipeline.humob import HumobRun
    from mora.pipeline.humob_config import HumobConfig

    settings = load_section(config, HumobConfig)
    home = Path(folder or settings.folder or Path("runs") / settings.name)
    return HumobRun(settings, home, Display() if quiet else Terminal())


def _score(run: "HumobRun", cities: list[str] | None, as_json: bool) -> None:
    from dataclasses import asdict

    tables = run.score(cities)
    if as_json:
        rows = {city: [asdict(s) for s in t.scores] for city, t in tables.items()}
        print_json(rows)
        return
    for city, table in tables.items():
        run.display.say(f"\nCity {city}\n\n{table.to_markdown()}")
        run.display.say(run.choose(city)["because"])
    run.display.say(f"wrote scores.md and scores-*.csv in {run.home}")
