"""The way of one person through the city in continuous time."""

from dataclasses import dataclass
from itertools import pairwise
from math import dist

import numpy as np
from jaxtyping import Float, Int

from mora.trajectories.generator.schedule import SLOTS
from mora.trajectories.generator.trace_config import TraceConfig
from mora.trajectories.generator.transit import Transit

SLOT_HOURS = 24 / SLOTS
LONGEST_ACCESS = 1.0  # of the straight way, for transit to suit a trip


@dataclass(frozen=True, eq=False)
class Itinerary:
    """Straight pieces travelled at a constant speed, or stayed at.

    Attributes:
        hours: since the first midnight, ascending.
        place: at these times, in cells from the corner.
        trips: journeys from one place to another.
        transit_trips: those of them by transit.
    """

    hours: Float[np.ndarray, " knots"]
    place: Float[np.ndarray, "knots 2"]
    trips: int
    transit_trips: int

    def at(self, hours: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
        """Give where the person is at some times."""
        x, y = (np.interp(hours, self.hours, column) for column in self.place.T)
        return np.column_stack([x, y])


def travel(
    config: TraceConfig,
    transit: Transit,
    place: Float[np.ndarray, "places 2"],
    stop: Int[np.ndarray, " slots"],
    takes_transit: bool,
    rng: np.random.Generator,
) -> Itinerary:
    """Turn the stops of a person into journeys.

    A journey starts within the half-hour in which the stop changes, or on arrival
    from the one before if that takes longer.

    Args:
        config: speeds.
        transit: lines and stations.
        place: of the person's stops, in cells from the corner.
        stop: position in ``place`` in each half-hour.
        takes_transit: whether the person does where it suits.
        rng: of the moments of departure.

    Returns:
        The itinerary; two knots at one place without journeys.
    """
    changes = np.flatnonzero(np.diff(stop)) + 1
    stations = transit.nearest(place)
    hours, knots, transit_trips = [0.0], [place[stop[0]]], 0
    for change, wait in zip(changes, rng.random(len(changes)), strict=True):
        ends = stop[change - 1 : change + 1]
        way, off_line = list(place[ends]), config.road_kmh
        if takes_transit and (ride := _ride(transit, way, stations[ends])):
            way, off_line = ride, config.access_kmh
            transit_trips += 1
        now = max((change + wait) * SLOT_HOURS, hours[-1])
        hours.append(now)
        for leg, (start, end) in enumerate(pairwise(way)):
            on_line = 0 < leg < len(way) - 2  # the first and last lead to stations
            speed = config.transit_kmh if on_line else off_line
            now += dist(start, end) * config.cell_km / speed
            hours.append(now)
        knots += way
    hours.append(max(len(stop) * SLOT_HOURS, hours[-1]))
    knots.append(knots[-1])
    return Itinerary(np.array(hours), np.array(knots), len(changes), transit_trips)


def _ride(
    transit: Transit, ends: list[np.ndarray], stations: Int[np.ndarray, "2"]
) -> list[np.ndarray] | None:
    """Give the knots of a trip by transit, or None where it does not suit.

    Args:
        transit: lines and stations.
        ends: where the trip starts and where it ends.
        stations: the nearest to both.
    """
    board, leave = stations
    first, last = transit.stations[stations]
    access = dist(ends[0], first) + dist(last, ends[1])
    if board == leave or access > LONGEST_ACCESS * dist(*ends):
        return None
    ride = transit.ride(int(board), int(leave))
    return [ends[0], *transit.stations[ride], ends[1]]
