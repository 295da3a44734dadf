"""Rasters in plate carree, and the pixels in squares on the ground around points."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped
from PIL import Image

from mora.errors import MissingFileError, MoraError
from mora.geometry import EARTH_RADIUS_KM

Degrees = float | int
Bounds = tuple[Degrees, Degrees, Degrees, Degrees]  # west, south, east, north

WORLD = (-180, -90, 180, 90)
MAX_PIXELS = 10**9  # the world at 1 km; refuses compressed files that unfold to more
KM_PER_DEGREE = EARTH_RADIUS_KM * np.pi / 180
NUMBERS = ("L", "I", "F", "I;16", "I;16L", "I;16B", "RGB")  # modes read as they are


class RasterError(MoraError):
    """A raster that cannot be read or placed."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels in plate carree: rows from north to south, columns from west to east.

    Everything after reading needs only this, so a reader of another format (GeoTIFF
    with its own grid) has to return one of these and nothing else.

    Attributes:
        values: any numeric type; NaN where a float raster has no data.
        bounds: west, south, east, north in degrees, outer edges of the pixels; east may
            be below west where the raster crosses the antimeridian.
    """

    values: Shaped[np.ndarray, "height width channels"]
    bounds: Bounds = WORLD

    def __post_init__(self) -> None:
        west, south, east, north = self.bounds
        on_earth = -90 <= south < north <= 90
        if not on_earth or abs(east - west) > 360 or east == west:
            raise RasterError(
                f"bounds {self.bounds} do not enclose a part of the Earth; expected "
                f"west, south, east, north in degrees with south below north."
            )

    @property
    def width_degrees(self) -> float:
        """Give the extent from west to east, in (0, 360]."""
        west, _, east, _ = self.bounds
        return float(east - west if east > west else east - west + 360)

    @property
    def wraps(self) -> bool:
        """Say whether the last column lies beside the first, around the Earth."""
        return self.width_degrees == 360

    @property
    def row_degrees(self) -> float:
        """Give the height of a pixel."""
        return (self.bounds[3] - self.bounds[1]) / self.values.shape[0]

    @property
    def column_degrees(self) -> float:
        """Give the width of a pixel."""
        return self.width_degrees / self.values.shape[1]

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Give the lowest and highest value: 0 and 255 for 8 bits, else as they are."""
        if self.values.dtype == np.uint8:
            return 0.0, 255.0
        known = self.values[np.isfinite(self.values)]
        low, high = (known.min(), known.max()) if len(known) else (0, 0)
        return float(low), float(high if high > low else low + 1)

    def positions(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give the fractional row and column of points.

        Returns:
            Rows and columns; pixel i reaches from i - 0.5 to i + 0.5, and points
            outside lie below -0.5 or beyond the last pixel.
        """
        middle = self.bounds[0] + self.width_degrees / 2
        east_of_middle = (lonlat[:, 0] - middle + 180) % 360 - 180
        column = (east_of_middle + self.width_degrees / 2) / self.column_degrees
        row = (self.bounds[3] - lonlat[:, 1]) / self.row_degrees
        return row - 0.5, column - 0.5

    def covers(self, lonlat: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Say which points lie inside the bounds."""
        height, width = self.values.shape[:2]
        row, column = (place + 0.5 for place in self.positions(lonlat))
        return (row >= 0) & (row <= height) & (column >= 0) & (column <= width)

    def columns_per_row(self, rows: Int[np.ndarray, "..."]) -> np.ndarray:
        """Give how many columns are as long on the ground as one row is high."""
        latitude = self.bounds[3] - (rows + 0.5) * self.row_degrees
        return self.row_degrees / (self.column_degrees * np.cos(np.radians(latitude)))

    def fit_columns(self, columns: Int[np.ndarray, "..."]) -> np.ndarray:
        """Bring columns into the raster: around the Earth, or to the nearest edge."""
        width = self.values.shape[1]
        return columns % width if self.wraps else columns.clip(0, width - 1)


def read_raster(
    path: Path | str,
    bounds: Sequence[Degrees] = WORLD,
    *,
    classes: bool = False,
) -> Raster:
    """Read a JPEG, PNG or plain TIFF whose pixels lie in plate carree.

    Args:
        path: colour, grey or class-index image; transparency is dropped.
        bounds: west, south, east, north in degrees; the whole Earth if not given.
        classes: keep the palette's indices (or grey values) as class codes, rather than
            the palette's colours.

    Returns:
        The raster, with 3 channels for colour and 1 otherwise.

    Raises:
        MissingFileError: if there is no file.
        RasterError: if it is no image, has more than 10^9 pixels, or holds colours
            where classes are expected.
    """
    if not Path(path).is_file():
        raise MissingFileError(path, "imagery")
    try:
        with _most_pixels(MAX_PIXELS), Image.open(path) as image:
            readable = image.mode in NUMBERS or (classes and image.mode == "P")
            grey = image.mode in ("1", "LA", "La")
            pixels = image if readable else image.convert("L" if grey else "RGB")
            values = np.asarray(pixels)
            if values.dtype.kind == "f":
                values = np.where(np.isfinite(values), values, np.float32(np.nan))
    except (
        OSError,
        SyntaxError,  # what Pillow raises on broken PNG files
        Image.DecompressionBombWarning,
        Image.DecompressionBombError,
    ) as error:
        raise RasterError(
            f"{path} cannot be read as an image ({error}); expected a JPEG, PNG or "
            f"TIFF of at most {MAX_PIXELS:,} pixels."
        ) from error
    if len(bounds) != 4:
        raise RasterError(
            f"bounds {list(bounds)} of {path}; expected west, south, east, north."
        )
    if classes and values.ndim == 3:
        raise RasterError(
            f"{path} holds {values.shape[2]} colour channels; expected one channel of "
            f"class codes. Leave `classes` out to read it as a picture."
        )
    return Raster(values.reshape(*values.shape[:2], -1), tuple(bounds))


@contextmanager
def _most_pixels(most: int) -> Iterator[None]:
    """Let Pillow open images of up to ``most`` pixels and refuse larger ones."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def window_pixels(
    raster: Raster,
    lonlat: Float[np.ndarray, "n 2"],
    radius_km: Float[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " pairs"]]:
    """List the pixels in a square on the ground around each point.

    The square's half side is the radius; each row of pixels is as long on the ground as
    any other, so it holds more columns towards the poles. Windows go on across the
    antimeridian and end at the poles.

    Args:
        raster: where the pixels lie.
        lonlat: centres in degrees.
        radius_km: > 0, aligned with ``lonlat``.

    Returns:
        Pixels per point and their positions ``row * width + column``, point by point:
        those whose middle lies in the square, and at least the pixel around the point;
        none for a square outside the raster.
    """
    height, width = raster.values.shape[:2]
    row, column = raster.positions(lonlat)
    half = radius_km / KM_PER_DEGREE / raster.row_degrees
    top, bottom = _span(row, half, height)
    top, bottom = np.maximum(top, 0), np.minimum(bottom, height - 1)
    point, rows = _ranges(top, np.maximum(bottom - top + 1, 0))
    left, right = _span(
        column[point],
        np.minimum(half[point] * raster.columns_per_row(rows), width),
        width,
    )
    if raster.wraps:
        columns_in_row = np.minimum(right - left + 1, width)
    else:
        left, right = np.maximum(left, 0), np.minimum(right, width - 1)
        columns_in_row = np.maximum(right - left + 1, 0)
    pair, columns = _ranges(left, columns_in_row)
    counts = np.bincount(point, columns_in_row, len(lonlat)).astype(np.int64)
    return counts, rows[pair] * width + raster.fit_columns(columns)


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


def square_images(
    raster: Raster, lonlat: Float[np.ndarray, "n 2"], pixels: int
) -> Float32[np.ndarray, "n pixels pixels channels"]:
    """Cut a picture of fixed size around each point, square on the ground.

    Neighbouring pixels of a picture are one row of the raster apart in both directions;
    the nearest pixel of the raster is taken. Pictures go on across the antimeridian;
    the edge is repeated beyond the poles and beyond a raster that ends.

    Args:
        raster: whose whole range becomes 0..1 (for 8-bit pixels: 0..255).
        lonlat: centres in degrees.
        pixels: side of a picture.

    Returns:
        Pictures, 0 where the raster has no data.
    """
    height, width = raster.values.shape[:2]
    row, column = raster.positions(lonlat)
    steps = np.arange(pixels) - (pixels - 1) / 2
    rows = _nearest(row[:, None] + steps).clip(0, height - 1)
    stretch = np.minimum(raster.columns_per_row(rows), width / pixels)
    columns = _nearest(column[:, None, None] + stretch[:, :, None] * steps)
    columns = raster.fit_columns(columns)
    low, high = raster.value_range
    picture = raster.values[rows[:, :, None], columns].astype(np.float32)
    return np.nan_to_num((picture - np.float32(low)) / np.float32(high - low))


def _nearest(places: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Give the pixel around each place; np.rint would go to even pixels at borders."""
    return np.floor(places + 0.5).astype(np.int64)
