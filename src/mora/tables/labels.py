"""Labels from any table or map: by cell or zone, by point, or where a shape lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mora.errors import MissingExtraError, MissingFileError, TableError
from mora.tables.area_files import GEOPANDAS_ENDINGS, JSON_ENDINGS
from mora.tables.delimited import require_names
from mora.tables.reading import PARQUET_ENDINGS, Source, read_frame


def read_labels(source: Source, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read labels under our names, each row with an id or a point.

    Args:
        source: CSV, Parquet or a frame with columns ``id`` or ``lon`` and ``lat``; or a
            map in any projection (shapefile, GeoPackage, FlatGeobuf, GeoJSON,
            GeoParquet), which needs the extra ``geo``.
        columns: our name -> theirs. A map without ``id`` places each row by its
            geometry: a point where it is, a polygon at a point inside it.

    Returns:
        ``id`` as text, or ``lon`` and ``lat`` in degrees; and the labels.

    Raises:
        MissingFileError: if there is no such file.
        MissingExtraError: if a map needs geopandas, which is not installed.
        MissingColumnError: if a column is not in the file.
        TableError: if the file cannot be read, or rows of a map lie nowhere.
    """
    placed = "id" in columns or {"lon", "lat"} <= set(columns)
    if isinstance(source, pd.DataFrame | pa.Table) or not is_map(source):
        return read_frame(source, columns, "labels")
    if placed and str(source).endswith(PARQUET_ENDINGS):
        return read_frame(source, columns, "labels")
    frame = _read_map(Path(source))
    require_names(list(columns.values()), [*map(str, frame.columns)], str(source))
    table = pd.DataFrame(frame.drop(columns=frame.geometry.name))
    if not placed:
        points = _points(frame, str(source))
        table = table.assign(lon=points.x, lat=points.y)
        columns = {**columns, "lon": "lon", "lat": "lat"}
    return read_frame(table, columns, "labels")


def is_map(source: Path | str) -> bool:
    """Say whether a file is a map of shapes by its ending, or is GeoParquet."""
    name = str(source)
    if name.endswith(PARQUET_ENDINGS) and Path(source).is_file():
        try:
            return b"geo" in (pq.read_schema(source).metadata or {})
        except pa.ArrowInvalid as error:
            raise TableError(
                f"{source} cannot be read as Parquet ({error}); expected a whole file."
            ) from error
    return name.endswith(GEOPANDAS_ENDINGS + JSON_ENDINGS)


def _read_map(path: Path) -> Any:
    """Read shapes and their columns, in lon and lat."""
    if not path.is_file():
        raise MissingFileError(path, "labels")
    try:
        import geopandas
    except ImportError as error:
        raise MissingExtraError("geopandas", "geo", f"Reading {path.name}") from error
    parquet = path.name.endswith(PARQUET_ENDINGS)
    read = geopandas.read_parquet if parquet else geopandas.read_file
    try:
        frame = read(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise TableError(
            f"{path} cannot be read by geopandas ({error}); expected vector data."
        ) from error
    if not hasattr(frame, "geometry"):
        raise TableError(f"{path} has no shapes; expected a map, or a CSV table.")
    return frame if frame.crs is None else frame.to_crs(4326)


def _points(frame: Any, source: str) -> Any:
    """Give a point a row: the shape itself, or one inside it."""
    nowhere = frame.geometry.isna() | frame.geometry.is_empty
    if nowhere.any():
        raise TableError(
            f"{source}: {nowhere.sum()} of {len(frame)} rows have no geometry; "
            f"expected one each. Map their `id`, or leave them out."
        )
    return frame.geometry.representative_point()
