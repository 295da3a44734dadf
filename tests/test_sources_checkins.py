import gzip

import pandas as pd
import pytest

from mora.errors import MissingColumnError, MissingFileError, TableError
from mora.sources.checkins import (
    read_tsmc2014_places,
    stream_brightkite,
    stream_gowalla,
    stream_tsmc2014,
)
from mora.sources.geolife import stream_geolife
from mora.sources.humob import stream_humob
from mora.sources.registry import read_source, write_source
from mora.tables import check_places, check_visits, read_batches

VISITS = ["user", "time", "lon", "lat"]


def gowalla_lines(users=20):
    return "".join(
        f"{user}\t2010-10-{day:02}T23:55:27Z\t30.2359{user:02}\t-97.79513{day}\t{user}\n"
        for user in range(users)
        for day in range(19, 9, -1)
    )


def zipped(path, text):
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_gowalla_becomes_visits(tmp_path):
    path = zipped(tmp_path / "loc-gowalla_totalCheckins.txt.gz", gowalla_lines())
    (visits,) = stream_gowalla(path)
    assert list(visits.columns) == VISITS
    assert visits["user"].tolist()[::10] == [str(user) for user in range(20)]
    kept, report = check_visits(visits, timezone=None)
    assert len(kept) == 200
    assert report.problems == ()
    first = kept.iloc[0]
    assert first["time"] == pd.Timestamp("2010-10-19T23:55:27", tz="UTC")
    assert (first["lon"], first["lat"]) == (-97.7951319, 30.235900)


def test_brightkite_keeps_its_empty_records_for_the_check(tmp_path):
    place = "7a0f88982aa015062b95e3b4843f9ca2"
    nowhere = "00000000000000000000000000000000"
    good = "".join(
        f"{n}\t2010-10-16T06:02:04Z\t39.89138{n}\t-105.06{n}\t{place}\n"
        for n in range(30)
    )
    text = (
        good + f"7\t2009-05-01T00:00:00Z\t0.0\t0.0\t{nowhere}\n9\t\t\t\t\n10\t\t0.0\n"
    )
    path = zipped(tmp_path / "loc-brightkite_totalCheckins.txt.gz", text)
    visits = read_source("brightkite", path)
    assert len(visits) == 32
    assert visits.attrs["dropped"] == {"line without 5 fields": 1}
    kept, report = check_visits(visits, timezone=None)
    assert len(kept) == 30
    assert {p.name for p in report.problems} == {
        "no lon or no lat",
        "lon and lat are both 0",
    }


def test_a_coordinate_that_is_no_number_is_counted(tmp_path):
    path = tmp_path / "gowalla.txt"
    path.write_text(gowalla_lines(2) + "2\t2010-10-19T23:55:27Z\tnorth\t-97.7\t3\n")
    visits = read_source("gowalla", path)
    assert len(visits) == 20
    assert visits.attrs["dropped"] == {"lat is not a number": 1}


def test_large_check_ins_become_one_table_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("mora.sources.files.BLOCK_BYTES", 2000)
    path = tmp_path / "gowalla.txt"
    path.write_text(gowalla_lines())
    assert len(list(stream_gowalla(path))) > 3
    out = tmp_path / "visits.parquet"
    assert write_source("gowalla", out, path) == {"rows": 200}
    columns = {name: name for name in VISITS}
    (back,) = read_batches(out, columns, "visits")
    pd.testing.assert_frame_equal(back, read_source("gowalla", path))


@pytest.mark.parametrize("read", [stream_gowalla, stream_brightkite, stream_tsmc2014])
def test_another_file_is_refused(tmp_path, read):
    with pytest.raises(MissingFileError, match=r"check-ins of .*no file at"):
        read(tmp_path / "none.txt")
    path = tmp_path / "other.txt"
    path.write_text("userId,venueId,latitude\n1,2,3\n")
    with pytest.raises(TableError, match=r"line 1 has 1 fields between '\\t'; .* [58]"):
        list(read(path))


def tsmc(path, extra=""):
    """Latin-1, an offset that must not be added, one venue visited twice."""
    lines = [
        "470\t49bbd6c0f964a520f4531fe3\t4bf58dd8d48988d127951735\tArts & Crafts Store"
        "\t40.719810375488535\t-74.0025810321\t-240\tTue Apr 03 18:00:09 +0000 2012",
        "979\t4a43c0aef964a520c6a61fe3\t4bf58dd8d48988d1df941735\tCaf\xe9"
        "\t40.60679958140643\t-74.04416981025437\t-240\tTue Apr 03 18:00:25 +0000 2012",
        "69\t4a43c0aef964a520c6a61fe3\t4bf58dd8d48988d1df941735\tCaf\xe9"
        "\t40.7\t-74.1\t-300\tWed Jan 02 03:04:05 +0000 2013",
    ]
    path.write_bytes(("\n".join(lines) + "\n" + extra).encode("latin-1"))
    return path


def test_foursquare_times_are_utc_already(tmp_path):
    visits = read_source("tsmc2014", tsmc(tmp_path / "dataset_TSMC2014_NYC.txt"))
    assert list(visits.columns) == VISITS
    assert visits["user"].tolist() == ["470", "979", "69"]
    assert visits["time"].tolist() == [
        pd.Timestamp("2012-04-03T18:00:09Z"),
        pd.Timestamp("2012-04-03T18:00:25Z"),
        pd.Timestamp("2013-01-02T03:04:05Z"),
    ]
    kept, report = check_visits(visits, timezone=None)
    assert len(kept) == 3
    assert report.problems == ()


def test_a_foursquare_time_that_cannot_be_read_is_counted(tmp_path):
    extra = "1\tv\tc\tBar\t40.7\t-74.0\t-240\tyesterday\n"
    visits = read_source("tsmc2014", tsmc(tmp_path / "nyc.txt", extra))
    assert len(visits) == 3
    assert visits.attrs["dropped"] == {"time cannot be read": 1}


def test_foursquare_venues_are_places(tmp_path):
    path = tsmc(tmp_path / "nyc.txt", "1\tv\tc\tBar\t400\t-74.0\t-240\tnever\n")
    places = read_tsmc2014_places(path)
    assert places["category"].tolist() == ["Arts & Crafts Store", "Caf\xe9"]
    assert places["lat"].tolist()[1] == 40.60679958140643  # of the first check-in
    assert places.attrs["dropped"] == {"coordinates out of range": 1}
    kept, report = check_places(places)
    assert len(kept) == 2
    assert report.problems == ()


def test_foursquare_without_lines_has_no_venues(tmp_path):
    path = tmp_path / "nyc.txt"
    path.write_text("")
    with pytest.raises(TableError, match="has no lines"):
        read_tsmc2014_places(path)


PLT_HEADER = (
    "Geolife trajectory\r\nWGS 84\r\nAltitude is in Feet\r\nReserved 3\r\n"
    "0,2,255,My Track,0,0,2,8421376\r\n0\r\n"
)


def geolife(folder):
    """Two users, a track without points, and one with a latitude out of range."""
    points = [
        "39.984702,116.318417,0,492,39744.1201851852,2008-10-23,02:53:04",
        "39.984683,116.31845,0,492,39744.1202546296,2008-10-23,02:53:10",
        "400.166667,116.3,0,-777,39744.5,2008-10-23,12:00:00",
    ]
    for track, chosen in {
        "000/Trajectory/20081023025304": points[:2],
        "000/Trajectory/20081024000000": [],
        "104/Trajectory/20081023120000": points[2:],
    }.items():
        path = folder / f"{track}.plt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((PLT_HEADER + "".join(p + "\r\n" for p in chosen)).encode())
    return folder


def test_geolife_tracks_become_visits_of_their_folder(tmp_path):
    (visits,) = stream_geolife(geolife(tmp_path / "Data"))
    assert list(visits.columns) == VISITS
    assert visits["user"].tolist() == ["000", "000", "104"]  # keeps its zeros
    kept, report = check_visits(visits, timezone=None)
    assert kept["time"][0] == pd.Timestamp("2008-10-23T02:53:04Z")
    # The days since 1899-12-30 say the same.
    since = pd.Timestamp("1899-12-30", tz="UTC") + pd.Timedelta(39744.1201851852, "D")
    assert abs(kept["time"][0] - since) < pd.Timedelta(1, "s")
    assert kept["lon"].tolist() == [116.318417, 116.31845]
    (problem,) = report.problems
    assert (problem.name, problem.count) == ("coordinates out of range", 1)


def test_geolife_may_be_given_at_any_depth(tmp_path):
    geolife(tmp_path / "Geolife Trajectories 1.3" / "Data")
    assert len(read_source("geolife", tmp_path)) == 3
    one = tmp_path / "Geolife Trajectories 1.3" / "Data" / "104"
    assert read_source("geolife", one)["user"].tolist() == ["104"]


def test_geolife_frames_have_the_rows_asked_for(tmp_path):
    folder = geolife(tmp_path)
    assert [len(frame) for frame in stream_geolife(folder, rows=1)] == [2, 1]
    assert [len(frame) for frame in stream_geolife(folder, rows=3)] == [3]
    with pytest.raises(TableError, match="rows=0"):
        stream_geolife(folder, rows=0)


def test_geolife_counts_torn_lines_and_refuses_other_folders(tmp_path):
    folder = geolife(tmp_path / "Data")
    for path in folder.glob("000/Trajectory/20081023*.plt"):
        path.write_bytes(path.read_bytes() + b"39.9,116.3\r\n")
    visits = read_source("geolife", folder)
    assert visits.attrs["dropped"] == {"line without 7 fields": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match=r"no tracks; expected \{user\}/Trajectory"):
        stream_geolife(tmp_path / "empty")


def humob(path, rows, header="uid,d,t,x,y"):
    return zipped(path, "\n".join([header, *rows]) + "\n")


def test_humob_events_become_visits_by_week(tmp_path):
    rows = ["0,0,1,79,86", "0,6,2,79,86", "0,7,3,80,87", "1,60,0,999,999"]
    path = humob(tmp_path / "yjmob100k-dataset1.csv.gz", rows)
    visits = read_source("humob", path)
    assert list(visits.columns) == ["user", "week", "x", "y"]
    assert visits["user"].tolist() == ["0", "0", "0"]
    assert visits["week"].tolist() == [0, 0, 1]
    assert visits[["x", "y"]].to_numpy().tolist() == [[79, 86], [79, 86], [80, 87]]
    assert visits.attrs["dropped"] == {"masked": 1}


def test_humob_days_may_begin_at_one_and_rows_come_in_parts(tmp_path):
    path = humob(tmp_path / "a.csv.gz", ["0,1,1,79,86", "0,7,2,79,86", "0,8,3,8,8"])
    assert read_source("humob", path)["week"].tolist() == [0, 1, 1]
    assert read_source("humob", path, first_day=1)["week"].tolist() == [0, 0, 1]
    assert [len(frame) for frame in stream_humob(path, rows=2)] == [2, 1]


def test_humob_columns_may_come_in_any_order(tmp_path):
    path = humob(tmp_path / "a.csv.gz", ["86,79,1,14,5"], "y,x,t,d,uid")
    (row,) = read_source("humob", path).to_dict("records")
    assert row == {"user": "5", "week": 2, "x": 79, "y": 86}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0,0,1,79,999"], r"1 of 1 events .*999 in only one of x and y.*x 79, y 999"),
        (["0,-1,1,79,86"], r"day before the first .*first_day=0"),
        (["0,0,1,7.5,86"], r"x is not a whole number .*x 7.5"),
        (["0,0,1,,86"], r"x is not a whole number"),
        ([",0,1,7,86"], r"1 of 1 events have no uid"),
    ],
)
def test_humob_rows_that_cannot_be_are_refused(tmp_path, rows, message):
    path = humob(tmp_path / "a.csv.gz", rows)
    with pytest.raises(TableError, match=message):
        read_source("humob", path)


def test_humob_needs_its_columns(tmp_path):
    path = humob(tmp_path / "a.csv.gz", ["0,0,1,7"], "uid,d,t,x")
    with pytest.raises(MissingColumnError, match="no column 'y'"):
        stream_humob(path)
