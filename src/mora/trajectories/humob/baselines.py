"""Simple predictions of where users will be, each with a rule for thin histories."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from mora.errors import MoraError
from mora.trajectories.events import (
    DAYS_A_WEEK,
    Events,
    day_of_week,
    plane_coordinates,
)
from mora.trajectories.humob.fitting import FitOptions, fit_medoid
from mora.trajectories.humob.histories import known_visits
from mora.trajectories.humob.medoid import MedoidOptions, predict_medoid

UNANSWERED = -1  # where a baseline says nothing, and the one it falls back to does

Rule = Callable[..., Int[np.ndarray, " events"]]


@dataclass(frozen=True)
class NoOptions:
    """Nothing to choose."""


@dataclass(frozen=True)
class Baseline:
    """A rule that predicts places from the past.

    Attributes:
        name: key of the registry.
        rule: history, wanted events and options to tokens, with :data:`UNANSWERED`
            where it cannot tell.
        options: class of its options.
        falls_back_to: name of the baseline that answers the rest; none for the last.
    """

    name: str
    rule: Rule
    options: type
    falls_back_to: str | None

    @property
    def description(self) -> str:
        """Give the first sentence of its documentation."""
        return (self.rule.__doc__ or "").split("\n")[0]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted places, and who answered where the baseline could not.

    Attributes:
        tokens: one for each wanted event, never masked.
        fallbacks: number of events by name of the baseline that stepped in.
    """

    tokens: Int[np.ndarray, " events"]
    fallbacks: dict[str, int]


BASELINES: dict[str, Baseline] = {}


def baseline(
    name: str, *, falls_back_to: str | None, options: type = NoOptions
) -> Callable[[Rule], Rule]:
    """Register a rule under a name; the arguments are attributes of :class:`Baseline`.

    Raises:
        MoraError: if the name is taken.
    """

    def register(rule: Rule) -> Rule:
        if name in BASELINES:
            raise MoraError(f"baseline {name!r} exists already; choose another name.")
        BASELINES[name] = Baseline(name, rule, options, falls_back_to)
        return rule

    return register


def predict(
    name: str, history: Events, wanted: Events, **options: Any
) -> Int[np.ndarray, " events"]:
    """Predict the place of each wanted event; see :func:`predict_with_fallbacks`."""
    return predict_with_fallbacks(name, history, wanted, **options).tokens


def predict_with_fallbacks(
    name: str, history: Events, wanted: Events, **options: Any
) -> Prediction:
    """Predict the place of each wanted event, and count who answered instead.

    Args:
        name: key of :data:`BASELINES`.
        history: what is known; masked events are left out.
        wanted: user, day and slot of the events; their tokens are not read.
        options: fields of the options of the baseline, such as ``slot_width=1.0`` of
            the medoid.

    Returns:
        The tokens; users without history get the mode of the city.

    Raises:
        MoraError: if no baseline has the name or no option one of the names, the
            places differ, or no event of the history has a known place.
    """
    chosen = _find(name)
    given = _make_options(chosen, options)
    found = chosen.rule(history, wanted, given)
    fallbacks: dict[str, int] = {}
    open_ = found == UNANSWERED
    while open_.any() and chosen.falls_back_to:
        chosen = BASELINES[chosen.falls_back_to]
        answers = chosen.rule(history, wanted.select(open_), chosen.options())
        found[open_] = answers
        fallbacks[chosen.name] = int((answers != UNANSWERED).sum())
        open_ = found == UNANSWERED
    return Prediction(found, {who: n for who, n in fallbacks.items() if n})


@baseline("city_mode", falls_back_to=None)
def _city_mode(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The place with the most visits of all users."""
    del options
    known_visits(history, wanted)  # only to refuse what cannot be used
    known = history.select(~history.masked())
    everyone = np.zeros(len(known), np.int64)
    return _mode(everyone, known, np.zeros(len(wanted), np.int64))


@baseline("user_mode", falls_back_to="city_mode")
def _user_mode(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The place that the user visited most."""
    del options
    visits = known_visits(history, wanted)
    return _mode(visits.user_rows(), visits, wanted.user_rows())


@baseline("slot_mode", falls_back_to="user_mode")
def _slot_mode(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The place that the user visited most at this time of day."""
    del options
    visits = known_visits(history, wanted)
    return _mode(_user_slots(visits), visits, _user_slots(wanted))


@baseline("weekday_slot_mode", falls_back_to="slot_mode")
def _weekday_slot_mode(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The place that the user visited most at this time on this day of the week."""
    del options
    visits = known_visits(history, wanted)
    return _mode(_user_week_slots(visits), visits, _user_week_slots(wanted))


@baseline("user_mean", falls_back_to="city_mode")
def _user_mean(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The known place nearest to the middle of the user's visits."""
    from scipy.spatial import KDTree

    del options
    visits = known_visits(history, wanted)
    plane, counts = plane_coordinates(wanted.tokens), visits.counts()
    user, x, y = visits.user_rows(), *plane[visits.token].T
    sums = [np.bincount(user, weights, minlength=len(counts)) for weights in (x, y)]
    middle = np.column_stack(sums) / np.maximum(counts, 1)[:, None]
    nearest = KDTree(plane).query(middle)[1].astype(np.int32)
    return np.where(counts > 0, nearest, UNANSWERED)[wanted.user_rows()]


@baseline("last_place", falls_back_to="city_mode")
def _last_place(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The place of the user's last known visit (persistence)."""
    del options
    visits = known_visits(history, wanted)
    if len(visits) == 0:
        return np.full(len(wanted), UNANSWERED, np.int32)
    last = visits.token[np.maximum(visits.offsets[1:] - 1, 0)]
    return np.where(visits.counts() > 0, last, UNANSWERED)[wanted.user_rows()]


@baseline("last_week", falls_back_to="slot_mode")
def _last_week(
    history: Events, wanted: Events, options: NoOptions
) -> Int[np.ndarray, " events"]:
    """The place at this time a week ago, or in the last week before that is known."""
    del options
    visits = known_visits(history, wanted)
    if len(visits) == 0:
        return np.full(len(wanted), UNANSWERED, np.int32)
    last_day = max(visits.day.max(), wanted.day.max(initial=0)) + 1
    group = _user_week_slots(visits)
    keys = group * last_day + visits.day
    order = np.argsort(keys, kind="stable")
    asked = _user_week_slots(wanted)
    before = np.searchsorted(keys[order], asked * last_day + wanted.day) - 1
    row = order[np.maximum(before, 0)]
    there = (before >= 0) & (group[row] == asked)
    return np.where(there, visits.token[row], UNANSWERED)


@baseline("medoid", falls_back_to="city_mode", options=MedoidOptions)
def _medoid(
    history: Events, wanted: Events, options: MedoidOptions
) -> Int[np.ndarray, " events"]:
    """The visited place nearest to the user's past visits, weighted by time."""
    return predict_medoid(history, wanted, options)


@baseline("medoid_fitted", falls_back_to="city_mode", options=FitOptions)
def _medoid_fitted(
    history: Events, wanted: Events, options: FitOptions
) -> Int[np.ndarray, " events"]:
    """The medoid with options chosen on the last days of the history."""
    return predict_medoid(history, wanted, fit_medoid(history, options).options)


def _user_slots(events: Events) -> Int[np.ndarray, " events"]:
    """Number each pair of a user and a slot."""
    return events.user_rows() * events.slots_a_day + events.slot


def _user_week_slots(events: Events) -> Int[np.ndarray, " events"]:
    """Number each triple of a user, a day of the week and a slot."""
    return _user_slots(events) * DAYS_A_WEEK + day_of_week(events.day)


def _mode(
    keys: Int[np.ndarray, " visits"], visits: Events, asked: Int[np.ndarray, " events"]
) -> Int[np.ndarray, " events"]:
    """Give the place seen most often under each key; of equals, the one seen last.

    Args:
        keys: of each visit, >= 0.
        visits: the visits.
        asked: keys to be answered.

    Returns:
        Tokens, :data:`UNANSWERED` for a key without visits.
    """
    if len(visits) == 0:
        return np.full(len(asked), UNANSWERED, np.int32)
    places = len(visits.tokens)
    pairs, each, counts = np.unique(
        keys * places + visits.token, return_inverse=True, return_counts=True
    )
    last = np.zeros(len(pairs), np.int64)
    np.maximum.at(last, each, visits.time())
    key, token = np.divmod(pairs, places)
    order = np.lexsort([last, counts, key])
    best = order[np.append(np.diff(key) > 0, True)]  # last row of each key
    row = best[np.searchsorted(key[best], asked).clip(max=len(best) - 1)]
    return np.where(key[row] == asked, token[row], UNANSWERED).astype(np.int32)


def _find(name: str) -> Baseline:
    if name not in BASELINES:
        raise MoraError(
            f"no baseline {name!r}; expected one of {', '.join(BASELINES)}."
        )
    return BASELINES[name]


def _make_options(chosen: Baseline, given: dict[str, Any]) -> Any:
    known = [field.name for field in fields(chosen.options)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise MoraError(
            f"baseline {chosen.name!r} has no option {', '.join(unknown)}; expected "
            f"{', '.join(known) or 'none'}."
        )
    return replace(chosen.options(), **given)
