import gzip
import json
import sys

import numpy as np
import pandas as pd
import pytest
import shapely

from mora.errors import (
    MissingColumnError,
    MissingExtraError,
    MissingFileError,
    TableError,
)
from mora.tables import check_areas, read_areas

SQUARES = shapely.box(np.arange(3.0), 0, np.arange(3.0) + 1, 1)
IDS = ["01", "02", "03"]


def areas(*geometries):
    outlines = np.array(geometries or SQUARES, dtype=object)
    return pd.DataFrame({"id": [f"{i:02}" for i in range(len(outlines))]}).assign(
        geometry=pd.Series(outlines, dtype=object)
    )


def geojson(geometries=SQUARES, **features):
    """Write features by hand; ``id`` or properties for each."""
    rows = pd.DataFrame(features).to_dict("records")
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": None if g is None else json.loads(shapely.to_geojson(g)),
                **row,
            }
            for g, row in zip(geometries, rows, strict=True)
        ],
    }


def write(path, content):
    text = json.dumps(content) if isinstance(content, dict) else content
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def found(report):
    return {p.name: (p.count, p.action) for p in report.problems}


def assert_squares(frame):
    assert frame["id"].tolist() == IDS
    assert shapely.equals(frame["geometry"].to_numpy(), SQUARES).all()


@pytest.mark.parametrize("ending", ["geojson", "geojson.gz", "json", "json.gz"])
def test_geojson_has_ids_in_features_or_properties(tmp_path, ending):
    properties = [{"fips": name} for name in IDS]
    path = write(tmp_path / f"a.{ending}", geojson(id=IDS, properties=properties))
    assert_squares(read_areas(path))
    renamed = geojson(id=["x", "y", "z"], properties=properties)
    assert_squares(read_areas(write(path, renamed), id_column="fips"))
    assert read_areas(path)["id"].tolist() == ["x", "y", "z"]
    assert_squares(
        read_areas(write(path, geojson(properties=[{"id": n} for n in IDS])))
    )


def test_geojson_numbers_become_text(tmp_path):
    path = write(tmp_path / "a.geojson", geojson(id=[7, 8, 9]))
    assert read_areas(path)["id"].tolist() == ["7", "8", "9"]


def test_geojson_without_ids_or_features_is_refused(tmp_path):
    path = write(tmp_path / "a.geojson", geojson(properties=[{"fips": n} for n in IDS]))
    with pytest.raises(
        MissingColumnError, match=r"no column 'id'; the columns are 'fip"
    ):
        read_areas(path)
    blob = '{"features": [{"geometry": {"type": "Blob", "coordinates": []}}]}'
    for content in ('{"type": "Feature"}', "no json", blob):
        with pytest.raises(TableError, match=r"as GeoJSON .*a FeatureCollection"):
            read_areas(write(path, content))
    (tmp_path / "a.geojson.gz").write_bytes(b"no gzip")
    with pytest.raises(TableError, match=r"a.geojson.gz cannot be read"):
        read_areas(tmp_path / "a.geojson.gz")


@pytest.mark.parametrize(
    "written", [shapely.to_wkt, shapely.to_wkb, lambda g: shapely.to_wkb(g, hex=True)]
)
def test_tables_hold_wkt_or_wkb(tmp_path, written):
    frame = pd.DataFrame({"zone": IDS, "shape": written(SQUARES)})
    frame.to_parquet(tmp_path / "a.parquet")
    sources = [frame, tmp_path / "a.parquet"]
    if isinstance(frame["shape"][0], str):
        frame.to_csv(tmp_path / "a.csv.gz", index=False)
        sources.append(str(tmp_path / "a.csv.gz"))
    for source in sources:
        assert_squares(read_areas(source, id_column="zone", geometry_column="shape"))
        with pytest.raises(MissingColumnError, match=r"no column 'id', 'geometry'"):
            read_areas(source)


def test_frames_may_hold_geometries():
    frame = pd.DataFrame({"id": IDS, "geometry": [*SQUARES[:2], None]})
    read = read_areas(frame)
    assert read["geometry"][1] == SQUARES[1]
    assert read["geometry"][2] is None


def test_lines_of_wkt_are_numbered(tmp_path):
    path = write(tmp_path / "a.wkt", "\n".join(shapely.to_wkt(SQUARES)) + "\n")
    assert read_areas(path)["id"].tolist() == ["0", "1", "2"]


def test_unreadable_geometries_are_shown(tmp_path):
    path = write(tmp_path / "a.csv", "id,geometry\n1,POINT (0 0)\n2,here\n3,\n")
    message = r"1 of 3 geometries are neither WKT nor WKB \(first: row 2: here\)"
    with pytest.raises(TableError, match=message):
        read_areas(path)


@pytest.mark.parametrize("ending", ["gpkg", "shp"])
def test_other_formats_are_read_and_projected_back(tmp_path, ending):
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.GeoDataFrame({"zone": IDS}, geometry=[*SQUARES], crs=4326)
    path = tmp_path / f"a.{ending}"
    frame.to_crs(3857).to_file(path)
    for source in (path, frame, frame.to_crs(3857)):
        read = read_areas(source, id_column="zone")
        assert read["id"].tolist() == IDS
        got = shapely.get_coordinates(shapely.normalize(read["geometry"].to_numpy()))
        wanted = shapely.get_coordinates(shapely.normalize(SQUARES))
        np.testing.assert_allclose(got, wanted, atol=1e-9)
    with pytest.raises(
        MissingColumnError, match=r"no column 'id'; the columns are 'zo"
    ):
        read_areas(path)
    path.write_bytes(b"something else")
    with pytest.raises(TableError, match=r"cannot be read by geopandas"):
        read_areas(path)


def test_geoparquet_is_read(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.GeoDataFrame({"id": IDS}, geometry=[*SQUARES], crs=4326)
    frame.to_parquet(tmp_path / "a.parquet")
    assert_squares(read_areas(tmp_path / "a.parquet"))


def test_missing_geopandas_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "geopandas", None)
    path = write(tmp_path / "a.gpkg", "")
    with pytest.raises(MissingExtraError, match=r"a.gpkg needs .* \"mora\[geo\]\""):
        read_areas(path)


def test_missing_files_and_unknown_endings_are_named(tmp_path):
    for name in ("a.geojson", "a.csv", "a.gpkg"):
        with pytest.raises(MissingFileError, match=rf"areas: no file at .*{name}"):
            read_areas(tmp_path / name)
    with pytest.raises(
        TableError, match=r"unknown ending '.doc'; .*\.geojson, .*\.shp"
    ):
        read_areas(write(tmp_path / "a.doc", ""))


def test_good_areas_pass():
    frame, report = check_areas(areas())
    assert frame["geometry"].tolist() == [*SQUARES]
    assert report.problems == ()


def test_bow_ties_and_overlaps_are_repaired():
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    overlap = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)])
    frame, report = check_areas(areas(bow_tie, overlap, SQUARES[0]))
    assert shapely.area(frame["geometry"].to_numpy()).tolist() == [2.0, 7.0, 1.0]
    assert found(report) == {"invalid polygon repaired": (2, "kept")}
    assert report.problems[0].examples == ("row 1: id 00", "row 2: id 01")


def test_rings_of_too_few_points_are_repaired(tmp_path):
    # Simplified county files have holes of two points and parts that are lines.
    square = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
    hole, line = [[0.5, 0.5], [0.5, 0.5]], [[5, 5], [6, 6], [5, 5]]
    content = geojson(id=IDS)
    features = content["features"]
    features[0]["geometry"]["coordinates"] = [square, hole]
    features[1]["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [[line], [square]],
    }
    frame, report = check_areas(read_areas(write(tmp_path / "a.geojson", content)))
    assert shapely.equals(frame["geometry"].to_numpy()[:2], SQUARES[0]).all()
    assert found(report) == {"invalid polygon repaired": (2, "kept")}
    features[1]["geometry"] = {"type": "Polygon", "coordinates": [line]}
    frame, report = check_areas(read_areas(write(tmp_path / "a.geojson", content)))
    assert frame["id"].tolist() == ["01", "02", "03"]
    lost = "polygon without an area, drawn as a small square"
    assert found(report)[lost] == (1, "kept")
    west, south, east, north = frame["geometry"][1].bounds
    assert west < 5.5 < east
    assert south < 5.5 < north


def test_heights_are_left_out():
    frame, _ = check_areas(areas(shapely.force_3d(SQUARES[0], 5.0)))
    assert not shapely.has_z(frame["geometry"][0])


def test_outlines_in_antarctica_are_refused_as_swapped():
    squares = [shapely.box(32 + i, -84, 33 + i, -83) for i in range(3)]
    frame = pd.DataFrame({"id": ["1", "2", "3"], "geometry": squares})
    with pytest.raises(TableError, match=r"most outlines lie in Antarctica .*swapped"):
        check_areas(frame, source="counties.geojson")


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (None, r"geometry is empty \(first: row 2: id 01\)"),
        (shapely.Polygon(), r"geometry is empty"),
        (shapely.Point(1, 1), r"geometry is not a polygon .*POINT"),
        (
            shapely.box(4e5, 5e6, 5e5, 6e6),
            r"coordinates are not degrees .*projection to EPSG:4326",
        ),
        (shapely.box(48, 101, 49, 102), r"latitude beyond 90 degrees .*swapped"),
    ],
)
def test_unusable_geometries_are_refused(geometry, message):
    with pytest.raises(TableError, match=rf"1 of 3 areas refused: {message}"):
        check_areas(areas(SQUARES[0], geometry, SQUARES[2]))


def test_unread_geometries_are_refused():
    unread = areas().assign(geometry=shapely.to_wkt(SQUARES))
    with pytest.raises(
        TableError, match=r"3 of 3 areas .*mora.tables.read_areas first"
    ):
        check_areas(unread)


def test_repeated_ids_are_refused():
    with pytest.raises(TableError, match=r"1 of 3 areas refused: id repeated .*id 00"):
        check_areas(areas().assign(id=["00", "00", "01"]))


def test_areas_without_ids_are_dropped():
    frame, report = check_areas(areas().assign(id=["a", None, "b"]))
    assert frame["id"].tolist() == ["a", "b"]
    assert found(report) == {"no id": (1, "dropped")}
    with pytest.raises(TableError, match=r"accepted share of 0.3"):
        check_areas(areas().assign(id=["a", None, "b"]), max_bad_share=0.3)


def centres(**changes):
    ids = [f"{i:02}" for i in range(10)]
    frame = pd.DataFrame({"id": ids, "lon": 2.5, "lat": 48.5, "population": 100})
    for column, values in changes.items():
        frame[column] = [*values, *frame[column][len(values) :]]
    return frame


def test_point_areas_pass():
    frame, report = check_areas(centres(), source="zips.csv")
    assert frame["population"].tolist() == [100.0] * 10
    assert report.describe() == "zips.csv: 10 of 10 areas kept"


def test_point_areas_need_coordinates_and_people():
    bad = centres(lon=[999.0], population=[100, None])
    frame, report = check_areas(bad)
    assert len(frame) == 8
    assert found(report) == {
        "coordinates out of range": (1, "dropped"),
        "no population": (1, "dropped"),
    }
    with pytest.raises(TableError, match=r"accepted share of 0.1"):
        check_areas(bad, max_bad_share=0.1)
    with pytest.raises(TableError, match=r"population is negative .*Expected people"):
        check_areas(centres(population=[-1]))
    with pytest.raises(TableError, match=r"population is not a number .*many"):
        check_areas(centres(population=["many"]))


def test_point_areas_may_be_swapped():
    bad = centres(lon=[48.5, 999.0], lat=[102.5, 48.5])
    assert len(check_areas(bad)[0]) == 8
    with pytest.raises(TableError, match=r"look swapped"):
        check_areas(bad, swapped_share=0.4)
    swapped = centres().rename(columns={"lon": "lat", "lat": "lon"})
    with pytest.raises(TableError, match=r"look swapped"):
        check_areas(swapped, bounds=(2.0, 48.0, 3.0, 49.0))
