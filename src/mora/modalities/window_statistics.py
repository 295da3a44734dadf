"""Statistics of the pixels in square windows around points."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from mora.modalities.rasters import KM_PER_DEGREE, Raster, window_pixels

PERCENTILES = (10, 50, 90)
STATISTICS = ("mean", "std", *(f"p{p}" for p in PERCENTILES), "gradient")
PIXELS_PER_BATCH = 2**20  # window pixels held at a time, about 100 MB with the rest


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
    return np.concatenate(
        [pixel_statistics(raster, pixels, counts) for counts, pixels in batches]
    )


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
        [class_shares(raster, pixels, counts, classes) for counts, pixels in batches]
    )


def _window_batches(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
) -> Iterator[tuple[Int[np.ndarray, " batch"], Int[np.ndarray, " pairs"]]]:
    """List window pixels for as many points at a time as memory allows."""
    rows = 2 * radius_km / KM_PER_DEGREE / raster.row_degrees + 1
    ratio = raster.row_degrees / raster.column_degrees
    stretch = ratio / np.cos(np.radians(lonlat[:, 1].clip(-89, 89)))
    columns = np.minimum(rows * stretch + 1, raster.values.shape[1])
    batch = np.cumsum(rows * columns) // PIXELS_PER_BATCH
    edges = np.flatnonzero(np.diff(batch)) + 1
    for points in np.split(np.arange(len(lonlat)), edges):
        yield window_pixels(raster, lonlat[points], radius_km[points])


def pixel_statistics(
    raster: Raster,
    pixels: Int[np.ndarray, " pairs"],
    counts: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "n columns"]:
    """Describe groups of pixels, channel by channel.

    Args:
        raster: whose pixels are meant; a pixel with a NaN channel is left out.
        pixels: positions ``row * width + column``, group by group.
        counts: pixels per group.

    Returns:
        See :func:`window_statistics`.
    """
    channels = raster.values.shape[2]
    values = raster.values.reshape(-1, channels)[pixels].astype(np.float64)
    group = np.repeat(np.arange(len(counts)), counts)
    known = np.isfinite(values).all(axis=1)
    values, group, pixels = values[known], group[known], pixels[known]
    steepness = gradient_magnitude(raster, pixels)
    columns = []
    for channel in range(channels):
        value = values[:, channel]
        mean = group_means(value, group, len(counts))
        variance = group_means((value - mean[group]) ** 2, group, len(counts))
        columns += [mean, np.sqrt(variance)]
        columns += list(group_percentiles(value, group, len(counts)))
        columns.append(group_means(steepness[:, channel], group, len(counts)))
    return np.column_stack(columns)


def group_means(
    value: Float[np.ndarray, " pairs"], group: Int[np.ndarray, " pairs"], groups: int
) -> Float[np.ndarray, " groups"]:
    """Average values per group; NaN for a group without any."""
    size = np.bincount(group, minlength=groups)
    total = np.bincount(group, value, groups)
    return np.divide(total, size, out=np.full(groups, np.nan), where=size > 0)


def group_percentiles(
    value: Float[np.ndarray, " pairs"], group: Int[np.ndarray, " pairs"], groups: int
) -> Float[np.ndarray, "percentiles groups"]:
    """Give the :data:`PERCENTILES` per group, between values linearly, as numpy does.

    Args:
        value: one per pixel.
        group: ascending, aligned with ``value``.
        groups: number of groups.

    Returns:
        One row per percentile; NaN for a group without values.
    """
    size = np.bincount(group, minlength=groups)
    filled = np.flatnonzero(size)
    sorted_value = value[np.lexsort((value, group))]
    begin = (np.cumsum(size) - size)[filled]
    found = np.full((len(PERCENTILES), groups), np.nan)
    for row, percentile in enumerate(PERCENTILES):
        place = percentile / 100 * (size[filled] - 1)
        below = np.floor(place).astype(np.int64)
        above = np.ceil(place).astype(np.int64)
        low, high = sorted_value[begin + below], sorted_value[begin + above]
        found[row, filled] = low + (high - low) * (place - below)
    return found


def gradient_magnitude(
    raster: Raster, pixels: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, "pairs channels"]:
    """Give how steeply each channel changes around pixels.

    Central differences over about the same distance on the ground in both directions:
    east to west, the neighbours lie further apart in columns towards the poles.

    Args:
        raster: whose pixels are meant.
        pixels: positions ``row * width + column``.

    Returns:
        Change per height of a row; 0 where all is alike or a neighbour has no data.
    """
    height, width, _ = raster.values.shape
    row, column = np.divmod(pixels, width)
    up, down = np.maximum(row - 1, 0), np.minimum(row + 1, height - 1)
    per_row = raster.columns_per_row(row)
    step = np.rint(per_row).astype(np.int64).clip(1, max(1, width // 4))
    left, right = raster.fit_columns(column - step), raster.fit_columns(column + step)
    apart = 2 * step if raster.wraps else right - left
    north_south = _change(raster, (up, column), (down, column), 1.0 * (down - up))
    east_west = _change(raster, (row, left), (row, right), apart / per_row)
    return np.nan_to_num(np.hypot(north_south, east_west))


def _change(
    raster: Raster, start: tuple, end: tuple, rows_apart: Float[np.ndarray, " pairs"]
) -> Float[np.ndarray, "pairs channels"]:
    difference = raster.values[end].astype(np.float64) - raster.values[start]
    return difference / np.maximum(rows_apart, 1e-9)[:, None]


def class_shares(
    raster: Raster,
    pixels: Int[np.ndarray, " pairs"],
    counts: Int[np.ndarray, " n"],
    classes: int,
) -> Float[np.ndarray, "n columns"]:
    """Give the shares of classes in groups of pixels, and their entropy.

    Args:
        raster: class codes in its first channel.
        pixels: positions ``row * width + column``, group by group.
        counts: pixels per group.
        classes: number of classes.

    Returns:
        See :func:`window_shares`.
    """
    code = raster.values[:, :, 0].ravel()[pixels]
    group = np.repeat(np.arange(len(counts)), counts)
    valid = (code >= 0) & (code < classes)
    slot = group[valid] * classes + code[valid].astype(np.int64)
    seen = np.bincount(slot, minlength=len(counts) * classes).reshape(-1, classes)
    total = seen.sum(axis=1, keepdims=True)
    empty = np.full(seen.shape, np.nan)
    shares = np.divide(seen, total, out=empty, where=total > 0)
    surprise = -np.log(np.where(shares > 0, shares, 1.0))
    return np.column_stack([shares, (shares * surprise).sum(axis=1)])
