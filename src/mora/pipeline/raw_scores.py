"""What a RAW run is judged by: labels of users and regions, and forecasts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from mora.errors import MoraError
from mora.geometry import cells_at
from mora.pipeline.display import Display
from mora.pipeline.raw_config import RawRunConfig
from mora.pipeline.raw_people import People
from mora.tokens import H3Tokens
from mora.trajectories.generator.squares import generate_regions
from mora.trajectories.raw.comparison import (
    pool_variants,
    region_predictors,
    user_predictors,
)
from mora.trajectories.raw.evaluation import forecast_scores
from mora.trajectories.raw.forecast import ForecastErrors, evaluate_forecast
from mora.trajectories.raw.network import RawNetwork
from mora.trajectories.raw.regions import Presence, find_users
from mora.trajectories.raw.tasks import Kind, LabelTask, TaskScore, evaluate_task
from mora.trajectories.raw.user_vectors import embed_users

OURS = "RAW"


def profile_scores(
    config: RawRunConfig, people: People, network: RawNetwork, display: Display
) -> list[TaskScore]:
    """Score what the vectors of unseen users tell of them.

    Args:
        config: ``heads`` and ``seed``.
        people: with labels; without, there is nothing to score.
        network: pretrained.
        display: told which labels cannot be scored, and why.
    """
    unseen = np.flatnonzero(people.test)
    everyone = config.heads.fitted_on == "all"
    rows = np.arange(len(people.test)) if everyone else unseen
    steps = people.steps.take_users(rows)
    vectors = embed_users(network, steps, pooling=config.heads.vectors)
    traces = people.traces.of_users(steps.users)
    tested = np.flatnonzero(people.test[rows])
    found = []
    for name in people.labels:
        with _told(display):
            task = people.task(name, rows)
            found += evaluate_task(
                task,
                user_predictors(task, vectors, traces),
                repeats=config.heads.repeats,
                seed=config.seed,
                tested=tested,
            )
    return [_ours(score, "raw mlp") for score in found]


def region_scores(
    config: RawRunConfig, people: People, network: RawNetwork, display: Display
) -> list[TaskScore]:
    """Score what the vectors of regions tell, where labels of regions are made up.

    Labels of real regions are scored by ``mora benchmark``, which reads the
    ``embeddings.parquet`` of the run.

    Args:
        config: ``regions``, ``heads``, ``seed`` and the generated traces.
        people: all of them, whom the regions' vectors are made of.
        network: pretrained.
        display: told which labels cannot be scored, and why.
    """
    made_up = config.traces.generated
    if made_up is None:
        return []
    regions = generate_regions(made_up, config.seed)
    variants = pool_variants(
        find_users(people.traces, regions.tokens),
        embed_users(network, people.steps, pooling=config.heads.vectors),
        min_users=config.regions.min_users,
        seed=config.seed,
    )
    shown = regions.tokens.encode(next(iter(variants.values())).tokens.ids)
    pois = np.log1p(regions.pois[shown].sum(axis=1))
    labels: dict[str, tuple[np.ndarray, Kind]] = {
        "points of interest": (pois, "numbers"),
        "function of a region": (regions.function[shown], "classes"),
    }
    found = []
    for name, (values, kind) in labels.items():
        with _told(display):
            task = LabelTask(name, values, kind)
            found += evaluate_task(
                task,
                region_predictors(task, variants),
                repeats=config.heads.repeats,
                seed=config.seed,
            )
    return [_ours(score, f"raw {config.regions.pooling}") for score in found]


def forecast_errors(
    config: RawRunConfig, people: People, network: RawNetwork
) -> ForecastErrors:
    """Measure forecasts of the users whom the network never saw."""
    steps = people.steps.take_users(np.flatnonzero(people.test))
    return evaluate_forecast(network, steps, config.horizon)


def scores_of_errors(errors: ForecastErrors) -> list[TaskScore]:
    """Score the first, a middle and the last horizon."""
    shown = [int(m) for m in errors.minutes]
    horizons = sorted({shown[0], shown[len(shown) // 2], shown[-1]})
    return forecast_scores(errors.minutes, [errors.km], horizons)


def write_gains(errors: ForecastErrors, folder: Path) -> None:
    """Write ``forecast.md``: mean errors, and the paired gain over each other method.

    Args:
        errors: of RAW and of what needs no network.
        folder: where to.
    """
    means, others = errors.to_pandas(), [k for k in errors.km if k != OURS]
    gains = {name: errors.compare(OURS, name) for name in others}
    lines = [
        "Mean error in km of users whom the network never saw; in brackets by how much "
        "RAW is off less (above 0: RAW is nearer), user by user, ± its standard error.",
        "",
        _row(["minutes", "users", OURS, *others]),
        _row(["---:"] * (len(others) + 3)),
    ]
    for minutes, row in means.iterrows():
        first = gains[others[0]].loc[minutes]
        cells = [
            f"{row[name]:.3f} ({gain.loc[minutes, 'gain_km']:+.3f} ± "
            f"{gain.loc[minutes, 'standard_error_km']:.3f})"
            for name, gain in gains.items()
        ]
        lead = [f"{minutes:g}", f"{first['users']:.0f}", f"{row[OURS]:.3f}"]
        lines.append(_row([*lead, *cells]))
    (folder / "forecast.md").write_text("\n".join(lines) + "\n")


def find_presence(config: RawRunConfig, people: People) -> Presence:
    """Find who was seen in which cell."""
    cells = np.unique(cells_at(people.traces.lonlat, config.regions.resolution))
    return find_users(people.traces, H3Tokens.from_cells(cells))


@contextmanager
def _told(display: Display) -> Iterator[None]:
    """Leave out a task whose labels do not do, and say so."""
    try:
        yield
    except MoraError as error:
        display.say(f"  not scored: {error}")


def _ours(score: TaskScore, name: str) -> TaskScore:
    """Call the model of that name ours."""
    return replace(score, model=OURS) if score.model == name else score


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
