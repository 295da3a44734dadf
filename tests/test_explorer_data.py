import base64
import json
import re
from dataclasses import replace

import h3
import numpy as np
import pytest
import scipy.sparse as sp
import shapely

from mora.embeddings import Embeddings
from mora.errors import MissingFileError, MoraError, NoGeometryError, PersonalDataError
from mora.explore.explorer_data import TYPES, write_explorer
from mora.explore.explorer_numbers import (
    column_legend,
    diverging_ramp,
    outline_arrays,
    rounded,
)
from mora.explore.explorer_run import (
    Column,
    ExplorerRun,
    read_explorer_run,
    readable,
    residual_columns,
)
from mora.graph.storage import MobilityGraph
from mora.modalities import Features
from mora.personal import mark_personal
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

DIM = 6


def random_vectors(count, dim=DIM, seed=0):
    return np.random.default_rng(seed).normal(1, 1, (count, dim)).astype(np.float32)


def cells(rings=2):
    middle = h3.latlng_to_cell(52.5, 13.4, 7)
    return H3Tokens.from_cells(list(h3.grid_disk(middle, rings)))


def zones():
    outlines = np.array([shapely.box(x, 40, x + 1, 41) for x in range(5)])
    outlines[0] = outlines[0].difference(shapely.box(0.2, 40.2, 0.4, 40.4))
    outlines[1] = shapely.union_all([outlines[1], shapely.box(9, 40, 10, 41)])
    return ZoneTokens(np.array([f"zone {i}" for i in range(5)]), outlines)


def ring_graph(count, users=None):
    """Every place moves to the next one, more the later it is."""
    here = np.arange(count)
    weight = here + 1.0
    matrix = sp.csr_array((weight, (here, (here + 1) % count)), shape=(count, count))
    counted = None
    if users is not None:
        both = sp.csr_array(matrix + matrix.T)
        both.data = np.full(len(both.data), float(users))
        counted = both
    return MobilityGraph.from_matrix(matrix, counted)


def shown(tokens=None, **changes):
    tokens = cells() if tokens is None else tokens
    given = {
        "name": "a run",
        "embeddings": Embeddings(tokens, random_vectors(len(tokens))),
    }
    return ExplorerRun(**{**given, **changes})


def written(tmp_path, run, *args, **options):
    """Write a run; give its meta data and a function that reads its files."""
    folder = write_explorer(run, tmp_path / "page", *args, **options)

    def read(name, folder=folder):
        if name.endswith(".json"):
            return json.loads((folder / name).read_text())
        return np.fromfile(folder / name, TYPES[name.rpartition(".")[2]])

    return read("meta.json"), read


# The folder


def test_cells_colours_and_vectors_are_written(tmp_path):
    run = shown()
    meta, read = written(tmp_path, run)
    tokens = run.embeddings.tokens
    assert (meta["format"], meta["kind"]) == (1, "h3")
    assert (meta["places"], meta["dim"]) == (len(tokens), DIM)
    np.testing.assert_array_equal(read(meta["cells"]), tokens.ids)
    middles = read(meta["middles"]).reshape(-1, 2)
    np.testing.assert_allclose(middles, tokens.centroids(), rtol=1e-6)
    assert len(read(meta["components"]["colours"])) == 3 * len(tokens)
    vectors = read(meta["vectors"]["values"]).reshape(-1, DIM)
    scale = read(meta["vectors"]["scale"])
    close = np.abs(vectors * scale[:, None] - run.embeddings.vectors)
    assert (close <= scale[:, None] * 0.501).all()


def test_every_file_is_also_a_script(tmp_path):
    write_explorer(shown(), tmp_path)
    files = [f for f in (tmp_path / "data").iterdir() if f.suffix != ".js"]
    assert len(files) > 5
    for file in files:
        script = file.with_name(f"{file.name}.js").read_text()
        packed = re.fullmatch(r'moraFile\("([A-Za-z0-9+/=]*)"\);\n', script)[1]
        assert base64.b64decode(packed) == file.read_bytes()


def test_scripts_can_be_left_out(tmp_path):
    write_explorer(shown(), tmp_path, offline=False)
    assert not list((tmp_path / "data").glob("*.js"))


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_explorer(shown(), tmp_path / name)
    one, two = (
        {f.name: f.read_bytes() for f in (tmp_path / name / "data").iterdir()}
        for name in ("one", "two")
    )
    assert one == two


def test_names_and_what_is_inside(tmp_path):
    count = len(cells())
    names = ["Mitte", *[""] * (count - 1)]
    inside = [["café", "school"], *[[]] * (count - 1)]
    notes = ["Flows are of 2000."]
    meta, read = written(
        tmp_path, shown(names=names, inside=inside, notes=notes, name="Berlin")
    )
    assert read(meta["names"]) == names
    assert read(meta["inside"]) == inside
    assert (meta["name"], meta["notes"]) == ("Berlin", notes)
    meta, _ = written(tmp_path, shown())
    assert (meta["names"], meta["inside"]) == (None, None)


def test_columns_with_legend(tmp_path):
    values = np.arange(len(cells()), dtype=float)
    columns = {"Income": Column(values, "label", "US$", "of households")}
    meta, read = written(tmp_path, shown(columns=columns))
    (column,) = meta["columns"]
    assert (column["name"], column["kind"]) == ("Income", "label")
    assert (column["unit"], column["description"]) == ("US$", "of households")
    np.testing.assert_array_equal(read(column["values"]), values)
    assert column["quantiles"][2] == np.median(values)


def test_a_second_run_has_a_folder_of_its_own(tmp_path):
    second = shown(zones(), name="zones")
    meta, read = written(tmp_path, shown(), second)
    assert meta["second"] == "second"
    other = read("meta.json", tmp_path / "page" / "data" / "second")
    assert (other["name"], other["kind"], other["second"]) == ("zones", "zone", None)
    meta, _ = written(tmp_path, shown())
    assert meta["second"] is None
    assert not (tmp_path / "page" / "data" / "second").exists()


def test_the_page_is_copied_beside_the_data(tmp_path):
    page = tmp_path / "dist"
    page.mkdir()
    with pytest.raises(
        MoraError, match=r"holds no index.html; expected the built page"
    ):
        write_explorer(shown(), tmp_path / "page", page=page)
    (page / "index.html").write_text("<!doctype html>")
    write_explorer(shown(), tmp_path / "page", page=page)
    assert (tmp_path / "page" / "index.html").read_text() == "<!doctype html>"
    assert (tmp_path / "page" / "data" / "meta.json").is_file()


def test_the_service_is_named(tmp_path):
    assert written(tmp_path, shown())[0]["service"] is None
    meta, read = written(tmp_path, shown(), shown(), service=".")
    assert meta["service"] == "."
    assert read("second/meta.json")["service"] is None


def test_groups_and_seed(tmp_path):
    two, read = written(tmp_path, shown(), groups=2)
    assert sum(two["groups"]["sizes"]) == len(cells())
    assert set(read("groups.u8").tolist()) == {0, 1}
    assert len(written(tmp_path, shown(), groups=5)[0]["groups"]["sizes"]) == 5
    found = []
    for seed in range(4):
        _, read = written(tmp_path, shown(), groups=5, seed=seed)
        found.append(read("groups.u8").tolist())
    assert len({tuple(group) for group in found}) > 1


@pytest.mark.parametrize("groups", [0, 256])
def test_groups_must_fit_a_byte(tmp_path, groups):
    with pytest.raises(MoraError, match=f"groups is {groups}; expected 1 to 255"):
        write_explorer(shown(), tmp_path, groups=groups)


def test_arcs(tmp_path):
    graph = ring_graph(len(cells()))
    meta, read = written(tmp_path, shown(graph=graph), partners=1, published=True)
    arcs = meta["arcs"]
    assert "shown as published" in meta["notes"][-1]
    assert (arcs["most"], arcs["minUsers"]) == (1, None)
    starts, targets = read(arcs["starts"]), read(arcs["targets"])
    assert targets[starts[3]] == 4
    assert read(arcs["weights"])[starts[3]] == 4
    more, read = written(tmp_path, shown(graph=graph), partners=2, published=True)
    assert len(read(more["arcs"]["targets"])) == 2 * len(targets)
    assert written(tmp_path, shown())[0]["arcs"] is None


def test_flows_that_count_no_users_need_to_be_called_published(tmp_path):
    meta, _ = written(tmp_path, shown(graph=ring_graph(len(cells()))))
    assert meta["arcs"] is None
    assert "not declared as published" in meta["notes"][-1]


def test_arcs_of_few_users_are_left_out(tmp_path):
    run = shown(graph=ring_graph(len(cells()), users=4))
    meta, read = written(tmp_path, run, min_users=4)
    assert meta["arcs"]["minUsers"] == 4
    assert meta["notes"][-1] == "Flows of fewer than 4 people are not shown."
    assert len(read("arc_target.u32")) > 0
    _, read = written(tmp_path, run)  # 5 to publish
    assert len(read("arc_target.u32")) == 0


# Outlines


def test_outlines_by_hand():
    square = shapely.box(0, 0, 4, 4).difference(shapely.box(1, 1, 2, 2))
    parts = shapely.MultiPolygon([shapely.box(5, 0, 6, 1), shapely.box(7, 0, 8, 1)])
    arrays = outline_arrays(np.array([square, parts], dtype=object))
    assert arrays["ring_start"].tolist() == [0, 4, 8, 12, 16]
    assert arrays["token_start"].tolist() == [0, 2, 4]
    rings = np.split(arrays["corners"], arrays["ring_start"][1:-1])
    areas = [signed_area(ring) for ring in rings]
    assert areas == [16, -1, 1, 1]


def signed_area(ring):
    following = np.roll(ring, -1, axis=0)
    return float(
        (ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum() / 2
    )


def test_winding_of_the_input_does_not_matter():
    outlines = zones().polygons()
    turned = shapely.reverse(outlines)
    areas = []
    for given in (outlines, turned):
        arrays = outline_arrays(given)
        rings = np.split(arrays["corners"], arrays["ring_start"][1:-1])
        areas.append([round(signed_area(ring), 9) for ring in rings])
    assert areas[0] == areas[1]


def test_zones_have_ids_and_outlines(tmp_path):
    meta, read = written(tmp_path, shown(zones()))
    assert read(meta["ids"]) == [f"zone {i}" for i in range(5)]
    starts = read(meta["outlines"]["token_start"])
    assert starts.tolist() == [0, 2, 4, 5, 6, 7]
    middles = read(meta["middles"]).reshape(-1, 2)
    inside = shapely.contains_xy(zones().polygons(), middles[:, 0], middles[:, 1])
    assert inside.all()


def test_grid_cells_keep_their_own_plane(tmp_path):
    tokens = GridTokens(np.arange(6), 3, 2, 0.5)
    meta, read = written(tmp_path, shown(tokens))
    assert (meta["kind"], meta["cellKm"]) == ("grid", 0.5)
    assert read(meta["outlines"]["corners"]).reshape(-1, 2).shape == (24, 2)


def test_places_without_outlines_are_refused(tmp_path):
    tokens = ZoneTokens(np.array(["a", "b"]), None)
    with pytest.raises(NoGeometryError):
        write_explorer(shown(tokens), tmp_path)
    assert not (tmp_path / "data").exists()


# Numbers


def test_rounding_by_hand():
    entries, scale = rounded(np.array([[254.0, -127.0, 1.0], [0.0, 0.0, 0.0]]))
    assert entries.tolist() == [[127, -64, 0], [0, 0, 0]]
    assert scale.tolist() == [2.0, 0.0]


def test_rounded_vectors_keep_cosines():
    vectors = random_vectors(50, 64).astype(np.float64)
    entries, _ = rounded(vectors)
    exact, close = (np.corrcoef(v - 0.0) for v in (vectors, entries.astype(float)))
    np.testing.assert_allclose(close, exact, atol=0.01)


def test_rounding_does_not_depend_on_length():
    vectors = random_vectors(20).astype(np.float64)
    entries, scale = rounded(vectors)
    longer, larger = rounded(4 * vectors)
    np.testing.assert_array_equal(longer, entries)
    np.testing.assert_allclose(larger, 4 * scale)


def test_diverging_ramp_is_even_around_a_light_middle():
    ramp = diverging_ramp(65).astype(int)
    assert ramp.shape == (65, 3)
    assert ramp[0][2] > ramp[0][0]  # blue
    assert ramp[-1][0] > ramp[-1][2]  # red
    assert ramp[32].min() > 195
    assert len(diverging_ramp(5)) == 5


def test_legend_of_residuals_is_even_around_zero():
    values = np.linspace(-1, 3, 101)
    legend = column_legend(Column(values, "residual"))
    assert legend["low"] == -legend["high"] < 0
    assert (legend["ramp"], legend["log"]) == ("diverging", False)
    assert column_legend(Column(values, "label"))["ramp"] == "sequential"


def test_legend_counts_what_is_known():
    legend = column_legend(Column(np.array([1.0, np.nan, 3.0]), "label"))
    assert (legend["known"], legend["quantiles"][2]) == (2, 2.0)
    legend = column_legend(Column(np.full(3, np.nan), "label"))
    assert (legend["known"], legend["quantiles"]) == (0, [])


# What a run holds


def finished_run(folder, tokens=None, population=None, kind="demographics"):
    tokens = cells() if tokens is None else tokens
    provenance = {"run": "planted", "notes": ["A note."]}
    vectors = random_vectors(len(tokens))
    folder.mkdir()
    Embeddings(tokens, vectors, population, provenance).write(
        folder / "embeddings.parquet"
    )
    (folder / "graph").mkdir()
    tokens.write(folder / "graph" / "tokens.parquet")
    ring_graph(len(tokens)).write(folder / "graph" / "edges")
    values = np.linspace(0, 1, len(tokens))[:, None]
    present = np.arange(len(tokens)) > 0
    Features.from_values(values, present, ["pct_under_18"]).write(
        folder / "features", "who"
    )
    settings = {"modalities": {"who": {"kind": kind}}}
    manifest = folder / "features" / "manifest.json"
    manifest.write_text(json.dumps({"settings": settings}))
    return folder


def test_a_run_folder_is_read(tmp_path):
    people = np.arange(len(cells()), dtype=float)
    run = read_explorer_run(finished_run(tmp_path / "run", population=people))
    assert (run.name, run.notes) == ("planted", ["A note."])
    assert list(run.columns) == [
        "Movement out",
        "Movement in",
        "Population",
        "Under 18",
    ]
    np.testing.assert_array_equal(run.columns["Population"].values, people)
    under = run.columns["Under 18"]
    assert (under.unit, under.kind) == ("%", "input")
    assert np.isnan(under.values[0])
    assert under.values[-1] == 100


def test_other_features_mean_nothing_to_people(tmp_path):
    run = read_explorer_run(finished_run(tmp_path / "run", kind="imagery"))
    assert list(run.columns) == ["Movement out", "Movement in"]


def test_undirected_movement_is_one_column(tmp_path):
    folder = finished_run(tmp_path / "run")
    graph = ring_graph(len(cells()))
    replace(graph, inflow=graph.outflow).write(folder / "graph" / "edges")
    assert "Movement" in read_explorer_run(folder).columns


def test_a_run_of_embeddings_alone(tmp_path):
    embeddings = Embeddings(cells(), random_vectors(len(cells())))
    embeddings.write(tmp_path / "embeddings.parquet")
    run = read_explorer_run(tmp_path)
    assert (run.name, run.graph, dict(run.columns)) == (tmp_path.name, None, {})


def test_folders_are_written_as_gathered_runs_are(tmp_path):
    folder = finished_run(tmp_path / "run")
    by_folder = written(tmp_path / "a", folder, folder)[0]
    by_run = written(tmp_path / "b", read_explorer_run(folder), folder)[0]
    assert by_folder == by_run


def test_a_folder_without_embeddings(tmp_path):
    with pytest.raises(MissingFileError, match="embeddings"):
        write_explorer(tmp_path / "nothing", tmp_path / "page")


def test_personal_data_is_refused(tmp_path):
    folder = finished_run(tmp_path / "run")
    mark_personal(folder, "Traces of people.")
    with pytest.raises(PersonalDataError):
        write_explorer(folder, tmp_path / "page")


def test_a_graph_of_other_places_is_refused(tmp_path):
    folder = finished_run(tmp_path / "run")
    cells(1).write(folder / "graph" / "tokens.parquet")
    with pytest.raises(
        MoraError, match="the graph has 7 places, the embeddings have 19"
    ):
        read_explorer_run(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["a"]}, "names: 1 rows for 19 places"),
        ({"inside": [["a"]] * 20}, "inside: 20 rows for 19 places"),
        ({"graph": ring_graph(4)}, "graph: 4 rows for 19 places"),
        ({"columns": {"X": Column(np.zeros(2), "label")}}, "column 'X': 2 rows for 19"),
    ],
)
def test_lengths_must_agree(changes, message):
    with pytest.raises(MoraError, match=message):
        shown(**changes)


def test_vectors_must_be_finite():
    vectors = random_vectors(len(cells()))
    vectors[3, 2] = np.nan
    with pytest.raises(MoraError, match=r"1 of 19 vectors are not finite \(first: 87"):
        shown(embeddings=Embeddings(cells(), vectors))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("pct_under_18", ("Under 18", "%")),
        ("avg_household_size", ("Avg household size", "")),
        ("employed_pct", ("Employed", "%")),
        ("", ("", "")),
    ],
)
def test_readable_names(column, expected):
    assert readable(column) == expected


def test_residuals_are_label_minus_prediction():
    label, predicted = np.array([3.0, np.nan]), np.array([1.0, 2.0])
    columns = residual_columns("Income", label, predicted, "US$")
    first, second = columns.values()
    assert list(columns) == ["Income, predicted", "Income, label minus prediction"]
    assert (first.kind, second.kind) == ("prediction", "residual")
    assert {first.unit, second.unit} == {"US$"}
    assert second.values[0] == 2.0
    assert np.isnan(second.values[1])
