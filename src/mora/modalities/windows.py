"""The pixels in squares on the ground around points, and the order to read them in."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Int

from mora.modalities.rasters import Raster


def window_pixels(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """List the pixels in a square on the ground around each point.

    The square's half side is the radius, and its sides are the raster's rows and
    columns. In a raster in degrees each row of pixels is as long on the ground as any
    other, so it holds more columns towards the poles. Windows go on across the
    antimeridian and end at the poles.

    Args:
        raster: where the pixels lie.
        lonlat: centres in degrees.
        radius_km: > 0, aligned with ``lonlat``.

    Returns:
        Pixels per point, and their rows and columns, point by point: those whose middle
        lies in the square, and at least the pixel around the point; none for a square
        outside the raster.
    """
    grid = raster.grid
    row, column = grid.positions(lonlat)
    half = radius_km / grid.km_per_row(lonlat)
    top, bottom = _span(row, half, grid.height)
    top, bottom = np.maximum(top, 0), np.minimum(bottom, grid.height - 1)
    point, rows = _ranges(top, np.maximum(bottom - top + 1, 0))
    left, right = _span(
        column[point],
        np.minimum(half[point] * grid.columns_per_row(rows), grid.width),
        grid.width,
    )
    if grid.wraps:
        columns_in_row = np.minimum(right - left + 1, grid.width)
    else:
        left, right = np.maximum(left, 0), np.minimum(right, grid.width - 1)
        columns_in_row = np.maximum(right - left + 1, 0)
    pair, columns = _ranges(left, columns_in_row)
    counts = np.bincount(point, columns_in_row, len(lonlat)).astype(np.int64)
    return counts, rows[pair], grid.fit_columns(columns)


def _span(
    middle: Float[np.ndarray, " n"], half: Float[np.ndarray, " n"], size: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Give the first and last pixel in reach, at least the one around the middle."""
    around = _nearest(middle)
    around -= middle == size - 0.5  # the outer edge belongs to the last pixel
    first = np.minimum(np.ceil(middle - half), around)
    last = np.maximum(np.floor(middle + half), around)
    return first.astype(np.int64), last.astype(np.int64)


def _ranges(
    first: Int[np.ndarray, " n"], counts: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " total"], Int[np.ndarray, " total"]]:
    """Count up from each first number; say from which one each number comes."""
    source = np.repeat(np.arange(len(first)), counts)
    begin = np.cumsum(counts) - counts
    return source, np.arange(len(source)) - begin[source] + first[source]


def _nearest(places: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Give the pixel around each place; np.rint would go to even pixels at borders."""
    return np.floor(places + 0.5).astype(np.int64)


def square_images(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    pixels: int,
    value_range: tuple[float | int, float | int] | None = None,
) -> Float32[np.ndarray, "n pixels pixels channels"]:
    """Cut a picture of fixed size around each point, square on the ground.

    Neighbouring pixels of a picture are one row of the raster apart in both directions;
    the nearest pixel of the raster is taken. Pictures go on across the antimeridian;
    the edge is repeated beyond the poles and beyond a raster that ends.

    Args:
        raster: where the pixels come from.
        lonlat: centres in degrees.
        pixels: side of a picture.
        value_range: values that become 0 and 1; the raster's own lowest and highest
            (for 8 bits 0 and 255) if not given.

    Returns:
        Pictures, 0 where the raster has no data.
    """
    grid = raster.grid
    row, column = grid.positions(lonlat)
    steps = np.arange(pixels) - (pixels - 1) / 2
    rows = _nearest(row[:, None] + steps).clip(0, grid.height - 1)
    stretch = np.minimum(grid.columns_per_row(rows), grid.width / pixels)
    columns = _nearest(column[:, None, None] + stretch[:, :, None] * steps)
    rows, columns = np.broadcast_arrays(rows[:, :, None], grid.fit_columns(columns))
    low, high = raster.value_range if value_range is None else value_range
    picture = raster.take(rows, columns).astype(np.float32)
    return np.nan_to_num((picture - np.float32(low)) / np.float32(high - low))


def window_sizes(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Give about how many rows and columns a window around each point has."""
    grid = raster.grid
    rows = 2 * radius_km / grid.km_per_row(lonlat) + 1
    middle = _nearest(grid.positions(lonlat)[0]).clip(0, grid.height - 1)
    columns = rows * grid.columns_per_row(middle) + 1
    return np.minimum(rows, grid.height), np.minimum(columns, grid.width)


def reading_order(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
    most: int,
) -> Iterator[Int[np.ndarray, " batch"]]:
    """Put points together whose windows begin in the same piece of a raster.

    Pieces come row by row, so that a raster which keeps two rows of pieces (more where
    windows are larger than pieces) reads each of them once.

    Args:
        raster: whose pieces count; one in memory has a single one.
        lonlat: centres in degrees.
        radius_km: of the largest window around each point.
        most: points in a batch.

    Yields:
        Rows of ``lonlat``, each in one batch.
    """
    grid, (height, width) = raster.grid, raster.piece_shape
    row, column = grid.positions(lonlat)
    rows, columns = window_sizes(raster, lonlat, radius_km)
    top = _nearest(row - rows / 2).clip(0, grid.height - 1)
    left = _nearest(column - columns / 2).clip(0, grid.width - 1)
    first = top // height * grid.width + left // width
    order = np.argsort(first, kind="stable")
    edges = np.flatnonzero(np.diff(first[order])) + 1
    for together in np.split(order, edges):
        for start in range(0, len(together), most):
            yield together[start : start + most]
