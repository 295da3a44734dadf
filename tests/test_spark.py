"""The engine spark gives what the embedded one gives, to the bit."""

import gc
import json
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from tests.small_run import (
    GRID,
    Recorder,
    contents,
    planted_city,
    same,
    settings,
    write_city,
)

from mora.config import load_config
from mora.errors import (
    ConfigError,
    GraphError,
    MissingColumnError,
    MissingExtraError,
    RunError,
    TableError,
)
from mora.graph.privacy import ThresholdTable
from mora.graph.storage import MobilityGraph
from mora.pipeline import flows as flows_stage
from mora.pipeline import run
from mora.pipeline import visits as visits_stage
from mora.pipeline.inputs import RunContext
from mora.pipeline.places import PlaceCoder
from mora.pipeline.spark.session import check_engine, spark_session
from mora.tables import check_visits, iso_weeks
from mora.tables.values import to_numbers
from mora.tables.visits import _parse_times

pytest.importorskip("pyspark", reason="engine spark needs the extra mora[spark]")

from pyspark import SparkContext
from pyspark.sql import functions as F

from mora.pipeline.spark import clocks, covisits, flows, places, tables, values, visits

LOCAL = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "3",
}
# PySpark closes the sockets of its results when Python collects them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
ARRAYS = ("indptr", "neighbour", "weight", "users", "within", "outflow", "inflow")


def section(**mobility):
    return load_config({"name": "t", "mobility": mobility}).mobility


def spark_visits(**changes):
    return section(kind="visits", engine="spark", **changes)


# ------------------------------------------------------------ before any work


def test_settings_are_those_of_spark():
    found = spark_visits(spark={"spark.sql.shuffle.partitions": 8}).spark
    assert found == {"spark.sql.shuffle.partitions": "8"}
    with pytest.raises(ConfigError, match=r"mobility\.visits\.spark\.master"):
        spark_visits(spark={"master": "local"})
    with pytest.raises(ConfigError, match=r"'embedded' or 'spark' \(got 'dask'\)"):
        section(kind="flows", engine="dask")


def test_other_engines_and_kinds_need_nothing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for kind in ("visits", "flows", "neighbours"):
        check_engine(section(kind=kind))


def test_a_run_without_pyspark_ends_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    write_city(tmp_path)
    for kind, table in (("visits", "visits"), ("flows", "flows")):
        config = settings(tmp_path)
        config["mobility"]["kind"] = kind
        config["mobility"]["engine"] = "spark"
        config["mobility"]["table"] = {"path": str(tmp_path / f"{table}.csv")}
        with pytest.raises(MissingExtraError, match=r"'pyspark'.*mora\[spark\]"):
            run(config, folder=tmp_path / "run", until="graph")
        assert not (tmp_path / "run" / "graph" / "manifest.json").exists()


def test_java_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"needs Java; found none under the PATH"):
        check_engine(spark_visits())
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(java.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"found Java 11 under JAVA_HOME=.*Java 17"):
        check_engine(spark_visits())
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")  # spark-submit has started Java
    check_engine(spark_visits())


def test_settings_that_equal_results_need_are_refused():
    setting = {"spark.sql.session.timeZone": "Asia/Tokyo"}
    with pytest.raises(ConfigError, match=r"sets spark\.sql\.session\.timeZone.*UTC"):
        check_engine(spark_visits(spark=setting))
    with pytest.raises(ConfigError, match=r"not through Spark Connect"):
        check_engine(spark_visits(spark={"spark.remote": "sc://there"}))


def test_another_session_is_not_shared(monkeypatch):
    monkeypatch.setattr("mora.pipeline.spark.session._check_java", lambda: None)
    monkeypatch.setattr(SparkContext, "_active_spark_context", object())
    with pytest.raises(ConfigError, match=r"a Spark session runs in this process"):
        check_engine(spark_visits())


# --------------------------------------------------------- without a session


def test_frames_are_refused():
    with pytest.raises(ConfigError, match=r"got a frame of 2 rows\. Write it to Parq"):
        tables.require_files(pd.DataFrame({"user": [1, 2]}))


def test_hidden_files_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"1 of 1 files begin with _ or a dot"):
        tables._visible([tmp_path / "_visits.csv"])


def test_zones_change_their_clocks_as_they_do():
    days = clocks.zone_days("America/New_York").to_pandas()
    hour = 3_600_000_000
    change = pd.Timestamp("2024-03-10 07:00").value // 1000
    on_clock = days[days["clock"]].set_index("day")
    in_utc = days[~days["clock"]].set_index("day")
    day = (pd.Timestamp("2024-03-10") - pd.Timestamp(0)).days
    for found in (on_clock, in_utc):
        assert found.loc[day, ["change", "before", "after"]].tolist() == [
            change, -5 * hour, -4 * hour,
        ]  # fmt: skip
        assert (found["after"].loc[day + 1 : day + 200] == -4 * hour).all()
        assert found.loc[day - 1, "after"] == -5 * hour
    assert clocks.zone_days("UTC").to_pandas()["after"].eq(0).all()
    with pytest.raises(TableError, match=r"unknown time zone 'Mars'"):
        clocks.zone_days("Mars")


def test_places_are_found_by_the_code_of_the_embedded_engine():
    config = load_config({"name": "t", "mobility": {"kind": "visits"}}).tokens
    coder = PlaceCoder(config, None)
    rows = [(13.4, 52.5, 7), (13.4, 52.6, 1)]
    frame = pd.DataFrame(rows, columns=["lon", "lat", "visits"])
    codes, _ = coder.encode(frame)
    found = list(places.find_places(iter(rows), coder, ["lon", "lat"]))
    assert found == [(*row, int(c), None) for row, c in zip(rows, codes, strict=True)]
    bad = list(places.find_places([("nowhere", 2)], coder, ["token"]))
    assert bad == [("nowhere", 2, None, bad[0][3])]
    assert "1 of 1 values are not H3 cells" in bad[0][3]


def test_times_that_only_the_embedded_engine_reads_are_found():
    texts = [("yesterday",), ("2024.05.01",), ("2024-05",), ("9999.12.31",), (None,)]
    assert [*visits.readable_times(texts)] == ["2024.05.01", "2024-05"]
    assert [*visits.readable_times([])] == []


def sorted_edges(codes):
    rng = np.random.default_rng(0)
    low, high = np.triu_indices(len(codes), 1)
    some = rng.random(len(low)) < 0.6
    low, high = low[some], high[some]
    weight = rng.integers(1, 90, len(low))
    users = rng.integers(1, 5, len(low))
    ends = {"low": codes[low], "high": codes[high]}
    table = ThresholdTable.empty(places=np.full(len(codes), 9), chosen=1)
    table.add(weight, users)
    return pa.table({**ends, "weight": weight, "users": users}), low, high, table


def test_streamed_edges_are_the_graph(tmp_path):
    codes = np.array([3, 8, 9, 20, 31, 77])
    edges, low, high, table = sorted_edges(codes)
    batches = iter(edges.to_batches(max_chunksize=4))
    graph = covisits._stream(batches, codes, table, tmp_path)
    weight, users = (edges[name].to_numpy() for name in ("weight", "users"))
    shape = (len(codes), len(codes))
    matrix = sp.csr_array((weight, (low, high)), shape=shape)
    people = sp.csr_array((users, (low, high)), shape=shape)
    expected = MobilityGraph.from_matrix(matrix, people + people.T)
    for name in ("indptr", "neighbour", "weight", "users", "within"):
        assert np.array_equal(getattr(graph, name), getattr(expected, name))
    assert np.array_equal(graph.outflow, expected.degree())
    assert np.array_equal(graph.inflow, expected.degree())


def test_lost_or_disordered_edges_are_noticed(tmp_path):
    codes = np.array([3, 8, 9, 20, 31, 77])
    edges, _, _, table = sorted_edges(codes)
    with pytest.raises(GraphError, match=r"edges .* came back from Spark; expected"):
        covisits._stream(iter(edges[1:].to_batches()), codes, table, tmp_path)
    backwards = edges.take(np.arange(len(edges))[::-1])
    with pytest.raises(GraphError, match=r"out of order"):
        covisits._stream(iter(backwards.to_batches()), codes, table, tmp_path)


# ----------------------------------------------------- a session of its own


@pytest.mark.slow
def test_spark_is_stopped_whatever_happens():
    before = os.environ.get("PYSPARK_PYTHON")
    with (
        pytest.raises(RunError, match=r"engine spark stopped: .*boom.*start again"),
        spark_session(LOCAL, Recorder()) as spark,
    ):
        spark.sql("select raise_error('boom')").collect()
    assert SparkContext._active_spark_context is None
    assert SparkContext._gateway is None
    assert os.environ.get("PYSPARK_PYTHON") == before


@pytest.mark.slow
def test_whole_stages_leave_the_same_files(tmp_path):
    write_city(tmp_path)
    files, facts = {}, {}
    for engine in ("embedded", "spark"):
        config = settings(tmp_path)
        changes = {"engine": engine, "spark": LOCAL, "timezone": "Europe/Berlin"}
        config["mobility"] |= changes
        display = Recorder()
        run(config, folder=tmp_path / engine, until="graph", display=display)
        left = contents(tmp_path / engine / "graph")
        facts[engine] = json.loads(left.pop("manifest.json"))["facts"]
        del left["started.json"]
        for problem in facts[engine]["tables"][0]["problems"]:
            del problem["examples"]
        files[engine] = left
    assert facts["spark"] == facts["embedded"]
    assert files["spark"].keys() == files["embedded"].keys()
    assert files["spark"] == files["embedded"]
    assert any(line.startswith("  Spark 4") for line in display.lines)
    assert SparkContext._active_spark_context is None


# --------------------------------------------------------- a shared session


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Start Spark once; what it writes in passing can be read in plain."""
    folder = tmp_path_factory.mktemp("spark")
    (folder / "events").mkdir()
    watched = {
        "spark.local.dir": str(folder / "local"),
        "spark.shuffle.compress": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": f"file://{folder / 'events'}",
    }
    with spark_session(LOCAL | watched, Recorder()) as spark:
        yield spark
        gc.collect()


@pytest.fixture
def spark(session, monkeypatch):
    """Let the stages use the shared session."""
    for module in (covisits, flows):
        monkeypatch.setattr(module, "spark_session", lambda *_: nullcontext(session))
    for module in (visits_stage, flows_stage):
        monkeypatch.setattr(module, "check_engine", lambda _: None)
    return session


def stage(folder, engine, tokens, mobility):
    """Build a graph with one engine."""
    config = {"name": "t", "tokens": tokens, "mobility": mobility | {"engine": engine}}
    context = RunContext(load_config(config), folder, Recorder())
    (folder / engine).mkdir(exist_ok=True)
    build = {
        "visits": visits_stage.mobility_from_visits,
        "flows": flows_stage.mobility_from_flows,
        "gravity": flows_stage.mobility_from_gravity,
    }[mobility["kind"]]
    made = build(context, context.config.mobility, folder / engine)
    assert not (folder / engine / "spark").exists()
    return made, context.reports


def counted(report):
    """Leave out the examples, which name no rows in Spark."""
    problems = sorted((p.name, p.count, p.action) for p in report.problems)
    return report.kind, report.source, report.rows_read, report.rows_kept, problems


def assert_same(folder, tokens, mobility):
    expected, reports = stage(folder, "embedded", tokens, mobility)
    found, found_reports = stage(folder, "spark", tokens, mobility)
    for name in ARRAYS:
        before, after = (getattr(m.graph, name) for m in (expected, found))
        assert np.array_equal(np.asarray(before), np.asarray(after)), name
        assert np.asarray(before).dtype == np.asarray(after).dtype, name
    assert np.array_equal(found.tokens.ids, expected.tokens.ids)
    assert found.facts == expected.facts
    assert [*map(counted, found_reports)] == [*map(counted, reports)]
    return expected, reports


def random_visits(seed=0, rows=1500):
    """Visits of 40 people to points of the planted city, with repeats."""
    rng = np.random.default_rng(seed)
    cells = planted_city().labels
    place = rng.integers(0, len(cells), rows) // rng.integers(1, 4, rows)
    minutes = rng.integers(0, 6 * 7 * 1440, rows)
    frame = pd.DataFrame(
        {
            "user": [f"person {i}" for i in rng.integers(0, 40, rows)],
            "time": pd.Timestamp("2024-02-20") + pd.to_timedelta(minutes, "min"),
            **{c: cells[c].to_numpy()[place] for c in ("cell", "zone", "x", "y")},
            "lon": cells["lon"].to_numpy()[place].round(5),
            "lat": cells["lat"].to_numpy()[place].round(5),
        }
    )
    frame["lon"] += rng.normal(0, 0.02, rows).round(4)
    again = frame.sample(100, random_state=seed)
    return pd.concat([frame, again], ignore_index=True), rng


def spoil(frame, rng, column, value, rows):
    frame.loc[rng.choice(len(frame), rows, replace=False), column] = value


def table(path, **renamed):
    return {"path": str(path), "columns": renamed}


def points_as_text(folder):
    """CSV with every kind of bad row, times of all forms, a zone that turns clocks."""
    frame, rng = random_visits()
    forms = ("%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S.%f")
    forms += ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%S-05:00", "%Y%m%dT%H:%M:%S+0530")
    pick = rng.integers(0, len(forms), len(frame))
    frame["time"] = [
        t.strftime(forms[k]) for t, k in zip(frame["time"], pick, strict=True)
    ]
    frame = frame.astype({"lon": str, "lat": str})
    for column, values_ in {
        "user": ("", "  "),
        "lon": ("east", "", "NaN", "999", "1d"),
        "lat": ("-191", "none", " 52.5 "),
        "time": ("", "yesterday", "1899-12-31", "2024-03-10 02:30", "2024-03-10 02:10"),
    }.items():
        for value in values_:
            spoil(frame, rng, column, value, 15)
    spoil(frame, rng, "time", "2023-11-05 01:30", 15)
    spoil(frame, rng, ["lon", "lat"], "0", 3)
    frame["note"] = 'a "quoted", note'
    frame.to_csv(folder / "v.csv", index=False)
    tokens = {"kind": "h3", "resolution": 7, "bounds": [13.25, 52.3, 13.6, 52.7]}
    columns = same("user", "time", "lon", "lat")
    return tokens, {
        "table": {"path": str(folder / "v.csv"), "columns": columns},
        "timezone": "America/New_York",
        "min_users": 1,
    }


def points_in_zones(folder):
    """Parquet with times in UTC; points in no zone; float32 points."""
    write_city(folder)
    frame, rng = random_visits(1)
    frame["time"] = frame["time"].dt.tz_localize("UTC")
    frame = frame.astype({"lon": "float32"})
    spoil(frame, rng, "lon", 15, 20)
    spoil(frame, rng, "lat", None, 20)
    frame.to_parquet(folder / "v.parquet", row_group_size=300)
    tokens = {"kind": "zone", "areas": {"path": str(folder / "zones.geojson")}}
    columns = same("user", "time", "lon", "lat")
    return tokens, {
        "table": {"path": str(folder / "v.parquet"), "columns": columns},
        "min_users": 2,
    }


def cells_by_week(folder):
    """Cells as 64-bit numbers, with weeks, some of them no weeks; users as numbers."""
    frame, rng = random_visits(2)
    frame["cell"] = [int(cell, 16) for cell in frame["cell"]]
    frame["cell"] = frame["cell"].astype("uint64")
    frame["user"] = frame["user"].str[7:].astype("int32")
    frame["week"] = (frame["time"] - pd.Timestamp(0)).dt.days // 7.0
    spoil(frame, rng, "week", 2.5, 10)
    spoil(frame, rng, "week", None, 10)
    frame.to_parquet(folder / "v.parquet")
    return {"kind": "h3", "resolution": 6}, {
        "table": table(folder / "v.parquet", user="user", week="week", token="cell"),
        "min_users": 3,
    }


def clocks_in_nanoseconds(folder):
    """Two files; times without a zone, to the nanosecond; some that clocks skip."""
    frame, rng = random_visits(3)
    spoil(frame, rng, "time", pd.Timestamp("2024-03-31 02:30"), 30)
    frame["time"] = frame["time"].astype("datetime64[ns]") + pd.Timedelta("1us 1ns")
    frame[:700].to_parquet(folder / "b.parquet")
    frame[700:].iloc[:, ::-1].to_parquet(folder / "a.parquet")
    columns = same("user", "time", "lon", "lat")
    return {"kind": "h3", "resolution": 8}, {
        "table": {"path": str(folder / "[ab].*"), "columns": columns},
        "timezone": "Europe/Berlin",
        "min_users": 2,
    }


def square_grid(folder):
    frame, _ = random_visits(4)
    frame["time"] = frame["time"].dt.date
    frame[["user", "time", "x", "y"]].to_parquet(folder / "v.parquet")
    columns = same("user", "time", "x", "y")
    return GRID, {
        "table": {"path": str(folder / "v.parquet"), "columns": columns},
        "timezone": "UTC",
    }


def zones_by_name(folder):
    """Names of zones, some unknown, some missing."""
    write_city(folder)
    frame, rng = random_visits(5)
    spoil(frame, rng, "zone", "Z99", 30)
    spoil(frame, rng, "zone", "", 30)
    frame.to_csv(folder / "v.csv", index=False)
    tokens = {"kind": "zone", "areas": {"path": str(folder / "zones.geojson")}}
    return tokens, {
        "table": table(folder / "v.csv", user="user", time="time", token="zone"),
        "timezone": "Asia/Kathmandu",
        "min_users": 1,
    }


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    "form",
    [
        points_as_text,
        points_in_zones,
        cells_by_week,
        clocks_in_nanoseconds,
        square_grid,
        zones_by_name,
    ],
)
def test_visits_give_the_same_edges(form, tmp_path):
    tokens, mobility = form(tmp_path)
    made, reports = assert_same(tmp_path, tokens, {"kind": "visits", **mobility})
    assert made.graph.edges > 50
    assert reports[-1].problems


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_ids_and_secret_are_not_written(session, tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "thesecretofthistest")
    tokens, mobility = points_as_text(tmp_path)
    stage(tmp_path, "spark", tokens, {"kind": "visits", **mobility})
    folder = Path(session.conf.get("spark.local.dir")).parent
    written = contents(folder)
    shuffled = [c for path, c in written.items() if "shuffle_" in path]
    assert any(b"yesterday" in content for content in shuffled)  # it is plain text
    assert any(path.startswith("events") for path in written)
    for path, content in written.items():
        assert b"person " not in content, path
        assert b"thesecretofthistest" not in content, path


def flows_between_cells(folder):
    """Repeated pairs with weights that do not add up exactly, over several files."""
    rng = np.random.default_rng(0)
    cells = planted_city().labels["cell"].to_numpy()[:30]
    origin, destination = rng.integers(0, 30, (2, 2000))
    frame = pd.DataFrame(
        {
            "from": cells[origin],
            "to": cells[destination],
            "many": rng.lognormal(0, 5, 2000),
        }
    )
    spoil(frame, rng, "many", 0, 20)
    spoil(frame, rng, "from", None, 20)
    frame[:800].to_csv(folder / "b.csv", index=False)
    frame[800:1500].iloc[:, ::-1].to_csv(folder / "c.tsv", index=False, sep="\t")
    frame[1500:].to_csv(folder / "a.csv.gz", index=False)
    columns = {"origin": "from", "destination": "to", "weight": "many"}
    return {"kind": "h3", "resolution": 7}, {
        "kind": "flows",
        "table": {"path": str(folder / "[abc].*"), "columns": columns},
        "min_weight": 1.0,
    }


def flows_between_points(folder):
    """Points, some nowhere, each row counting 1."""
    flows_ = planted_city().flows.sample(700, replace=True, random_state=0)
    flows_ = flows_.reset_index(drop=True)
    rng = np.random.default_rng(1)
    spoil(flows_, rng, "origin_lon", 181, 9)
    spoil(flows_, rng, "destination_lat", None, 9)
    flows_.to_parquet(folder / "f.parquet")
    names = ("origin_lon", "origin_lat", "destination_lon", "destination_lat")
    tokens = {"kind": "h3", "resolution": 7, "bounds": [13.3, 52.3, 13.6, 52.7]}
    path = str(folder / "f.parquet")
    return tokens, {"kind": "flows", "table": {"path": path, "columns": same(*names)}}


def flows_between_zones(folder):
    write_city(folder)
    ends = same("origin", "destination", "weight")
    people = same("population", "lon", "lat", "zone")
    return {"kind": "h3", "resolution": 7}, {
        "kind": "gravity",
        "table": {"path": str(folder / "zone_flows.csv"), "columns": ends},
        "population": {"path": str(folder / "people.csv"), "columns": people},
    }


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    "form", [flows_between_cells, flows_between_points, flows_between_zones]
)
def test_flows_give_the_same_edges(form, tmp_path):
    tokens, mobility = form(tmp_path)
    made, _ = assert_same(tmp_path, tokens, mobility)
    assert made.graph.edges > 50


VISIT = "a,2024-05-01T12:00Z,13.4,52.5"
WRONG_VISITS = {
    "a,2024-05-01T12:00Z,13.4": r"1 of 5 visits refused: another number of fields",
    'a,2024-05-01T12:00Z,"13.4,52.5': r"another number of fields|quotes that do not",
    'a,2024-05-01T12:00Z,13.4,52"5': r"1 of 5 visits refused: quotes that do not close",
    VISIT + f"\n{VISIT}" * 300 + "\n\udcff" + VISIT: r"1 of 306 visits .*: not UTF-8",
    "user,time,lon,lat": r"2 lines are headers, of 1 files; expected one each",
    "a,2024-05-01 12:00,13.4,52.5": r"has no zone \(first: time 2024.*`timezone:`",
    "a,2024.05.01 12:00Z,13.4,52.5": r"cannot read times such as 2024\.05\.01 12:00Z",
    "\n".join(["a,?,13.4,52.5"] * 5): r"time is not ISO 8601.*accepted share of 0\.5",
    "\n".join(
        ["a,2024-05-01T12:00Z,52.5,113.4"] * 5
    ): r"5 of 9 visits refused: lon and",
}


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("line", WRONG_VISITS, ids=range(len(WRONG_VISITS)))
def test_tables_are_refused(line, tmp_path):
    path = tmp_path / "v.csv"
    text = "\n".join(["user,time,lon,lat", VISIT, VISIT, line, VISIT, VISIT, ""])
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    mobility = {"kind": "visits", "table": {"path": str(path)}}
    with pytest.raises(TableError, match=WRONG_VISITS[line]):
        stage(tmp_path, "spark", {}, mobility)


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_places_that_cannot_be_are_refused(tmp_path):
    pd.DataFrame(
        {
            "user": ["a", "b"],
            "time": "2024-05-01T12:00Z",
            "x": [1.5, 2],
            "y": [1, 900],
            "z": 2,
            "k": 15,
        }
    ).to_csv(tmp_path / "v.csv", index=False)

    def refused(kind, message, tokens, error=TableError, **columns):
        mapped = same("user", "time") | columns
        named = {"path": str(tmp_path / "v.csv"), "columns": mapped}
        with pytest.raises(error, match=message):
            stage(tmp_path, "spark", tokens, {"kind": kind, "table": named})

    grid = r"no whole x and y \(first: x 1\.5, y 1\)\. Expected columns 1\.\.200"
    refused("visits", grid, GRID, x="x", y="y")
    low = r"1 of 2 visits refused: outside the grid \(first: x 2, y 900"
    refused("visits", low, GRID, x="z", y="y")
    missing = r"visits to a grid: no column 'y'"
    refused("visits", missing, GRID, MissingColumnError, x="x")
    refused("visits", r"2 of 2 values are not H3 cells", {}, token="user")
    outside = {"bounds": [0, 80, 1, 81]}
    refused("visits", r"Expected at least one visit", outside, lon="y", lat="x")
    swapped = {"bounds": [10, 0, 20, 5]}
    refused("visits", r"only with lon and lat swapped", swapped, lon="x", lat="k")
    few = r"none of 2 places has 2 distinct users \(at most 1\)"
    refused("visits", few, {"resolution": 9}, GraphError, lon="x", lat="x")


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
def test_wrong_flows_are_refused(tmp_path):
    def refused(weight, message):
        frame = pd.DataFrame({"origin": ["a", "b"], "destination": "c"})
        frame.assign(weight=weight).to_parquet(tmp_path / "f.parquet")
        columns = same("origin", "destination", "weight")
        named = {"path": str(tmp_path / "f.parquet"), "columns": columns}
        with pytest.raises(TableError, match=message):
            stage(
                tmp_path, "spark", {"kind": "zone"}, {"kind": "flows", "table": named}
            )

    refused([1.0, -2.0], r"1 of 2 flows refused: weight is negative or missing")
    refused(["1", "two"], r"weight is not a number \(first: weight two\)")
    refused([True, False], r"column 'weight' is of type boolean, from which")


@pytest.mark.slow
def test_text_is_read_as_numbers_and_times_alike(spark):
    rng = np.random.default_rng(0)
    numbers = ["12.5", " 12.5 ", "+1", "-.5", "5.", "1e3", "1e", "inf", "-Infinity"]
    numbers += [
        "nan",
        "1d",
        "0x10",
        "1_0",
        "1,5",
        "",
        " ",
        "NA",
        "n/a",
        "None",
        "1e400",
    ]
    times = [
        f"{rng.choice([1900, 2024, 2199])}{sep}{rng.integers(1, 14):02}{sep}"
        f"{rng.integers(1, 32)}{rng.choice(['T', ' '])}{rng.integers(0, 25)}:"
        f"{rng.integers(0, 61):02}{rng.choice(['', ':07', ':07.5', ':7.123456789'])}"
        f"{rng.choice(['', 'Z', ' Z', '+08', '-0530', '+05:45', '+0860'])}"
        for sep in rng.choice(["-", "/"], 400)
    ]
    times += ["20240501", "20240501T12:00", "2024-05-01Z", "now", "2024-5-1", ""]
    for texts, name in ((numbers, "lon"), (times, "time")):
        frame = spark.createDataFrame(pa.table({"text": texts}))
        read = values.read_column(
            F.col("text"), name, frame.schema[0].dataType, pa.string()
        )
        rows = (
            frame.select(*[c.alias(n) for n, c in read.items()]).toArrow().to_pydict()
        )
        if name == "lon":
            expected, unread = to_numbers(pd.Series(texts, dtype="str"))
            found = np.array(rows["lon"], dtype=float)
            assert np.array_equal(found, expected, equal_nan=True)
            assert [r is not None for r in rows["lon_unread"]] == unread.tolist()
            continue
        for text, found, zoned in zip(
            texts, rows["time"], rows["time_zoned"], strict=True
        ):
            expected, has_zone = _parse_times(pd.Series([text], dtype="str"))
            known = expected.astype("int64")[0] if expected.notna()[0] else None
            assert found == known, text
            assert found is None or zoned == has_zone[0], text


@pytest.mark.slow
@pytest.mark.parametrize(
    "zone", ["America/New_York", "America/Santiago", "Asia/Kathmandu", None]
)
def test_times_and_weeks_follow_the_clocks_of_python(zone, spark):
    rng = np.random.default_rng(0)
    begin, end = (pd.Timestamp(y).value // 1000 for y in ("1900", "2199-12-31"))
    moment = rng.integers(begin, end, 3000)
    day = pd.to_datetime(
        ["2024-03-10", "2024-11-03", "2024-04-06", "2024-09-08", "1900-01-01"]
    )
    near = rng.choice(day, 3000).astype("datetime64[us]").astype(np.int64)
    moment = np.concatenate([moment, near + rng.integers(0, 86_400_000_000, 3000)])
    for zoned in (True, False):
        wall = pd.Series(moment.astype("datetime64[us]"))
        if zone is None and not zoned:
            continue
        frame = pd.DataFrame({"user": "a", "token": np.arange(len(wall)).astype(str)})
        frame["time"] = wall.dt.tz_localize("UTC") if zoned else wall
        expected, report = check_visits(frame, timezone=zone)
        week = iso_weeks(expected["time"], zone or "UTC")
        rows = pa.table({"row": np.arange(len(wall)), "time": moment})
        given = spark.createDataFrame(rows).withColumn("time_zoned", F.lit(zoned))
        found = clocks.add_times(given, zone).orderBy("row")
        found = found.withColumn("week", clocks.iso_week(F.col("local")))
        found = found.toArrow().to_pandas()
        utc = expected["time"].dt.tz_localize(None).astype("int64")
        assert np.array_equal(found["utc"], utc)
        assert np.array_equal(found["week"], week)
        notes = {p.name.split(",")[0]: p.count for p in report.problems}
        assert found["twice"].sum() == notes.get("clock time occurs twice", 0)
        assert found["skipped"].sum() == notes.get("clock time is skipped", 0)
