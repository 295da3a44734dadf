"""Areas from files: GeoJSON, WKT and WKB, and what geopandas reads."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.errors import ShapelyError

from mora.errors import (
    MissingColumnError,
    MissingExtraError,
    MissingFileError,
    TableError,
)
from mora.tables.reading import TABLE_ENDINGS, read_frame
from mora.tables.values import to_text

JSON_ENDINGS = (".geojson", ".geojson.gz", ".json", ".json.gz")
LINE_ENDINGS = (".wkt", ".wkt.gz")
GEOPANDAS_ENDINGS = (".shp", ".gpkg", ".fgb", ".zip")
GEOJSON_ERRORS = (ValueError, TypeError, KeyError, AttributeError, ShapelyError)
RING_DEPTH = {"Polygon": 1, "MultiPolygon": 2}  # lists around each ring in GeoJSON


def read_areas(
    source: Path | str | pd.DataFrame,
    *,
    id_column: str | None = None,
    geometry_column: str = "geometry",
) -> pd.DataFrame:
    """Read polygons and their ids.

    Args:
        source: GeoJSON (also ``.gz``); CSV or Parquet with WKT or WKB in a column; WKT,
            one geometry a line, with the line numbers from 0 as ids; through geopandas,
            shapefile, GeoPackage or FlatGeobuf in any known projection; a frame with
            WKT, WKB or shapely geometries.
        id_column: column or property that holds the ids; without it ``id``, which in
            GeoJSON may stand in the feature or in its properties.
        geometry_column: column of the geometry in CSV, Parquet and frames.

    Returns:
        ``id`` as text and ``geometry`` as shapely geometries in lon/lat, None where the
        source has none. :func:`check_areas` says whether they can be used.

    Raises:
        MissingFileError: if there is no such file.
        MissingColumnError: if the ids or geometries are not in the file.
        MissingExtraError: if the format needs geopandas, which is not installed.
        TableError: if the ending is unknown or the file cannot be read.
    """
    if isinstance(source, pd.DataFrame):
        return _read_columns(_to_lonlat(source), id_column or "id", geometry_column)
    path = Path(source)
    if path.name.endswith(TABLE_ENDINGS):
        return _read_columns(path, id_column or "id", geometry_column)
    if not path.is_file():
        raise MissingFileError(path, "areas")
    if path.name.endswith(JSON_ENDINGS):
        return _read_geojson(path, id_column)
    if path.name.endswith(LINE_ENDINGS):
        lines = _read_text(path).splitlines()
        frame = pd.DataFrame({"id": range(len(lines)), "geometry": lines})
        return _read_columns(frame, "id", "geometry")
    if path.name.endswith(GEOPANDAS_ENDINGS):
        return _read_with_geopandas(path, id_column or "id")
    endings = JSON_ENDINGS + TABLE_ENDINGS + LINE_ENDINGS + GEOPANDAS_ENDINGS
    raise TableError(
        f"{path}: unknown ending {path.suffix!r}; expected one of {', '.join(endings)}."
    )


def _read_columns(
    source: Path | pd.DataFrame, id_column: str, geometry_column: str
) -> pd.DataFrame:
    """Read ids and WKT or WKB from two columns."""
    frame = read_frame(source, {"id": id_column, "geometry": geometry_column}, "areas")
    given = frame["geometry"].astype(object)
    given = given.where(given.notna(), None)
    name = "areas frame" if isinstance(source, pd.DataFrame) else str(source)
    return pd.DataFrame({"id": frame["id"], "geometry": _parse_geometries(given, name)})


def _parse_geometries(given: pd.Series, source: str) -> np.ndarray:
    """Read WKB, hexadecimal WKB or WKT; a missing value gives None."""
    parsed = np.array([_parse_geometry(value) for value in given], dtype=object)
    bad = np.flatnonzero([p is None for p in parsed] & given.notna().to_numpy())
    if len(bad):
        raise TableError(
            f"{source}: {len(bad)} of {len(given)} geometries are neither WKT nor WKB "
            f"(first: row {bad[0] + 1}: {str(given.iloc[bad[0]])[:40]}). Expected text "
            f"such as POLYGON ((0 0, 1 0, 1 1, 0 0))."
        )
    return parsed


def _parse_geometry(value: Any) -> shapely.Geometry | None:
    """Read one geometry; None if it is missing or cannot be read."""
    if value is None or isinstance(value, shapely.Geometry):
        return value
    if isinstance(value, bytes) or value[:2] in ("00", "01"):  # byte order in hex
        return shapely.from_wkb(value, on_invalid="ignore")
    return shapely.from_wkt(value, on_invalid="ignore")


def _read_text(path: Path) -> str:
    """Read UTF-8, gzipped if the name says so."""
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read ({error}); expected UTF-8.") from error


def _read_geojson(path: Path, id_column: str | None) -> pd.DataFrame:
    """Read a FeatureCollection."""
    text = _read_text(path)
    try:
        features = json.loads(text)["features"]
        properties = [feature.get("properties") or {} for feature in features]
        geometries = [_to_geometry(feature["geometry"]) for feature in features]
    except GEOJSON_ERRORS as error:
        raise TableError(
            f"{path} cannot be read as GeoJSON ({type(error).__name__}: {error}); "
            f"expected a FeatureCollection of polygons."
        ) from error
    ids = [p.get(id_column or "id") for p in properties]
    if id_column is None:
        ids = [f.get("id", i) for f, i in zip(features, ids, strict=True)]
    if all(i is None for i in ids):
        found = dict.fromkeys(name for p in properties for name in p)
        raise MissingColumnError(str(path), [id_column or "id"], list(found))
    return pd.DataFrame(
        {"id": to_text(pd.Series(ids)), "geometry": pd.Series(geometries, dtype=object)}
    )


def _to_geometry(given: dict[str, Any] | None) -> shapely.Geometry | None:
    if given is None:
        return None
    depth = RING_DEPTH.get(given["type"], 0)
    rings = _pad_rings(given["coordinates"], depth) if depth else given["coordinates"]
    return shapely.geometry.shape({"type": given["type"], "coordinates": rings})


def _pad_rings(coordinates: list[Any], depth: int) -> list[Any]:
    """Repeat the last point of rings that simplification left with fewer than four.

    Shapely refuses such rings; padded they are invalid, and :func:`check_areas` repairs
    and counts them.
    """
    if depth:
        return [_pad_rings(part, depth - 1) for part in coordinates]
    return coordinates + coordinates[-1:] * (4 - len(coordinates))


def _read_with_geopandas(path: Path, id_column: str) -> pd.DataFrame:
    """Read any format that geopandas knows and bring it to lon/lat."""
    try:
        import geopandas
    except ImportError as error:
        raise MissingExtraError("geopandas", "geo", f"Reading {path.name}") from error
    try:
        frame = _to_lonlat(geopandas.read_file(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise TableError(
            f"{path} cannot be read by geopandas ({error}); expected vector data."
        ) from error
    if id_column not in frame:
        raise MissingColumnError(str(path), [id_column], list(frame.columns))
    return _read_columns(frame, id_column, frame.geometry.name)


def _to_lonlat(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring a frame of geopandas with a known projection to WGS84."""
    crs = getattr(frame, "crs", None)
    return frame if crs is None else frame.to_crs(4326)
