"""Events of many users in one sorted table."""

import h3
import numpy as np
import pytest

from mora.errors import MoraError
from mora.tokens import GridTokens, H3Tokens
from mora.trajectories.events import (
    MASKED,
    build_events,
    day_of_week,
    is_weekend,
    join_in_time,
    plane_coordinates,
)

GRID = GridTokens.from_xy(np.array([[1, 1], [1, 2], [2, 2], [5, 5]]))


def records():
    """Five events of two users in disorder, one of them twice."""
    return {
        "user": np.array([7, 3, 7, 3, 7, 3]),
        "day": np.array([1, 0, 0, 0, 1, 0]),
        "slot": np.array([4, 9, 2, 1, 4, 9]),
        "token": np.array([0, 1, 2, MASKED, 0, 3]),
    }


def test_events_worked_by_hand():
    events = build_events(**records(), tokens=GRID)
    assert events.users.tolist() == [3, 7]
    assert events.offsets.tolist() == [0, 3, 5]
    assert events.day.tolist() == [0, 0, 0, 0, 1]
    assert events.slot.tolist() == [1, 9, 9, 2, 4]
    assert events.token.tolist() == [MASKED, 1, 3, 2, 0]
    assert events.duplicates == 1
    assert len(events) == 5
    assert events.counts().tolist() == [3, 2]
    assert events.user_rows().tolist() == [0, 0, 0, 1, 1]
    assert events.time().tolist() == [1, 9, 9, 2, 52]
    assert events.masked().tolist() == [True, False, False, False, False]


def test_agrees_with_sorting_row_by_row():
    rng = np.random.default_rng(0)
    user, day, slot = (rng.integers(0, n, 500) for n in (9, 4, 6))
    token = rng.integers(-1, len(GRID), 500)
    events = build_events(user, day, slot, token, GRID, slots_a_day=6)
    seen, expected = set(), []
    for row in zip(user, day, slot, range(500), token, strict=True):
        if (key := row[:3] + row[4:]) not in seen:
            seen.add(key)
            expected.append(row)
    expected = [row[:3] + row[4:] for row in sorted(expected)]
    columns = events.users[events.user_rows()], events.day, events.slot, events.token
    assert list(zip(*columns, strict=True)) == expected
    assert events.duplicates == 500 - len(expected)


def test_the_order_of_records_changes_nothing():
    shuffled = {k: v[[4, 2, 0, 3, 1, 5]] for k, v in records().items()}
    first = build_events(**records(), tokens=GRID)
    second = build_events(**shuffled, tokens=GRID)
    assert first.time().tolist() == second.time().tolist()
    assert first.token.tolist() == second.token.tolist()


def test_records_in_order_give_the_same_as_sorted_ones():
    """They are taken as they are, without sorting."""
    rng = np.random.default_rng(1)
    time = np.concatenate([np.sort(rng.choice(288, 40, replace=False)) for _ in "abc"])
    given = {
        "user": np.repeat([2, 5, 9], 40),
        "day": time // 48,
        "slot": time % 48,
        "token": rng.integers(-1, len(GRID), 120),
    }
    order = rng.permutation(120)
    shuffled = {k: v[order] for k, v in given.items()}
    first, second = (build_events(**g, tokens=GRID) for g in (given, shuffled))
    for name in ("users", "offsets", "day", "slot", "token"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype
    assert first.duplicates == 0


def test_users_may_have_names():
    given = records() | {"user": np.array(["b", "a", "b", "a", "b", "a"])}
    assert build_events(**given, tokens=GRID).users.tolist() == ["a", "b"]


def test_slots_a_day_change_the_time():
    events = build_events(**records(), tokens=GRID, slots_a_day=10)
    assert events.time().tolist() == [1, 9, 9, 2, 14]


def test_some_users():
    events = build_events(**records(), tokens=GRID)
    kept = events.take_users([1])
    assert kept.users.tolist() == [7]
    assert kept.offsets.tolist() == [0, 2]
    assert kept.token.tolist() == [2, 0]
    assert events.take_users(np.array([1, 0])).token.tolist() == events.token.tolist()
    assert len(events.take_users([])) == 0


def test_some_days_keep_users_without_events():
    events = build_events(**records(), tokens=GRID)
    later = events.between(1, 2)
    assert later.users.tolist() == [3, 7]
    assert later.offsets.tolist() == [0, 0, 1]
    assert later.day.tolist() == [1]
    assert len(events.between(0, 2)) == len(events)


def test_other_places_at_the_same_times():
    events = build_events(**records(), tokens=GRID)
    other = events.with_tokens(np.zeros(5, np.int32))
    assert other.token.tolist() == [0] * 5
    assert other.time().tolist() == events.time().tolist()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("day", -1, r"1 of 6 events have a day .*\[-1\].* expected 0 to inf"),
        ("slot", 48, r"1 of 6 events have a slot .*\[48\].* expected 0 to 47"),
        ("token", 4, r"1 of 6 events have a token .*\[4\].* expected -1 to 3"),
        ("token", -2, r"1 of 6 events have a token .*\[-2\].* Correct or leave out"),
    ],
)
def test_what_is_out_of_range_is_refused(column, value, message):
    given = records()
    given[column][2] = value
    with pytest.raises(MoraError, match=message):
        build_events(**given, tokens=GRID)


def test_no_records_are_refused():
    empty = {name: column[:0] for name, column in records().items()}
    with pytest.raises(MoraError, match="no events; expected at least one record"):
        build_events(**empty, tokens=GRID)


def test_days_of_the_week_as_in_humob():
    days = np.array([0, 1, 5, 6, 7, 13])
    assert day_of_week(days).tolist() == [0, 1, 5, 6, 0, 6]
    assert is_weekend(days).tolist() == [True, False, False, True, True, True]


def test_cells_of_a_grid_have_their_column_and_row():
    np.testing.assert_array_equal(plane_coordinates(GRID), GRID.xy())


def test_h3_cells_are_about_a_cell_apart():
    tokens = H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(50.1, 10.2, 7), 5))
    plane = plane_coordinates(tokens)
    pairs = tokens.neighbours()
    apart = np.linalg.norm(plane[pairs[0]] - plane[pairs[1]], axis=1)
    # Hexagons of area 1 have their middles 1.07 apart.
    assert np.median(apart) == pytest.approx(1.07, abs=0.03)


def test_two_tables_in_one():
    events = build_events(**records(), tokens=GRID)
    early, late = events.between(0, 1), events.between(1, 2)
    joined = join_in_time(late, early)
    for name in ("users", "offsets", "day", "slot", "token"):
        assert getattr(joined, name).tolist() == getattr(events, name).tolist()
    assert join_in_time(events, early).duplicates == len(early)


def test_tables_over_other_places_are_not_joined():
    events = build_events(**records(), tokens=GRID)
    other = build_events(**records(), tokens=GridTokens.from_xy(GRID.xy() + 1))
    with pytest.raises(MoraError, match="4 places with 48 slots a day, and 4 with 48"):
        join_in_time(events, other)
    fewer = build_events(**records(), tokens=GRID, slots_a_day=10)
    with pytest.raises(MoraError, match="expected the same places and slots"):
        join_in_time(events, fewer)
