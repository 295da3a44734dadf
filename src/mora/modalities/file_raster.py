"""A GeoTIFF that stays in its file and is read piece by piece."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mora.modalities.grids import Grid, RasterError
from mora.modalities.pieces import Piece, PieceRaster
from mora.modalities.rasters import require_bands, value_range

STRIP_PIXELS = 2**20  # strips are read together up to about so many pixels
GDAL_CACHE_BYTES = 64 * 10**6  # for a piece and its mask; we keep the others
COLOURS = {"red", "green", "blue"}


class FileRaster(PieceRaster):
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
        self.kept_as = _kept_dtype(self.dtype, self.masked)
        self.piece_shape = _piece_shape(dataset)
        self._keep_pieces(
            memory_gb, ", or write the file in tiles: gdal_translate -co TILED=YES"
        )

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Give the lowest and highest value; reads the whole file but for 8 bits."""
        pieces = (self._piece(number) for number in range(self._pieces))
        return value_range(pieces, self.dtype)

    def close(self) -> None:
        """Let go of the file and of the pieces kept."""
        super().close()
        self.dataset.close()

    def _read_piece(self, number: int) -> Piece:
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
        pixels = found.astype(self.kept_as)
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
