import sqlite3
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from mora.errors import (
    ConfigError,
    MissingColumnError,
    MissingExtraError,
    MissingFileError,
    MoraError,
    TableError,
)
from mora.geometry import cells_at, change_level
from mora.sources import kontur, parquet, pixels, worldpop
from mora.sources.foursquare import read_foursquare_places
from mora.sources.kontur import read_kontur_population
from mora.sources.osm import read_osm_places
from mora.sources.overture import read_overture_places
from mora.sources.registry import SOURCES, read_source
from mora.sources.selection import misplaced
from mora.sources.worldpop import find_age_sex_rasters, read_population_raster
from mora.tables import check_places, check_rows

WORLD = (-180, -90, 180, 90)
STRUCT = pa.struct


# Overture ---------------------------------------------------------------------------


def overture(path, rows=6, old=True, new=True, lonlat=None, **replaced):
    """Write places as Overture does: place 0 lies at (10, 50), each next 0.1 on."""
    if lonlat is None:
        lonlat = [(10 + i / 10, 50 + i / 10) for i in range(rows)]
    points = [None if p is None else shapely.Point(p) for p in lonlat]
    bbox = [
        None if p is None else {"xmin": p[0], "xmax": p[0], "ymin": p[1], "ymax": p[1]}
        for p in lonlat
    ]
    corner = STRUCT([(k, pa.float32()) for k in ("xmin", "xmax", "ymin", "ymax")])
    lists = pa.list_(pa.string())
    columns = {
        "id": pa.array([f"id{i}" for i in range(rows)]),
        "geometry": pa.array([None if p is None else p.wkb for p in points]),
        "bbox": pa.array(bbox, corner),
        "names": pa.array(
            [{"primary": f"Name {i}", "common": None} for i in range(rows)],
            STRUCT([("primary", pa.string()), ("common", pa.string())]),
        ),
        "confidence": pa.array([i / 10 for i in range(rows)], pa.float64()),
        "operating_status": pa.array(["open"] * rows),
    }
    if old:
        given = [{"primary": f"old_{i}", "alternate": ["x"]} for i in range(rows)]
        kind = STRUCT([("primary", pa.string()), ("alternate", lists)])
        columns["categories"] = pa.array(given, kind)
    if new:
        fields = [("primary", pa.string()), ("hierarchy", lists), ("alternates", lists)]
        given = [{"primary": f"new_{i}", "hierarchy": ["a"]} for i in range(rows)]
        columns["taxonomy"] = pa.array(given, STRUCT(fields))
        columns["basic_category"] = pa.array([f"basic_{i}" for i in range(rows)])
    columns |= replaced
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return path


def test_overture_in_the_new_and_the_old_form(tmp_path):
    new = overture(tmp_path / "new.parquet", old=False)
    places = read_source("overture_places", new)
    assert list(places.columns) == ["name", "category", "lon", "lat"]
    assert places.iloc[2].tolist() == ["Name 2", "new_2", 10.2, 50.2]
    old = overture(tmp_path / "old.parquet", new=False)
    assert read_source("overture_places", old)["category"][2] == "old_2"
    basic = read_source("overture_places", new, category="basic")
    assert basic["category"].tolist() == [f"basic_{i}" for i in range(6)]
    assert len(check_places(places)[0]) == 6


def test_overture_prefers_the_new_category_and_fills_from_the_old(tmp_path):
    kind = STRUCT([("primary", pa.string())])
    some = pa.array([{"primary": None}, {"primary": "new_1"}, None], kind)
    path = overture(tmp_path / "both.parquet", rows=3, taxonomy=some)
    places = read_source("overture_places", path)
    assert places["category"].tolist() == ["old_0", "new_1", "old_2"]


def test_overture_files_of_several_releases_in_a_folder(tmp_path):
    overture(tmp_path / "part-0.parquet", old=False)
    overture(tmp_path / "part-1.parquet", new=False)
    places = read_source("overture_places", tmp_path)
    assert places["category"].tolist()[5:7] == ["new_5", "old_0"]
    assert read_source("overture_places", tmp_path / "part-*.parquet").equals(places)


def test_overture_leaves_out_and_counts(tmp_path):
    lonlat = [(10.0, 50.0), None, (10.2, 50.2), (10.3, 50.3), (10.4, 50.4)]
    names = [{"primary": "A"}, {"primary": "B"}, None, {"primary": None}, None]
    path = overture(
        tmp_path / "a.parquet",
        rows=5,
        lonlat=lonlat,
        names=pa.array(names, STRUCT([("primary", pa.string())])),
        confidence=pa.array([0.9, 0.9, 0.2, None, 0.9]),
        operating_status=pa.array(["open", None, None, "open", "permanently_closed"]),
    )
    places = read_source("overture_places", path)
    assert places["lon"].tolist() == [10.0, 10.2, 10.3]
    assert places["name"].isna().tolist() == [False, True, True]
    assert places.attrs["dropped"] == {"no coordinates": 1, "closed": 1}
    sure = read_source("overture_places", path, min_confidence=0.5)
    assert sure["lon"].tolist() == [10.0]
    assert sure.attrs["dropped"]["confidence too low"] == 2
    assert len(read_source("overture_places", path, closed=True)) == 4


def test_overture_bounds_are_those_of_the_geometry(tmp_path, monkeypatch):
    # In float32, 10.1 is 10.100000381: the bbox alone would lose the second place.
    path = overture(tmp_path / "a.parquet")
    kept = read_source("overture_places", path, bounds=(10.05, 50.0, 10.1, 50.5))
    assert kept["lon"].tolist() == [10.1]
    without = overture(tmp_path / "b.parquet", bbox=None)
    bounds = (10.05, 50.0, 10.1, 50.5)
    assert read_source("overture_places", without, bounds=bounds).equals(kept)
    around = [(179.5, 0.0), (-179.5, 0.0), (0.0, 0.0)]
    path = overture(tmp_path / "c.parquet", rows=3, lonlat=around)
    pacific = read_source("overture_places", path, bounds=(179, -1, -179, 1))
    assert pacific["lon"].tolist() == [179.5, -179.5]
    monkeypatch.setattr(parquet, "ROWS", 1)
    frames = list(read_overture_places(path))
    assert [len(frame) for frame in frames] == [1, 1, 1]


def test_overture_refuses(tmp_path):
    path = overture(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="category 'x'; expected one of primary"):
        read_overture_places(path, category="x")
    with pytest.raises(MissingFileError, match="Overture places: no file at"):
        read_overture_places(tmp_path / "none.parquet")
    with pytest.raises(TableError, match=r"none of .* can be used"):
        list(read_overture_places(path, bounds=(0, 0, 1, 1)))
    bad = overture(tmp_path / "b.parquet", old=False, basic_category=None)
    with pytest.raises(MissingColumnError, match="basic_category"):
        list(read_overture_places(bad, category="basic"))
    bad = overture(tmp_path / "c.parquet", old=False, taxonomy=None, names=None)
    message = r"'names.primary', 'taxonomy.primary or categories.primary'"
    with pytest.raises(MissingColumnError, match=message):
        list(read_overture_places(bad))
    bad = overture(tmp_path / "d.parquet", confidence=None)
    assert len(read_source("overture_places", bad)) == 6
    with pytest.raises(MissingColumnError, match="confidence"):
        list(read_overture_places(bad, min_confidence=0.1))
    lines = pa.array([shapely.LineString([(0, 0), (1, 1)]).wkb, b"no", None] * 2)
    bad = overture(tmp_path / "e.parquet", geometry=lines)
    with pytest.raises(TableError, match=r"4 of 6 geometries are no points"):
        list(read_overture_places(bad))
    (tmp_path / "f.parquet").write_bytes(path.read_bytes()[:300])
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        list(read_overture_places(tmp_path / "f.parquet"))


# Foursquare -------------------------------------------------------------------------

DINING = "Dining and Drinking > Restaurant > Pizzeria"


def foursquare(path, **replaced):
    lists = pa.list_(pa.string())
    columns = {
        "fsq_place_id": pa.array(list("abcde")),
        "name": pa.array(["A", "B", None, "D", "E"]),
        "latitude": pa.array([1.0, 2.0, 3.0, None, 5.0]),
        "longitude": pa.array([11.0, 12.0, 13.0, None, 15.0]),
        "address": pa.array([None] * 5, pa.string()),
        "date_closed": pa.array([None, "2020-01-31", None, None, None], pa.string()),
        "fsq_category_ids": pa.array([["1"], ["2"], [], None, ["3"]], lists),
        "fsq_category_labels": pa.array(
            [[DINING, "Retail"], ["Retail > Bookstore"], [], None, ["Retail"]], lists
        ),
    } | replaced
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return path


def test_foursquare(tmp_path):
    path = foursquare(tmp_path / "places-00000.zstd.parquet")
    places = read_source("foursquare_places", path)
    assert list(places.columns) == ["name", "category", "lon", "lat"]
    assert places.iloc[0].tolist() == ["A", "Pizzeria", 11.0, 1.0]
    assert places["category"].isna().tolist() == [False, True, False]
    assert places.attrs["dropped"] == {"no coordinates": 1, "closed": 1}
    assert len(check_places(places)[0]) == 2  # the third says nothing
    assert read_source("foursquare_places", tmp_path).equals(places)


def test_foursquare_options(tmp_path):
    path = foursquare(tmp_path / "a.parquet")
    for level, expected in (
        (1, ["Dining and Drinking", "Retail", "Retail"]),
        (2, ["Restaurant", "Bookstore", "Retail"]),
        (None, ["Pizzeria", "Bookstore", "Retail"]),
    ):
        places = read_source("foursquare_places", path, level=level, closed=True)
        assert places["category"].dropna().tolist() == expected
    north = read_source("foursquare_places", path, bounds=(0, 2.5, 90, 9))
    assert north["lat"].tolist() == [3.0, 5.0]
    assert north.attrs["dropped"] == {"no coordinates": 1, "outside the bounds": 2}
    # Whole dates and decimals, as other exports write them.
    dates = pa.array([None, date(2020, 1, 31), None, None, None])
    numbers = pa.array([1, 2, 3, None, 5], pa.decimal128(9, 6))
    other = foursquare(tmp_path / "b.parquet", date_closed=dates, latitude=numbers)
    assert read_source("foursquare_places", other).equals(
        read_source("foursquare_places", path)
    )


def test_foursquare_refuses(tmp_path):
    path = foursquare(tmp_path / "a.parquet", fsq_category_labels=None)
    with pytest.raises(MissingColumnError, match="fsq_category_labels"):
        list(read_foursquare_places(path))
    with pytest.raises(ConfigError, match="level 0; expected 1"):
        read_foursquare_places(path, level=0)
    with pytest.raises(MissingFileError, match="Foursquare places"):
        read_foursquare_places(tmp_path / "none")


# Kontur -----------------------------------------------------------------------------

CENTRES = np.array([[10.0, 50.0], [10.01, 50.0], [10.5, 50.5], [10.7, 50.2]])
CELLS = cells_at(CENTRES, 8)
PEOPLE = [5.0, 7.5, 100.0, 1.0]


def geopackage(path, ids=None, people=PEOPLE, layer="population"):
    ids = [f"{cell:x}" for cell in CELLS] if ids is None else ids
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE gpkg_contents (table_name TEXT)")
        database.execute(
            f"CREATE TABLE {layer} (fid INTEGER PRIMARY KEY, geom BLOB, h3 TEXT, "
            f"population REAL)"
        )
        database.executemany(
            f"INSERT INTO {layer} (geom, h3, population) VALUES (x'47', ?, ?)",
            zip(ids, people, strict=True),
        )
    database.close()
    return path


def test_kontur(tmp_path, monkeypatch):
    path = geopackage(tmp_path / "kontur population #1.gpkg")
    cells = read_source("kontur_population", path)
    assert list(cells.columns) == ["id", "lon", "lat", "population"]
    assert cells["id"].tolist() == [f"{cell:x}" for cell in CELLS]
    assert cells["population"].tolist() == PEOPLE
    np.testing.assert_allclose(cells[["lon", "lat"]], CENTRES, atol=0.01)
    kept, report = check_rows(cells)
    assert len(kept) == report.rows_kept == 4
    monkeypatch.setattr(kontur, "ROWS", 3)
    assert [len(f) for f in read_kontur_population(path)] == [3, 1]
    assert read_source("kontur_population", path).equals(cells)


def test_kontur_bounds_and_resolution(tmp_path, monkeypatch):
    path = geopackage(tmp_path / "a.gpkg", people=[5.0, 7.5, 100.0, None])
    west = read_source("kontur_population", path, bounds=(9.9, 49.9, 10.1, 50.1))
    assert west["population"].tolist() == [5.0, 7.5]
    assert west.attrs["dropped"] == {"no population": 1, "outside the bounds": 1}
    monkeypatch.setattr(kontur, "ROWS", 1)
    coarse = read_source("kontur_population", path, resolution=5)
    expected = pd.Series([5.0, 7.5, 100.0]).groupby(change_level(CELLS[:3], 5)).sum()
    assert coarse["id"].tolist() == [f"{cell:x}" for cell in expected.index]
    assert coarse["population"].tolist() == expected.tolist()
    assert coarse.attrs["dropped"] == {"no population": 1}
    assert read_source("kontur_population", path, resolution=0)[
        "population"
    ].sum() == pytest.approx(112.5)


def test_kontur_refuses(tmp_path):
    with pytest.raises(MissingFileError, match="Kontur population: no file"):
        read_kontur_population(tmp_path / "none.gpkg")
    (tmp_path / "a.gpkg.gz").write_bytes(b"\x1f\x8b packed")
    with pytest.raises(TableError, match="unpack it: gunzip"):
        read_kontur_population(tmp_path / "a.gpkg.gz")

    def refused(error, message, path, **options):
        with pytest.raises(error, match=message):
            list(read_kontur_population(path, **options))

    refused(TableError, "layer `population`", geopackage(tmp_path / "b", layer="x"))
    negative = geopackage(tmp_path / "c", people=[1.0, -2.0, 3.0, -4.0])
    refused(TableError, "2 of 4 populations are negative", negative)
    wrong = geopackage(tmp_path / "d", ids=["x", "y", *(f"{c:x}" for c in CELLS[:2])])
    refused(MoraError, "2 of 4 values are not H3 cells", wrong)
    good = geopackage(tmp_path / "e")
    refused(ConfigError, r"resolution 9; expected 0..8", good, resolution=9)
    refused(TableError, r"4 outside the bounds", good, bounds=(0, 0, 1, 1))
    refused(ConfigError, "expected west, south", good, bounds=(0, 0, 1))
    refused(TableError, "none of 0 records", geopackage(tmp_path / "f", [], []))


# Population rasters -----------------------------------------------------------------

MOLLWEIDE = "ESRI:54009"


def raster(path, people, crs="EPSG:4326", corner=(10.0, 51.0), pixel=0.1, **options):
    """Write people per pixel; ``up`` turns the rows from south to north."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")
    people = np.asarray(people, dtype=options.pop("dtype", "float32"))
    height, width = people.shape
    transform = rasterio.Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    if options.pop("up", False):
        south = corner[1] - height * pixel
        transform = rasterio.Affine(pixel, 0, corner[0], 0, pixel, south)
        people = people[::-1]
    about = {"driver": "GTiff", "height": height, "width": width, "count": 1}
    about |= {"dtype": people.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", **about, **options) as file:
        file.write(people, 1)
    return path


def test_population_raster(tmp_path):
    people = np.zeros((64, 64), dtype=np.float32)
    people[0, 0], people[2, 1], people[63, 63] = 3, 4.5, 1
    frame = read_source("population_raster", raster(tmp_path / "a.tif", people))
    expected = [[10.05, 50.95, 3], [10.15, 50.75, 4.5], [16.35, 44.65, 1]]
    np.testing.assert_allclose(frame, expected)
    assert list(frame.columns) == ["lon", "lat", "population"]
    up = read_source("population_raster", raster(tmp_path / "b.tif", people, up=True))
    by_row = up.sort_values("lat", ascending=False)
    np.testing.assert_allclose(by_row, expected)


@pytest.mark.parametrize(
    "form",
    [
        {"nodata": -99999},
        {"nodata": -200, "dtype": "float64"},
        {"nodata": float("nan")},
        {},  # undeclared
        {"nodata": -99999, "dtype": "int32"},
    ],
)
def test_pixels_without_data_are_nobody(tmp_path, form):
    fill = form.get("nodata", -99999)
    people = np.full((64, 64), fill, dtype=np.float64)
    people[5, :3] = [0, 2, 7]
    path = raster(tmp_path / "a.tif", people, **form)
    assert read_source("population_raster", path)["population"].tolist() == [2, 7]


def test_mollweide_windows_and_bounds(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    people = rng.integers(0, 3, (64, 64)).astype(np.float64)
    form = {"crs": MOLLWEIDE, "corner": (900_000, 6_000_000), "pixel": 1000}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 32, "nodata": -200}
    path = raster(tmp_path / "a.tif", people, **form, **tiles)
    whole = read_source("population_raster", path)
    assert whole["population"].sum() == people.sum()
    pyproj = pytest.importorskip("pyproj")
    to_map = pyproj.Transformer.from_crs("EPSG:4326", MOLLWEIDE, always_xy=True)
    x, y = to_map.transform(whole["lon"], whole["lat"])
    rows, columns = np.nonzero(people)
    places = np.column_stack([900_500 + 1000 * columns, 5_999_500 - 1000 * rows])
    found = np.column_stack([x, y])
    order = [np.lexsort(a.round().T) for a in (places, found)]
    np.testing.assert_allclose(found[order[1]], places[order[0]], atol=0.01)
    west, south, east, north = 12.1, 50.9, 12.3, 51.0
    inside = whole["lon"].between(west, east) & whole["lat"].between(south, north)
    assert 0 < inside.sum() < len(whole)
    windows = []
    monkeypatch.setattr(pixels, "WINDOW_PIXELS", 1)
    real = worldpop._inhabited
    monkeypatch.setattr(
        worldpop, "_inhabited", lambda *a: windows.append(a[1]) or real(*a)
    )
    few = read_source("population_raster", path, bounds=(west, south, east, north))
    key = ["lat", "lon"]
    expected = whole[inside].sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(few.sort_values(key, ignore_index=True), expected)
    assert 0 < len(windows) < 8  # of 8 tiles


def test_parts_of_a_pixel(tmp_path):
    path = raster(tmp_path / "a.tif", [[8.0, 0.0]])
    frame = read_source("population_raster", path, parts=2)
    expected = [[10.025, 50.975], [10.075, 50.975], [10.025, 50.925], [10.075, 50.925]]
    np.testing.assert_allclose(frame[["lon", "lat"]], expected)
    assert frame["population"].tolist() == [2.0] * 4


def test_population_rasters_are_refused(tmp_path, monkeypatch):
    path = raster(tmp_path / "a.tif", [[1.0, -3.0]])
    with pytest.raises(TableError, match=r"1 pixels hold fewer than 0 .*-a_nodata"):
        list(read_population_raster(path))
    with pytest.raises(MissingFileError, match="population raster: no file"):
        read_population_raster(tmp_path / "none.tif")
    with pytest.raises(ConfigError, match="parts is 0; expected 1 or more"):
        read_population_raster(path, parts=0)
    with pytest.raises(ConfigError, match="expected west, south, east, north"):
        read_population_raster(path, bounds=(1, 2, 3))
    empty = raster(tmp_path / "b.tif", [[0.0, 0.0]])
    with pytest.raises(TableError, match="none of 0 records can be used"):
        list(read_population_raster(empty))
    (tmp_path / "c.tif").write_bytes(b"II*\0 broken")
    with pytest.raises(TableError, match="as a GeoTIFF"):
        list(read_population_raster(tmp_path / "c.tif"))
    nowhere = raster(tmp_path / "d.tif", [[1.0, 1.0]], crs=None)
    with pytest.raises(TableError, match="does not say where it lies"):
        list(read_population_raster(nowhere))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r'rasterio.*"mora\[geo\]"'):
        list(read_population_raster(path))


def test_age_and_sex_rasters_are_found_by_name(tmp_path):
    for name in ("f_0", "f_10", "m_00", "m_10", "t_0"):
        (tmp_path / f"gbr_{name}_2020_CN_100m_R2025A_v1.tif").touch()
    (tmp_path / "gbr_ppp_2020.tif").touch()
    found = find_age_sex_rasters(tmp_path)
    assert list(found) == [("f", 0), ("f", 10), ("m", 0), ("m", 10)]
    assert found["m", 0].name.startswith("gbr_m_00")
    (tmp_path / "gbr_f_0_2021.tif").touch()
    with pytest.raises(TableError, match="are of one sex and age"):
        find_age_sex_rasters(tmp_path)
    (tmp_path / "gbr_f_0_2021.tif").unlink()
    (tmp_path / "gbr_f_20_2020.tif").touch()
    with pytest.raises(TableError, match=r"3 rasters of women and 2 of men"):
        find_age_sex_rasters(tmp_path)
    with pytest.raises(TableError, match="0 rasters of women and 0 of men"):
        find_age_sex_rasters(tmp_path / "none")


# All --------------------------------------------------------------------------------


def test_every_source_says_what_it_is():
    for name, read in (
        ("overture_places", read_overture_places),
        ("foursquare_places", read_foursquare_places),
        ("osm_places", read_osm_places),
        ("kontur_population", read_kontur_population),
        ("population_raster", read_population_raster),
    ):
        entry = SOURCES[name]
        assert entry.read is read
        assert all([entry.gives, entry.licence, entry.size, entry.home, entry.use])


def test_bounds_in_and_around_the_antimeridian():
    frame = pd.DataFrame({"lon": [0.0, 179.9, -179.9, np.nan], "lat": [0.0, 0, 0, 0]})
    assert list(misplaced(frame, None)) == ["no coordinates"]
    across = misplaced(frame, (179, -1, -179, 1))
    assert across["no coordinates"].tolist() == [False, False, False, True]
    assert across["outside the bounds"].tolist() == [True, False, False, True]
    assert not misplaced(frame.head(3), WORLD)["outside the bounds"].any()
