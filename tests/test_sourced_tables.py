"""Tables that a configuration takes from open data, beside the same table in a file."""

import gzip
import inspect
import shutil

import numpy as np
import pandas as pd
import pytest
from tests.small_run import Recorder, planted_city, settings, stages_done, write_city

from mora.config import load_config
from mora.errors import ConfigError, MissingFileError, TableError
from mora.pipeline import run
from mora.pipeline.inputs import RunContext, checksums, names_file
from mora.pipeline.mobility import read_mobility
from mora.pipeline.sourced import _file_options, stream_sourced
from mora.sources import registry
from mora.sources.registry import SOURCES, source


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    return folder


@pytest.fixture(autouse=True)
def sources():
    """Register sources that read the city's files a few rows at a time."""
    before = dict(SOURCES)

    def reader(name, gives):
        @source(name, gives=gives)
        def read(file, *, rows=700, bounds=None, offset=0):
            frame = pd.read_csv(file).iloc[offset:]
            if bounds is not None and "lon" in frame:
                frame = frame[frame["lon"].between(bounds[0], bounds[2])]
            for start in range(0, len(frame), rows):
                yield frame.iloc[start : start + rows]

        return read

    for gives in ("visits", "flows", "places", "numbers"):
        reader(f"city_{gives}", gives)
    yield
    SOURCES.clear()
    SOURCES.update(before)


def graph_of(folder, config):
    run(config, folder=folder, until="graph")
    return read_mobility(folder / "graph")


def sourced(name, path, columns=None, **options):
    table = {"source": name, "files": [str(path)], "options": options}
    return table | {"columns": columns or {}}


# What a configuration may say -------------------------------------------------------


def test_files_and_options_are_read_relative_to_the_configuration(tmp_path):
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / "run.yaml"
    path.write_text(
        """
        name: here
        mobility:
          kind: flows
          table:
            source: lodes
            files: od.csv.gz
            options: {crosswalk: [../de.csv.gz, /md.csv.gz], level: county}
        """
    )
    table = load_config(path).mobility.table
    assert table.files == (str(tmp_path / "configs" / "od.csv.gz"),)
    expected = [str(tmp_path / "de.csv.gz"), "/md.csv.gz"]
    assert table.options == {"crosswalk": expected, "level": "county"}
    assert load_config(load_config(path)).mobility.table == table


def test_tables_in_files_are_written_as_before():
    config = load_config({"name": "a", "mobility": {"kind": "visits"}})
    assert config.model_dump()["mobility"]["table"] == {
        "path": None,
        "source": None,
        "columns": {},
    }


@pytest.mark.parametrize("extra", [{"files": ["a.csv"]}, {"options": {"level": 1}}])
def test_files_without_a_source_are_refused(extra):
    table = {"path": "a.csv"} | extra
    with pytest.raises(
        ConfigError, match=r"`files` and `options` belong to a `source`"
    ):
        load_config({"name": "a", "mobility": {"kind": "flows", "table": table}})


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("line.path", True),
        ("mobility.table.files.0", True),
        ("modalities.poi.inputs.1.files.12", True),
        ("mobility.table.options.crosswalk", True),
        ("mobility.table.options.crosswalk.0", True),
        ("mobility.table.options.level", False),
        ("mobility.table.columns.files", False),
        ("files", True),
        ("3", False),
    ],
)
def test_settings_that_name_a_file(place, named):
    assert names_file(place) == named


def test_options_that_are_files_are_known():
    # Another reader's: add the option to FILE_KEYS, or it is refused in configurations.
    found = {name: _file_options(entry.read) for name, entry in SOURCES.items()}
    assert {name: keys for name, keys in found.items() if keys} == {
        "nyc_tlc": ["zones"]
    }


# Refused before any work ------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"source": "lodez"}, r"'lodez' is unknown; expected one of .*lodes"),
        (
            {"source": "overture_places"},
            r"mobility.table: source 'overture_places' gives places; expected flows, "
            r"as .*lodes",
        ),
        ({"source": "lodes"}, r"missing a required argument: 'files'"),
        (
            {"source": "lodes", "files": ["od"], "options": {"levle": "county"}},
            r"'levle'.*options crosswalk, level, jobs",
        ),
        (
            {"source": "nyc_tlc", "files": ["od"], "options": {"zones": "z.csv"}},
            r"option 'zones' of source 'nyc_tlc' names a file",
        ),
    ],
)
def test_a_source_that_cannot_be_followed_is_refused(table, message, tmp_path):
    config = {"name": "a", "mobility": {"kind": "flows", "table": table}}
    with pytest.raises(ConfigError, match=message):
        run(config, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"modalities": {"poi": {"kind": "poi", "inputs": [{"source": "lodes"}]}}},
            r"modalities.poi.inputs.0: source 'lodes' gives flows; expected places",
        ),
        (
            {"modalities": {"a": {"kind": "table", "inputs": [{"source": "lodes"}]}}},
            r"inputs.0: source 'lodes' gives flows; expected numbers or labels",
        ),
        (
            {"evaluation": {"labels": [{"table": {"source": "mitma"}, "values": {}}]}},
            r"evaluation.labels.0.table: source 'mitma' gives flows; expected numbers",
        ),
        (
            {"map": {"names": {"source": "mitma"}}},
            r"map.names: source 'mitma' gives flows; expected places",
        ),
    ],
)
def test_a_source_of_another_kind_of_table_is_refused(changes, message, data, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(settings(data, **changes), folder=tmp_path / "run")


def test_a_missing_file_of_a_source_is_refused(tmp_path):
    table = {"source": "lodes", "files": [str(tmp_path / "none.csv.gz")]}
    config = {"name": "a", "mobility": {"kind": "flows", "table": table}}
    with pytest.raises(MissingFileError, match=r"none\.csv\.gz"):
        run(config, folder=tmp_path / "run")


# The same results as from a file ----------------------------------------------------


def test_visits_come_in_batches_and_give_the_same_graph(data, tmp_path):
    columns = {name: name for name in ("user", "time", "lon", "lat")}
    plain = settings(data)
    config = plain | {
        "mobility": {
            "kind": "visits",
            "table": sourced("city_visits", data / "visits.csv", columns),
        }
    }
    expected = graph_of(tmp_path / "path", plain)
    found = graph_of(tmp_path / "source", config)
    np.testing.assert_array_equal(found.tokens.ids, expected.tokens.ids)
    np.testing.assert_array_equal(found.graph.weight, expected.graph.weight)
    kept = {path.suffix for path in (tmp_path / "source").rglob("*") if path.is_file()}
    assert kept <= {".json", ".npy", ".parquet"}  # nothing of who was where
    fewer = config["mobility"]["table"] | {"options": {"offset": 900}}
    config["mobility"]["table"] = fewer
    assert graph_of(tmp_path / "fewer", config).graph.edges < expected.graph.edges


@pytest.mark.parametrize("ends", ["names", "points"])
def test_flows_in_batches_add_up_to_those_of_the_file(ends, data, tmp_path):
    names = ["origin", "destination", "weight"]
    if ends == "points":
        point = ["origin_lon", "origin_lat", "destination_lon", "destination_lat"]
        names = [*point, "weight"]
    columns = {name: name for name in names}
    path = {"path": str(data / "flows.csv"), "columns": columns}
    tokens = {"kind": "h3", "resolution": 7}
    base = {"name": "a", "tokens": tokens}
    graphs = [
        graph_of(
            tmp_path / name, base | {"mobility": {"kind": "flows", "table": table}}
        )
        for name, table in (
            ("path", path),
            ("source", sourced("city_flows", data / "flows.csv", columns, rows=50)),
        )
    ]
    assert graphs[0].graph.edges == graphs[1].graph.edges > 100
    weights = [np.asarray(found.graph.weight) for found in graphs]
    np.testing.assert_allclose(weights[1], weights[0])


def test_flows_outside_the_study_area_are_told_once(data, tmp_path):
    point = ["origin_lon", "origin_lat", "destination_lon", "destination_lat"]
    columns = {name: name for name in [*point, "weight"]}
    table = sourced("city_flows", data / "flows.csv", columns, rows=50)
    bounds = [13.4, 52.38, 13.6, 52.62]
    config = {
        "name": "a",
        "tokens": {"kind": "h3", "resolution": 7, "bounds": bounds},
        "mobility": {"kind": "flows", "table": table},
    }
    display = Recorder()
    run(config, folder=tmp_path, until="graph", display=display)
    told = "\n".join(display.lines)
    assert told.count("origin outside the study area") == 1
    assert "destination outside the study area" in told


def test_people_of_a_source_belong_to_the_zone_they_live_in(data, tmp_path):
    city = planted_city()
    flows = {name: name for name in ("origin", "destination", "weight")}
    named = {
        "path": str(data / "people.csv"),
        "columns": {n: n for n in ("zone", "population", "lon", "lat")},
    }
    areas = {"path": str(data / "zones.geojson"), "id": "id"}
    base = {"name": "a", "tokens": {"kind": "h3", "resolution": 7, "areas": areas}}
    table = {"path": str(data / "zone_flows.csv"), "columns": flows}
    found = [
        graph_of(
            tmp_path / str(number),
            base
            | {"mobility": {"kind": "gravity", "table": table, "population": people}},
        )
        for number, people in enumerate(
            [named, sourced("city_numbers", data / "people.csv")]
        )
    ]
    pd.testing.assert_frame_equal(found[1].zones, found[0].zones)
    assert set(found[0].zones["zone"]) <= set(city.zones["id"])
    np.testing.assert_allclose(found[1].graph.weight, found[0].graph.weight)


def test_places_numbers_and_labels_of_sources(data, tmp_path):
    plain, config = settings(data), settings(data)
    for given in (plain, config):
        given["evaluation"]["readouts"] = "ridge"
        given["training"]["epochs"] = 2
    config["modalities"]["poi"]["inputs"] = [
        sourced("city_places", data / "places.csv")
    ]
    columns = {"id": "cell", "weight": "population"}
    config["modalities"]["demographics"]["inputs"] = [
        sourced("city_numbers", data / "people.csv", columns)
    ]
    table = sourced("city_numbers", data / "labels.csv", {"id": "cell"})
    config["evaluation"]["labels"] = [{"table": table, "values": {"wealth": "wealth"}}]
    reports = []
    for name, given in (("path", plain), ("source", config)):
        run(given, folder=tmp_path / name, until="evaluate")
        reports.append((tmp_path / name / "report.json").read_bytes())
    assert reports[0] == reports[1]


# Resuming ---------------------------------------------------------------------------


def test_a_run_follows_the_content_of_files_and_the_options(data, tmp_path):
    for name in ("flows.csv", "labels.csv"):
        shutil.copy(data / name, tmp_path / name)
    columns = {name: name for name in ("origin", "destination", "weight")}

    def config(path, **options):
        table = sourced("city_flows", path, columns, **options)
        return {"name": "a", "mobility": {"kind": "flows", "table": table}} | {
            "tokens": {"kind": "h3", "resolution": 7}
        }

    run_folder = tmp_path / "run"
    first = config(tmp_path / "flows.csv")
    assert stages_done(first, run_folder, until="graph") == ["graph"]
    (tmp_path / "flows.csv").rename(tmp_path / "moved.csv")
    moved = config(tmp_path / "moved.csv")
    assert stages_done(moved, run_folder, until="graph") == []
    others = config(tmp_path / "moved.csv", offset=5)
    assert stages_done(others, run_folder, until="graph") == ["graph"]
    pd.read_csv(tmp_path / "moved.csv").iloc[3:].to_csv(tmp_path / "moved.csv")
    assert stages_done(others, run_folder, until="graph") == ["graph"]


def test_files_of_sources_are_counted_by_content(tmp_path):
    for name in ("a_od.csv.gz", "b_od.csv.gz", "x.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress(name.encode()))
    table = {"source": "lodes", "files": [str(tmp_path / "*_od.csv.gz")]}
    table["options"] = {"crosswalk": str(tmp_path / "x.csv.gz")}
    config = load_config({"name": "a", "mobility": {"kind": "flows", "table": table}})
    found = checksums(config.mobility, {}, "mobility")
    assert list(found) == [
        "mobility.table.files.0[0]",
        "mobility.table.files.0[1]",
        "mobility.table.options.crosswalk[0]",
    ]
    assert len(set(found.values())) == 3


# Streams ----------------------------------------------------------------------------


def stream(name, files=(), options=None, bounds=None):
    told = []
    frames = list(stream_sourced(name, files, options or {}, bounds, told.append))
    return frames, told


def test_bounds_are_those_of_the_tokens_unless_set(data):
    file = [str(data / "people.csv")]
    everyone, _ = stream("city_numbers", file)
    some, _ = stream("city_numbers", file, bounds=(13.4, 52.4, 13.6, 52.6))
    few, _ = stream(
        "city_numbers",
        file,
        {"bounds": [13.45, 52.4, 13.6, 52.6]},
        bounds=(13.4, 52.4, 13.6, 52.6),
    )
    assert len(everyone[0]) > len(some[0]) > len(few[0]) > 0
    config = {"name": "a", "mobility": {"kind": "visits"}}
    config["tokens"] = {"bounds": [13.4, 52.4, 13.6, 52.6]}
    context = RunContext(load_config(config), data)
    config["map"] = {"names": sourced("city_numbers", data / "people.csv")}
    table = load_config(config).map.names
    assert len(context.source(table, "map.names")) == len(some[0])


def test_dropped_rows_are_reported_and_empty_frames_passed_over(monkeypatch):
    monkeypatch.setattr(registry, "SOURCES", dict(SOURCES))

    @source("torn")
    def read_torn():
        for rows, lost in ((0, 2), (3, 1), (0, 0), (2, 0)):
            frame = pd.DataFrame({"id": range(rows)})
            frame.attrs = {"dropped": {"no coordinates": lost}} if lost else {}
            yield frame

    source("empty")(lambda: iter([pd.DataFrame({"id": []})]))
    frames, (report,) = stream("torn")
    assert [len(frame) for frame in frames] == [3, 2]
    assert (report.rows_read, report.rows_kept) == (8, 5)
    assert report.describe().startswith("torn: 5 of 8 records kept")
    assert "no coordinates" in report.describe()
    with pytest.raises(TableError, match=r"source 'empty' gave no rows"):
        stream("empty")


def test_a_stream_is_never_whole_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "SOURCES", dict(SOURCES))
    alive = []

    @source("long", gives="flows")
    def read_long():
        for number in range(40):
            ends = ["8a2a1072b59ffff", "8a2a1072b597fff"]
            alive.append(number)
            yield pd.DataFrame(
                {"origin": ends, "destination": ends[::-1], "weight": 1.0}
            )

    table = {"source": "long"}
    config = {"name": "a", "tokens": {"kind": "h3", "resolution": 10}}
    config["mobility"] = {"kind": "flows", "table": table}
    context = RunContext(load_config(config), tmp_path)
    table = context.config.mobility.table
    batches = context.batches(table, "mobility.table", "flows")
    assert inspect.isgenerator(batches)
    first = next(batches)
    assert alive == [0]
    assert first.index.tolist() == [0, 1]
    assert next(batches).index.tolist() == [2, 3]
    found = graph_of(tmp_path / "run", config)
    assert found.graph.total_weight() == 80.0
