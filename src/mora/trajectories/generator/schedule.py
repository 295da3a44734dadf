"""At which of their places people are in each half-hour."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mora.trajectories.events import DAYS_A_WEEK, is_weekend
from mora.trajectories.generator.behaviour import Behaviour
from mora.trajectories.generator.layout import Layout, choose_near, draw_cells

SLOTS = 48
HOME, WORK = 0, 1
FIRST_OTHER = 2  # position of the first place of one's own choice
MOST_TRIPS = 6  # of a person in a day
QUIET = 0.3  # share of the trips left on the anomalous day
LEISURE = 0.4  # share of the places that are for leisure and not a shop
WORK_STARTS = (17.5, 2.0)  # mean and standard deviation over people, in slots
WORK_LASTS = (18.0, 3.0)
PUNCTUAL_SLOTS = 0.7  # standard deviation from day to day


@dataclass(frozen=True, eq=False)
class Days:
    """What people did.

    Attributes:
        place: position of each place of a person: home, work, then those found by
            exploring, in cells from the corner; unused rows are NaN.
        stop: the place at which a person is in each slot of each day.
        commuter: who goes to work on workdays.
    """

    place: Float[np.ndarray, "users places 2"]
    stop: Int[np.ndarray, "users days slots"]
    commuter: Bool[np.ndarray, " users"]


class Explorer:
    """Choice of places by exploration and preferential return.

    Source: Song et al. 2010, Modelling the scaling properties of human mobility,
    eq. 1: a new place with probability rho S^-gamma after S places, otherwise a known
    one in proportion to the visits so far. Here the distance of a new place is counted
    from home.

    Args:
        config: rho, gamma and the distances.
        layout: where shops and leisure are.
        home: of each person, in cells from the corner.
        trips: most that a person can make.
        rng: of all draws.
    """

    def __init__(
        self,
        config: Behaviour,
        layout: Layout,
        home: Float[np.ndarray, "users 2"],
        trips: int,
        rng: np.random.Generator,
    ) -> None:
        self.config, self.layout, self.home, self.rng = config, layout, home, rng
        self.found = np.full((len(home), trips, 2), np.nan)
        self.known = np.zeros(len(home), np.int64)
        self._visited = np.zeros((len(home), trips), np.int32)
        self._trips = np.zeros(len(home), np.int64)

    def go(self, users: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Choose a place for each of some people, none twice.

        Returns:
            Positions in :attr:`found`.
        """
        config, known, trips = self.config, self.known[users], self._trips[users]
        chance = config.explore * np.maximum(known, 1.0) ** -config.explore_decay
        fresh = (self.rng.random(len(users)) < chance) | (known == 0)
        # A trip of the past taken at random is a place in proportion to its visits.
        past = self._visited[users, (self.rng.random(len(users)) * trips).astype(int)]
        chosen = np.where(fresh, known, past)
        self._explore(users[fresh])
        self.visit(users, chosen)
        return chosen

    def visit(self, users: Int[np.ndarray, " n"], place: Int[np.ndarray, " n"]) -> None:
        """Count a visit of each of some people."""
        self._visited[users, self._trips[users]] = place
        self._trips[users] += 1

    def _explore(self, users: Int[np.ndarray, " n"]) -> None:
        leisure = self.rng.random(len(users)) < LEISURE
        for function, kind in (("leisure", leisure), ("shop", ~leisure)):
            who = users[kind]
            self.found[who, self.known[who]] = choose_near(
                self.rng, self.layout, function, self.home[who], self.config.trip_cells
            )
        self.known[users] += 1


def live(
    config: Behaviour, layout: Layout, users: int, rng: np.random.Generator
) -> Days:
    """Let some people live in a city for some days.

    Args:
        config: how they behave.
        layout: of the city.
        users: people.
        rng: of all draws.

    Returns:
        Their places and where they are in each slot; without trips and work all are at
        home.
    """
    cell = draw_cells(rng, layout.share("residential"), users)
    home = layout.corner(cell) + rng.random((users, 2))
    work = choose_near(rng, layout, "office", home, config.commute_cells)
    stop = np.full((users, config.days, SLOTS), HOME, np.int16)
    commuter = rng.random(users) < config.commuters
    _go_to_work(config, rng, commuter, stop)
    explorer = Explorer(config, layout, home, config.days * (MOST_TRIPS + 1), rng)
    _stay_away(config, rng, explorer, stop)
    _make_trips(config, rng, explorer, stop)
    own = explorer.found[:, : explorer.known.max()]
    place = np.concatenate([home[:, None], work[:, None], own], axis=1)
    return Days(place, stop, commuter)


def _go_to_work(
    config: Behaviour,
    rng: np.random.Generator,
    commuter: Bool[np.ndarray, " users"],
    stop: Int[np.ndarray, "users days _"],
) -> None:
    users, days, _ = stop.shape
    usual = rng.normal(*WORK_STARTS, (users, 1))
    start = usual + rng.normal(0, PUNCTUAL_SLOTS, (users, days))
    end = usual + rng.normal(*WORK_LASTS, (users, 1))
    end = end + rng.normal(0, PUNCTUAL_SLOTS, (users, days))
    workday = ~is_weekend(np.arange(days))
    if config.anomalous_day is not None:
        workday &= np.arange(days) != config.anomalous_day
    slots = np.arange(SLOTS)
    there = (slots >= start[..., None]) & (slots < end[..., None])
    stop[there & (commuter[:, None] & workday)[..., None]] = WORK


def _stay_away(
    config: Behaviour,
    rng: np.random.Generator,
    explorer: Explorer,
    stop: Int[np.ndarray, "users days _"],
) -> None:
    users, days, _ = stop.shape
    for day in range(days):
        away = np.flatnonzero(rng.random(users) < config.away)
        place = explorer.go(away)[:, None] + FIRST_OTHER
        stop[away, day] = np.where(stop[away, day] == HOME, place, stop[away, day])


def _make_trips(
    config: Behaviour,
    rng: np.random.Generator,
    explorer: Explorer,
    stop: Int[np.ndarray, "users days _"],
) -> None:
    users, days, _ = stop.shape
    outgoing = rng.gamma(2.0, config.trips_a_day / 2, users)
    usual_place = np.full((users, DAYS_A_WEEK), -1)
    usual_start = _draw_starts(rng, usual_place.size).reshape(usual_place.shape)
    for day in range(days):
        weekday = day % DAYS_A_WEEK
        trips = rng.poisson(outgoing * _liveliness(config, day)).clip(max=MOST_TRIPS)
        for trip in range(trips.max(initial=0)):
            going = np.flatnonzero(trips > trip)
            as_usual = (rng.random(len(going)) < config.habit) & (trip == 0)
            usual = usual_place[going, weekday]
            again = as_usual & (usual >= 0)
            place = usual.copy()
            place[~again] = explorer.go(going[~again])
            explorer.visit(going[again], place[again])
            start = _draw_starts(rng, len(going))
            start = np.where(as_usual, usual_start[going, weekday], start)
            usual_place[going, weekday] = np.where(usual < 0, place, usual)
            stay = rng.geometric(1 / config.stay_slots, len(going))
            _stay(stop, going, day, start, stay, place + FIRST_OTHER)


def _liveliness(config: Behaviour, day: int) -> float:
    """Give how many trips a day has, as a multiple of those of a workday."""
    if day == config.anomalous_day:
        return QUIET
    return config.weekend_trips if is_weekend(np.array([day]))[0] else 1.0


def _draw_starts(rng: np.random.Generator, n: int) -> Int[np.ndarray, " n"]:
    """Draw starts of trips: most by day, with a long evening."""
    return (15 + 28 * rng.beta(1.6, 1.8, n)).astype(np.int64)


def _stay(
    stop: Int[np.ndarray, "users days _"],
    users: Int[np.ndarray, " n"],
    day: int,
    start: Int[np.ndarray, " n"],
    length: Int[np.ndarray, " n"],
    place: Int[np.ndarray, " n"],
) -> None:
    slots = np.arange(SLOTS)
    there = (slots >= start[:, None]) & (slots < (start + length)[:, None])
    row, slot = np.nonzero(there)
    stop[users[row], day, slot] = place[row]
