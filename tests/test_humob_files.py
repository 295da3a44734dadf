import gzip

import numpy as np
import pytest
from benchmarks.measure import shared_data

from mora.errors import MissingColumnError, MissingFileError, MoraError, TableError
from mora.tokens import GridTokens, H3Tokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.files import (
    ANOMALOUS_DAY,
    describe_events,
    read_cell_categories,
    read_humob,
    write_humob,
)

SAMPLE = shared_data("yjmob_sample")
ROWS = ["7,0,3,10,20", "7,0,5,11,20", "7,60,4,999,999", "9,26,0,200,1", "9,2,1,10,20"]


def write(path, rows, header="uid,d,t,x,y"):
    text = "\n".join([*([header] if header else []), *rows]) + "\n"
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(text)
    return path


def as_rows(events):
    xy = np.full((len(events), 2), 999)
    known = ~events.masked()
    xy[known] = events.tokens.xy()[events.token[known]]
    user = events.users[events.user_rows()]
    rows = np.column_stack([user, events.day, events.slot, xy])
    return [",".join(map(str, row)) for row in rows.tolist()]


SORTED = sorted(ROWS, key=lambda row: tuple(map(int, row.split(","))))


@pytest.mark.parametrize("name", ["city.csv", "city.csv.gz"])
def test_rows_come_back_sorted(tmp_path, name):
    events = read_humob(write(tmp_path / name, ROWS))
    assert as_rows(events) == SORTED
    np.testing.assert_array_equal(events.counts(), [3, 2])
    assert (events.token == MASKED).sum() == 1
    assert len(events.tokens) == 3
    assert (events.slots_a_day, events.duplicates) == (48, 0)


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
@pytest.mark.parametrize("first_day", [0, 1])
def test_what_is_written_is_read_back(tmp_path, name, first_day):
    events = read_humob(write(tmp_path / "in.csv", ROWS))
    out = tmp_path / name
    write_humob(events, out, first_day)
    back = read_humob(out, first_day=first_day)
    assert as_rows(back) == as_rows(events)
    raw = out.read_bytes()
    text = (gzip.decompress(raw) if name.endswith("gz") else raw).decode()
    assert text.splitlines()[:2] == ["uid,d,t,x,y", f"7,{first_day},3,10,20"]


def test_the_same_events_give_the_same_bytes(tmp_path):
    events = read_humob(write(tmp_path / "in.csv", ROWS))
    for name in ("a.csv.gz", "b.csv.gz"):
        write_humob(events, tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_columns_are_found_by_name_and_the_header_may_be_missing(tmp_path):
    swapped = [",".join(np.array(r.split(","))[[4, 3, 2, 1, 0]]) for r in ROWS]
    other = read_humob(write(tmp_path / "a.csv", swapped, header='"y",x,t,d,uid'))
    bare = read_humob(write(tmp_path / "b.csv", ROWS, header=None))
    assert as_rows(other) == as_rows(bare) == SORTED


def test_repeated_rows_are_left_out_and_counted(tmp_path):
    events = read_humob(write(tmp_path / "a.csv", [*ROWS, ROWS[0], ROWS[2]]))
    assert as_rows(events) == SORTED
    assert events.duplicates == 2


def test_every_cell_or_given_tokens_are_the_places(tmp_path):
    path = write(tmp_path / "a.csv", ROWS)
    every = read_humob(path, every_cell=True)
    assert len(every.tokens) == 40_000
    assert as_rows(every) == as_rows(read_humob(path))
    assert read_humob(path, tokens=every.tokens).tokens is every.tokens
    few = GridTokens.from_xy(np.array([[10, 20]]))
    with pytest.raises(MoraError, match=r"2 of 4 places are not among the 1 known"):
        read_humob(path, tokens=few)


def test_a_file_of_masked_rows_needs_tokens(tmp_path):
    path = write(tmp_path / "a.csv", ["1,60,0,999,999"])
    tokens = GridTokens.from_xy(np.array([[1, 1]]))
    assert read_humob(path, tokens=tokens).masked().all()
    with pytest.raises(MoraError, match=r"no cells to build tokens from"):
        read_humob(path)


def test_days_from_one_and_more_days(tmp_path):
    path = write(tmp_path / "a.csv", ["1,1,0,5,5", "1,75,0,5,5"])
    np.testing.assert_array_equal(read_humob(path, first_day=1).day, [0, 74])
    with pytest.raises(
        MoraError, match=r"1 of 2 rows have d out of range \(first: row 2: 75"
    ):
        read_humob(path)
    np.testing.assert_array_equal(read_humob(path, days=76).day, [1, 75])


def test_size_of_the_grid(tmp_path):
    path = write(tmp_path / "a.csv", ["1,0,0,6,2"])
    tokens = read_humob(path, width=6, height=3, cell_km=1).tokens
    assert (tokens.width, tokens.height, tokens.cell_km) == (6, 3, 1.0)
    with pytest.raises(MoraError, match=r"have x out of range .*expected 1 to 5"):
        read_humob(path, width=5)
    with pytest.raises(MoraError, match=r"have y out of range .*expected 1 to 1"):
        read_humob(path, height=1)
    with pytest.raises(MoraError, match=r"have x out of range"):
        read_humob(path, tokens=GridTokens.from_xy(np.array([[1, 1]]), width=5))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,0,48,5,5", r"1 of 6 rows have t out of range \(first: row 6: 48\); exp"),
        ("1,-1,0,5,5", r"have d out of range .*expected 0 to 74"),
        ("1,0,0,0,5", r"have x out of range .*expected 1 to 200"),
        ("1,0,0,5,201", r"have y out of range"),
        (
            "1,0,0,999,5",
            r"1 of 6 rows have 999 in only one of x and y \(first: row 6: 999,5\)",
        ),
    ],
)
def test_rows_out_of_range_are_refused_with_examples(tmp_path, row, message):
    with pytest.raises(MoraError, match=message):
        read_humob(write(tmp_path / "a.csv", [*ROWS, row]))


@pytest.mark.parametrize("row", ["1,0,0,5", "1,0,0,5,5.5", "1,0,0,,5", "a,0,0,5,5"])
def test_rows_that_are_no_five_whole_numbers_are_refused(tmp_path, row):
    with pytest.raises(TableError, match=r"cannot be read .*expected lines of 5 whole"):
        read_humob(write(tmp_path / "a.csv", [*ROWS, row]))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"HuMob challenge: no file at"):
        read_humob(tmp_path / "none.csv")
    with pytest.raises(MissingColumnError, match=r"no column 'y'"):
        read_humob(write(tmp_path / "a.csv", ROWS, header="uid,d,t,x,z"))
    with pytest.raises(TableError, match=r"has no rows"):
        read_humob(write(tmp_path / "b.csv", []))
    (tmp_path / "c.csv.gz").write_bytes(b"not gzipped")
    with pytest.raises(TableError, match=r"cannot be read"):
        read_humob(tmp_path / "c.csv.gz")


def test_the_anomalous_day_can_be_left_out_and_is_reported(tmp_path):
    path = write(tmp_path / "a.csv", ROWS)
    whole, without = read_humob(path), read_humob(path, leave_out=[ANOMALOUS_DAY])
    assert describe_events(whole) == {
        "users": 2,
        "events": 5,
        "masked": 1,
        "duplicates": 0,
        "places": 3,
        "anomalous_day": 26,
        "events_on_anomalous_day": 1,
        "events_on_median_day": 1.0,
    }
    assert describe_events(without)["events_on_anomalous_day"] == 0
    assert len(without) == 4
    # counted from 0, whatever the file does
    shifted = read_humob(path, first_day=-1, leave_out=[27])
    assert len(shifted) == 4


def test_only_cells_and_whole_numbers_can_be_written(tmp_path):
    one, tokens = np.zeros(1, int), GridTokens.from_xy(np.array([[1, 1]]))
    named = build_events(np.array(["ann"]), one, one, one, tokens)
    with pytest.raises(MoraError, match=r"user ids are .*expected whole numbers"):
        write_humob(named, tmp_path / "a.csv")
    h3 = H3Tokens.from_cells(["8928308280fffff"])
    with pytest.raises(MoraError, match=r"are at h3 tokens; expected cells of a grid"):
        write_humob(build_events(one, one, one, one, h3), tmp_path / "a.csv")


POI = ["10,20,1,3", "10,20,85,2", "200,1,2,7", "55,55,4,1", "10,20,1,4"]
POI_HEADER = "x,y,category,POI_count"


def test_cell_categories_are_counted_in_token_order(tmp_path):
    path = write(tmp_path / "poi.csv.gz", POI, POI_HEADER)
    tokens = GridTokens.from_xy(np.array([[10, 20], [200, 1], [3, 3]]))
    counts = read_cell_categories(path, tokens)
    assert counts.shape == (3, 85)
    rows = tokens.encode_xy(np.array([[10, 20], [200, 1], [3, 3]]))
    assert counts[rows[0], [0, 84]].tolist() == [7, 2]
    assert counts[rows[1], 1] == 7
    assert counts.sum() == 16  # the cell 55, 55 is not among the tokens
    assert counts[rows[2]].sum() == 0


def test_cell_categories_out_of_range_are_refused(tmp_path):
    path = write(tmp_path / "poi.csv", POI, POI_HEADER)
    tokens = GridTokens.from_xy(np.array([[10, 20]]))
    assert read_cell_categories(path, tokens, categories=90).shape == (1, 90)
    with pytest.raises(MoraError, match=r"1 of 5 rows have category out of range"):
        read_cell_categories(path, tokens, categories=84)
    small = GridTokens.from_xy(np.array([[10, 20]]), width=100)
    with pytest.raises(MoraError, match=r"have x out of range"):
        read_cell_categories(path, small)
    path = write(tmp_path / "poi2.csv", ["1,1,1,-2"], POI_HEADER)
    with pytest.raises(MoraError, match=r"have POI_count out of range"):
        read_cell_categories(path, tokens)


@pytest.mark.skipif(SAMPLE is None, reason="the sample of YJMob100K is not here")
def test_a_real_sample_is_read():
    events = read_humob(SAMPLE / "yjmob_sample.csv.gz")
    assert len(events) + events.duplicates == 100_000
    assert events.day.max() < 60
    assert not events.masked().any()
    assert describe_events(events)["users"] == len(np.unique(events.users))
