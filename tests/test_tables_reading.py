import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mora.errors import MissingColumnError, MissingFileError, TableError
from mora.tables import column_names, count_rows, read_batches, read_frame

FLOWS = {"origin": "o", "destination": "d", "weight": "n"}
VISITS = {"user": "u", "time": "t", "lon": "x", "lat": "y"}


def write(path, text, encoding="utf-8"):
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def flows():
    ends = {"o": ["01001", "01003"], "d": ["01007", "36061"]}
    return pd.DataFrame({**ends, "n": [7, 37], "note": ["a", "b"]})


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "tsv.gz"])
def test_leading_zeros_survive_in_text_files(tmp_path, ending):
    text = "o,d,n\n01001,01007,7\n01003,36061,37\n"
    if ending.startswith("tsv"):
        text = text.replace(",", "\t")
    frame = read_frame(write(tmp_path / f"flows.{ending}", text), FLOWS, "flows")
    assert list(frame.columns) == ["origin", "destination", "weight"]
    assert frame["origin"].tolist() == ["01001", "01003"]
    assert frame["weight"].tolist() == [7.0, 37.0]


def test_every_kind_of_source_gives_the_same_rows(tmp_path, flows):
    pq.write_table(pa.Table.from_pandas(flows), tmp_path / "flows.parquet")
    flows.to_csv(tmp_path / "flows.csv", index=False)
    expected = flows[["o", "d", "n"]].set_axis([*FLOWS], axis=1)
    sources = [flows, pa.Table.from_pandas(flows)]
    sources += [tmp_path / "flows.parquet", str(tmp_path / "flows.csv")]
    for source in sources:
        frame = read_frame(source, FLOWS, "flows")
        pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiter_is_the_one_of_the_header(tmp_path, delimiter):
    rows = [["id", "lon", "v"], ['"a,;|b"', "1", "3"], ["c", "4", "6"]]
    lines = [delimiter.join(row) for row in rows]
    path = write(tmp_path / "t.csv", "\r\n".join(lines))
    frame = read_frame(path, {"id": "id", "v": "v"}, "labels")
    assert frame["id"].tolist() == ["a,;|b", "c"]
    assert frame["v"].tolist() == [3.0, 6.0]


def test_quotes_line_breaks_byte_order_mark_and_gaps(tmp_path):
    text = '\ufeffname,x,y\n"a ""b""\nc",1,2\n,,4\n#d,NA,6\n'
    columns = {"name": "name", "lon": "x", "lat": "y"}
    frame = read_frame(write(tmp_path / "t.csv", text), columns, "places")
    assert frame["name"].tolist()[0::2] == ['a "b"\nc', "#d"]
    assert frame["name"].isna().tolist() == [False, True, False]
    np.testing.assert_array_equal(frame["lon"], [1.0, np.nan, np.nan])


def test_text_that_is_no_number_is_left_for_the_check(tmp_path):
    path = write(tmp_path / "t.csv", "id,v\n1,2\n2,two\n")
    frame = read_frame(path, {"id": "id", "v": "v"}, "labels")
    assert frame["v"].tolist() == ["2", "two"]


def test_text_columns_say_what_stays_text(tmp_path):
    path = write(tmp_path / "t.csv", "id,code\n01,02\n")
    columns = {"id": "id", "code": "code"}
    assert read_frame(path, columns, "labels").loc[0].tolist() == ["01", 2.0]
    text = read_frame(path, columns, "labels", text_columns=["id", "code"])
    assert text.loc[0].tolist() == ["01", "02"]
    (batch,) = read_batches(path, columns, "labels", text_columns=["code"])
    assert batch.loc[0].tolist() == [1.0, "02"]


def test_whole_ids_with_gaps_stay_exact(tmp_path):
    cell = 0x8928308280FFFFF  # beyond 2^53: a float would lose its end
    table = pa.table({"id": pa.array([cell, None]), "v": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    columns = {"id": "id", "v": "v"}
    assert read_frame(tmp_path / "t.parquet", columns, "labels")["id"][0] == str(cell)
    gaps = pd.DataFrame({"id": [1001.0, np.nan], "v": 0})
    frame = read_frame(gaps, columns, "labels")
    assert frame["id"][0] == "1001"
    assert pd.isna(frame["id"][1])


def test_times_in_parquet_keep_their_type(tmp_path):
    times = pd.to_datetime(["2024-01-01T00:00Z"])
    frame = pd.DataFrame({"u": [1], "t": times, "x": [1.0], "y": [2.0]})
    frame.to_parquet(tmp_path / "v.parquet")
    read = read_frame(tmp_path / "v.parquet", VISITS, "visits")
    assert read["time"][0] == times[0]
    assert read["user"][0] == "1"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_batches_join_to_the_whole(tmp_path, ending):
    frame = pd.DataFrame({"id": [f"{i:03}" for i in range(25)], "v": range(25)})
    path = tmp_path / f"t.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    columns = {"id": "id", "v": "v"}
    for source in (path, frame, pa.Table.from_pandas(frame)):
        batches = list(read_batches(source, columns, "labels", rows=10))
        assert [len(batch) for batch in batches] == [10, 10, 5]
        assert [batch.index[0] for batch in batches] == [0, 10, 20]
        whole = read_frame(source, columns, "labels")
        pd.testing.assert_frame_equal(pd.concat(batches), whole)


def test_batches_need_rows():
    with pytest.raises(TableError, match=r"at least one row; got rows=0"):
        read_batches(pd.DataFrame({"id": [1], "v": 1}), {"id": "id"}, "labels", rows=0)


def test_star_reads_several_files_in_the_order_of_their_names(tmp_path):
    for name, value in [("b", 2), ("a", 1)]:
        write(tmp_path / f"{name}.csv", f"id,v\n{name},{value}\n")
    columns = {"id": "id", "v": "v"}
    frame = read_frame(tmp_path / "*.csv", columns, "labels")
    assert frame["id"].tolist() == ["a", "b"]
    with pytest.raises(MissingFileError, match=r"labels: no file at .*z\*\.csv"):
        read_frame(tmp_path / "z*.csv", columns, "labels")


def test_rows_are_counted_where_that_is_cheap(tmp_path, flows):
    flows.to_parquet(tmp_path / "f.parquet")
    flows.to_csv(tmp_path / "f.csv", index=False)
    assert count_rows(tmp_path / "f.parquet") == 2
    assert count_rows(tmp_path / "f.csv") is None
    assert count_rows(flows) == count_rows(pa.Table.from_pandas(flows)) == 2


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"flows: no file at .*none.csv"):
        read_batches(tmp_path / "none.csv", FLOWS, "flows")


def test_unknown_ending_names_the_accepted_ones(tmp_path):
    path = write(tmp_path / "flows.xlsx", "")
    with pytest.raises(TableError, match=r"unknown ending '.xlsx'; .* .csv, .csv.gz, "):
        read_frame(path, FLOWS, "flows")
    with pytest.raises(TableError, match=r"unknown ending"):
        count_rows(path)


def test_missing_columns_are_named_before_the_first_batch(tmp_path, flows):
    flows = flows.drop(columns="n")
    flows.to_csv(tmp_path / "f.csv", index=False)
    flows.to_parquet(tmp_path / "f.parquet")
    table = pa.Table.from_pandas(flows)
    for source in (tmp_path / "f.csv", tmp_path / "f.parquet", flows, table):
        with pytest.raises(
            MissingColumnError, match=r"no column 'n'; .* 'o', 'd', 'no"
        ):
            read_batches(source, FLOWS, "flows")


def test_tables_without_rows_are_refused(tmp_path, flows):
    for source in (write(tmp_path / "f.csv", "o,d,n\n"), flows[:0]):
        with pytest.raises(TableError, match=r"has no rows; expected at least one"):
            read_frame(source, FLOWS, "flows")
    with pytest.raises(MissingColumnError, match=r"no column 'o'"):
        read_frame(write(tmp_path / "g.csv", ""), FLOWS, "flows")


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        (
            "o,d,n\n1,2,3\nmaria,5\n",
            "utf-8",
            "line 3 has 2 fields; expected 3 as in the",
        ),
        ("o,d,n\nmaria,2,3,4\n", "utf-8", "line 2 has 4 fields; expected 3"),
        ("o,d,n\n" + "1,2,3\n" * 5000 + "maria,ü,3\n", "latin-1", "is not UTF-8"),
        ('o,d,n\n"maria"x,2,3\n', "utf-8", "line 2 cannot be read as CSV"),
        (
            "ö,d,n\n1,2,3\n",
            "latin-1",
            "cannot be read .*; expected CSV in UTF-8",
        ),
        ("o,d,n,n\n1,2,3,4\n", "utf-8", "f.csv has 2 columns 'n'; expected one"),
    ],
)
def test_broken_text_is_refused_without_showing_it(tmp_path, text, encoding, message):
    path = write(tmp_path / "f.csv", text, encoding)
    with pytest.raises(TableError, match=message) as error:
        read_frame(path, FLOWS, "flows")
    assert "maria" not in str(error.value)


def test_two_columns_of_one_name_are_refused(flows):
    twice = pd.concat([flows, flows["n"]], axis=1)
    with pytest.raises(
        TableError, match=r"flows frame has 2 columns 'n'; expected one"
    ):
        read_frame(twice, FLOWS, "flows")


def test_broken_files_are_refused(tmp_path):
    (tmp_path / "f.parquet").write_bytes(b"not parquet")
    with pytest.raises(TableError, match=r"cannot be read as Parquet"):
        read_frame(tmp_path / "f.parquet", FLOWS, "flows")
    (tmp_path / "f.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(TableError, match=r"cannot be read .*; expected CSV in UTF-8"):
        read_frame(tmp_path / "f.csv.gz", FLOWS, "flows")
    whole = gzip.compress(b"o,d,n\n" + b"1,2,3\n" * 100_000)
    (tmp_path / "g.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TableError, match=r"g\.csv\.gz"):
        read_frame(tmp_path / "g.csv.gz", FLOWS, "flows")


def test_mapping_must_fit_the_kind(flows):
    with pytest.raises(
        TableError, match=r"flows need origin \+ destination or origin_"
    ):
        read_frame(flows, {"origin": "o"}, "flows")
    with pytest.raises(
        TableError, match=r"no column 'wieght'; .* Did you mean 'weight'"
    ):
        read_frame(flows, {**FLOWS, "wieght": "n"}, "flows")
    with pytest.raises(TableError, match=r"visits need time or week; got the columns"):
        read_frame(flows, {"user": "o", "token": "d"}, "visits")


def test_other_kinds_take_any_columns(flows):
    assert read_frame(flows, {"count": "n"}, "zones")["count"].tolist() == [7, 37]


def test_names_of_columns(tmp_path):
    frame = pd.DataFrame({"a": [1], "b": ["x"]})
    frame.to_csv(tmp_path / "1.csv", index=False, sep=";")
    frame.to_parquet(tmp_path / "1.parquet")
    for source in (frame, pa.table(frame), tmp_path / "1.csv", tmp_path / "1.parquet"):
        assert column_names(source) == ["a", "b"]
    assert column_names(tmp_path / "*.csv") == ["a", "b"]
    with pytest.raises(MissingFileError):
        column_names(tmp_path / "2.csv")
