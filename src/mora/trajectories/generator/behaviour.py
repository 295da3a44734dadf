"""How people of a made-up city spend their days."""

from pydantic import Field

from mora.config.section import Section
from mora.trajectories.generator.layout import LayoutConfig


class Behaviour(Section):
    """A map, and how the people on it live and move.

    Attributes:
        layout: map of the city.
        users: people.
        days: from 0; day modulo 7 is the day of the week, 0 and 6 the weekend.
        cell_km: side of a cell of the map.
        commuters: share of the people who go to work on workdays.
        commute_cells: reach of the search for a work place: 1 in 4 of the places
            looked at are farther.
        trips_a_day: other trips of a person on a workday, on average over people.
        weekend_trips: times as many at the weekend.
        trip_cells: reach of the search for a new place, from home.
        away: share of the days spent at another place instead of at home.
        stay_slots: mean stay at a place in half-hours.
        explore: chance of a new place after the first one; rho of Song et al. 2010.
        explore_decay: how it falls with the places known; their gamma.
        habit: chance that the first trip of a day is the one usual on that day of the
            week, at the usual time.
        anomalous_day: on which nobody works and few go out; none if absent.
    """

    layout: LayoutConfig = LayoutConfig(seed=1)
    users: int = Field(1_000, ge=1)
    days: int = Field(75, ge=1)
    cell_km: float = Field(0.5, gt=0)
    commuters: float = Field(0.6, ge=0, le=1)
    commute_cells: float = Field(25.0, gt=0)
    trips_a_day: float = Field(4.5, ge=0)
    weekend_trips: float = Field(1.3, ge=0)
    trip_cells: float = Field(30.0, gt=0)
    away: float = Field(0.22, ge=0, le=1)
    stay_slots: float = Field(3.0, ge=1)
    explore: float = Field(0.5, ge=0, le=1)
    explore_decay: float = Field(0.21, ge=0)
    habit: float = Field(0.3, ge=0, le=1)
    anomalous_day: int | None = Field(None, ge=0)
