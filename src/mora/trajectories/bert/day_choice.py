"""Of several predictions of a day, the one that would have done best on past days.

GEO-BLEU compares whole days, so the likeliest place of every event does not make the
best day. What a prediction is worth can be estimated without the truth: by its mean
GEO-BLEU against the user's own past days, as if each of them came again (the answer of
least expected loss, Kumar and Byrne 2004, Minimum Bayes-Risk Decoding).
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from mora.errors import MoraError, examples
from mora.trajectories.events import Events, is_weekend, plane_coordinates
from mora.trajectories.humob.days import PairedDays
from mora.trajectories.humob.geobleu import daily_geo_bleu
from mora.trajectories.humob.medoid import MedoidOptions, predict_medoid

# Guesses beside the network's, from bold (few visits count) to cautious (many do).
GUESSES = (
    MedoidOptions(),
    MedoidOptions(decay=0.95),
    MedoidOptions(slot_width=0.3),
    MedoidOptions(slot_width=0.4, decay=1.0),
    MedoidOptions(slot_width=1.0),
    MedoidOptions(slot_width=2.0, decay=1.0),
)
WEIGHTS = MedoidOptions()  # how likely a past day comes again


def choose_days(
    tokens: Int[np.ndarray, " events"], history: Events, wanted: Events, past_days: int
) -> Int[np.ndarray, " events"]:
    """Give each day the best of some given tokens and the guesses of the medoid.

    Args:
        tokens: a prediction of every wanted event.
        history: known events of the same users, at least one of each.
        wanted: the events; their tokens are not read.
        past_days: past days that a prediction is compared with, the likeliest of each
            user.

    Returns:
        Tokens; those given where no guess is better.

    Raises:
        MoraError: if a user has no known event.
    """
    _require_history(history, wanted)
    bounds = _day_bounds(wanted)
    guesses = [predict_medoid(history, wanted, options) for options in GUESSES]
    every = np.stack([tokens, *guesses])
    past, weights = past_as_wanted(history, wanted, past_days)
    worth = expected_geo_bleu(every, past, weights, bounds, wanted)
    best = np.repeat(worth.argmax(axis=0), np.diff(bounds))
    return every[best, np.arange(len(wanted))]


def expected_geo_bleu(
    predictions: Int[np.ndarray, "predictions events"],
    past: Int[np.ndarray, "past events"],
    weights: Float[np.ndarray, "past days"],
    bounds: Int[np.ndarray, " bounds"],
    wanted: Events,
) -> Float[np.ndarray, "predictions days"]:
    """Give the mean GEO-BLEU of each prediction's days against weighted past days.

    Args:
        predictions: tokens of each.
        past: tokens of past days at the same slots.
        weights: of each past day for each day; they sum to 1 over the past days.
        bounds: events of day ``i`` are ``bounds[i]:bounds[i + 1]``.
        wanted: gives the places.

    Returns:
        1 for a prediction that is what all past days were.
    """
    plane = plane_coordinates(wanted.tokens).astype(float)

    def worth(one: np.ndarray) -> np.ndarray:
        own = plane[one]
        pairs = (PairedDays(own, plane[day], bounds, bounds) for day in past)
        scores = [daily_geo_bleu(pair) for pair in pairs]
        return (weights * np.stack(scores)).sum(axis=0)

    return np.stack([worth(one) for one in predictions])


def past_as_wanted(
    history: Events, wanted: Events, count: int
) -> tuple[Int[np.ndarray, "count events"], Float[np.ndarray, "count days"]]:
    """Give the likeliest past days of each user, seen at the slots that are wanted.

    A past day is as likely as a visit of it is heavy in the medoid, times its events up
    to as many as are wanted.

    Args:
        history: as in :func:`choose_days`.
        wanted: as in :func:`choose_days`.
        count: of past days; the likeliest is repeated with weight 0 where there are
            fewer.

    Returns:
        For each past day the tokens of its events nearest in time, and the weights of
        the past days for each wanted day, which sum to 1.
    """
    bounds = _day_bounds(wanted)
    tokens = np.empty((count, len(wanted)), np.int64)
    weights = np.zeros((count, len(bounds) - 1))
    user = wanted.user_rows()
    place = {own: row for row, own in enumerate(history.users.tolist())}
    for number, (first, end) in enumerate(pairwise(bounds)):
        row = place[wanted.users[user[first]].item()]
        own = slice(history.offsets[row], history.offsets[row + 1])
        starts, likely = _likely_days(history.day[own], wanted.day[first], end - first)
        chosen = np.argsort(-likely, kind="stable")[:count]
        weights[: len(chosen), number] = likely[chosen] / likely[chosen].sum()
        for at in range(count):
            day = chosen[at] if at < len(chosen) else chosen[0]
            events = slice(own.start + starts[day], own.start + starts[day + 1])
            apart = history.slot[events] - wanted.slot[first:end, None]
            nearest = np.abs(apart).argmin(axis=1)
            tokens[at, first:end] = history.token[events][nearest]
    return tokens, weights


def _likely_days(
    day: Int[np.ndarray, " events"], wanted: int | np.integer, events: int | np.integer
) -> tuple[Int[np.ndarray, " bounds"], Float[np.ndarray, " days"]]:
    """Give where each past day of a user begins, and how likely it comes again."""
    days, starts = np.unique(day, return_index=True)
    starts = np.append(starts, len(day))
    likely = WEIGHTS.decay ** np.abs(wanted - days).astype(float)
    same_type = is_weekend(days) == is_weekend(np.array([wanted]))
    likely = likely * np.where(same_type, WEIGHTS.same_day_type, 1)
    likely = likely * np.where(days % 7 == wanted % 7, WEIGHTS.same_weekday, 1)
    return starts, likely * np.minimum(np.diff(starts), events)


def _require_history(history: Events, wanted: Events) -> None:
    known = np.isin(wanted.users, history.users[history.counts() > 0])
    if not known.all():
        raise MoraError(
            f"{(~known).sum()} of {len(known)} users have no past day (first: "
            f"{examples(wanted.users[~known].tolist())}); expected some to choose by. "
            f"Leave them out."
        )


def _day_bounds(events: Events) -> Int[np.ndarray, " bounds"]:
    """Give where the days of each user begin, and the end of the last."""
    user = events.user_rows()
    begins = np.ones(len(events), bool)
    begins[1:] = (np.diff(user) != 0) | (np.diff(events.day) != 0)
    return np.append(np.flatnonzero(begins), len(events))
