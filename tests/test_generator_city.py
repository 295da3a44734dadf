import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import build_events, is_weekend
from mora.trajectories.generator.behaviour import Behaviour
from mora.trajectories.generator.city import (
    generate_categories,
    generate_city,
    grid_tokens,
)
from mora.trajectories.generator.city_config import CityConfig, city_configs
from mora.trajectories.generator.layout import (
    CATEGORIES,
    FUNCTIONS,
    Layout,
    LayoutConfig,
    choose_near,
    count_pois,
    draw_cells,
    lay_out,
)
from mora.trajectories.generator.schedule import HOME, WORK, Explorer, live
from mora.trajectories.generator.statistics import (
    describe_events,
    share_of_top,
)

SHARED = Path(os.environ.get("MORA_SHARED", Path(__file__).parents[2] / "shared"))
SAMPLE = SHARED / "data/yjmob_sample/yjmob_sample.csv.gz"
CELLS = SHARED / "data/yjmob_cells/cells.csv.gz"

SMALL_MAP = LayoutConfig(seed=3, width=30, height=20, centres=3, pois=2_000)
SMALL = CityConfig(layout=SMALL_MAP, users=20, days=15)


@pytest.fixture(scope="module")
def small():
    return generate_city(SMALL)


def even_layout(width=4, height=3):
    cells = width * height
    shares = np.full((len(FUNCTIONS), cells), 1 / cells)
    return Layout(np.array([[1.0, 1.0]]), shares, width, height)


def same_events(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("users", "offsets", "day", "slot", "token")
    )


# The map


def test_cells_are_in_the_order_of_humob():
    layout = even_layout()
    place = np.array([[2.5, 1.2], [-1.0, 0.5], [9.0, 9.0]])
    cell = layout.cell_at(place)
    assert cell.tolist() == [2 * 3 + 1, 0, 11]  # those beyond the edge: in the edge
    assert layout.corner(cell).tolist() == [[2, 1], [0, 0], [3, 2]]


def test_shares_sum_to_one_and_a_smooth_city_is_fullest_at_its_centre():
    layout = lay_out(SMALL_MAP.model_copy(update={"roughness": 0.0, "centres": 1}))
    np.testing.assert_allclose(layout.shares.sum(axis=1), 1)
    (centre,) = layout.cell_at(layout.centres)
    assert (layout.shares.argmax(axis=1) == centre).all()


def test_a_smooth_density_is_gaussian():
    config = SMALL_MAP.model_copy(update={"roughness": 0.0, "centres": 1})
    layout = lay_out(config)
    middle = layout.corner(np.arange(600)) + 0.5
    away = np.linalg.norm(middle - layout.centres[0], axis=1)
    expected = np.exp(-((away / config.suburb_cells) ** 2))
    np.testing.assert_allclose(layout.share("residential"), expected / expected.sum())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 4),
        ("width", 31),
        ("height", 21),
        ("centres", 2),
        ("core_cells", 5.0),
        ("suburb_cells", 9.0),
        ("roughness", 0.2),
    ],
)
def test_every_setting_of_the_map_changes_it(name, value):
    changed = lay_out(SMALL_MAP.model_copy(update={name: value}))
    assert not np.array_equal(changed.shares, lay_out(SMALL_MAP).shares)


def test_cells_are_drawn_in_proportion():
    cells = draw_cells(np.random.default_rng(0), np.array([0.0, 0.25, 0.75, 0.0]), 4000)
    counts = np.bincount(cells, minlength=4) / 4000
    np.testing.assert_allclose(counts, [0, 0.25, 0.75, 0], atol=0.03)


def test_one_place_in_four_is_beyond_the_reach():
    layout = even_layout(400, 400)
    origin = np.full((4000, 2), 200.0)
    place = choose_near(np.random.default_rng(0), layout, "shop", origin, 10.0, 1)
    beyond = np.linalg.norm(place - origin, axis=1) > 10
    assert beyond.mean() == pytest.approx(0.25, abs=0.03)


def test_more_options_find_better_places_and_reach_and_function_matter():
    layout = lay_out(LayoutConfig(seed=2, centres=4))
    origin = np.full((500, 2), 100.0)

    def choose(function="shop", reach=10.0, options=16):
        rng = np.random.default_rng(0)
        return choose_near(rng, layout, function, origin, reach, options)

    def quality(place):
        return layout.share("shop")[layout.cell_at(place)].mean()

    assert quality(choose()) > 1.5 * quality(choose(options=1))
    assert quality(choose()) > quality(choose("leisure"))
    distance = [np.linalg.norm(choose(reach=r) - origin, axis=1) for r in (5.0, 20.0)]
    assert np.median(distance[0]) < np.median(distance[1])


def test_places_beyond_the_edge_are_taken_only_without_others():
    layout, rng = even_layout(40, 40), np.random.default_rng(0)
    origin = np.tile([3.5, 20.0], (4000, 1))
    columns = []
    for options in (1, 16):
        place = choose_near(rng, layout, "shop", origin, 30.0, options)
        columns.append(np.bincount(place[:, 0].astype(int), minlength=40))
    assert columns[0][0] > 5 * columns[0][1]  # all from beyond the left edge
    assert columns[1][0] < 1.5 * columns[1][1]


def test_pois_follow_the_functions_in_the_same_way_in_every_city():
    station, school = CATEGORIES.index("station"), CATEGORIES.index("school")
    for layout in (lay_out(SMALL_MAP), lay_out(LayoutConfig(seed=8, centres=4))):
        counts = count_pois(layout, 4_000_000, seed=0)
        assert counts.sum() == pytest.approx(4_000_000, rel=0.01)
        busy = layout.share("transport")
        assert np.corrcoef(counts[:, station], busy)[0, 1] > 0.9
        ratio = counts[:, school].sum() / counts[:, station].sum()
        assert ratio == pytest.approx(0.7 / 1.0, rel=0.02)


def test_categories_are_in_the_order_of_the_tokens():
    counts = generate_categories(SMALL_MAP, seed=1)
    assert counts.shape == (600, len(CATEGORIES))
    tokens, layout = grid_tokens(SMALL_MAP), lay_out(SMALL_MAP)
    expected = count_pois(layout, SMALL_MAP.pois, seed=1)
    assert tokens.xy()[7].tolist() == [
        tokens.ids[7] // 20 + 1,
        tokens.ids[7] % 20 + 1,
    ]
    np.testing.assert_array_equal(counts[7], expected[tokens.ids[7]])
    assert not np.array_equal(counts, generate_categories(SMALL_MAP, seed=2))
    more = SMALL_MAP.model_copy(update={"pois": 20_000})
    assert generate_categories(more, seed=1).sum() > 5 * counts.sum()


# How people live


def explorer(users=2000, **settings):
    config = Behaviour(layout=SMALL_MAP, **settings)
    home = np.full((users, 2), 10.0)
    rng = np.random.default_rng(0)
    return Explorer(config, lay_out(SMALL_MAP), home, 10, rng)


def test_without_exploring_everyone_returns_to_the_first_place():
    people, all_users = explorer(explore=0.0), np.arange(2000)
    for _ in range(3):
        assert (people.go(all_users) == 0).all()
    assert (people.known == 1).all()


def test_places_are_returned_to_in_proportion_to_their_visits():
    people, all_users = explorer(explore=0.0), np.arange(2000)
    for place in (0, 0, 0, 1):
        people.visit(all_users, np.full(2000, place))
    people.known[:] = 2
    assert np.mean(people.go(all_users) == 0) == pytest.approx(3 / 4, abs=0.03)


@pytest.mark.parametrize(("decay", "chance"), [(0.0, 0.8), (1.0, 0.2)])
def test_new_places_come_with_the_chance_of_song(decay, chance):
    people, all_users = explorer(explore=0.8, explore_decay=decay), np.arange(2000)
    people.visit(all_users, np.zeros(2000, int))
    people.known[:] = 4  # 0.8 * 4^-decay
    fresh = people.go(all_users) == 4
    assert fresh.mean() == pytest.approx(chance, abs=0.03)
    assert np.isfinite(people.found[fresh, 4]).all()


def spend(**settings):
    config = Behaviour(layout=SMALL_MAP, days=14, **settings)
    return live(config, lay_out(SMALL_MAP), 200, np.random.default_rng(0))


def test_without_trips_and_work_everyone_is_at_home():
    days = spend(commuters=0.0, trips_a_day=0.0, away=0.0)
    assert (days.stop == HOME).all()
    assert days.stop.shape == (200, 14, 48)
    assert not days.commuter.any()


def test_commuters_work_by_day_on_workdays_only():
    days = spend(commuters=0.5, trips_a_day=0.0, away=0.0, anomalous_day=3)
    works = (days.stop == WORK).any(axis=2)
    workday = ~is_weekend(np.arange(14)) & (np.arange(14) != 3)
    assert works[np.ix_(days.commuter, workday)].all()
    assert not works[~days.commuter].any()
    assert not works[:, ~workday].any()
    hours = (days.stop == WORK).sum(axis=2)[np.ix_(days.commuter, workday)] / 2
    assert hours.mean() == pytest.approx(9, abs=0.5)


def test_few_go_out_on_the_anomalous_day_and_many_at_the_weekend():
    days = spend(commuters=0.0, away=0.0, anomalous_day=3, weekend_trips=2.0)
    out = (days.stop != HOME).mean(axis=(0, 2))
    assert out[3] < 0.5 * out[2]
    assert out[is_weekend(np.arange(14))].min() > out[[1, 2, 4, 5]].max()


def test_a_day_away_has_no_hour_at_home():
    days = spend(commuters=0.5, trips_a_day=0.0, away=1.0)
    assert not (days.stop == HOME).any()


# What is seen of them


def test_the_same_seed_gives_the_same_events_and_another_does_not():
    events = generate_city(SMALL, seed=1)
    assert same_events(events, generate_city(SMALL, seed=1))
    assert not same_events(events, generate_city(SMALL, seed=2))


def test_events_are_as_if_built_from_shuffled_records(small):
    events = small
    order = np.random.default_rng(0).permutation(len(events))
    columns = (events.user_rows(), events.day, events.slot, events.token)
    again = build_events(*(column[order] for column in columns), events.tokens)
    assert same_events(events, again)
    assert again.duplicates == 0
    assert events.day.dtype == events.token.dtype == np.int32


def test_people_who_stay_at_home_are_seen_in_one_cell():
    still = {"commuters": 0.0, "trips_a_day": 0.0, "away": 0.0}
    events = generate_city(SMALL.model_copy(update={**still, "home_noise_cells": 0.0}))
    assert describe_events(events, target_day=10).distinct_cells == 1
    assert describe_events(events, target_day=10).revisits == 1


def test_the_grid_is_full(small):
    tokens = small.tokens
    assert isinstance(tokens, GridTokens)
    assert (len(tokens), tokens.width, tokens.height) == (600, 30, 20)


def test_cities_of_one_seed_have_different_people(small):
    other = SMALL_MAP.model_copy(update={"seed": 4})
    events = generate_city(SMALL.model_copy(update={"layout": other}))
    assert not np.array_equal(events.counts(), small.counts())


def test_an_unseen_city_is_refused():
    hidden = SMALL.model_copy(update={"seen": 1e-12, "burst": 0.0})
    with pytest.raises(MoraError, match=r"none of 20 people was seen in 15 days"):
        generate_city(hidden)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layout", LayoutConfig(seed=4, width=30, height=20)),
        ("users", 21),
        ("days", 16),
        ("commuters", 0.1),
        ("commute_cells", 3.0),
        ("trips_a_day", 2.0),
        ("weekend_trips", 3.0),
        ("trip_cells", 3.0),
        ("away", 0.6),
        ("stay_slots", 6.0),
        ("explore", 0.1),
        ("explore_decay", 2.0),
        ("habit", 0.9),
        ("anomalous_day", 4),
        ("seen", 0.1),
        ("seen_spread", 0.0),
        ("seen_outside", 0.5),
        ("burst", 0.0),
        ("en_route", 0.0),
        ("home_noise_cells", 2.0),
        ("noise_cells", 2.0),
    ],
)
def test_every_setting_changes_the_events(small, name, value):
    changed = generate_city(SMALL.model_copy(update={name: value}))
    assert not same_events(changed, small)


def test_the_settings_of_the_list_above_are_all_there_are():
    listed = test_every_setting_changes_the_events.pytestmark[0].args[1]
    assert {name for name, _ in listed} | {"cell_km"} == set(CityConfig.model_fields)


def test_the_side_of_a_cell_is_that_of_the_tokens():
    assert generate_city(SMALL.model_copy(update={"cell_km": 2.0})).tokens.cell_km == 2


@pytest.mark.parametrize(
    ("change", "figure", "sign"),
    [
        ({"seen": 0.1}, "history_rows", -1),
        ({"explore": 0.9}, "distinct_cells", 1),
        ({"explore": 0.9}, "revisits", -1),
        ({"noise_cells": 3.0}, "same_cell", -1),
    ],
)
def test_settings_move_the_figures_as_they_say(small, change, figure, sign):
    changed = generate_city(SMALL.model_copy(update=change))
    before, after = (
        getattr(describe_events(events, target_day=10), figure)
        for events in (small, changed)
    )
    assert sign * (after - before) > 0


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        CityConfig(commuters=1.5)
    with pytest.raises(ValidationError, match="Extra inputs"):
        CityConfig(commuter=0.5)


def test_cities_differ_in_their_map_alone():
    cities = city_configs({"A": 10, "D": 20})
    assert [city.users for city in cities.values()] == [10, 20]
    first, last = cities["A"].model_dump(), cities["D"].model_dump()
    different = {name for name in first if first[name] != last[name]}
    assert different == {"layout", "users"}
    assert list(city_configs()) == ["A", "B", "C", "D"]


def test_a_city_without_a_map_is_refused():
    with pytest.raises(MoraError, match=r"no layout for the cities X; expected some"):
        city_configs({"A": 1, "X": 1})


# Figures


def test_figures_of_five_events():
    tokens = grid_tokens(SMALL_MAP)
    day, slot = np.array([0, 0, 0, 60, 60]), np.array([1, 2, 3, 5, 6])
    token = np.array([7, 7, 9, 9, 8])
    events = build_events(np.zeros(5, int), day, slot, token, tokens)
    figures = describe_events(events)
    assert (figures.history_rows, figures.distinct_cells) == (3, 2)
    assert figures.revisits == 1 / 2  # cell 9 of 9, 8
    assert figures.same_cell == 1 / 3  # 7-7 of 7-7, 7-9, 9-8
    assert describe_events(events, target_day=61).history_rows == 5
    assert np.isnan(describe_events(events, target_day=61).revisits)


def test_two_users_do_not_make_a_pair():
    tokens = grid_tokens(SMALL_MAP)
    one = np.ones(2, int)
    events = build_events(np.array([0, 1]), one, np.array([3, 4]), 5 * one, tokens)
    assert np.isnan(describe_events(events).same_cell)


def test_share_of_the_fullest_cells():
    counts = np.array([1, 6, 0, 3])
    assert share_of_top(counts, 0.25) == 0.6
    assert share_of_top(counts, 0.5) == 0.9
    assert share_of_top(np.full(10, 4), 0.3) == pytest.approx(0.3)


@pytest.fixture(scope="module")
def events():
    return generate_city(CityConfig(users=200))


def test_people_are_like_those_of_humob(events):
    figures = describe_events(events)
    assert 700 < figures.history_rows < 1100
    assert 116 < figures.distinct_cells < 180
    assert 0.83 < figures.revisits < 0.88
    assert 0.16 < figures.same_cell < 0.21


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"{SAMPLE} is not here")
def test_half_an_hour_later_as_many_are_in_the_same_cell_as_in_yjmob(events):
    frame = pd.read_csv(SAMPLE)
    xy = frame[["x", "y"]].to_numpy()
    tokens = GridTokens.from_xy(xy)
    columns = (frame[name].to_numpy() for name in ("uid", "d", "t"))
    real = build_events(*columns, tokens.encode_xy(xy), tokens)
    expected = describe_events(real).same_cell
    assert expected == pytest.approx(0.184, abs=0.001)
    assert describe_events(events).same_cell == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
@pytest.mark.skipif(not CELLS.is_file(), reason=f"{CELLS} is not here")
def test_pings_are_as_unequal_as_in_yjmob():
    real = np.zeros(40_000, int)
    pings = pd.read_csv(CELLS)["pings"].to_numpy()
    real[: len(pings)] = pings
    made = generate_city(CityConfig(users=4_000))
    counts = np.bincount(made.token, minlength=40_000)
    for share in (0.01, 0.1, 0.5):
        expected = share_of_top(real, share)
        assert share_of_top(counts, share) == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
def test_baselines_score_as_on_real_users():
    from mora.trajectories.events import MASKED
    from mora.trajectories.humob.baselines import predict
    from mora.trajectories.humob.scores import score_users

    made = generate_city(CityConfig(users=500))
    history, truth = made.between(0, 60), made.between(60, 75)
    wanted = truth.with_tokens(np.full_like(truth.token, MASKED))
    expected = {"medoid": 0.32, "slot_mode": 0.30, "user_mode": 0.22}
    for name, figure in expected.items():
        predicted = truth.with_tokens(predict(name, history, wanted))
        score = score_users(predicted, truth).geo_bleu.mean()
        assert score == pytest.approx(figure, abs=0.02), name
