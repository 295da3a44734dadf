"""GPS traces of made-up people whose habits are known."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mora.errors import MoraError
from mora.trajectories.generator.city import SEEN_BY_HOUR
from mora.trajectories.generator.itinerary import Itinerary, travel
from mora.trajectories.generator.layout import Layout, lay_out
from mora.trajectories.generator.schedule import HOME, WORK, Days, live
from mora.trajectories.generator.trace_config import TraceConfig
from mora.trajectories.generator.transit import build_lines
from mora.trajectories.traces import Traces, build_traces

FIRST_SECOND = 1_704_585_600.0  # Sunday 2024-01-07 00:00; day 0 is a Sunday in HuMob


@dataclass(frozen=True, eq=False)
class Profiles:
    """What is true of each person; labels for tasks.

    Attributes:
        users: own id of each, as in the traces.
        commuter: goes to work on workdays.
        trips: journeys from one place to another in the whole period.
        transit_trips: those of them by transit.
        home: in lon/lat.
        work: the same; of no meaning for those who do not commute.
    """

    users: Int[np.ndarray, " users"]
    commuter: Bool[np.ndarray, " users"]
    trips: Int[np.ndarray, " users"]
    transit_trips: Int[np.ndarray, " users"]
    home: Float[np.ndarray, "users 2"]
    work: Float[np.ndarray, "users 2"]

    def transit_share(self) -> Float[np.ndarray, " users"]:
        """Give the share of the trips by transit; 0 for those without trips."""
        return self.transit_trips / np.maximum(self.trips, 1)


def generate_traces(config: TraceConfig, seed: int = 0) -> tuple[Traces, Profiles]:
    """Make up where phones were, at irregular times.

    Args:
        config: the city, its people and their phones.
        seed: of the people; the map has its own.

    Returns:
        Traces of the users 0, 1, ... who left at least one point, and the profiles of
        the same users. Days start at :data:`FIRST_SECOND`.

    Raises:
        MoraError: if nobody left a point.
    """
    rng = np.random.default_rng([seed, config.layout.seed])
    layout = lay_out(config.layout)
    days = live(config, layout, config.users, rng)
    ways = _travel_all(config, layout, days, rng)
    times = _sample_hours(config, rng)
    counts = np.array([len(hours) for hours in times])
    if counts.sum() == 0:
        raise MoraError(
            f"none of {config.users} people left a point in {config.days} days with "
            f"one in {config.gap_minutes:g} minutes; expected some. Lower gap_minutes."
        )
    place = np.concatenate([w.at(hours) for w, hours in zip(ways, times, strict=True)])
    noise = rng.normal(0, config.noise_m / 1000 / config.cell_km, place.shape)
    seconds = FIRST_SECOND + np.round(np.concatenate(times) * 3600)
    user = np.repeat(np.arange(config.users), counts)
    traces = build_traces(user, seconds, config.to_lonlat(place + noise))
    return traces, _describe(config, days, ways, traces.users)


def _travel_all(
    config: TraceConfig, layout: Layout, days: Days, rng: np.random.Generator
) -> list[Itinerary]:
    transit = build_lines(layout, config.station_cells)
    takes_transit = rng.random(config.users) < config.transit_users
    return [
        travel(config, transit, place, stop.ravel(), bool(takes), rng)
        for place, stop, takes in zip(days.place, days.stop, takes_transit, strict=True)
    ]


def _sample_hours(
    config: TraceConfig, rng: np.random.Generator
) -> list[Float[np.ndarray, " points"]]:
    """Draw when each phone records a point: a Poisson process, denser by day."""
    gap = config.gap_minutes * rng.lognormal(0, config.gap_spread, config.users)
    points = rng.poisson(config.days * 24 * 60 / gap)
    until = np.concatenate([[0], np.cumsum(SEEN_BY_HOUR)]) / SEEN_BY_HOUR.sum()
    times = []
    for count in points:
        day = rng.integers(config.days, size=count)
        hour = np.interp(rng.random(count), until, np.arange(25.0))
        times.append(np.sort(day * 24 + hour))
    return times


def _describe(
    config: TraceConfig,
    days: Days,
    ways: list[Itinerary],
    users: Int[np.ndarray, " users"],
) -> Profiles:
    trips = np.array([(way.trips, way.transit_trips) for way in ways])[users]
    home, work = (config.to_lonlat(days.place[users, stop]) for stop in (HOME, WORK))
    return Profiles(users, days.commuter[users], trips[:, 0], trips[:, 1], home, work)
