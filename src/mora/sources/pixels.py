"""GeoTIFFs of numbers as rows: a pixel's middle and its value, window by window."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mora.errors import MissingExtraError, TableError
from mora.sources.selection import Bounds, misplaced

WINDOW_PIXELS = 2**19  # read together; a few tens of MB with their coordinates

# A block of values (NaN without data) and its first row and column -> rows and columns
# in the raster (middles of pixels at .5) and values to keep.
Kept = Callable[
    [np.ndarray, tuple[int, int]], tuple[np.ndarray, np.ndarray, np.ndarray]
]


def stream_pixels(
    path: Path | str, bounds: Bounds | None, name: str, keep: Kept
) -> Iterator[pd.DataFrame]:
    """Read the first band of a GeoTIFF, a window of whole blocks at a time.

    Args:
        path: GeoTIFF on any map, north or south up.
        bounds: west, south, east, north in degrees; other windows are not read.
        name: column of the values.
        keep: says which pixels become rows, and where.

    Yields:
        Frames with lon, lat and the values.

    Raises:
        MissingExtraError: if rasterio is not installed.
        TableError: if the file cannot be read or does not say where it lies.
    """
    try:
        import rasterio
        from pyproj import Transformer
    except ImportError as error:
        raise MissingExtraError("rasterio", "geo", f"reading {path}") from error
    try:
        with closing(rasterio.open(path)) as dataset:
            if dataset.crs is None or dataset.transform.is_identity:
                raise TableError(f"{path} does not say where it lies; expected a map.")
            to_degrees = Transformer.from_crs(
                dataset.crs.to_wkt(), "EPSG:4326", always_xy=True
            )
            for window in _windows(dataset, bounds):
                block = dataset.read(1, window=window, masked=True)
                block = block.astype(np.float64).filled(np.nan)
                corner = (window.row_off, window.col_off)
                rows, columns, values = keep(block, corner)
                x, y = dataset.transform @ (columns, rows)
                lon, lat = to_degrees.transform(x, y)
                frame = pd.DataFrame({"lon": lon, "lat": lat, name: values})
                wrong = np.any(list(misplaced(frame, bounds).values()), axis=0)
                yield frame[~wrong].reset_index(drop=True)
    except rasterio.errors.RasterioError as error:
        raise TableError(
            f"{path} cannot be read as a GeoTIFF ({error}); the file is damaged or cut "
            f"short. Get it again, and unpack it if it ends in .gz."
        ) from error


def _windows(dataset: Any, bounds: Bounds | None) -> Iterator[Any]:
    """List windows of whole blocks that meet the bounds, about as large as allowed."""
    from rasterio.windows import Window

    height, width = dataset.block_shapes[0]
    height *= max(1, WINDOW_PIXELS // (height * width))
    top, left, bottom, right = _reach(dataset, bounds)
    for row in range(top // height * height, bottom, height):
        for column in range(left // width * width, right, width):
            rows = min(height, dataset.height - row)
            yield Window(column, row, min(width, dataset.width - column), rows)


def _reach(dataset: Any, bounds: Bounds | None) -> tuple[int, int, int, int]:
    """Give the rows and columns around the bounds; all where the map cannot tell."""
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    whole = (0, 0, dataset.height, dataset.width)
    if bounds is None or bounds[0] > bounds[2]:
        return whole
    try:
        west, south, east, north = transform_bounds("EPSG:4326", dataset.crs, *bounds)
    except RasterioError:
        return whole
    x, y = np.array([west, west, east, east]), np.array([south, north, south, north])
    columns, rows = ~dataset.transform @ (x, y)
    if not np.isfinite([*columns, *rows]).all():
        return whole
    top, left = max(0, int(rows.min()) - 1), max(0, int(columns.min()) - 1)
    bottom, right = int(rows.max()) + 2, int(columns.max()) + 2
    return top, left, min(bottom, dataset.height), min(right, dataset.width)
