"""A whole run for every way in which movement can be given."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.small_run import (
    GRID,
    demographics,
    evaluation,
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    poi,
    same,
    settings,
    write_arrays,
    write_city,
)

from mora.pipeline import run
from mora.pipeline.mobility import read_mobility

POINT = same("lon", "lat")
ENDS = same("origin", "destination", "weight")
POINT_ENDS = same("origin_lon", "origin_lat", "destination_lon", "destination_lat")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    write_arrays(folder)
    return folder


def table(data, name, columns):
    return {"path": str(data / f"{name}.csv"), "columns": columns}


def visits(data, *columns, **renamed):
    mapped = same("user", "time", *columns) | renamed
    return {"kind": "visits", "table": table(data, "visits", mapped)}


def flows(data, name, columns):
    return {"kind": "flows", "table": table(data, name, columns)}


def zones(data):
    return {"kind": "zone", "areas": {"path": str(data / "zones.geojson"), "id": "id"}}


def people(data, *columns):
    return table(data, "people", same("population", "lon", "lat", *columns))


def by_point(data):
    """Features and labels of tokens that are not the city's cells."""
    return {
        "modalities": {
            "poi": poi(data),
            "demographics": demographics(data, **POINT),
        },
        "evaluation": evaluation(data, **POINT),
    }


def by_zone_name(data):
    """The same, where only the zones' names are known."""
    by_code = {"blocks": "code", "code_length": 2}
    return {
        "modalities": {"demographics": demographics(data, id="zone")},
        "evaluation": evaluation(data, id="zone") | by_code,
    }


def ready_made(data, names):
    """Features that are arrays already."""
    modalities = {
        name: {"kind": "array", "path": str(data / f"{name}.npy")} for name in names
    }
    line = {"method": "given", "path": str(data / "mob.npy"), "dim": 16}
    return {"modalities": modalities, "line": line}


def arrays(data, **cells):
    return {"kind": "arrays", "graph": str(data / "graph.npz"), **cells}


def gravity(data):
    return {
        "kind": "gravity",
        "table": table(data, "zone_flows", ENDS),
        "population": people(data, "zone"),
    }


# What each way changes in the configuration, and the tokens that it must give.
WAYS = {
    "visits at points": (lambda _: {}, "h3", 91),
    "visits in H3 cells": (
        lambda d: {"mobility": visits(d, token="cell")},
        "h3",
        91,
    ),
    "visits in a square grid": (
        lambda d: {
            "tokens": GRID,
            "mobility": visits(d, "x", "y"),
            "modalities": {"demographics": demographics(d, id="grid")},
            "evaluation": evaluation(d, id="grid"),
        },
        "grid",
        91,
    ),
    "visits in polygons": (
        lambda d: {
            "tokens": zones(d),
            "mobility": visits(d, "lon", "lat"),
            **by_point(d),
        },
        "zone",
        21,
    ),
    "flows between H3 cells": (
        lambda d: {"mobility": flows(d, "flows", ENDS)},
        "h3",
        91,
    ),
    "flows between points": (
        lambda d: {"mobility": flows(d, "flows", POINT_ENDS | same("weight"))},
        "h3",
        91,
    ),
    "flows between polygons": (
        lambda d: {
            "tokens": zones(d),
            "mobility": flows(d, "zone_flows", ENDS),
            **by_point(d),
        },
        "zone",
        25,
    ),
    "flows between names": (
        lambda d: {
            "tokens": {"kind": "zone"},
            "mobility": flows(d, "zone_flows", ENDS),
            **by_zone_name(d),
        },
        "zone",
        21,
    ),
    "gravity": (lambda d: {"mobility": gravity(d)}, "h3", 91),
    "radiation": (
        lambda d: {"mobility": {"kind": "radiation", "population": people(d, "zone")}},
        "h3",
        91,
    ),
    "radiation without zones": (
        lambda d: {"mobility": {"kind": "radiation", "population": people(d)}},
        "h3",
        91,
    ),
    "neighbouring cells": (
        lambda d: {
            "tokens": zones(d) | {"kind": "h3", "resolution": 7},
            "mobility": {"kind": "neighbours"},
        },
        "h3",
        None,
    ),
    "neighbouring zones": (
        lambda d: {
            "tokens": zones(d),
            "mobility": {"kind": "neighbours"},
            **by_point(d),
        },
        "zone",
        25,
    ),
    "arrays with cells": (
        lambda d: {
            "mobility": arrays(d, cells=str(d / "cells.npy")),
            **ready_made(d, ["poi", "image", "demo"]),
        },
        "h3",
        91,
    ),
    "arrays without cells": (
        lambda d: {
            "mobility": arrays(d),
            "evaluation": {},
            **ready_made(d, ["poi", "image", "demo"]),
        },
        "zone",
        91,
    ),
}
WITHOUT_A_MAP = ("flows between names", "arrays without cells")


@pytest.mark.parametrize("way", WAYS)
def test_whole_run(way, data, tmp_path):
    changes, kind, tokens = WAYS[way]
    config = settings(data, **changes(data))
    embeddings = run(config, folder=tmp_path)
    assert embeddings.tokens.kind == kind
    assert tokens is None or len(embeddings) == tokens
    assert embeddings.dim == 16
    assert np.isfinite(embeddings.vectors).all()
    assert (tmp_path / "map.html").exists() == (way not in WITHOUT_A_MAP)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["cells"] == len(embeddings)
    assert report["edges"] == read_mobility(tmp_path / "graph").graph.edges > 0
    assert list(report["tasks"]) == ([] if config["evaluation"] == {} else ["wealth"])


def graph_of(data, folder, way, until="graph", **frames):
    run(settings(data, **WAYS[way][0](data)), folder=folder, until=until, **frames)
    return read_mobility(folder / "graph")


def test_points_and_their_cells_make_one_graph(data, tmp_path):
    points, cells = (
        graph_of(data, tmp_path / way, way).graph.symmetric().toarray()
        for way in ("visits at points", "visits in H3 cells")
    )
    np.testing.assert_array_equal(points, cells)


def test_flows_between_points_and_their_cells_make_one_graph(data, tmp_path):
    points, cells = (
        graph_of(data, tmp_path / way, way).graph.symmetric().toarray()
        for way in ("flows between points", "flows between H3 cells")
    )
    np.testing.assert_array_equal(points, cells)


def test_flows_are_kept_as_published(data, tmp_path):
    flows = planted_city().flows
    graph = graph_of(data, tmp_path, "flows between H3 cells").graph
    number = dict(zip(planted_city().tokens.names(), range(91), strict=True))
    matrix = np.zeros((91, 91))
    np.add.at(
        matrix,
        (flows["origin"].map(number), flows["destination"].map(number)),
        flows["weight"],
    )
    symmetric = matrix + matrix.T
    np.testing.assert_array_equal(graph.within, np.diag(matrix))
    np.fill_diagonal(symmetric, 0)
    np.testing.assert_array_equal(graph.symmetric().toarray(), symmetric)


def test_a_grid_cell_keeps_its_visitors(data, tmp_path):
    grid = graph_of(data, tmp_path / "grid", "visits in a square grid")
    cells = graph_of(data, tmp_path / "cells", "visits at points")
    labels = planted_city().labels
    back = grid.tokens.encode(labels["grid"].to_numpy())
    to_cell = cells.tokens.encode(labels["cell"].to_numpy(str))
    np.testing.assert_array_equal(
        grid.graph.outflow[back], cells.graph.outflow[to_cell]
    )


def test_gravity_keeps_the_flow_between_zones(data, tmp_path):
    made = graph_of(data, tmp_path, "gravity")
    zone_of = dict(planted_city().labels[["cell", "zone"]].to_numpy())
    zone = np.array([zone_of[name] for name in made.tokens.names()])
    full = made.graph.symmetric().toarray() + 2 * np.diag(made.graph.within)
    flows = planted_city().zone_flows
    for one, other in (("Z11", "Z12"), ("Z21", "Z33"), ("Z22", "Z22")):
        both = flows[
            (flows["origin"].eq(one) & flows["destination"].eq(other))
            | (flows["origin"].eq(other) & flows["destination"].eq(one))
        ]
        expected = both["weight"].sum() * (2 if one == other else 1)
        got = full[np.ix_(zone == one, zone == other)].sum()
        assert got == pytest.approx(expected, rel=1e-5)


def test_a_dropped_row_leaves_every_other_in_its_zone(data, tmp_path):
    people = planted_city().people.copy()
    people.loc[3, "lon"] = np.nan  # dropped by the check
    people.loc[5, "zone"] = None  # belongs nowhere
    people.loc[7, "population"] = 0  # nobody lives there
    made = graph_of(data, tmp_path, "gravity", tables={"mobility.population": people})
    zone_of = dict(people[["cell", "zone"]].to_numpy())
    names = np.array(made.tokens.names())[made.zones["token"]]
    assert [zone_of[name] for name in names] == made.zones["zone"].tolist()
    assert len(made.zones) == 88


def test_radiation_without_zones_has_no_zones(data, tmp_path):
    without = graph_of(data, tmp_path, "radiation without zones")
    assert without.zones.empty
    assert without.population.sum() == planted_city().people["population"].sum()


def test_finer_cells_are_brought_to_the_level_of_the_run(data, tmp_path):
    config = settings(data, mobility=visits(data, token="cell"))
    config["tokens"] = {"kind": "h3", "resolution": 6}
    run(config, folder=tmp_path, until="graph")
    made = read_mobility(tmp_path / "graph")
    assert made.tokens.resolution == 6
    assert len(made.tokens) < 91


def test_arrays_follow_their_cells(data, tmp_path):
    made = graph_of(data, tmp_path, "arrays with cells", until="features")
    cells = np.load(data / "cells.npy")
    row = made.tokens.encode(cells)
    poi = np.load(tmp_path / "features" / "poi.values.npy")
    line = np.load(tmp_path / "line" / "vectors.npy")
    np.testing.assert_array_equal(poi[row], np.load(data / "poi.npy"))
    np.testing.assert_array_equal(line[row], np.load(data / "mob.npy"))
    plain = graph_of(data, tmp_path / "plain", "arrays without cells")
    np.testing.assert_array_equal(
        made.graph.symmetric().toarray()[np.ix_(row, row)],
        plain.graph.symmetric().toarray(),
    )


def test_evaluation_without_places_says_what_is_left_out(data, tmp_path):
    config = settings(data, **WAYS["visits in a square grid"][0](data))
    run(config, folder=tmp_path, until="evaluate")
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["tasks"]["wealth"]) == ["mora"]
    assert "lon/lat" in report["left_out"]["lonlat"]


def test_vectors_tell_the_planted_communities_apart(data, tmp_path):
    # A line of two equal communities: half of the nearest would agree by chance.
    embeddings = run(settings(data), folder=tmp_path)
    community = planted_city().community
    nearest, _ = embeddings.nearest(embeddings.vectors, k=6)
    assert (community[nearest[:, 1:]] == community[:, None]).mean() > 0.95
    wealth = json.loads((tmp_path / "report.json").read_text())["tasks"]["wealth"]
    for scores in (wealth, {m: s["ridge"] for m, s in wealth.items()}):
        for protocol in ("random", "blocked"):
            mora, lonlat = (scores[m][protocol]["mean"] for m in ("mora", "lonlat"))
            assert mora > 0.7
            assert lonlat < 0.3


def test_a_label_that_an_input_gives_away_is_named(data, tmp_path):
    wealth = planted_city().labels["wealth"]
    people = planted_city().people.assign(young=1000 * wealth + 2000)
    tables = {"modalities.demographics.inputs.0": people}
    config = settings(data)
    run(config, folder=tmp_path, tables=tables)
    (told, *_) = json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert "label 'wealth'" in told


def test_zone_labels_are_pooled_over_their_cells(data, tmp_path):
    labels = planted_city().labels.groupby("zone", as_index=False)["wealth"].mean()
    config = settings(data, **WAYS["gravity"][0](data))
    zone_table = {
        "table": {"columns": {"id": "zone"}},
        "values": {"zone_wealth": "wealth"},
    }
    zone_table |= {"unit": "zone", "pool": "population"}
    config["evaluation"]["labels"].append(zone_table)
    config["evaluation"]["blocks"] = "code"
    tables = {"evaluation.labels.1.table": labels}
    run(config, folder=tmp_path, tables=tables)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["samples"] == {"wealth": 91, "zone_wealth": 21}


def test_python_and_frame_say_the_same_as_a_file(data, tmp_path):
    config = settings(data)
    from_file = run(config, folder=tmp_path / "file", until="embed")
    frame = pd.read_csv(data / "visits.csv")
    from_frame = run(config, folder=tmp_path / "frame", until="embed", visits=frame)
    assert from_file.vectors.tobytes() == from_frame.vectors.tobytes()
    assert from_file.to_pandas().equals(from_frame.to_pandas())
    assert list(from_file.to_pandas().columns[:2]) == ["e000", "e001"]
    assert from_file.to_pandas().index.tolist() == planted_city().tokens.names()


def test_a_label_that_meets_no_place_is_counted(data, tmp_path):
    config = settings(data)
    table = config["evaluation"]["labels"][0]["table"]
    labels = pd.read_csv(table.pop("path"), dtype={"cell": str})
    stranger = labels.tail(1).assign(**{table["columns"]["id"]: "85283473fffffff"})
    frame = pd.concat([labels, stranger], ignore_index=True)
    tables = {"evaluation.labels.0.table": frame}
    run(config, folder=tmp_path, until="evaluate", tables=tables)
    manifest = json.loads((tmp_path / "evaluate" / "manifest.json").read_text())
    found = [p for t in manifest["facts"]["tables"] for p in t["problems"]]
    unmet = [p for p in found if p["name"] == "label meets no place"]
    assert [(p["count"], p["action"]) for p in unmet] == [(1, "dropped")]
    assert unmet[0]["examples"] == [f"row {len(frame)}"]
