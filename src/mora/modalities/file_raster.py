"""A raster that stays in its file and is read piece by piece."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from mora.memory import GB, MemoryLimitError
from mora.modalities.grids import Grid, RasterError
from mora.modalities.rasters import (
    Raster,
    require_bands,
    take_pixels,
    value_range,
)

STRIP_PIXELS = 2**20  # strips are read together up to about so many pixels
GDAL_CACHE_BYTES = 64 * 10**6  # for a piece and its mask; we keep the others
COLOURS = {"red", "green", "blue"}


class FileRaster(Raster):
    """A GeoTIFF whose pixels are read when they are asked for, whole blocks at a time.

    A piece is one tile of the file, or as many strips as make up about a million
    pixels. The pieces used last are kept.

    Args:
        dataset: as rasterio opens it.
        grid: where its pixels lie.
        bands: to read, counted from 1; all but transparency if not given.
        memory_gb: GB that the pieces kept may take; fewer are read again more often.

    Raises:
        RasterError: if a pixel or its place is of a kind that is not supported.
        MemoryLimitError: if one piece does not fit into ``memory_gb``.
    """

    def __init__(
        self,
        dataset: Any,
        grid: Grid,
        *,
        bands: Sequence[int] | None = None,
        memory_gb: float,
    ) -> None:
        self.dataset = dataset
        self.source = str(dataset.name)
        self.grid = grid
        if bands is not None:
            require_bands(bands, dataset.count, self.source)
        self.bands = list(bands or _opaque_bands(dataset))
        self.channels = _channel_names(dataset, self.bands)
        self.masked = any(
            "all_valid" not in [flag.name for flag in dataset.mask_flag_enums[b - 1]]
            for b in self.bands
        )
        self.dtype = _one_dtype(dataset, self.bands, self.source)
        self._kept_as = _kept_dtype(self.dtype, self.masked)
        self.piece_shape = _piece_shape(dataset)
        self._piece = lru_cache(self._pieces_within(memory_gb))(self._read_piece)
        self._used: set[int] = set()
        self._reads = 0

    def _pieces_within(self, memory_gb: float) -> int:
        rows, columns = self.piece_shape
        piece_bytes = rows * columns * len(self.bands) * self._kept_as.itemsize
        if piece_bytes > memory_gb * GB:
            raise MemoryLimitError(
                f"{self.source} is stored in blocks of {rows:,} x {columns:,} pixels, "
                f"{piece_bytes / GB:.3f} GB each; memory_gb is {memory_gb}. Raise it, "
                f"or write the file in tiles: gdal_translate -co TILED=YES"
            )
        return int(memory_gb * GB // piece_bytes)

    @property
    def _pieces_across(self) -> int:
        return -(-self.grid.width // self.piece_shape[1])

    @property
    def _pieces(self) -> int:
        return self._pieces_across * -(-self.grid.height // self.piece_shape[0])

    def take(
        self, rows: Int[np.ndarray, "*shape"], columns: Int[np.ndarray, "*shape"]
    ) -> Shaped[np.ndarray, "*shape channels"]:
        """Give pixels by row and column; all between them is put together first."""
        values = np.empty((*rows.shape, len(self.channels)), dtype=self._kept_as)
        # windows across the antimeridian have pixels at both ends and none between
        east = columns >= self.grid.width // 2
        sides = [east, ~east] if self.grid.wraps else [...]
        for side in sides:
            row, column = rows[side], columns[side]
            if row.size:
                top, left = int(row.min()), int(column.min())
                box = self._box(top, left, int(row.max()) + 1, int(column.max()) + 1)
                values[side] = take_pixels(box, row - top, column - left)
        return values

    def _box(
        self, top: int, left: int, bottom: int, right: int
    ) -> Shaped[np.ndarray, "rows columns channels"]:
        """Put the pieces in a range of rows and columns together."""
        height, width = self.piece_shape
        shape = (bottom - top, right - left, len(self.channels))
        box = np.empty(shape, dtype=self._kept_as)
        for down in range(top // height, -(-bottom // height)):
            for across in range(left // width, -(-right // width)):
                piece = self._piece(down * self._pieces_across + across)
                y, x = down * height - top, across * width - left
                # where the piece begins before the box, its first rows stay out
                inner = piece[max(0, -y) : bottom - top - y]
                inner = inner[:, max(0, -x) : right - left - x]
                rows, columns, _ = inner.shape
                y, x = max(0, y), max(0, x)
                box[y : y + rows, x : x + columns] = inner
        return box

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Give the lowest and highest value; reads the whole file but for 8 bits."""
        pieces = (self._piece(number) for number in range(self._pieces))
        return value_range(pieces, self.dtype)

    def facts(self) -> dict[str, int | str]:
        """Say where the raster lies, and how many pieces were read how often."""
        return {
            "grid": self.grid.describe(),
            "pieces": self._pieces,
            "pieces_used": len(self._used),
            "pieces_read": self._reads,
        }

    def close(self) -> None:
        """Let go of the file and of the pieces kept."""
        self._piece.cache_clear()
        self.dataset.close()

    def _read_piece(self, number: int) -> Shaped[np.ndarray, "rows columns channels"]:
        import rasterio
        from rasterio.windows import Window

        down, across = divmod(number, self._pieces_across)
        top, left = down * self.piece_shape[0], across * self.piece_shape[1]
        rows = min(self.piece_shape[0], self.grid.height - top)
        columns = min(self.piece_shape[1], self.grid.width - left)
        window = Window(left, top, columns, rows)
        try:
            with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
                found = self.dataset.read(self.bands, window=window, masked=self.masked)
        except rasterio.errors.RasterioError as error:
            raise RasterError(
                f"{self.source}: rows {top}..{top + rows}, columns {left}.."
                f"{left + columns} cannot be read ({error.__cause__ or error}); the "
                f"file is damaged or cut short. Get it again."
            ) from error
        self._reads += 1
        self._used.add(number)
        pixels = found.astype(self._kept_as)
        if self.masked:
            pixels = pixels.filled(np.nan)
        if pixels.dtype.kind == "f":
            pixels[~np.isfinite(pixels)] = np.nan
        return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))


def _opaque_bands(dataset: Any) -> list[int]:
    kinds = [kind.name for kind in dataset.colorinterp]
    return [i + 1 for i, kind in enumerate(kinds) if kind != "alpha"]


def _channel_names(dataset: Any, bands: Sequence[int]) -> tuple[str, ...]:
    """Name bands by their description or colour, or else by their number."""
    kinds = [dataset.colorinterp[band - 1].name for band in bands]
    colours = tuple("grey" if kind == "gray" else kind for kind in kinds)
    given = tuple(dataset.descriptions[band - 1] for band in bands)
    if all(given) and len(set(given)) == len(bands):
        return given
    distinct = set(colours) <= COLOURS and len(set(colours)) == len(colours)
    if distinct or colours in (("grey",), ("palette",)):
        return colours
    return tuple(f"band {band}" for band in bands)


def _one_dtype(dataset: Any, bands: Sequence[int], source: str) -> np.dtype:
    kinds = {dataset.dtypes[band - 1] for band in bands}
    if len(kinds) != 1 or np.dtype(next(iter(kinds))).kind not in "uif":
        raise RasterError(
            f"{source} has bands of {', '.join(sorted(kinds))}; expected real numbers "
            f"of one type. Pick some under `bands`."
        )
    return np.dtype(kinds.pop())


def _kept_dtype(dtype: np.dtype, masked: bool) -> np.dtype:
    """Give the type that holds all values, and NaN where some may be missing."""
    if not masked or dtype.kind == "f":
        return dtype
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def _piece_shape(dataset: Any) -> tuple[int, int]:
    rows, columns = dataset.block_shapes[0]
    if columns < dataset.width:
        return rows, columns
    strips = max(1, STRIP_PIXELS // (rows * columns))
    return min(rows * strips, dataset.height), dataset.width
