import json

import duckdb
import h3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from mora import nearest
from mora.embeddings import Embeddings, read_embeddings
from mora.errors import (
    MissingFileError,
    MoraError,
    NoGeometryError,
    PersonalDataError,
    UnknownTokenError,
)
from mora.geometry import polygon_areas_km2
from mora.personal import mark_personal
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

WEST, EAST = shapely.box(0, 0, 2, 1), shapely.box(2, 0, 3, 1)


def vectors_for(tokens, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(tokens), dim)).astype(np.float32)


def of_cells(dim=4, rings=4, **more):
    tokens = H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(48.86, 2.35, 6), rings))
    return Embeddings(tokens, vectors_for(tokens, dim), **more)


def of_grid(dim=4):
    xy = np.column_stack(np.divmod(np.arange(12), 4)) + 1
    tokens = GridTokens.from_xy(xy, width=3, height=4, cell_km=0.5)
    return Embeddings(tokens, vectors_for(tokens, dim))


def of_zones(population=(300.0, 100.0)):
    """Two zones, the western twice as wide, with vectors (1, 0) and (0, 1)."""
    tokens = ZoneTokens.from_zones(["west", "east"], np.array([WEST, EAST]))
    west = np.array(tokens.ids) == "west"
    vectors = np.column_stack([west, ~west]).astype(np.float32)
    people = np.where(west, *population)
    return Embeddings(tokens, vectors, people, {"model": "by hand", "layers": 2})


def of_names():
    tokens = ZoneTokens.from_zones(["b", "a", "c"])
    return Embeddings(tokens, vectors_for(tokens))


EVERY = [of_cells, of_grid, of_zones, of_names]
every_kind = pytest.mark.parametrize("make", EVERY)


def write(embeddings, folder):
    path = folder / "embeddings.parquet"
    embeddings.write(path)
    return path


def metadata(path):
    return pq.read_schema(path).metadata


# Files


@every_kind
def test_what_is_written_is_read_back_equal(make, tmp_path):
    written = make()
    again = read_embeddings(write(written, tmp_path))
    assert type(again.tokens) is type(written.tokens)
    assert again.tokens.to_table().equals(written.tokens.to_table(), True)
    np.testing.assert_array_equal(again.vectors, written.vectors)
    assert again.vectors.dtype == np.float32
    assert dict(again.provenance) == dict(written.provenance)
    if written.population is None:
        assert again.population is None
    else:
        np.testing.assert_array_equal(again.population, written.population)


@every_kind
def test_written_again_the_bytes_are_the_same(make, tmp_path):
    first = write(make(), tmp_path).read_bytes()
    assert write(make(), tmp_path).read_bytes() == first
    read_embeddings(tmp_path / "embeddings.parquet").write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "embeddings.parquet"]


def test_vectors_population_and_provenance_change_the_file(tmp_path):
    usual = of_zones()
    changes = [
        {"vectors": usual.vectors * 2},
        {"population": np.array([1.0, np.nan])},
        {"population": None},
        {"provenance": {"model": "other"}},
    ]
    files = {write(usual, tmp_path).read_bytes()}
    for change in changes:
        parts = {"tokens": usual.tokens, "vectors": usual.vectors}
        parts |= {"population": usual.population, "provenance": usual.provenance}
        files.add(write(Embeddings(**(parts | change)), tmp_path).read_bytes())
    assert len(files) == 5


def test_order_of_the_provenance_does_not_change_the_file(tmp_path):
    made, files = of_names(), set()
    for provenance in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        again = Embeddings(made.tokens, made.vectors, None, provenance)
        files.add(write(again, tmp_path).read_bytes())
    assert len(files) == 1


def test_unknown_population_stays_unknown(tmp_path):
    written = of_zones(population=(np.nan, 7.0))
    again = read_embeddings(write(written, tmp_path))
    np.testing.assert_array_equal(again.population, written.population)


def test_vectors_are_a_fixed_size_list_of_float32(tmp_path):
    schema = pq.read_schema(write(of_cells(dim=7), tmp_path))
    assert schema.field("embedding").type == pa.list_(pa.float32(), 7)


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (of_cells, ["id", "cell", "geometry", "embedding"]),
        (of_grid, ["id", "grid", "embedding"]),
        (of_zones, ["id", "zone", "geometry", "population", "embedding"]),
        (of_names, ["id", "zone", "embedding"]),
    ],
)
def test_columns_of_each_kind(make, columns, tmp_path):
    assert pq.read_schema(write(make(), tmp_path)).names == columns


@pytest.mark.parametrize("make", [of_cells, of_zones])
def test_geo_metadata_follow_geoparquet(make, tmp_path):
    geo = json.loads(metadata(write(make(), tmp_path))[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["primary_column"] == "geometry"
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon"]
    assert "crs" not in column  # which means longitude, latitude (OGC:CRS84)
    np.testing.assert_allclose(
        column["bbox"], shapely.total_bounds(make().tokens.polygons())
    )


def test_geo_metadata_name_every_type_of_geometry(tmp_path):
    parts = shapely.MultiPolygon([WEST, shapely.box(7, 7, 8, 8)])
    tokens = ZoneTokens.from_zones(["a", "b"], np.array([EAST, parts], dtype=object))
    path = write(Embeddings(tokens, vectors_for(tokens)), tmp_path)
    types = json.loads(metadata(path)[b"geo"])["columns"]["geometry"]["geometry_types"]
    assert types == ["MultiPolygon", "Polygon"]


@pytest.mark.parametrize("make", [of_grid, of_names])
def test_places_without_geometry_give_plain_parquet(make, tmp_path):
    assert b"geo" not in metadata(write(make(), tmp_path))


@pytest.mark.parametrize(
    ("make", "grid", "model"),
    [
        (of_cells, "h3-6", "mora"),
        (of_grid, "grid", "mora"),
        (of_zones, "zone", "by hand"),
    ],
)
def test_stac_fields_describe_the_vectors(make, grid, model, tmp_path):
    made = make()
    assert json.loads(metadata(write(made, tmp_path))[b"stac"]) == {
        "emb:type": "location",
        "emb:dimensions": made.dim,
        "emb:model": model,
        "emb:chip_layout": {"grid_id": grid},
        "data_type": "float32",
    }


# Other readers


def test_duckdb_reads_the_file(tmp_path):
    made = of_cells()
    path = write(made, tmp_path)
    with duckdb.connect() as connection:
        rows = connection.sql(
            f"select id, cell, embedding from read_parquet('{path}')"
        ).fetchall()
    assert [row[0] for row in rows] == made.tokens.names()
    assert [row[1] for row in rows] == made.tokens.ids.tolist()
    np.testing.assert_array_equal(np.array([row[2] for row in rows]), made.vectors)


def test_pandas_reads_the_file(tmp_path):
    made = of_cells(population=np.arange(61.0))
    frame = pd.read_parquet(write(made, tmp_path), engine="pyarrow")
    assert frame["id"].tolist() == made.tokens.names()
    assert frame["population"].tolist() == list(range(61))
    np.testing.assert_array_equal(np.stack(frame["embedding"]), made.vectors)
    outlines = shapely.from_wkb(frame["geometry"].to_numpy())
    assert shapely.equals(outlines, made.tokens.polygons()).all()


@pytest.mark.parametrize("make", [of_cells, of_zones])
def test_geopandas_reads_the_file(make, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    made = make()
    frame = geopandas.read_parquet(write(made, tmp_path))
    assert frame.crs.to_authority() in (("OGC", "CRS84"), ("EPSG", "4326"))
    assert shapely.equals(frame.geometry.to_numpy(), made.tokens.polygons()).all()
    np.testing.assert_array_equal(np.stack(frame["embedding"]), made.vectors)
    areas = frame.to_crs("ESRI:54034").area / 1e6  # cylindrical equal area, ellipsoid
    np.testing.assert_allclose(areas, made.tokens.areas_km2(), rtol=0.006)


# In memory


@every_kind
def test_frame_has_a_row_a_place(make):
    made = make()
    frame = made.to_pandas()
    assert frame.index.tolist() == made.tokens.names()
    assert frame.index.name == made.tokens.kind
    assert frame.columns.tolist() == [f"e{i:03d}" for i in range(made.dim)]
    np.testing.assert_array_equal(frame.to_numpy(), made.vectors)
    assert (len(made), made.dim) == made.vectors.shape


@every_kind
def test_at_looks_vectors_up_by_place(make):
    made = make()
    rows = [len(made) - 1, 0, 0]
    ids = [made.tokens.names()[row] for row in rows]
    np.testing.assert_array_equal(made.at(ids), made.vectors[rows])
    np.testing.assert_array_equal(made.at(made.tokens.ids[rows]), made.vectors[rows])
    assert made.at([]).shape == (0, made.dim)


def test_at_refuses_strangers():
    with pytest.raises(UnknownTokenError, match=r"1 of 2 places .*first: nowhere"):
        of_names().at(["a", "nowhere"])


@pytest.mark.parametrize("make", [of_cells, of_zones])
def test_at_lonlat_gives_the_place_around_and_nan_outside(make):
    made = make()
    points = np.concatenate([[[170.0, -40.0]], made.tokens.centroids()[::-1]])
    got = made.at_lonlat(points)
    assert got.dtype == np.float32
    assert np.isnan(got[0]).all()
    np.testing.assert_array_equal(got[1:], made.vectors[::-1])


def test_at_lonlat_needs_a_place_on_earth():
    with pytest.raises(NoGeometryError, match="grid tokens have no known place"):
        of_grid().at_lonlat(np.zeros((1, 2)))


def test_vectors_and_tokens_must_match():
    made = of_names()
    with pytest.raises(MoraError, match="2 vectors for 3 tokens; expected one each"):
        Embeddings(made.tokens, made.vectors[:2])


# Averages over polygons


def test_two_zones_by_hand():
    # Half of the west, 1 degree, and all of the east, 1 degree: 150 and 100 people.
    both = shapely.box(1, 0, 3, 1)
    made = of_zones()
    np.testing.assert_allclose(made.over(both), [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(made.over(both, weight="population"), [0.6, 0.4])
    np.testing.assert_allclose(made.over(both, weight="area"), [0.5, 0.5], rtol=1e-6)


def test_a_polygon_in_one_place_gives_its_vector():
    made = of_zones()
    inside = shapely.box(0.2, 0.2, 0.4, 0.9)
    np.testing.assert_array_equal(made.over(inside), [1, 0])
    np.testing.assert_array_equal(made.over(inside, weight="population"), [1, 0])


def test_parts_outside_all_places_do_not_count():
    wide = shapely.box(-50, 0, 50, 1)
    np.testing.assert_allclose(of_zones().over(wide), [2 / 3, 1 / 3], rtol=1e-6)


def test_places_without_known_population_do_not_count():
    both = shapely.box(0, 0, 3, 1)
    made = of_zones(population=(np.nan, 10.0))
    np.testing.assert_array_equal(made.over(both, weight="population"), [0, 1])


def over_by_intersection(made, polygon, population=None):
    """Average over the exact parts of every outline that lie in the polygon."""
    outlines = made.tokens.polygons()
    inside = polygon_areas_km2(shapely.intersection(outlines, polygon))
    if population is not None:
        inside = inside * population / made.tokens.areas_km2()
    return (inside @ made.vectors) / inside.sum()


COUNTY = shapely.Polygon([(2.1, 48.7), (2.6, 48.75), (2.55, 49.0), (2.15, 48.98)])


def test_cells_agree_with_intersecting_every_outline():
    population = np.random.default_rng(0).gamma(1, 1000, 61)
    population[5] = 0
    made = of_cells(population=population)
    by_area, by_people = made.over(COUNTY), made.over(COUNTY, weight="population")
    np.testing.assert_allclose(by_area, over_by_intersection(made, COUNTY), atol=0.01)
    expected = over_by_intersection(made, COUNTY, population)
    np.testing.assert_allclose(by_people, expected, atol=0.01)
    assert np.abs(by_area - by_people).max() > 0.05
    assert by_area.dtype == np.float32


def test_a_polygon_smaller_than_a_cell_gives_its_vector():
    made = of_cells()
    lon, lat = made.tokens.centroids()[7]
    dot = shapely.box(lon, lat, lon + 1e-6, lat + 1e-6)
    np.testing.assert_allclose(made.over(dot), made.vectors[7], rtol=1e-6)


@pytest.mark.parametrize("make", [of_cells, of_zones])
def test_a_polygon_elsewhere_is_refused(make):
    message = r"bounds \[100.0, 10.0, 101.0, 11.0\]\) meets none of .* with area"
    with pytest.raises(MoraError, match=message):
        make().over(shapely.box(100, 10, 101, 11))


def test_where_nobody_lives_there_is_no_average_by_population():
    made = of_zones(population=(0.0, 10.0))
    with pytest.raises(MoraError, match="meets none of 2 places with population"):
        made.over(shapely.box(0.1, 0.1, 0.2, 0.2), weight="population")


def test_population_that_was_never_known_is_refused():
    with pytest.raises(MoraError, match=r"population is not known .*weight='area'"):
        of_cells().over(COUNTY, weight="population")


@pytest.mark.parametrize("make", [of_grid, of_names])
def test_places_without_geometry_have_no_average(make):
    with pytest.raises(NoGeometryError, match="expected geometry"):
        make().over(WEST)


# Nearest


def dense_nearest(made, queries, k):
    a = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    b = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
    cosine = a.astype(np.float64) @ b.T.astype(np.float64)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosine, order, axis=1)


def test_nearest_of_three_by_hand():
    tokens = ZoneTokens.from_zones(["a", "b", "c"])
    vectors = np.array([[2, 0], [3, 4], [0, -1]], np.float32)
    found = Embeddings(tokens, vectors).nearest(np.array([[10, 0]], np.float32), k=3)
    assert found[0].tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(found[1], [[1, 0.6, 0]], atol=1e-7)


@pytest.mark.parametrize("k", [1, 5, 61])
def test_nearest_agrees_with_sorting_all(k, monkeypatch):
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 7)  # several blocks, the last short
    made = of_cells()
    queries = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    tokens, cosines = made.nearest(queries, k)
    expected, similarity = dense_nearest(made, queries, k)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(cosines, similarity, atol=1e-6)


def test_a_place_is_its_own_nearest():
    made = of_cells(dim=16)
    tokens, cosines = made.nearest(made.vectors)
    assert tokens.shape == (61, 10)
    assert tokens[:, 0].tolist() == list(range(61))
    np.testing.assert_allclose(cosines[:, 0], 1, rtol=1e-6)


def test_length_of_the_vectors_does_not_matter():
    made = of_cells()
    tokens, _ = made.nearest(made.vectors[:5])
    longer = Embeddings(made.tokens, made.vectors * np.float32(7))
    np.testing.assert_array_equal(longer.nearest(made.vectors[:5] * 3)[0], tokens)


def test_k_is_at_most_the_number_of_places():
    assert of_names().nearest(of_names().vectors, k=9)[0].shape == (3, 3)


def test_equal_places_come_in_row_order_and_zero_vectors_are_unlike_all():
    tokens = ZoneTokens.from_zones(list("abcd"))
    vectors = np.array([[0, 0], [1, 1], [0, 0], [1, 1]], np.float32)
    made = Embeddings(tokens, vectors)
    found, cosines = made.nearest(np.array([[5, 5], [0, 0]], np.float32), k=4)
    assert found.tolist() == [[1, 3, 0, 2], [0, 1, 2, 3]]
    np.testing.assert_allclose(cosines, [[1, 1, 0, 0], [0, 0, 0, 0]], rtol=1e-6)


def test_no_queries_find_nothing():
    tokens, cosines = of_names().nearest(np.zeros((0, 4), np.float32), k=2)
    assert tokens.shape == cosines.shape == (0, 2)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused(k):
    with pytest.raises(MoraError, match=f"k must be at least 1, got {k}"):
        of_names().nearest(of_names().vectors, k=k)


# Bad files


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"embeddings: no file at .*a.parquet"):
        read_embeddings(tmp_path / "a.parquet")


def test_other_tables_are_refused(tmp_path):
    pq.write_table(pa.table({"cell": [1], "value": [2.0]}), tmp_path / "a.parquet")
    message = r"no column 'embedding'; the columns are cell, value\. Was it written by"
    with pytest.raises(MoraError, match=message):
        read_embeddings(str(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"embedding": [[1.0]]}), tmp_path / "b.parquet")
    with pytest.raises(MoraError, match="token kind ''"):
        read_embeddings(tmp_path / "b.parquet")


def test_personal_vectors_are_refused(tmp_path):
    folder = mark_personal(tmp_path / "users", "Vectors of users.")
    of_cells().write(folder / "vectors.parquet")
    with pytest.raises(PersonalDataError, match="holds data of single people"):
        read_embeddings(folder / "vectors.parquet")


def test_embeddings_show_what_they_are_in_one_line():
    tokens = ZoneTokens.from_zones(["a", "b"])
    shown = repr(Embeddings(tokens, np.zeros((2, 3), np.float32)))
    assert shown == "Embeddings(2 zone places x 3)"
