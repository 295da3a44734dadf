import pandas as pd
import pytest

from mora.errors import ConfigError, MissingFileError, TableError
from mora.sources import registry
from mora.sources.files import find_files, stream_lines
from mora.sources.registry import (
    SOURCES,
    check_source,
    list_sources,
    read_source,
    source,
    stream_files,
    stream_source,
    write_source,
)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "SOURCES", dict(SOURCES))


def frame(user, dropped=None):
    made = pd.DataFrame({"user": [user], "lon": [1.0], "lat": [2.0]})
    made.attrs = {"dropped": dropped} if dropped else {}
    return made


def test_a_source_says_what_it_is():
    @source("b", gives="visits", licence="CC0", size="1 MB", home="https://b.org")
    def read_b(file, *, week=0):
        return frame(f"{file} {week}")

    source("a", use="read a like this")(lambda: frame("a"))
    rows = {row["name"]: row for row in list_sources()}
    assert [name for name in rows if name in "ab"] == ["a", "b"]
    assert rows["a"] == {
        "name": "a",
        "gives": "",
        "licence": "",
        "size": "",
        "home": "",
        "use": "read a like this",
    }
    assert rows["b"] == {
        "name": "b",
        "gives": "visits",
        "licence": "CC0",
        "size": "1 MB",
        "home": "https://b.org",
        "use": "read_source('b', file)",
    }


def test_files_and_options_reach_the_reader():
    source("b")(lambda file, *, week=0: frame(f"{file} {week}"))
    assert read_source("b", "x")["user"].tolist() == ["x 0"]
    assert read_source("b", "x", week=3)["user"].tolist() == ["x 3"]


def test_frames_one_after_another_become_one():
    @source("many")
    def stream_many():
        yield frame("1", {"masked": 2})
        yield frame("2")
        yield frame("3", {"masked": 1, "no time": 4})

    whole = read_source("many")
    assert whole["user"].tolist() == ["1", "2", "3"]
    assert whole.index.tolist() == [0, 1, 2]
    assert whole.attrs["dropped"] == {"masked": 3, "no time": 4}
    assert [len(part) for part in stream_source("many")] == [1, 1, 1]


def test_a_source_is_written_as_one_table(tmp_path):
    @source("many")
    def stream_many():
        yield frame("1", {"masked": 2})
        yield frame("2", {"masked": 1})

    path = tmp_path / "visits.parquet"
    assert write_source("many", path) == {"rows": 2, "masked": 3}
    pd.testing.assert_frame_equal(pd.read_parquet(path), read_source("many"))
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_source_leaves_no_table(tmp_path):
    @source("broken")
    def stream_broken():
        yield frame("1")
        raise TableError("line 2 is torn")

    with pytest.raises(TableError, match="line 2 is torn"):
        write_source("broken", tmp_path / "visits.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_rows_is_refused(tmp_path):
    source("empty")(lambda: iter([]))
    with pytest.raises(TableError, match=r"source 'empty' gave no rows"):
        read_source("empty")
    with pytest.raises(TableError, match=r"source 'empty' gave no rows"):
        write_source("empty", tmp_path / "visits.parquet")


def test_a_missing_file_or_a_wrong_option_is_refused_with_the_way_out():
    source("b")(lambda file, *, week=0: frame(f"{file} {week}"))
    with pytest.raises(ConfigError, match=r"'file'; expected read_source\('b', file\)"):
        read_source("b")
    with pytest.raises(ConfigError, match=r"'weak'.*options week.*write_source"):
        read_source("b", "x", weak=1)
    with pytest.raises(ConfigError, match=r"source 'c' is unknown; .* b\."):
        read_source("c")


def test_files_of_a_configuration_are_read_together_or_in_turn():
    source("sums")(lambda files, *, week=0: frame(f"{'+'.join(files)} {week}"))
    source("turns")(lambda path, *, week=0: frame(f"{path} {week}"))
    source("none")(lambda: frame("none"))

    def users(name, files, **options):
        check_source(name, files, options)
        frames = stream_files(name, files, options)
        return [user for part in frames for user in part["user"]]

    assert users("sums", ["a", "b"], week=2) == ["a+b 2"]
    assert users("turns", ("a", "b"), week=2) == ["a 2", "b 2"]
    assert users("none", []) == ["none"]


def test_files_that_a_reader_does_not_take_are_refused():
    source("sums")(lambda files, *, week=0: frame(f"{files} {week}"))
    source("none")(lambda: frame("none"))
    with pytest.raises(ConfigError, match=r"missing .*'files'.* under `files:`"):
        check_source("sums", [], {})
    with pytest.raises(ConfigError, match=r"'weak'.*with the options week\."):
        check_source("sums", ["a"], {"weak": 1})
    with pytest.raises(ConfigError, match=r"too many .*with the options none\."):
        check_source("none", ["a"], {})
    with pytest.raises(ConfigError, match=r"source 'c' is unknown"):
        check_source("c", [], {})


def test_files_are_found_by_name_list_and_star(tmp_path):
    for name in ("b.txt", "a.txt", "c.csv"):
        (tmp_path / name).write_text("1\n")
    assert find_files(tmp_path / "*.txt", "trips") == [
        tmp_path / "a.txt",
        tmp_path / "b.txt",
    ]
    given = [tmp_path / "c.csv", str(tmp_path / "a.txt")]
    assert find_files(given, "trips") == [tmp_path / "c.csv", tmp_path / "a.txt"]
    with pytest.raises(MissingFileError, match=r"trips: no file at .*d\.txt"):
        find_files([tmp_path / "a.txt", tmp_path / "d.txt"], "trips")
    with pytest.raises(MissingFileError, match=r"trips: no file at .*\*\.pdf"):
        find_files(tmp_path / "*.pdf", "trips")
    with pytest.raises(TableError, match="trips: no files given"):
        find_files([], "trips")


def test_every_option_of_lines_changes_what_is_read(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes('title, of two\n1,"caf\xe9\n2,bar\n'.encode("latin-1"))
    (read,) = stream_lines(
        path, "ab", "ba", delimiter=",", encoding="latin-1", skip_lines=1
    )
    assert read.to_dict("list") == {"b": ['"caf\xe9', "bar"], "a": ["1", "2"]}
    (read,) = stream_lines(path, "ab", "b", delimiter=",", encoding="latin-1")
    assert read.to_dict("list") == {"b": [" of two", '"caf\xe9', "bar"]}
    with pytest.raises(TableError, match=r"UnicodeDecodeError.* 2 fields in utf-8"):
        list(stream_lines(path, "ab", "b", delimiter=",", skip_lines=1))
    with pytest.raises(TableError, match=r"line 1 has 1 fields between '\\t'; .* 2\."):
        list(stream_lines(path, "ab", "b", encoding="latin-1"))


def test_ill_formed_lines_are_counted_and_refused_when_many(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("1\t2\n1\n3\t4\n1\t2\t3\n")
    (read,) = stream_lines(path, "ab", "ab")
    assert read["a"].tolist() == ["1", "3"]
    assert read.attrs == {"dropped": {"line without 2 fields": 2}}
    path.write_text("1\t2\n1\n1\n")
    with pytest.raises(TableError, match=r"2 of 3 lines do not have 2 fields"):
        list(stream_lines(path, "ab", "ab"))
    path.write_text("")
    assert list(stream_lines(path, "ab", "ab")) == []


def test_lines_of_several_blocks_are_numbered_on(tmp_path, monkeypatch):
    monkeypatch.setattr("mora.sources.files.BLOCK_BYTES", 400)
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{n}\t{n}\n" for n in range(300)) + "torn\n")
    frames = list(stream_lines(path, "ab", "a"))
    assert len(frames) > 2
    whole = pd.concat(frames)
    assert whole.index.tolist() == [int(n) for n in whole["a"]] == [*range(300)]
    # Counted once, with the last frame.
    assert [bool(f.attrs) for f in frames] == [False] * (len(frames) - 1) + [True]


def test_a_torn_gzip_file_is_refused(tmp_path):
    path = tmp_path / "lines.txt.gz"
    path.write_bytes(b"not gzip at all")
    with pytest.raises(TableError, match=r"lines.txt.gz cannot be read \(BadGzipFile"):
        list(stream_lines(path, "ab", "ab"))
