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
from mora.sources import geo_labels
from mora.sources.registry import read_source, write_source
from mora.tables.labels import is_map, read_labels

ZONES = ["01", "02", "03"]
RENTS = [7.5, 9.0, 12.5]
SQUARES = shapely.box([13.0, 13.1, 13.2], 52.4, [13.1, 13.2, 13.3], 52.5)
MIDDLES = np.array([[13.05, 52.45], [13.15, 52.45], [13.25, 52.45]])


def zones(shapes=SQUARES, crs=4326):
    """Give a map with the columns of a publisher."""
    geopandas = pytest.importorskip("geopandas", reason="needs the extra `geo`")
    data = {"code": ZONES, "rent_eur": RENTS, "note": list("abc")}
    return geopandas.GeoDataFrame(data, geometry=list(shapes), crs=crs)


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


ENDINGS = [".shp", ".gpkg", ".geojson", ".parquet"]
BY_ID = {"id": "code", "rent": "rent_eur"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_labels_of_zones_in_a_map(tmp_path, ending):
    path = write(zones(), tmp_path / f"zones{ending}")
    frame = read_labels(path, BY_ID)
    assert list(frame.columns) == ["id", "rent"]
    assert frame["id"].tolist() == ZONES  # a code keeps its zero
    assert frame["rent"].tolist() == RENTS
    assert is_map(path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", ["points", "polygons"])
def test_labels_lie_where_their_shapes_do(tmp_path, ending, shape):
    """In metres of UTM as well as in degrees."""
    shapes = SQUARES if shape == "polygons" else shapely.points(MIDDLES)
    frame = zones(shapes)
    if ending != ".geojson":  # which is in degrees by its standard
        frame = frame.to_crs(25833)
    path = write(frame, tmp_path / f"rents{ending}")
    got = read_labels(path, {"rent": "rent_eur"})
    assert sorted(got.columns) == ["lat", "lon", "rent"]
    inside = shapely.contains_xy(SQUARES, got["lon"], got["lat"])
    assert inside.all()
    if shape == "points":
        np.testing.assert_allclose(got[["lon", "lat"]], MIDDLES, atol=1e-6)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_labels_in_tables_by_cell_and_by_point(tmp_path, ending):
    data = {"h3": ["871f1d488ffffff"], "x": [13.4], "y": [52.5], "rent_eur": [9.0]}
    table, path = pd.DataFrame(data), tmp_path / f"rents{ending}"
    if ending == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if ending == ".tsv" else ",", index=False)
    assert not is_map(path)
    by_cell = read_labels(path, {"id": "h3", "rent": "rent_eur"})
    assert by_cell.iloc[0].tolist() == ["871f1d488ffffff", 9.0]
    by_point = read_labels(path, {"lon": "x", "lat": "y", "rent": "rent_eur"})
    assert by_point.iloc[0].tolist() == [13.4, 52.5, 9.0]
    assert read_labels(table, {"id": "h3", "rent": "rent_eur"}).equals(by_cell)


def test_geoparquet_by_id_needs_no_geopandas(tmp_path, monkeypatch):
    path = write(zones(), tmp_path / "zones.parquet")
    monkeypatch.setitem(sys.modules, "geopandas", None)
    assert read_labels(path, BY_ID)["rent"].tolist() == RENTS
    with pytest.raises(MissingExtraError, match=r"'geopandas'.*mora\[geo\]"):
        read_labels(path, {"rent": "rent_eur"})


def test_labels_that_cannot_be_read_are_refused(tmp_path):
    path = write(zones(), tmp_path / "zones.gpkg")
    with pytest.raises(MissingColumnError, match="no column 'rents'"):
        read_labels(path, {"id": "code", "rent": "rents"})
    with pytest.raises(MissingFileError, match="labels: no file at"):
        read_labels(tmp_path / "none.shp", BY_ID)
    (tmp_path / "torn.shp").write_bytes(b"no map")
    with pytest.raises(TableError, match="cannot be read by geopandas"):
        read_labels(tmp_path / "torn.shp", BY_ID)
    (tmp_path / "torn.parquet").write_bytes(b"no map")
    with pytest.raises(TableError, match="as Parquet"):
        read_labels(tmp_path / "torn.parquet", BY_ID)
    bare = zones([*SQUARES[:2], None])
    with pytest.raises(TableError, match="1 of 3 rows have no geometry"):
        read_labels(write(bare, tmp_path / "bare.gpkg"), {"rent": "rent_eur"})
    pd.DataFrame({"rent_eur": RENTS}).to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(TableError, match="labels need id or lon"):
        read_labels(tmp_path / "bare.csv", {"rent": "rent_eur"})


def test_the_source_writes_a_table_that_a_run_can_name(tmp_path):
    path = write(zones(), tmp_path / "zones.shp")
    got = read_source("geo_labels", path, columns=BY_ID)
    assert geo_labels.read_geo_labels(path, columns=BY_ID).equals(got)
    assert write_source(
        "geo_labels", tmp_path / "rents.parquet", path, columns=BY_ID
    ) == {"rows": 3}
    again = read_labels(tmp_path / "rents.parquet", {"id": "id", "rent": "rent"})
    assert again["rent"].tolist() == RENTS
