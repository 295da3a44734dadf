"""Settings of made-up GPS traces."""

import numpy as np
from jaxtyping import Float
from pydantic import Field

from mora.geometry import EARTH_RADIUS_KM
from mora.trajectories.generator.behaviour import Behaviour
from mora.trajectories.generator.layout import LayoutConfig

KM_A_DEGREE = float(np.radians(1)) * EARTH_RADIUS_KM


class TraceConfig(Behaviour):
    """People of a made-up city, and how their phones record them.

    Attributes:
        west: longitude of the lower left corner of the map.
        south: latitude of the corner.
        transit_users: share of the people who take transit where it suits.
        station_cells: distance between two stations of a line.
        transit_kmh: speed along the lines.
        road_kmh: speed of all other trips, along a straight line.
        access_kmh: speed to a station and from it.
        gap_minutes: mean time between two points of a phone, on average over people.
        gap_spread: standard deviation of its log over people.
        noise_m: standard deviation of the error of a point, east and north.
    """

    layout: LayoutConfig = LayoutConfig(
        seed=11, width=80, height=80, centres=9, core_cells=6.0, suburb_cells=12.0
    )
    users: int = Field(500, ge=1)
    days: int = Field(14, ge=1)
    commute_cells: float = Field(20.0, gt=0)
    trips_a_day: float = Field(2.0, ge=0)
    trip_cells: float = Field(12.0, gt=0)
    away: float = Field(0.03, ge=0, le=1)
    west: float = Field(139.0, ge=-180, lt=179)
    south: float = Field(35.0, ge=-80, lt=79)
    transit_users: float = Field(0.5, ge=0, le=1)
    station_cells: float = Field(2.0, gt=0)
    transit_kmh: float = Field(45.0, gt=0)
    road_kmh: float = Field(25.0, gt=0)
    access_kmh: float = Field(12.0, gt=0)
    gap_minutes: float = Field(20.0, gt=0)
    gap_spread: float = Field(0.4, ge=0)
    noise_m: float = Field(30.0, ge=0)

    def to_lonlat(
        self, place: Float[np.ndarray, "places 2"]
    ) -> Float[np.ndarray, "places 2"]:
        """Put places of the map, in cells from the corner, on Earth."""
        east, north = place.T * self.cell_km / KM_A_DEGREE
        stretch = 1 / np.cos(np.radians(self.south))
        return np.column_stack([self.west + east * stretch, self.south + north])


# Two sources that differ in map, behaviour and sampling: train on one, test on the
# other.
TRACE_SETTINGS = {
    "north": TraceConfig(),
    "south": TraceConfig(
        layout=LayoutConfig(
            seed=12, width=80, height=80, centres=4, core_cells=8.0, suburb_cells=18.0
        ),
        west=130.0,
        south=33.0,
        commuters=0.45,
        trips_a_day=3.0,
        weekend_trips=1.0,
        trip_cells=8.0,
        transit_users=0.4,
        road_kmh=35.0,
        gap_minutes=45.0,
        gap_spread=0.7,
        noise_m=60.0,
    ),
}
