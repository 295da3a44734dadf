import numpy as np
import pytest
import shapely

from mora.errors import MoraError
from mora.geometry import great_circle_km
from mora.trajectories.events import is_weekend
from mora.trajectories.generator.gps import (
    FIRST_SECOND,
    Profiles,
    generate_traces,
)
from mora.trajectories.generator.itinerary import Itinerary, travel
from mora.trajectories.generator.layout import (
    FUNCTIONS,
    Layout,
    LayoutConfig,
    count_pois,
    lay_out,
)
from mora.trajectories.generator.squares import generate_regions
from mora.trajectories.generator.trace_config import TRACE_SETTINGS, TraceConfig
from mora.trajectories.generator.transit import Transit, build_lines

SMALL_MAP = LayoutConfig(
    seed=3, width=40, height=30, centres=4, core_cells=4.0, suburb_cells=6.0, pois=3_000
)
SMALL = TraceConfig(layout=SMALL_MAP, users=12, days=8)

# A hub and two lines: stations 1, 2 go east, station 3 goes north.
LINES = Transit(
    np.array([[10.0, 10.0], [20.0, 10.0], [30.0, 10.0], [10.0, 20.0]]),
    np.array([-1, 0, 0, 1]),
)


@pytest.fixture(scope="module")
def small():
    return generate_traces(SMALL)[0]


def changed(**settings):
    return SMALL.model_copy(update=settings)


def same_traces(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("users", "offsets", "seconds", "lonlat")
    )


# Lines


def test_lines_run_from_the_first_centre_to_the_others():
    centres = np.array([[0.0, 0.0], [6.0, 8.0], [0.0, 4.0]])
    layout = Layout(centres, np.full((len(FUNCTIONS), 100), 0.01), 10, 10)
    transit = build_lines(layout, station_cells=5.0)
    expected = [[0, 0], [3, 4], [6, 8], [0, 4]]
    np.testing.assert_allclose(transit.stations, expected)
    assert transit.line.tolist() == [-1, 0, 0, 1]
    assert len(build_lines(layout, station_cells=2.5).stations) == 1 + 4 + 2


def test_one_centre_has_only_a_hub():
    layout = lay_out(SMALL_MAP.model_copy(update={"centres": 1}))
    assert len(build_lines(layout, 2.0).stations) == 1


def test_a_ride_changes_at_the_hub_if_the_lines_differ():
    assert LINES.ride(1, 2) == [1, 2]
    assert LINES.ride(2, 3) == [2, 0, 3]
    assert LINES.ride(0, 3) == [0, 3]


def test_the_nearest_station_of_each_place():
    places = np.array([[11.0, 9.0], [28.0, 12.0], [9.0, 30.0]])
    assert LINES.nearest(places).tolist() == [0, 2, 3]


# Journeys


def journey(place, stop, *, transit, **settings):
    return travel(
        changed(cell_km=1.0, **settings),
        LINES,
        np.array(place),
        np.array(stop),
        transit,
        np.random.default_rng(0),
    )


def test_a_trip_by_road_takes_its_length_over_the_speed():
    stop = [0] * 16 + [1] * 32
    way = journey([[0.0, 0.0], [30.0, 40.0]], stop, transit=False, road_kmh=25.0)
    assert (way.trips, way.transit_trips) == (1, 0)
    leave, arrive = way.hours[1:3]
    assert 8 <= leave < 8.5
    assert arrive - leave == pytest.approx(50 / 25)
    np.testing.assert_allclose(way.at(np.array([leave + 1.0])), [[15, 20]])
    assert way.at(np.array([0.0, 24.0])).tolist() == [[0, 0], [30, 40]]


def test_a_trip_by_transit_follows_the_lines():
    stop = [0] * 16 + [1] * 32
    way = journey(
        [[30.0, 13.0], [14.0, 20.0]],
        stop,
        transit=True,
        transit_kmh=60.0,
        access_kmh=6.0,
    )
    assert (way.trips, way.transit_trips) == (1, 1)
    knots = [[30, 13], [30, 10], [10, 10], [10, 20], [14, 20]]
    assert way.place[1:6].tolist() == knots
    np.testing.assert_allclose(
        np.diff(way.hours[1:6]), [3 / 6, 20 / 60, 10 / 60, 4 / 6]
    )


def test_transit_does_not_suit_a_trip_away_from_the_lines():
    stop = [0] * 16 + [1] * 32
    way = journey([[30.0, 28.0], [34.0, 28.0]], stop, transit=True)
    assert (way.trips, way.transit_trips) == (1, 0)


def test_a_late_arrival_delays_the_next_trip():
    stop = [0] * 16 + [1] + [0] * 31
    way = journey([[0.0, 0.0], [30.0, 40.0]], stop, transit=False, road_kmh=10.0)
    leave, arrive, leave_again, back = way.hours[1:5]
    assert leave_again == arrive == leave + 5
    assert back == leave + 10


def test_who_stays_makes_no_trip():
    way = journey([[3.0, 4.0]], [0] * 48, transit=True)
    assert (way.trips, way.transit_trips) == (0, 0)
    assert way.at(np.array([12.0])).tolist() == [[3, 4]]


def test_places_between_knots_are_on_the_straight_line():
    way = Itinerary(np.array([0.0, 2.0]), np.array([[0.0, 2.0], [4.0, 2.0]]), 1, 0)
    assert way.at(np.array([0.5, 1.0])).tolist() == [[1, 2], [2, 2]]


# Traces


def test_the_same_seed_gives_the_same_traces_and_another_does_not():
    first, profiles = generate_traces(SMALL, seed=1)
    again, _ = generate_traces(SMALL, seed=1)
    other, _ = generate_traces(SMALL, seed=2)
    assert same_traces(first, again)
    assert not same_traces(first, other)
    np.testing.assert_array_equal(first.users, profiles.users)


def test_day_zero_is_a_sunday():
    first = np.datetime64(int(FIRST_SECOND), "s")
    assert first.astype(object).strftime("%A %H:%M") == "Sunday 00:00"
    assert is_weekend(np.array([0]))[0]
    traces, _ = generate_traces(SMALL)
    assert traces.seconds.min() >= FIRST_SECOND
    assert traces.seconds.max() <= FIRST_SECOND + 8 * 86_400


def test_people_who_stay_are_seen_at_home():
    still = changed(commuters=0.0, trips_a_day=0.0, away=0.0, noise_m=0.0)
    traces, profiles = generate_traces(still)
    home = profiles.home[traces.user_rows()]
    np.testing.assert_allclose(traces.lonlat, home, atol=1e-9)
    assert profiles.trips.sum() == 0
    assert (profiles.transit_share() == 0).all()


def test_noise_is_in_metres():
    still = changed(commuters=0.0, trips_a_day=0.0, away=0.0, noise_m=50.0)
    traces, profiles = generate_traces(still)
    home = profiles.home[traces.user_rows()]
    error_km = great_circle_km(traces.lonlat, home)
    # The distance of a point with errors of 50 m in both directions is Rayleigh.
    assert error_km.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.05)


def test_commuters_are_at_work_at_noon_of_workdays():
    config = changed(users=60, trips_a_day=0.0, away=0.0, noise_m=0.0, commuters=0.5)
    traces, profiles = generate_traces(config)
    day = ((traces.seconds - FIRST_SECOND) // 86_400).astype(int)
    noon = (np.abs(traces.hour() - 13) < 0.5) & ~is_weekend(day)
    user = traces.user_rows()
    commuter = profiles.commuter[user]
    from_work = great_circle_km(traces.lonlat, profiles.work[user])
    from_home = great_circle_km(traces.lonlat, profiles.home[user])
    assert (from_work[noon & commuter] < 0.001).mean() > 0.9
    assert from_home[~commuter].max() < 0.001
    workdays = 5  # of eight days from a Sunday; day 7 is a Sunday again
    expected = np.where(profiles.commuter, 2 * workdays, 0)
    np.testing.assert_array_equal(profiles.trips, expected)


def test_gaps_are_as_long_as_asked_and_longer_at_night():
    traces, _ = generate_traces(changed(users=40, gap_minutes=30.0, gap_spread=0.0))
    assert traces.counts().mean() == pytest.approx(8 * 48, rel=0.05)
    by_hour = np.bincount(traces.hour().astype(int), minlength=24)
    assert by_hour[3] < 0.4 * by_hour[12]


def test_transit_share_is_of_the_trips():
    people, twice = np.arange(3), np.zeros((3, 2))
    profiles = Profiles(
        people, people > 0, np.array([4, 0, 2]), np.array([1, 0, 2]), twice, twice
    )
    assert profiles.transit_share().tolist() == [0.25, 0, 1]


def test_the_map_is_where_the_corner_says():
    config = changed(west=10.0, south=60.0, cell_km=1.0)
    points = config.to_lonlat(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))
    assert points[0].tolist() == [10, 60]
    distance = great_circle_km(points[[0, 0]], points[1:])
    np.testing.assert_allclose(distance, 10, rtol=1e-4)


def test_an_unseen_city_is_refused():
    with pytest.raises(MoraError, match=r"none of 12 people left a point in 8 days"):
        generate_traces(changed(gap_minutes=1e12))


CHANGES = [
    ("layout", SMALL_MAP.model_copy(update={"seed": 5})),
    ("users", 13),
    ("days", 9),
    ("cell_km", 1.0),
    ("commuters", 0.1),
    ("commute_cells", 3.0),
    ("trips_a_day", 4.0),
    ("weekend_trips", 3.0),
    ("trip_cells", 3.0),
    ("away", 0.6),
    ("stay_slots", 6.0),
    ("explore", 0.05),
    ("explore_decay", 2.0),
    ("habit", 0.9),
    ("anomalous_day", 4),
    ("west", 10.0),
    ("south", 10.0),
    ("transit_users", 0.0),
    ("station_cells", 6.0),
    ("transit_kmh", 20.0),
    ("road_kmh", 10.0),
    ("access_kmh", 3.0),
    ("gap_minutes", 60.0),
    ("gap_spread", 0.0),
    ("noise_m", 5.0),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_every_setting_changes_the_traces(small, name, value):
    other, _ = generate_traces(changed(**{name: value}))
    assert not same_traces(small, other)


def test_the_settings_of_the_list_above_are_all_there_are():
    assert {name for name, _ in CHANGES} == set(TraceConfig.model_fields)


def test_north_and_south_differ_in_map_sampling_and_behaviour():
    (north, by_north), (south, by_south) = (
        generate_traces(TRACE_SETTINGS[name].model_copy(update={"users": 60}))
        for name in ("north", "south")
    )
    assert north.counts().mean() > 1.5 * south.counts().mean()
    assert by_north.transit_share().mean() > by_south.transit_share().mean() > 0
    assert by_north.commuter.mean() > by_south.commuter.mean()
    assert by_north.trips.mean() < by_south.trips.mean()
    assert north.lonlat.min(axis=0)[0] > south.lonlat.max(axis=0)[0]


# Regions


def test_regions_cover_the_map():
    regions = generate_regions(SMALL, side_cells=7)
    assert len(regions.tokens) == 6 * 5  # 40 x 30 cells, the last squares cut off
    corners = SMALL.to_lonlat(np.array([[0.0, 0.0], [40.0, 30.0]]))
    whole = shapely.box(*corners[0], *corners[1])
    squares = regions.tokens.polygons()
    assert shapely.area(squares).sum() == pytest.approx(shapely.area(whole))
    assert shapely.union_all(squares).symmetric_difference(whole).area < 1e-9


def test_pois_of_a_region_are_those_of_its_cells():
    regions = generate_regions(SMALL, seed=2, side_cells=10)
    layout = lay_out(SMALL_MAP)
    cells = count_pois(layout, SMALL_MAP.pois, seed=2).reshape(40, 30, -1)
    row = regions.tokens.encode(["010-020"])[0]
    expected = cells[10:20, 20:30].sum(axis=(0, 1))
    np.testing.assert_array_equal(regions.pois[row], expected)
    middle = SMALL.to_lonlat(np.array([[15.0, 25.0]]))
    assert regions.tokens.locate(middle).tolist() == [row]


def test_the_function_is_what_a_region_has_most_of():
    regions = generate_regions(SMALL, side_cells=10)
    shares = lay_out(SMALL_MAP).shares.reshape(len(FUNCTIONS), 40, 30)
    row = regions.tokens.encode(["010-020"])[0]
    most = shares[:, 10:20, 20:30].sum(axis=(1, 2)).argmax()
    assert regions.function[row] == most


def test_seed_and_side_change_the_regions():
    regions = generate_regions(SMALL)
    assert not np.array_equal(regions.pois, generate_regions(SMALL, seed=1).pois)
    assert len(generate_regions(SMALL, side_cells=1).tokens) == 1200


def test_people_go_where_there_are_pois():
    config = changed(users=60)
    traces, _ = generate_traces(config)
    regions = generate_regions(config)
    token = regions.tokens.locate(traces.lonlat)
    points = np.bincount(token[token >= 0], minlength=len(regions.tokens))
    shops = np.log1p(regions.pois.sum(axis=1))
    assert np.corrcoef(np.log1p(points), shops)[0, 1] > 0.6


def test_a_square_without_cells_is_refused():
    with pytest.raises(MoraError, match=r"side_cells is 0; expected at least 1"):
        generate_regions(SMALL, side_cells=0)
