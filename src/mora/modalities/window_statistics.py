"""Statistics of the pixels in square windows around points."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from mora.kernels import kernel
from mora.modalities.rasters import Raster
from mora.modalities.windows import window_pixels, window_sizes

PERCENTILES = (10, 50, 90)
STATISTICS = ("mean", "std", *(f"p{p}" for p in PERCENTILES), "gradient")
PIXELS_PER_BATCH = 2**16  # window pixels worked on at a time; more leave the cache


def window_statistics(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n columns"]:
    """Describe the pixels in a square on the ground around each point.

    Args:
        raster: a picture or a grid of quantities.
        lonlat: centres in degrees.
        radius_km: half side of the square, aligned with ``lonlat``.

    Returns:
        All :data:`STATISTICS` of the first channel, then of the next; NaN where the
        square holds no data. A square of one colour has standard deviation 0.
    """
    batches = _window_batches(raster, lonlat, radius_km)
    return np.concatenate([pixel_statistics(raster, *window) for window in batches])


def window_shares(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
    classes: int,
) -> Float[np.ndarray, "n columns"]:
    """Give the share of each class in a square on the ground around each point.

    Args:
        raster: class codes from 0; codes from ``classes`` on are left out.
        lonlat: centres in degrees.
        radius_km: half side of the square, aligned with ``lonlat``.
        classes: number of classes.

    Returns:
        ``classes`` shares that sum to 1, then their entropy in nats, 0 where one class
        fills the square; NaN where the square holds no class.
    """
    batches = _window_batches(raster, lonlat, radius_km)
    return np.concatenate(
        [class_shares(raster, *window, classes) for window in batches]
    )


def _window_batches(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """List window pixels for as many points at a time as memory allows."""
    rows, columns = window_sizes(raster, lonlat, radius_km)
    batch = np.cumsum(rows * columns) // PIXELS_PER_BATCH
    edges = np.flatnonzero(np.diff(batch)) + 1
    for points in np.split(np.arange(len(lonlat)), edges):
        yield window_pixels(raster, lonlat[points], radius_km[points])


def pixel_statistics(
    raster: Raster,
    counts: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " pairs"],
    columns: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, "n columns"]:
    """Describe groups of pixels, channel by channel.

    Args:
        raster: whose pixels are meant; a pixel with a NaN channel is left out.
        counts: pixels per group.
        rows: of the pixels, group by group.
        columns: aligned with ``rows``.

    Returns:
        See :func:`window_statistics`.
    """
    values = raster.take(rows, columns).astype(np.float64)
    known = np.isfinite(values).all(axis=1)
    if not known.all():
        group = np.repeat(np.arange(len(counts)), counts)
        counts = np.bincount(group[known], minlength=len(counts))
        values, rows, columns = values[known], rows[known], columns[known]
    return describe_groups(values, gradient_magnitude(raster, rows, columns), counts)


def describe_groups(
    values: Float[np.ndarray, "pairs channels"],
    steepness: Float[np.ndarray, "pairs channels"],
    sizes: Int[np.ndarray, " groups"],
) -> Float[np.ndarray, "groups columns"]:
    """Give the :data:`STATISTICS` of groups of pixels, channel by channel.

    Percentiles lie between values linearly, as numpy has them.

    Args:
        values: one row per pixel, group by group; finite.
        steepness: aligned with ``values``.
        sizes: pixels per group.

    Returns:
        See :func:`window_statistics`; NaN for a group without pixels.
    """
    begin = np.cumsum(sizes) - sizes
    ordered = values.T.copy()
    for group in np.split(ordered, begin[1:], axis=1):
        group.sort(
            axis=1
        )  # in place; ten times faster than one sort by group and value
    filled = sizes > 0
    first, size = begin[filled], sizes[filled]
    mean = _group_means(ordered, first, size)
    variance = _group_means((ordered - np.repeat(mean, size, axis=1)) ** 2, first, size)
    columns = [mean, np.sqrt(variance)]
    for percentile in PERCENTILES:
        place = percentile / 100 * (size - 1)
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        low, high = ordered[:, first + below], ordered[:, first + above]
        columns.append(low + (high - low) * (place - below))
    columns.append(_group_means(steepness.T, first, size))
    found = np.full((len(sizes), values.shape[1], len(STATISTICS)), np.nan)
    found[filled] = np.transpose(columns)
    return found.reshape(len(sizes), -1)


def _group_means(
    values: Float[np.ndarray, "channels pairs"],
    first: Int[np.ndarray, " groups"],
    size: Int[np.ndarray, " groups"],
) -> Float[np.ndarray, "channels groups"]:
    return np.add.reduceat(values, first, axis=1) / size if len(first) else values


def gradient_magnitude(
    raster: Raster, rows: Int[np.ndarray, " pairs"], columns: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, "pairs channels"]:
    """Give how steeply each channel changes around pixels.

    Central differences over about the same distance on the ground in both directions:
    east to west, the neighbours lie further apart in columns towards the poles.

    Args:
        raster: whose pixels are meant.
        rows: of the pixels.
        columns: aligned with ``rows``.

    Returns:
        Change per height of a row; 0 where all is alike or a neighbour has no data.
    """
    grid = raster.grid
    up, down = np.maximum(rows - 1, 0), np.minimum(rows + 1, grid.height - 1)
    per_row = grid.columns_per_row(rows)
    step = np.rint(per_row).astype(np.int64).clip(1, max(1, grid.width // 4))
    left, right = grid.fit_columns(columns - step), grid.fit_columns(columns + step)
    apart = 2 * step if grid.wraps else right - left
    around = raster.take(
        np.array([up, down, rows, rows]), np.array([columns, columns, left, right])
    )
    steepness = np.empty(around.shape[1:])
    _steepness(around.astype(np.float64), 1.0 * (down - up), apart / per_row, steepness)
    return steepness


@kernel()
def _steepness(
    around: np.ndarray, high: np.ndarray, wide: np.ndarray, steepness: np.ndarray
) -> None:
    """Fill ``steepness`` from the pixels above, below, west and east (``around``)."""
    pixels, channels = steepness.shape
    for pixel in range(pixels):
        for channel in range(channels):
            above, below, west, east = around[:, pixel, channel]
            north_south = (below - above) / max(high[pixel], 1e-9)
            east_west = (east - west) / max(wide[pixel], 1e-9)
            change = math.sqrt(north_south**2 + east_west**2)
            steepness[pixel, channel] = 0.0 if math.isnan(change) else change


def class_shares(
    raster: Raster,
    counts: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " pairs"],
    columns: Int[np.ndarray, " pairs"],
    classes: int,
) -> Float[np.ndarray, "n columns"]:
    """Give the shares of classes in groups of pixels, and their entropy.

    Args:
        raster: class codes in its first channel.
        counts: pixels per group.
        rows: of the pixels, group by group.
        columns: aligned with ``rows``.
        classes: number of classes.

    Returns:
        See :func:`window_shares`.
    """
    code = raster.take(rows, columns)[:, 0]
    group = np.repeat(np.arange(len(counts)), counts)
    valid = (code >= 0) & (code < classes)
    slot = group[valid] * classes + code[valid].astype(np.int64)
    seen = np.bincount(slot, minlength=len(counts) * classes).reshape(-1, classes)
    total = seen.sum(axis=1, keepdims=True)
    empty = np.full(seen.shape, np.nan)
    shares = np.divide(seen, total, out=empty, where=total > 0)
    surprise = -np.log(np.where(shares > 0, shares, 1.0))
    return np.column_stack([shares, (shares * surprise).sum(axis=1)])
