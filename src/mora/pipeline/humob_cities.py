"""The cities of a HuMob run: what is known, what is asked, and the truth if known."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Num

from mora.errors import ConfigError
from mora.pipeline.humob_config import CityInput, HumobConfig
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, Events
from mora.trajectories.generator.city import generate_categories, generate_city
from mora.trajectories.humob.files import read_cell_categories, read_humob


@dataclass(frozen=True, eq=False)
class City:
    """Events of one city.

    Attributes:
        name: of the city.
        history: all events whose place is known.
        wanted: the events whose place is to be predicted, masked; of no user, perhaps.
        truth: the same events with their places; None where they are not known.
        categories: points of interest of each place by category, if known.
    """

    name: str
    history: Events
    wanted: Events
    truth: Events | None
    categories: Num[np.ndarray, "tokens categories"] | None = None


def read_city(name: str, config: HumobConfig) -> City:
    """Read or generate the events of a city, and divide them.

    Raises:
        ConfigError: if there is no such city, or it asks for nothing and does not say
            how many users' target days are to be hidden.
        MoraError: if a file cannot be used.
    """
    if name not in config.cities:
        raise ConfigError(
            f"city {name!r} is not configured; expected one of "
            f"{', '.join(config.cities)}."
        )
    given = config.cities[name]
    events, categories = _events(given, config)
    if events.masked().any():
        return _asked(name, events, categories, given, config)
    if given.target_users is None:
        nothing = events.select(np.zeros(len(events), bool)).take_users([])
        return City(name, events, nothing, None, categories)
    return _hidden(name, events, categories, given.target_users, config)


def _events(
    given: CityInput, config: HumobConfig
) -> tuple[Events, Num[np.ndarray, "tokens categories"] | None]:
    if given.generated is not None:
        events = generate_city(given.generated, config.seed)
        return events, generate_categories(given.generated.layout, config.seed)
    events = read_humob(
        str(given.path),
        first_day=given.first_day,
        days=config.days,
        every_cell=True,  # the truth may lie in cells that no known event is in
        leave_out=given.leave_out,
    )
    if given.categories is None:
        return events, None
    assert isinstance(events.tokens, GridTokens)
    return events, read_cell_categories(given.categories, events.tokens)


def _asked(
    name: str,
    events: Events,
    categories: Num[np.ndarray, "tokens categories"] | None,
    given: CityInput,
    config: HumobConfig,
) -> City:
    """Take the masked events as what is asked."""
    masked = events.masked()
    wanted = _with_events(events.select(masked))
    truth = None if given.truth is None else _read_truth(wanted, given, config)
    return City(name, events.select(~masked), wanted, truth, categories)


def _read_truth(wanted: Events, given: CityInput, config: HumobConfig) -> Events:
    """Find the true place of every event that is asked for.

    Raises:
        ConfigError: if the file does not hold them all.
    """
    assert isinstance(wanted.tokens, GridTokens)
    known = read_humob(
        str(given.truth),
        first_day=given.first_day,
        days=config.days,
        tokens=wanted.tokens,
    )
    asked, places = _frame(wanted), _frame(known.select(~known.masked()))
    places = places.drop_duplicates(["user", "time"])
    found = asked[["user", "time"]].merge(places, how="left", on=["user", "time"])
    missing = found[found["token"].isna()]
    if len(missing):
        raise ConfigError(
            f"{given.truth}: {len(missing)} of {len(found)} events that are asked for "
            f"have no place there (first: user, slot "
            f"{missing[['user', 'time']].head(3).to_numpy().tolist()}); expected all. "
            f"Leave `truth` out to predict without scores."
        )
    return wanted.with_tokens(found["token"].to_numpy(np.int32))


def _frame(events: Events) -> pd.DataFrame:
    users = events.users[events.user_rows()]
    return pd.DataFrame({"user": users, "time": events.time(), "token": events.token})


def _hidden(
    name: str,
    events: Events,
    categories: Num[np.ndarray, "tokens categories"] | None,
    users: int,
    config: HumobConfig,
) -> City:
    """Hide the target days of the last users."""
    target = events.user_rows() >= len(events.users) - users
    target &= events.day >= config.first_target_day
    if not target.any():
        raise ConfigError(
            f"city {name}: the last {users} of {len(events.users)} users have no event "
            f"from day {config.first_target_day} on; expected some to predict. Lower "
            f"first_target_day, or name more users."
        )
    truth = _with_events(events.select(target))
    wanted = truth.with_tokens(np.full_like(truth.token, MASKED))
    return City(name, events.select(~target), wanted, truth, categories)


def _with_events(events: Events) -> Events:
    """Leave out the users who have no event."""
    return events.take_users(np.flatnonzero(events.counts() > 0))


def known_users(city: City) -> City:
    """Leave out of what is asked the users of whom nothing is known."""
    known = np.isin(city.wanted.users, city.history.users[city.history.counts() > 0])
    keep = np.flatnonzero(known)
    truth = None if city.truth is None else city.truth.take_users(keep)
    return replace(city, wanted=city.wanted.take_users(keep), truth=truth)
