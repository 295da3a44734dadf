"""Options of the medoid that fit a city, chosen on its past days alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.errors import MoraError
from mora.trajectories.events import Events
from mora.trajectories.humob.medoid import MedoidOptions, predict_medoid
from mora.trajectories.humob.scores import score_users

# Few values each, about the default and mostly a factor of two apart.
GRID: Mapping[str, Sequence[Any]] = {
    "slot_width": (0.5, 1.0, 2.0, 4.0),
    "same_day_type": (1.0, 2.0, 4.0, 8.0),
    "same_weekday": (1.0, 1.5, 3.0),
    "decay": (0.95, 0.985, 1.0),
    "beta": (0.125, 0.25, 0.5, 1.0),
}
PASSES = 2  # over the grid: the second lets the first options answer to the last

Score = Callable[[Events, Events], Float[np.ndarray, " users"]]


@dataclass(frozen=True)
class FitOptions:
    """How options of the medoid are chosen.

    Attributes:
        days: last days of each user that are held out, at most half of those with
            events; best as many as there are days to predict.
        users: drawn to be scored; all of them where there are fewer.
        seed: of the draw.
        start: options that the search begins with, and keeps where nothing is better.
        grid: values to try by name of the option.
    """

    days: int = 15
    users: int = 200
    seed: int = 0
    start: MedoidOptions = field(default_factory=MedoidOptions)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=lambda: dict(GRID))


@dataclass(frozen=True)
class MedoidFit:
    """What the search found.

    Attributes:
        options: the best.
        score: mean score of the held-out days with them.
        start_score: the same with the options at the start.
        tried: number of different options that were scored.
        users: number of users with days to hold out that were scored.
    """

    options: MedoidOptions
    score: float
    start_score: float
    tried: int
    users: int


def fit_medoid(
    history: Events, options: FitOptions | None = None, score: Score | None = None
) -> MedoidFit:
    """Choose options of the medoid by predicting the last known days from the earlier.

    One option after the other takes the value of the grid with the highest score, the
    others being held (coordinate search). Nothing but the history is read.

    Args:
        history: what is known; masked events are left out.
        options: of the search.
        score: of predicted events against true ones, for each user, to be raised;
            GEO-BLEU of ``humob2024`` by default.

    Returns:
        The best options and their score; those of the start where nothing is better.

    Raises:
        MoraError: if ``days`` or ``users`` is below 1, or no user has events on two
            days.
    """
    options = options or FitOptions()
    earlier, later = _draw_users(*hold_out(history, options.days), options)
    scores: dict[MedoidOptions, float] = {}

    def mean_score(tried: MedoidOptions) -> float:
        if tried not in scores:
            found = later.with_tokens(predict_medoid(earlier, later, tried))
            scores[tried] = float((score or _geo_bleu)(found, later).mean())
        return scores[tried]

    best = options.start
    for _ in range(PASSES):
        for name, values in options.grid.items():
            # The value held so far comes first: it stays where nothing is better.
            near = [best, *(replace(best, **{name: value}) for value in values)]
            best = max(near, key=mean_score)
    return MedoidFit(
        best, mean_score(best), mean_score(options.start), len(scores), len(later.users)
    )


def hold_out(history: Events, days: int) -> tuple[Events, Events]:
    """Divide each user's known events into earlier ones and the last days.

    Args:
        history: masked events are left out.
        days: with events that are held out, at most half of those of the user.

    Returns:
        The earlier events and the held-out ones, of the same users; a user with events
        on a single day has no held-out ones.

    Raises:
        MoraError: if ``days`` is below 1.
    """
    if days < 1:
        raise MoraError(f"{days} days to hold out; expected at least 1.")
    known = history.select(~history.masked())
    user = known.user_rows()
    begins = np.ones(len(known), bool)  # of a user's day
    begins[1:] = (user[1:] != user[:-1]) | (known.day[1:] != known.day[:-1])
    active = np.bincount(user[begins], minlength=len(known.users))
    of_city = np.cumsum(begins)  # days counted on through all users
    left = np.cumsum(active)[user] - of_city  # active days after that of the event
    late = left < np.minimum(days, active // 2)[user]
    return known.select(~late), known.select(late)


def _draw_users(
    earlier: Events, later: Events, options: FitOptions
) -> tuple[Events, Events]:
    """Keep users that have held-out events, not more than are wanted."""
    if options.users < 1:
        raise MoraError(f"{options.users} users to score; expected at least 1.")
    able = np.flatnonzero(later.counts() > 0)
    if len(able) == 0:
        raise MoraError(
            f"none of {len(later.users)} users has events on two days or more; "
            f"expected at least one, to hold a day out. Use the medoid without fitting."
        )
    rng = np.random.default_rng(options.seed)
    drawn = rng.choice(able, min(options.users, len(able)), replace=False)
    return earlier.take_users(drawn), later.take_users(drawn)


def _geo_bleu(generated: Events, reference: Events) -> Float[np.ndarray, " users"]:
    return score_users(generated, reference, "humob2024").geo_bleu
