"""Rasters: pixels on a grid, in memory or read piece by piece."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped
from PIL import Image

from mora.errors import MissingFileError
from mora.modalities.grids import WORLD, Bounds, DegreeGrid, Degrees, Grid, RasterError

MAX_PIXELS = 10**9  # the world at 1 km; refuses compressed files that unfold to more
NUMBERS = ("L", "I", "F", "I;16", "I;16L", "I;16B", "RGB")  # modes read as they are
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}


class Raster(ABC):
    """Pixels on a grid; whoever needs some asks for them by row and column.

    Attributes:
        grid: where the pixels lie.
        channels: name of each channel.
        piece_shape: rows and columns of the pieces that pixels are read in.
    """

    grid: Grid
    channels: tuple[str, ...]
    piece_shape: tuple[int, int]

    @abstractmethod
    def take(
        self, rows: Int[np.ndarray, "*shape"], columns: Int[np.ndarray, "*shape"]
    ) -> Shaped[np.ndarray, "*shape channels"]:
        """Give pixels, which should lie near each other.

        Returns:
            Any numeric type; NaN where there is no data.
        """

    @property
    @abstractmethod
    def value_range(self) -> tuple[float, float]:
        """Give the lowest and highest value: 0 and 255 for 8 bits, else as they are."""

    def facts(self) -> dict[str, int | str]:
        """Say where the raster lies and what was read of it."""
        return {"grid": self.grid.describe()}

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, eq=False)
class MemoryRaster(Raster):
    """Pixels that are all in memory.

    Attributes:
        values: any numeric type; NaN where a float raster has no data.
        grid: of as many rows and columns.
        channels: name of each channel.
    """

    values: Shaped[np.ndarray, "height width channels"]
    grid: Grid
    channels: tuple[str, ...]

    @classmethod
    def in_degrees(
        cls,
        values: Shaped[np.ndarray, "height width channels"],
        bounds: Bounds = WORLD,
    ) -> "MemoryRaster":
        """Place pixels in plate carree; see :class:`DegreeGrid` for the bounds."""
        height, width, count = values.shape
        names = CHANNELS.get(count, tuple(f"band {i + 1}" for i in range(count)))
        return cls(values, DegreeGrid(height, width, bounds), names)

    @property
    def piece_shape(self) -> tuple[int, int]:
        """Give the whole raster's rows and columns."""
        return self.grid.height, self.grid.width

    def take(
        self, rows: Int[np.ndarray, "*shape"], columns: Int[np.ndarray, "*shape"]
    ) -> Shaped[np.ndarray, "*shape channels"]:
        """Give pixels by row and column."""
        return take_pixels(self.values, rows, columns)

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Give the lowest and highest value: 0 and 255 for 8 bits, else as they are."""
        return value_range([self.values], self.values.dtype)

    def close(self) -> None:
        """Do nothing: there is no file to let go of."""

    def pick(self, bands: Sequence[int] | None, source: str) -> "MemoryRaster":
        """Keep some channels, counted from 1, in the order given.

        Raises:
            RasterError: if one does not exist.
        """
        if bands is None:
            return self
        require_bands(bands, len(self.channels), source)
        chosen = [band - 1 for band in bands]
        names = tuple(self.channels[i] for i in chosen)
        return MemoryRaster(self.values[:, :, chosen], self.grid, names)


def take_pixels(
    values: Shaped[np.ndarray, "height width channels"],
    rows: Int[np.ndarray, "*shape"],
    columns: Int[np.ndarray, "*shape"],
) -> Shaped[np.ndarray, "*shape channels"]:
    """Give pixels of an array; four times faster than ``values[rows, columns]``."""
    _, width, channels = values.shape
    return values.reshape(-1, channels).take(rows * width + columns, axis=0)


def value_range(
    pieces: Iterator[np.ndarray] | Sequence[np.ndarray], dtype: np.dtype
) -> tuple[float, float]:
    """Give the lowest and highest value of pixels that come in pieces.

    Args:
        pieces: arrays, NaN where there is no data; not looked at for 8 bits.
        dtype: of the pixels.

    Returns:
        0 and 255 for 8 bits; 0 and 1 without data; a range of 1 where all are alike.
    """
    if dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.inf, -np.inf
    for piece in pieces:
        known = piece[np.isfinite(piece)]
        if len(known):
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    if low > high:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def require_bands(bands: Sequence[int], count: int, source: str) -> None:
    """Refuse bands that a raster does not have.

    Raises:
        RasterError: naming the bands that there are.
    """
    if not bands or not all(1 <= band <= count for band in bands):
        raise RasterError(
            f"{source}: bands {list(bands)}; expected some of 1..{count}, counted "
            f"from 1."
        )


def require_one_channel(channels: int, source: str) -> None:
    """Refuse colours where classes are expected.

    Raises:
        RasterError: if there is more than one channel.
    """
    if channels != 1:
        raise RasterError(
            f"{source} holds {channels} colour channels; expected one channel of "
            f"class codes. Leave `classes` out to read it as a picture, or name one "
            f"of its `bands`."
        )


def read_raster(
    path: Path | str,
    bounds: Sequence[Degrees] = WORLD,
    *,
    classes: bool = False,
    bands: Sequence[int] | None = None,
) -> MemoryRaster:
    """Read a JPEG, PNG or plain TIFF whose pixels lie in plate carree.

    Args:
        path: colour, grey or class-index image; transparency is dropped.
        bounds: west, south, east, north in degrees; the whole Earth if not given.
        classes: keep the palette's indices (or grey values) as class codes, rather than
            the palette's colours.
        bands: channels to keep, counted from 1; all if not given.

    Returns:
        The raster, with 3 channels for colour and 1 otherwise.

    Raises:
        MissingFileError: if there is no file.
        RasterError: if it is no image, has more than 10^9 pixels, lacks a band, or
            holds colours where classes are expected.
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
            f"TIFF of at most {MAX_PIXELS:,} pixels. A GeoTIFF that says where it lies "
            f"may be of any size."
        ) from error
    if len(bounds) != 4:
        raise RasterError(
            f"bounds {list(bounds)} of {path}; expected west, south, east, north."
        )
    raster = MemoryRaster.in_degrees(
        values.reshape(*values.shape[:2], -1), tuple(bounds)
    ).pick(bands, str(path))
    if classes:
        require_one_channel(len(raster.channels), str(path))
    return raster


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
