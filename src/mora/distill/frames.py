"""Frames of pandas, geopandas and polars in, the same kind with vectors out."""

from typing import Any

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float, Float32, Float64

from mora.distill.coordinate_encoder import CoordinateEncoder, OnInvalid
from mora.errors import MissingExtraError, TableError, examples
from mora.tables.values import to_numbers


def vector_columns(dim: int) -> list[str]:
    """Name the columns of vectors: e000, e001, ..

    Args:
        dim: width of the vectors.
    """
    return [f"e{i:03d}" for i in range(dim)]


def encode_frame(
    encoder: CoordinateEncoder,
    frame: Any,
    *,
    lon: str = "lon",
    lat: str = "lat",
    keep: bool = False,
    on_invalid: OnInvalid = "raise",
    threads: int = 1,
) -> Any:
    """Give the vectors of the places in a frame.

    Args:
        encoder: gives the vectors.
        frame: of pandas or polars with two columns of degrees; of geopandas with
            points in any known projection, or in lon/lat if it is not said.
        lon: column of the longitude; not used with geopandas.
        lat: column of the latitude; not used with geopandas.
        keep: the columns of the frame come first, then the vectors.
        on_invalid: what to do with places that are missing or not on Earth.
        threads: that share the places, >= 1.

    Returns:
        A frame with columns e000, e001, .. and the same rows and index: of polars if
        the frame is, of geopandas if its geometry is kept, else of pandas. A frame
        without rows gives one without rows.

    Raises:
        TableError: if a column is missing, is not numbers or has a name of the
            vectors, or a geometry is not a point.
        MoraError: if a place is invalid, unless ``on_invalid`` is ``nan``.
    """
    names = vector_columns(encoder.dim) if keep else []
    taken = [name for name in names if name in frame.columns]
    if taken:
        raise TableError(
            f"the frame already has {len(taken)} of the columns of vectors (first: "
            f"{examples(taken)}); expected other names. Drop them, or use keep=False."
        )
    lonlat = frame_lonlat(frame, lon, lat)
    vectors = encoder.encode(lonlat, on_invalid=on_invalid, threads=threads)
    if _is_polars(frame):
        return _to_polars(frame, vectors, keep)
    found = pd.DataFrame(vectors, frame.index, vector_columns(encoder.dim))
    return pd.concat([frame, found], axis=1) if keep else found


def frame_lonlat(
    frame: Any, lon: str = "lon", lat: str = "lat"
) -> Float64[np.ndarray, "rows 2"]:
    """Give the coordinates of the places in a frame.

    Args:
        frame: as in :func:`encode_frame`.
        lon: column of the longitude.
        lat: column of the latitude.

    Returns:
        Degrees, NaN where missing.

    Raises:
        TableError: if a column is missing or not numbers, or a geometry not a point.
    """
    if hasattr(frame, "geom_type"):
        return _point_lonlat(frame)
    missing = [name for name in (lon, lat) if name not in frame.columns]
    if missing:
        raise TableError(
            f"the frame has no column {examples(missing)}; its columns are "
            f"{', '.join(map(str, frame.columns))}. Name them with lon= and lat=."
        )
    return np.column_stack([_numbers(frame[name], name) for name in (lon, lat)])


def _point_lonlat(frame: Any) -> Float[np.ndarray, "rows 2"]:
    """Give the coordinates of a frame of geopandas."""
    known = frame.geometry if frame.crs is None else frame.geometry.to_crs(4326)
    points = known.to_numpy()
    other = ~np.isin(shapely.get_type_id(points), (-1, shapely.GeometryType.POINT))
    if other.any():
        kinds = sorted({point.geom_type for point in points[other]})
        raise TableError(
            f"{other.sum()} of {len(points)} geometries are not points "
            f"({examples(kinds)}); expected points. Use encode_polygons for areas, or "
            f"their representative_point()."
        )
    points = np.where(shapely.is_empty(points), None, points)  # has no x to ask for
    return np.column_stack([shapely.get_x(points), shapely.get_y(points)])


def _numbers(column: Any, name: str) -> Float64[np.ndarray, " rows"]:
    given = column if isinstance(column, pd.Series) else pd.Series(column.to_numpy())
    values, unreadable = to_numbers(given)
    if unreadable.any():
        raise TableError(
            f"{unreadable.sum()} of {len(given)} values of column {name!r} are not "
            f"numbers (first: {examples(given[unreadable].tolist())}); expected "
            f"degrees such as -73.98."
        )
    return values


def _is_polars(frame: Any) -> bool:
    return type(frame).__module__.split(".")[0] == "polars"


def _to_polars(frame: Any, vectors: Float32[np.ndarray, "n dim"], keep: bool) -> Any:
    """Give the vectors as a frame of polars."""
    try:
        import polars
    except ImportError as error:
        raise MissingExtraError("polars", "polars", "A frame of polars") from error
    found = polars.from_numpy(vectors, schema=vector_columns(vectors.shape[1]))
    return frame.hstack(found) if keep else found
