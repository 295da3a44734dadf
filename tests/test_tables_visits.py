from datetime import UTC, datetime
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest

from mora.errors import TableError
from mora.tables import check_visits, hash_users, iso_weeks, read_batches, read_frame

MAPPING = {"user": "user", "time": "time", "lon": "lon", "lat": "lat"}
SHANGHAI = (120.0, 30.0, 122.0, 32.0)


def visits(times=None, **changes):
    """Ten good visits in Shanghai, or one for each given time."""
    times = times or [f"2024-05-01T{hour:02}:00:00Z" for hour in range(10)]
    frame = pd.DataFrame({"time": times, "lon": 121.5, "lat": 31.25})
    frame.insert(0, "user", [f"secret{i}" for i in range(len(times))])
    for column, values in changes.items():
        frame[column] = [*values, *frame[column][len(values) :]]
    return frame


def check(frame, timezone=None, **settings):
    return check_visits(frame, timezone=timezone, **settings)


def found(report):
    return {p.name: (p.count, p.action) for p in report.problems}


def test_good_visits_pass():
    frame, report = check(visits())
    assert report.problems == ()
    assert (report.rows_read, report.rows_kept) == (10, 10)
    assert frame["time"].dtype == "datetime64[us, UTC]"
    assert frame["time"][3] == pd.Timestamp("2024-05-01T03:00Z")


def test_visits_are_checked_once():
    frame, _ = check(visits())
    again, report = check(frame)
    pd.testing.assert_frame_equal(again, frame)
    assert report.problems == ()


@pytest.mark.parametrize(
    "times",
    [
        ["2024-05-01T12:00:00+08:00"],
        ["2024-05-01T12:00:00+08:00", "2024-05-01T04:00:00Z", "2024-05-01 01:00-0300"],
        ["20240501T0400Z", "2024-05-01T12+08"],
        [pd.Timestamp("2024-05-01 12:00", tz="Asia/Shanghai")],
        [datetime(2024, 5, 1, 4, tzinfo=UTC)],
    ],
)
def test_aware_times_become_utc_whatever_the_zone(times):
    for timezone in (None, "America/New_York"):
        frame, _ = check(visits(times), timezone)
        assert (frame["time"] == pd.Timestamp("2024-05-01T04:00Z")).all()


@pytest.mark.parametrize(
    "times",
    [
        ["2024-05-01 12:00", "2024-05-01T12:00:00"],
        ["2024-05-01T12:00", "2024-05-01T04:00Z"],
        [pd.Timestamp("2024-05-01 12:00")],
        pd.to_datetime(["2024-05-01 12:00"]).astype("datetime64[s]").to_list(),
    ],
)
def test_naive_times_are_of_the_stated_zone(times):
    frame, report = check(visits(times), "Asia/Shanghai")
    assert (frame["time"] == pd.Timestamp("2024-05-01T04:00Z")).all()
    assert report.problems == ()
    with pytest.raises(TableError, match=r"no zone .*`timezone:` in the YAML"):
        check(visits(times))


def test_bare_dates_begin_at_local_midnight():
    frame, _ = check(visits(["2024-05-01"]), "Asia/Shanghai")
    assert frame["time"][0] == pd.Timestamp("2024-04-30T16:00Z")


def test_clock_changes_are_counted():
    times = ["2024-11-03 01:30", "2024-03-10 02:30", "2024-07-01 00:00"]
    times += ["2024-11-03T06:30Z"]  # the second 01:30, said outright
    frame, report = check(visits(times), "America/New_York")
    expected = ["2024-11-03T05:30Z", "2024-03-10T07:00Z", "2024-07-01T04:00Z"]
    expected += ["2024-11-03T06:30Z"]
    assert frame["time"].tolist() == [pd.Timestamp(time) for time in expected]
    assert found(report) == {
        "clock time occurs twice, the first is taken": (1, "kept"),
        "clock time is skipped, moved forward": (1, "kept"),
    }


def test_unreadable_times_are_dropped_and_shown():
    times = ["yesterday", "now", "today", None, *visits()["time"][4:]]
    frame, report = check(visits(times))
    assert len(frame) == 6
    assert found(report) == {
        "no time": (1, "dropped"),
        "time is not ISO 8601": (3, "dropped"),
    }
    assert report.problems[1].examples[0].startswith("row 1: time yesterday")


def test_placeholders_for_times_are_dropped():
    times = ["9999-12-31T23:59:59", "1899-12-30", *["2024-05-01 12:00"] * 3]
    _, report = check(visits(times), "America/New_York")
    assert found(report) == {"time before 1900 or after 2199": (2, "dropped")}


def test_numbers_are_no_times():
    with pytest.raises(
        TableError, match=r"time is a number .*Expected ISO 8601 such as"
    ):
        check(visits(time=range(10)))


@pytest.mark.parametrize("zone", ["Asia/Shangai", "+08:00", "../etc"])
def test_unknown_zones_are_refused(zone):
    with pytest.raises(
        TableError, match=r"unknown time zone .*an IANA name such as Asi"
    ):
        check(visits(), zone)
    with pytest.raises(TableError, match=r"unknown time zone"):
        iso_weeks(np.zeros(1, "datetime64[s]"), zone)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"lon": [np.nan]}, "no lon or no lat"),
        ({"lat": [None]}, "no lon or no lat"),
        ({"lon": ["east"]}, "lon is not a number"),
        ({"lat": [-90.5], "lon": [170.0]}, "coordinates out of range"),
        ({"lon": [np.inf]}, "coordinates out of range"),
        ({"lon": [0.0], "lat": [0.0]}, "lon and lat are both 0"),
        ({"user": [None]}, "no user"),
        ({"user": ["  "]}, "no user"),
    ],
)
def test_bad_rows_are_dropped_and_counted(changes, name):
    first = visits(**changes)
    others = visits([f"2024-06-{day:02}T00:00Z" for day in range(1, 31)] * 4)
    others["user"] = [f"other{i}" for i in range(len(others))]
    frame, report = check(pd.concat([first, others], ignore_index=True))
    assert found(report) == {name: (1, "dropped")}
    assert len(frame) == len(first) + len(others) - 1


@pytest.mark.parametrize("timezone", [None, "Asia/Shanghai"])
def test_tables_of_bad_rows_only_become_empty_if_accepted(timezone):
    for changes in ({"user": [None] * 10}, {"time": ["?"] * 10}):
        frame, report = check(visits(**changes), timezone, max_bad_share=1.0)
        assert len(frame) == report.rows_kept == 0
        assert frame["time"].dtype == "datetime64[us, UTC]"


def test_no_report_shows_a_user():
    frame = visits(lon=["east", np.nan, 999.0, 0.0], lat=[1.0, 2.0, 3.0, 0.0])
    frame.loc[4, "time"] = "yesterday"
    frame = pd.concat([frame, frame.tail(1)], ignore_index=True)
    _, report = check(frame)
    assert len(report.problems) == 6
    assert "secret" not in report.describe() + str(report.to_json())


def test_repeats_are_dropped():
    frame = visits()
    _, report = check(pd.concat([frame, frame[2:4], frame[2:3]], ignore_index=True))
    assert found(report) == {"repeats an earlier row": (3, "dropped")}
    assert report.problems[0].examples == ("row 11", "row 12", "row 13")
    assert report.rows_kept == 10


def test_swapped_columns_are_refused():
    swapped = visits().rename(columns={"lon": "lat", "lat": "lon"})
    with pytest.raises(
        TableError, match=r"10 of 10 visits refused: lon and lat look swa"
    ):
        check(swapped)


def test_swapped_share_is_of_the_rows_out_of_range():
    frame = visits(lon=[31.0, 31.0, 300.0], lat=[121.0, 121.0, 31.0])  # 2 of 3 repaired
    with pytest.raises(
        TableError, match=r"2 of 10 visits refused: .*Swap the two under"
    ):
        check(frame)
    _, report = check(frame, swapped_share=0.7)
    assert found(report) == {"coordinates out of range": (3, "dropped")}


def test_a_slip_among_many_is_not_taken_for_swapped_columns():
    frame = pd.concat([visits()] * 20, ignore_index=True)
    frame["user"] = frame.index.astype(str)
    frame.loc[7, "lat"] = 131.25  # repaired if swapped, but one of two hundred
    frame.loc[7, "lon"] = 21.5
    _, report = check(frame)
    assert found(report) == {"coordinates out of range": (1, "dropped")}


def test_bounds_tell_swapped_columns_that_are_in_range():
    paris = visits(lon=[48.9] * 10, lat=[2.3] * 10)
    assert check(paris)[1].problems == ()
    with pytest.raises(TableError, match=r"look swapped"):
        check(paris, bounds=(2.0, 48.0, 3.0, 49.0))
    _, report = check(paris, bounds=(2.0, 48.0, 3.0, 49.0), swapped_share=1.0)
    assert found(report) == {"outside the expected bounds": (10, "kept")}


def test_visits_outside_the_bounds_are_kept():
    frame, report = check(visits(lon=[116.4]), bounds=SHANGHAI)
    assert found(report) == {"outside the expected bounds": (1, "kept")}
    assert len(frame) == 10
    assert report.problems[0].examples == ("row 1: lon 116.4, lat 31.25",)


def test_mostly_bad_visits_are_refused():
    frame = visits(lon=[999.0] * 4)
    message = "v.csv: 4 of 10 visits dropped: coordinates out .* accepted share of 0.3"
    with pytest.raises(TableError, match=message):
        check(frame, max_bad_share=0.3, source="v.csv")
    assert len(check(frame)[0]) == 6


def test_source_is_named_in_the_report():
    assert check(visits())[1].source == "visits"
    assert check(visits(), source="v.csv")[1].source == "v.csv"


def test_tokens_stand_for_coordinates():
    frame = visits().drop(columns=["lon", "lat"]).assign(token=[101, *range(9)])
    frame.loc[1, "token"] = np.nan
    frame, report = check(frame)
    assert frame["token"].tolist()[:2] == ["101", "1"]
    assert found(report) == {"no token": (1, "dropped")}


def test_weeks_stand_for_times():
    weeks = [*range(8), "no", 0.5]
    frame = visits().drop(columns="time").assign(week=pd.Series(weeks, dtype=object))
    frame, report = check(frame)
    assert frame["week"].tolist() == list(range(8))
    assert frame["week"].dtype == np.int64
    assert found(report) == {
        "week is not a number": (1, "dropped"),
        "week is not a whole number": (1, "dropped"),
    }


def test_needed_columns_are_named():
    with pytest.raises(
        TableError, match=r"visits need lon \+ lat or token; got the col"
    ):
        check(visits().drop(columns="lat"))


def test_batches_report_like_the_whole(tmp_path):
    frame = visits(lon=[999.0], time=["?", "?"])
    frame.to_csv(tmp_path / "v.csv", index=False)
    whole, expected = check(read_frame(tmp_path / "v.csv", MAPPING, "visits"))
    batches = [
        check(b) for b in read_batches(tmp_path / "v.csv", MAPPING, "visits", rows=4)
    ]
    joined = pd.concat([b for b, _ in batches], ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole)
    first, *others = (report for _, report in batches)
    for other in others:
        first = first.merge(other)
    assert first == expected


def test_hash_is_keyed_blake2b_of_the_text():
    digest = blake2b(b"ann", digest_size=8, key=b"salt").digest()
    expected = np.uint64(int.from_bytes(digest, "little"))
    hashes = hash_users(pd.Series(["ann", "bob", "ann"]), b"salt")
    assert hashes[0] == hashes[2] == expected
    assert hashes[0] != hashes[1]
    assert hashes.dtype == np.uint64


def test_salt_changes_every_hash_and_nothing_else():
    users = pd.Series([1, 2, 1, 3])
    one, again, other = (hash_users(users, salt) for salt in (b"a", b"a", b"b"))
    np.testing.assert_array_equal(one, again)
    assert not (one == other).any()
    np.testing.assert_array_equal(one, hash_users(users.astype(str).to_numpy(), b"a"))


def test_no_users_give_no_hashes():
    assert hash_users(np.array([], dtype=str), b"a").shape == (0,)


def test_hashing_needs_a_salt_and_users():
    with pytest.raises(TableError, match=r"the salt has 0 bytes; expected 1 to 64"):
        hash_users(np.array(["a"]), b"")
    with pytest.raises(TableError, match=r"1 of 2 users are missing"):
        hash_users(pd.Series(["a", None]), b"a")


def week_of(*times, timezone="UTC"):
    return iso_weeks(np.array(times, "datetime64[s]"), timezone).tolist()


def test_weeks_begin_on_monday_at_local_midnight():
    # Sunday 5 May 2024, 24:00 in Shanghai is 16:00 in UTC.
    times = ("2024-05-05T15:59:59", "2024-05-05T16:00:00", "2024-05-06T00:00:00")
    before, after, monday = week_of(*times, timezone="Asia/Shanghai")
    assert (after - before, monday - after) == (1, 0)
    before, after, monday = week_of(*times)
    assert (after - before, monday - after) == (0, 1)


def test_weeks_run_on_through_the_year_end():
    # 2020 has a week 53, which holds 1 to 3 January 2021.
    december, january, monday = week_of("2020-12-31", "2021-01-03", "2021-01-04")
    assert (january - december, monday - january) == (0, 1)
    assert week_of("1970-01-01", "1969-12-28") == [0, -1]


def test_weeks_follow_summer_time():
    # New York, Monday 00:00 is 05:00 UTC in winter and 04:00 in summer.
    times = ("2024-01-08T04:30", "2024-01-08T05:30", "2024-07-08T04:30")
    weeks = week_of(*times, timezone="America/New_York")
    assert weeks[1] - weeks[0] == 1
    assert weeks[2] - weeks[1] == 26


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_weeks_agree_with_the_calendar(timezone):
    seconds = np.random.default_rng(0).integers(-(10**9), 2 * 10**9, 300)
    utc = pd.Series(pd.to_datetime(seconds, unit="s", utc=True))
    calendar = [tuple(t.tz_convert(timezone).isocalendar())[:2] for t in utc]
    weeks = iso_weeks(utc, timezone)
    for week, (year, number) in zip(weeks, calendar, strict=True):
        monday = datetime.fromisocalendar(year, number, 1)
        assert week == (monday - datetime(1969, 12, 29)).days // 7


def test_weeks_need_times():
    with pytest.raises(TableError, match=r"1 of 2 times are missing"):
        week_of("2024-01-01", "NaT")
