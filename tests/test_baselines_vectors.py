"""Published vectors matched to tokens: pixels of GeoTIFFs, rows of tables."""

import gzip
import sys
from importlib.util import find_spec

import h3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from mora.baselines.alphaearth import alphaearth
from mora.baselines.registry import BASELINES, BaselineInput, MissingInputError
from mora.baselines.vectors import pdfm, vectors
from mora.embeddings import Embeddings
from mora.errors import (
    MissingColumnError,
    MissingExtraError,
    MissingFileError,
    MoraError,
    PersonalDataError,
    TableError,
)
from mora.modalities import alphaearth as module
from mora.modalities.alphaearth import decode
from mora.modalities.alphaearth import find_alphaearth as raster_paths
from mora.modalities.grids import RasterError
from mora.personal import mark_personal
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

# AlphaEarth

ZONE_33 = {"crs": "EPSG:32633", "corner": (500_000, 5_300_000)}
ZONE_32 = {"crs": "EPSG:32632", "corner": (948_810, 5_317_500)}  # the same place
CELLS = h3.grid_disk(h3.latlng_to_cell(47.8562, 15.0032, 10), 5)


needs_geo = pytest.mark.skipif(
    find_spec("rasterio") is None or find_spec("pyproj") is None,
    reason="needs the extra `geo`",
)


@pytest.fixture
def city():
    return BaselineInput(tokens=H3Tokens.from_cells(CELLS))


def pixels(seed=0, height=64, width=48):
    """Draw bytes, one pixel in ten without data."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-127, 128, (64, height, width)).astype(np.int8)
    drawn[:, rng.random((height, width)) < 0.1] = -128
    return drawn


def write(path, values, crs, corner, *, upwards=True, **options):
    """Write pixels of 10 m, from south to north as published, or as usual."""
    import rasterio

    west, south = corner
    bands, height, width = values.shape
    north = south + 10 * height
    transform = rasterio.Affine(10, 0, west, 0, 10 if upwards else -10, south)
    if not upwards:
        transform = rasterio.Affine(10, 0, west, 0, -10, north)
        values = values[:, ::-1]
    shape = {"height": height, "width": width, "count": bands, "dtype": values.dtype}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": -128}
    with rasterio.open(
        path, "w", "GTiff", crs=crs, transform=transform, **shape, **tiles | options
    ) as file:
        file.write(values)
    return path


def by_hand(tokens, *files):
    """Average decoded pixels, one by one; files are values, crs and corner."""
    from pyproj import Transformer

    found = [[] for _ in range(len(tokens))]
    number = {name: row for row, name in enumerate(tokens.names())}
    for values, crs, (west, south) in files:
        rows, columns = np.indices(values.shape[1:])
        to_lonlat = Transformer.from_crs(crs, 4326, always_xy=True)
        lon, lat = to_lonlat.transform(west + 10 * columns + 5, south + 10 * rows + 5)
        for row, column in np.ndindex(values.shape[1:]):
            code = values[:, row, column].tolist()
            cell = h3.latlng_to_cell(lat[row, column], lon[row, column], 10)
            if cell in number and -128 not in code:
                found[number[cell]].append(
                    [(v / 127.5) ** 2 * (1 if v > 0 else -1) for v in code]
                )
    return np.array([np.mean(f, axis=0) if f else np.full(64, np.nan) for f in found])


@needs_geo
def test_alphaearth_is_the_mean_of_decoded_pixels(tmp_path, city):
    path = write(tmp_path / "a.tiff", pixels(), **ZONE_33)
    got = alphaearth(city, path=path)
    assert got.dtype == np.float32
    expected = by_hand(city.tokens, (pixels(), *ZONE_33.values()))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    empty = np.isnan(got).all(axis=1)
    assert 0 < empty.sum() < len(city.tokens)
    assert np.isfinite(got[~empty]).all()


@needs_geo
def test_pixels_alike_give_their_vector_and_others_a_shorter_one(tmp_path, city):
    alike = np.broadcast_to(np.int8([16] * 64)[:, None, None], (64, 64, 48))
    unit = write(tmp_path / "a.tiff", alike, **ZONE_33)
    got = alphaearth(city, path=unit)
    lengths = np.linalg.norm(got[np.isfinite(got).all(axis=1)], axis=1)
    np.testing.assert_allclose(lengths, 8 * (16 / 127.5) ** 2, rtol=1e-5)
    stripes = np.where(np.arange(64)[:, None] % 2, alike, -alike)
    mixed = write(tmp_path / "b.tiff", stripes.astype(np.int8), **ZONE_33)
    full = np.isfinite(got).all(axis=1)
    assert np.linalg.norm(alphaearth(city, path=mixed)[full], axis=1).min() < 0.01


@needs_geo
def test_alphaearth_is_the_same_from_north_to_south_and_in_strips(tmp_path, city):
    published = write(tmp_path / "a.tiff", pixels(), **ZONE_33)
    usual = write(tmp_path / "b.tif", pixels(), **ZONE_33, upwards=False)
    strips = write(tmp_path / "c.tif", pixels(), **ZONE_33, tiled=False, blockysize=3)
    for other in (usual, strips):
        np.testing.assert_allclose(
            alphaearth(city, path=published), alphaearth(city, path=other), atol=1e-6
        )


@needs_geo
def test_alphaearth_joins_files_on_different_maps(tmp_path, city):
    first, second = pixels(0), pixels(1)
    write(tmp_path / "33.tiff", first, **ZONE_33)
    write(tmp_path / "32.tiff", second, **ZONE_32)
    expected = by_hand(
        city.tokens, (first, *ZONE_33.values()), (second, *ZONE_32.values())
    )
    listed = [tmp_path / "33.tiff", str(tmp_path / "32.tiff")]
    for path in (listed, tmp_path / "*.tiff", [*listed, tmp_path / "3*.tiff"]):
        np.testing.assert_allclose(alphaearth(city, path=path), expected, atol=1e-6)


class Counted:
    """A dataset that notes which windows are read."""

    def __init__(self, dataset, windows):
        self.dataset, self.windows = dataset, windows

    def __getattr__(self, name):
        return getattr(self.dataset, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.dataset.close()

    def read(self, window):
        self.windows.append(window.flatten())
        return self.dataset.read(window=window)


@needs_geo
def test_each_block_is_read_once_and_only_if_it_meets_a_token(
    tmp_path, city, monkeypatch
):
    path = write(tmp_path / "a.tiff", pixels(height=256, width=256), **ZONE_33)
    windows, opened = [], module._open
    monkeypatch.setattr(module, "_open", lambda file: Counted(opened(file), windows))
    alphaearth(city, path=path)
    assert len(windows) == len(set(windows))
    assert 0 < len(windows) < 256


def test_decoding_by_hand():
    codes = np.array([-127, -51, 0, 51, 127], dtype=np.int8)
    values = [-0.992172, -0.16, 0, 0.16, 0.992172]
    np.testing.assert_allclose(decode(codes), values, atol=1e-6)


@needs_geo
def test_alphaearth_refuses_what_it_cannot_use(tmp_path, city):
    eight = write(tmp_path / "8.tif", pixels()[:8], **ZONE_33)
    with pytest.raises(RasterError, match=r"has 8 bands of int8 .*; expected 64 bands"):
        alphaearth(city, path=eight)
    floats = write(tmp_path / "f.tif", pixels().astype("f4"), **ZONE_33)
    with pytest.raises(RasterError, match=r"has 64 bands of float32 .*; expected 64"):
        alphaearth(city, path=floats)
    nowhere = write(tmp_path / "n.tif", pixels(), crs=None, corner=(0, 0))
    with pytest.raises(RasterError, match="on the map None; expected"):
        alphaearth(city, path=nowhere)
    far = write(tmp_path / "far.tif", pixels(), "EPSG:32635", ZONE_33["corner"])
    with pytest.raises(
        RasterError, match=r"no pixel of 1 files .* one of 91 h3 tokens"
    ):
        alphaearth(city, path=far)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError, match="cannot be opened as a GeoTIFF"):
        alphaearth(city, path=tmp_path / "text.tif")


@needs_geo
def test_a_torn_geotiff_is_refused(tmp_path, city):
    path = write(tmp_path / "a.tif", pixels(), **ZONE_33, compress="deflate")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RasterError, match="is cut short"):
        alphaearth(city, path=path)


@needs_geo
def test_a_damaged_block_is_refused(tmp_path, city):
    path = write(tmp_path / "a.tif", pixels(), **ZONE_33, compress="deflate")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3 : len(whole) // 2] = b"\0" * (
        len(whole) // 2 - len(whole) // 3
    )
    path.write_bytes(whole)
    with pytest.raises(RasterError, match=r"Window.* cannot be read .* damaged"):
        alphaearth(city, path=path)


def test_alphaearth_without_the_extra_is_told(tmp_path, city, monkeypatch):
    (tmp_path / "a.tif").write_text("")
    monkeypatch.setitem(sys.modules, "pyproj", None)
    with pytest.raises(MissingExtraError, match=r"'pyproj'.*mora\[geo\]"):
        alphaearth(city, path=tmp_path / "a.tif")


def test_raster_paths_are_found_once_in_order(tmp_path):
    for name in ("b.tif", "a.tif"):
        (tmp_path / name).touch()
    found = raster_paths([tmp_path / "b.tif", tmp_path / "*.tif"])
    assert [path.name for path in found] == ["b.tif", "a.tif"]
    with pytest.raises(MissingFileError, match=r"alphaearth: no file at .*c\*.tif"):
        raster_paths(tmp_path / "c*.tif")
    with pytest.raises(MissingInputError, match="no file for 'alphaearth'"):
        alphaearth(BaselineInput(tokens=H3Tokens.from_cells(CELLS)), path=[])


# PDFM


def zones(*names):
    return BaselineInput(tokens=ZoneTokens.from_zones(list(names)))


PDFM_ROWS = {
    "place": ["zip/10001", "zip/01001", "zip/94110"],
    "state": ["NY", "MA", "CA"],
    "population": [1, 2, 3],
    "feature0": [0.5, 1.5, 2.5],
    "feature1": [-1.0, -2.0, -3.0],
}


def write_pdfm(path, **more):
    frame = pd.DataFrame(PDFM_ROWS | more)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["pdfm.csv", "pdfm.parquet", "pdfm.csv.gz"])
@pytest.mark.parametrize("prefix", ["", "zip/"])
def test_pdfm_matches_zones_by_code_or_full_name(tmp_path, name, prefix):
    path = write_pdfm(tmp_path / name)
    given = zones(f"{prefix}01001", f"{prefix}10001", f"{prefix}99999")
    got = pdfm(given, path=path)
    assert got.dtype == np.float32
    rows = {"01001": [1.5, -2], "10001": [0.5, -1], "99999": [np.nan, np.nan]}
    expected = [rows[str(name)[-5:]] for name in given.tokens.ids]
    np.testing.assert_array_equal(got, expected)


def test_pdfm_with_two_kinds_needs_full_names(tmp_path):
    place = ["geoId/01001", "zip/01001", "zip/94110"]
    path = write_pdfm(tmp_path / "both.csv", place=place)
    with pytest.raises(
        TableError, match=r"2 kinds of place \(geoId, zip\).*geoId/01001"
    ):
        pdfm(zones("01001", "94110"), path=path)
    got = pdfm(zones("zip/01001"), path=path)
    np.testing.assert_array_equal(got, [[1.5, -2]])


def test_pdfm_refuses_what_it_cannot_match(tmp_path, city):
    path = write_pdfm(tmp_path / "pdfm.csv")
    with pytest.raises(TableError, match=r"the tokens are h3\. Use zones named by"):
        pdfm(city, path=path)
    with pytest.raises(TableError, match="3 of 3 rows lie outside all 1 zone tokens"):
        pdfm(zones("x"), path=path)
    bare = tmp_path / "bare.csv"
    pd.DataFrame({"place": ["zip/1"], "features": [1.0]}).to_csv(bare)
    with pytest.raises(MissingColumnError, match="no column 'feature0'"):
        pdfm(zones("1"), path=bare)
    pd.DataFrame({"feature0": [1.0]}).to_csv(bare)
    with pytest.raises(MissingColumnError, match="no column 'place'"):
        pdfm(zones("1"), path=bare)


# Any table


def cells_table(tokens, count=3):
    """Give rows for the first tokens, the first of them twice."""
    ids = tokens.ids[[0, *range(count)]]
    matrix = np.arange(2.0 * len(ids)).reshape(-1, 2)
    expected = np.full((len(tokens), 2), np.nan)
    expected[:count] = matrix[1:]
    expected[0] = matrix[:2].mean(axis=0)
    return ids, matrix, expected


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("id_column", ["token", "cell", "id", "h3_index", "place"])
@pytest.mark.parametrize("layout", ["csv", "tsv.gz", "numbers", "lists", "fixed lists"])
def test_rows_are_matched_by_id_and_averaged(
    tmp_path, city, as_text, id_column, layout
):
    ids, matrix, expected = cells_table(city.tokens)
    named = [city.tokens.name(i) for i in ids] if as_text else ids
    frame = pd.DataFrame({id_column: named, "a": matrix[:, 0], "b": matrix[:, 1]})
    if not as_text and "csv" in layout + "csv" * ("tsv" in layout):
        frame[id_column] = [city.tokens.name(i) for i in ids]  # text has no integers
    path = tmp_path / (f"v.{layout}" if "sv" in layout else "v.parquet")
    if layout == "csv":
        frame.to_csv(path, index=False)
    elif layout == "tsv.gz":
        frame.to_csv(path, index=False, sep="\t")
        assert gzip.decompress(path.read_bytes()).startswith(id_column.encode())
    elif layout == "numbers":
        frame.to_parquet(path)
    else:
        kind = pa.list_(pa.float32(), 2 if "fixed" in layout else -1)
        lists = pa.array(matrix.astype(np.float32).tolist(), kind)
        pq.write_table(
            pa.table({id_column: frame[id_column], "embedding": lists}), path
        )
    options = {"id_column": id_column} if id_column == "place" else {}
    got = vectors(city, path=path, **options)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("names", [("lon", "lat"), ("longitude", "latitude")])
def test_rows_are_matched_by_place(tmp_path, city, names):
    ids, matrix, expected = cells_table(city.tokens)
    places = city.tokens.centroids()[city.tokens.encode(ids)]
    columns = dict(zip(names, places.T, strict=True))
    path = tmp_path / "v.csv"
    pd.DataFrame(columns | {"a": matrix[:, 0], "b": matrix[:, 1]}).to_csv(
        path, index=False
    )
    np.testing.assert_array_equal(vectors(city, path=path), expected)


def test_zone_codes_keep_their_zeros(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("zone,a\n01001,1.5\n1001,2.5\n")
    given = zones("01001", "x")
    expected = [[1.5 if name == "01001" else np.nan] for name in given.tokens.ids]
    np.testing.assert_array_equal(vectors(given, path=path), expected)


def test_grid_cells_are_matched(tmp_path):
    tokens = GridTokens.from_xy(np.array([[1, 1], [2, 2]]))
    path = tmp_path / "v.parquet"
    pd.DataFrame({"id": tokens.ids, "a": [3.0, 4.0]}).to_parquet(path)
    got = vectors(BaselineInput(tokens=tokens), path=path)
    np.testing.assert_array_equal(got, [[3], [4]])


def test_columns_pick_the_vector(tmp_path, city):
    ids, matrix, expected = cells_table(city.tokens)
    lists = pa.array(matrix.tolist())
    table = pa.table(
        {"cell": ids, "a": matrix[:, 0], "b": matrix[:, 1], "embedding": lists}
    )
    pq.write_table(table.append_column("other", lists), tmp_path / "v.parquet")
    path = tmp_path / "v.parquet"
    pick = {
        ("b",): expected[:, 1:],
        ("b", "a"): expected[:, ::-1],
        ("other",): expected,
    }
    for columns, wanted in pick.items():
        got = vectors(city, path=path, columns=list(columns))
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(MissingColumnError, match="no column 'c'"):
        vectors(city, path=path, columns=["c"])
    with pytest.raises(TableError, match="not numeric"):
        vectors(city, path=path, columns=["a", "embedding"])


def test_numbers_that_place_a_row_are_no_part_of_its_vector(tmp_path):
    tokens = GridTokens.from_xy(np.array([[1, 1], [2, 2]]))
    path = tmp_path / "v.parquet"
    places = {"lon": [1.0, 2.0], "lat": [1.0, 2.0], "number": [0, 1]}
    frame = pd.DataFrame({"place": tokens.ids} | places | {"a": [3.0, 4.0]})
    frame.drop(columns="number").to_parquet(path)
    given = BaselineInput(tokens=tokens)
    got = vectors(given, path=path, id_column="place")
    np.testing.assert_array_equal(got, [[3], [4]])


def test_a_value_that_is_missing_in_all_rows_of_a_token_is_nan(tmp_path, city):
    path = tmp_path / "v.parquet"
    ids = city.tokens.ids[[0, 0, 1]]
    pd.DataFrame({"cell": ids, "a": [np.nan, 2.0, np.nan]}).to_parquet(path)
    np.testing.assert_array_equal(vectors(city, path=path)[:2], [[2.0], [np.nan]])
    lists = pa.array([None, [2.0], [4.0]])
    pq.write_table(pa.table({"cell": ids, "embedding": lists}), path)
    np.testing.assert_array_equal(vectors(city, path=path)[:2], [[2.0], [4.0]])


def test_a_file_of_mora_is_read_with_its_tokens(tmp_path, city):
    some = H3Tokens.from_cells(CELLS[:7])
    rng = np.random.default_rng(0)
    theirs = Embeddings(some, rng.normal(size=(7, 3)).astype(np.float32))
    path = tmp_path / "mora.parquet"
    theirs.write(path)
    got = vectors(city, path=path)
    np.testing.assert_array_equal(got[city.tokens.encode(some.ids)], theirs.vectors)
    assert np.isnan(got).any(axis=1).sum() == len(city.tokens) - 7
    around = shapely.union_all(some.polygons()).buffer(1e-4)
    zone = BaselineInput(tokens=ZoneTokens.from_zones(["all"], np.array([around])))
    np.testing.assert_allclose(
        vectors(zone, path=path)[0], theirs.vectors.mean(axis=0), atol=1e-6
    )


def test_tables_that_do_not_fit_are_refused(tmp_path, city):
    path = tmp_path / "v.parquet"
    elsewhere = h3.latlng_to_cell(0, 0, 10)
    pd.DataFrame({"cell": [elsewhere], "a": [1.0]}).to_parquet(path)
    with pytest.raises(TableError, match=r"1 of 1 rows lie outside all 91 h3 tokens"):
        vectors(city, path=path)
    pd.DataFrame({"cell": ["x"], "a": [1.0]}).to_parquet(path)
    with pytest.raises(MoraError, match="1 of 1 values are not H3 cells"):
        vectors(city, path=path)
    pd.DataFrame({"where": ["x"], "a": [1.0]}).to_parquet(path)
    with pytest.raises(TableError, match="no column of places; expected token, cell"):
        vectors(city, path=path)
    with pytest.raises(MissingColumnError, match="no column 'place'"):
        vectors(city, path=path, id_column="place")
    pd.DataFrame({"cell": [elsewhere], "a": ["x"]}).to_parquet(path)
    with pytest.raises(TableError, match="0 of 0 columns are not numeric"):
        vectors(city, path=path)
    pq.write_table(pa.table({"cell": ["x", "y"], "embedding": [[1.0], [1.0, 2]]}), path)
    with pytest.raises(
        TableError, match=r"embedding holds lists of 2 lengths \(1, 2\)"
    ):
        vectors(city, path=path)
    path.write_text("no table")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        vectors(city, path=path)
    torn = tmp_path / "torn.csv"
    torn.write_text("cell,a\n1,2,3\n4,5,6,7\n")
    with pytest.raises(TableError, match="cannot be read as CSV"):
        vectors(city, path=torn)


RUN = {"alphaearth": alphaearth, "pdfm": pdfm, "vectors": vectors}


@pytest.mark.parametrize("name", RUN)
def test_missing_files_and_paths_are_told(tmp_path, name):
    given = zones("a")
    with pytest.raises(
        MissingInputError, match=f"no file for '{name}'. Give its `path"
    ):
        RUN[name](given)
    with pytest.raises(MissingFileError, match=f"{name}: no file at"):
        RUN[name](given, path=tmp_path / "nowhere.csv")
    with pytest.raises(MissingInputError, match="no places"):
        RUN[name](BaselineInput(), path=tmp_path)


def test_registered_with_their_checks():
    reached = {name: BASELINES[name].reproduction.reached for name in RUN}
    assert reached == {"alphaearth": True, "pdfm": False, "vectors": True}
    for name in RUN:
        chosen = BASELINES[name]
        assert (chosen.group, chosen.needs_file) == ("pretrained", True)
        assert chosen.needs == ("tokens",)


def test_vectors_of_people_are_refused(tmp_path, city):
    folder = mark_personal(tmp_path / "users", "Vectors of users.")
    pd.DataFrame({"lon": [15.0], "lat": [47.8], "a": [1.0]}).to_csv(folder / "v.csv")
    with pytest.raises(PersonalDataError, match="expected vectors of places"):
        vectors(city, path=folder / "v.csv")
