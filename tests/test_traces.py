import gzip

import numpy as np
import pandas as pd
import pytest
from test_real_data import SHARED, needs_shared

from mora.errors import MissingColumnError, MoraError, TableError
from mora.trajectories.traces import build_traces, check_lonlat, traces_from_visits

USER = np.array(["b", "a", "a", "b", "a", "a"])
SECONDS = np.array([90_000.0, 7200.0, 60.0, 30.0, 60.0, 60.0])
LONLAT = np.array([[1, 2], [3, 4], [5, 6], [7, 8], [5, 6], [9, 9]], float)


def small():
    return build_traces(USER, SECONDS, LONLAT)


def check_ins(**changes):
    columns = {
        "user": [7, 7, 7],
        "time": [
            "2010-07-01T12:00:00Z",
            "2010-01-01T03:30:00Z",
            "2010-07-01T12:00:00Z",
        ],
        "lon": [-74.0, -73.9, -74.0],
        "lat": [40.7, 40.8, 40.7],
        "venue": [1, 2, 1],
    }
    return pd.DataFrame(columns | changes)


def test_points_are_sorted_by_user_and_time_and_repeats_are_counted():
    traces = small()
    assert traces.users.tolist() == ["a", "b"]
    assert traces.offsets.tolist() == [0, 3, 5]
    assert traces.seconds.tolist() == [60, 60, 7200, 30, 90_000]
    # Two places in one moment keep the order of the records; (5, 6) came twice.
    assert traces.lonlat.tolist() == [[5, 6], [9, 9], [3, 4], [7, 8], [1, 2]]
    assert traces.duplicates == 1
    assert len(traces) == 5
    assert traces.counts().tolist() == [3, 2]
    assert traces.user_rows().tolist() == [0, 0, 0, 1, 1]
    assert traces.hour().tolist() == pytest.approx([1 / 60, 1 / 60, 2, 1 / 120, 1])


def test_order_of_the_records_changes_nothing():
    rng = np.random.default_rng(0)
    user, seconds = rng.integers(0, 5, 200), rng.random(200)
    lonlat = rng.uniform(-80, 80, (200, 2))
    order = rng.permutation(200)
    first = build_traces(user, seconds, lonlat)
    second = build_traces(user[order], seconds[order], lonlat[order])
    for name in ("users", "offsets", "seconds", "lonlat"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for row, name in enumerate(first.users):  # oracle: one user at a time
        mine = np.argsort(seconds[user == name])
        points = slice(first.offsets[row], first.offsets[row + 1])
        np.testing.assert_array_equal(first.lonlat[points], lonlat[user == name][mine])


def test_users_and_points_are_taken():
    traces = small()
    only_b = traces.take_users([1])
    assert only_b.users.tolist() == ["b"]
    assert only_b.offsets.tolist() == [0, 2]
    assert only_b.lonlat.tolist() == [[7, 8], [1, 2]]
    assert traces.of_users(np.array(["b", "a"])).users.tolist() == ["a", "b"]
    early = traces.select(traces.seconds < 60)
    assert early.users.tolist() == ["a", "b"]
    assert early.counts().tolist() == [0, 1]


def test_unknown_users_are_counted_and_not_shown():
    with pytest.raises(MoraError, match="1 of 2 users are not among the 2") as error:
        small().of_users(np.array(["a", "secret"]))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": np.array(["a", None, "a", "b", "c", "d"], object)}, "have no user"),
        ({"seconds": np.array([0, 1, np.nan, 3, 4, 5])}, "1 of 6 points have no time"),
        ({"lonlat": np.where(LONLAT == 4, np.nan, LONLAT)}, "no longitude or latitude"),
        ({"lonlat": np.where(LONLAT == 3, 181.0, LONLAT)}, "1 of 6 points are not on"),
        ({"lonlat": np.where(LONLAT == 6, 91.0, LONLAT)}, "2 of 6 points are not on"),
        ({"user": USER[:5]}, "5 users, 6 times and 6 points"),
    ],
)
def test_bad_points_are_refused(change, message):
    columns = {"user": USER, "seconds": SECONDS, "lonlat": LONLAT} | change
    with pytest.raises(MoraError, match=message):
        build_traces(**columns)


def test_no_points_are_refused():
    with pytest.raises(MoraError, match="no points; expected at least one"):
        build_traces(USER[:0], SECONDS[:0], LONLAT[:0])


def test_poles_and_the_date_line_are_on_earth():
    check_lonlat(np.array([[-180.0, -90.0], [180.0, 90.0]]))


def test_check_ins_get_the_local_clock():
    traces, report = traces_from_visits(check_ins(), "America/New_York")
    # Noon UTC is 8 in New York in July; 3:30 UTC is 22:30 the day before in January.
    assert traces.hour().tolist() == [22.5, 8.0]
    assert (
        traces.seconds[0] // 86_400
        == (pd.Timestamp("2009-12-31") - pd.Timestamp(0)).days
    )
    assert traces.lonlat.tolist() == [[-73.9, 40.8], [-74.0, 40.7]]
    assert any(p.count == 1 and p.action == "dropped" for p in report.problems)


def test_the_zone_changes_the_clock():
    traces, _ = traces_from_visits(check_ins(), "UTC")
    assert traces.hour().tolist() == [3.5, 12.0]


def test_bad_check_ins_are_refused():
    with pytest.raises(MissingColumnError, match="mine: no column 'time'"):
        traces_from_visits(check_ins().drop(columns="time"), "UTC", source="mine")
    with pytest.raises(TableError, match="unknown time zone 'New York'"):
        traces_from_visits(check_ins(), "New York")


@needs_shared
def test_real_check_ins_become_traces():
    path = SHARED / "data" / "checkins_gowalla_nyc" / "checkins.csv.gz"
    with gzip.open(path) as file:
        frame = pd.read_csv(file).rename(columns={"time_utc": "time"})
    traces, report = traces_from_visits(frame, "America/New_York")
    dropped = sum(p.count for p in report.problems if p.action == "dropped")
    assert len(traces) + traces.duplicates + dropped == len(frame)
    assert np.bincount(traces.hour().astype(int)).argmin() in range(3, 7)  # asleep
