"""Map tiles of Web Mercator as one raster."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from mora.errors import ConfigError, MissingFileError
from mora.modalities.grids import KM_PER_DEGREE, Grid, RasterError
from mora.modalities.pieces import Piece, PieceRaster
from mora.modalities.rasters import CHANNELS, require_bands
from mora.modalities.tile_stores import (
    MBTILES,
    FolderTiles,
    MBTiles,
    Place,
    TileStore,
)

ZOOM = 14  # of the pictures in MoRA: pixels of 9.55 m at the equator
MOST_ZOOM = 24
MOST_LATITUDE = float(np.degrees(np.arctan(np.sinh(np.pi))))  # 85.05, where maps end


@dataclass(frozen=True)
class TileGrid(Grid):
    """The whole Earth in square tiles of Web Mercator, of which some are there.

    Source: OpenStreetMap Wiki, "Slippy map tilenames": at zoom z there are 2^z tiles
    from 180 W to 180 E, and as many from 85.05 N to 85.05 S.

    Attributes:
        zoom: 0..24; a pixel is half as large at the next one.
        tile_pixels: rows and columns of a tile.
        tiles: columns and rows of the tiles that are there.
    """

    zoom: int
    tile_pixels: int
    tiles: frozenset[Place]

    @property
    def height(self) -> int:
        """Give the number of rows of pixels around the Earth."""
        return self.tile_pixels * 2**self.zoom

    @property
    def width(self) -> int:
        """Give the number of columns of pixels: as many as rows."""
        return self.height

    @property
    def wraps(self) -> bool:
        """Say that the last column lies beside the first."""
        return True

    def positions(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give the fractional row and column of points; see :class:`Grid`."""
        lon, lat = lonlat.T
        column = ((lon + 180) % 360) / 360 * self.width
        up = np.arcsinh(np.tan(np.radians(lat.clip(-89.9, 89.9)))) / np.pi
        return (1 - up) / 2 * self.height - 0.5, column - 0.5

    def km_per_row(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give how high a row is on the ground: less towards the poles."""
        shrunk = np.cos(np.radians(lonlat[:, 1].clip(-MOST_LATITUDE, MOST_LATITUDE)))
        return 360 * KM_PER_DEGREE / self.height * shrunk

    def columns_per_row(self, rows: Int[np.ndarray, "..."]) -> np.ndarray:
        """Give 1: pixels are square everywhere."""
        return np.ones(np.shape(rows))

    def distortion(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give 0: the map is true to shape."""
        return np.zeros(len(lonlat))

    def covers(self, lonlat: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Say which points lie in a tile that is there."""
        row, column = (np.floor(place + 0.5) for place in self.positions(lonlat))
        places = np.stack([column, row], axis=1) // self.tile_pixels
        return np.array([(int(x), int(y)) in self.tiles for x, y in places], dtype=bool)

    def describe(self) -> str:
        """Say how many tiles there are, and at which zoom."""
        return f"{len(self.tiles):,} tiles at zoom {self.zoom}"


class TileRaster(PieceRaster):
    """The mosaic of all tiles of one zoom; a piece is a tile.

    Args:
        store: where the tiles are.
        zoom: of the tiles.
        bands: to read, counted from 1 (red, green, blue); all if not given.
        memory_gb: GB that the tiles kept may take.

    Raises:
        RasterError: if there are no tiles at this zoom, or they are no pictures.
        MemoryLimitError: if one tile does not fit into ``memory_gb``.
    """

    def __init__(
        self,
        store: TileStore,
        *,
        zoom: int,
        bands: Sequence[int] | None = None,
        memory_gb: float | int,
    ) -> None:
        self._store, self.source = store, store.source
        if not store.tiles:
            raise RasterError(
                f"{self.source} has no tiles at zoom {zoom}; expected "
                f"{zoom}/x/y.png or .jpg, or such rows in MBTiles. Set the `zoom` "
                f"that it has."
            )
        require_bands(bands or [1], len(CHANNELS[3]), self.source)
        self._bands = [band - 1 for band in bands or (1, 2, 3)]
        self.channels = tuple(CHANNELS[3][band] for band in self._bands)
        pixels = len(self._decode(min(store.tiles)))
        self.grid = TileGrid(zoom, pixels, store.tiles)
        self.piece_shape = (pixels, pixels)
        self.kept_as = np.dtype(np.float32)  # 8 bits, and NaN where there is no tile
        self._keep_pieces(memory_gb, ".")

    @property
    def value_range(self) -> tuple[float, float]:
        """Give 0 and 255: tiles have 8 bits."""
        return 0.0, 255.0

    def facts(self) -> dict[str, int | str]:
        """Say where the tiles lie, and how many were read how often."""
        return {**super().facts(), "pieces": len(self._store.tiles)}

    def _read_piece(self, number: int) -> Piece:
        row, column = divmod(number, self._pieces_across)
        if (column, row) not in self._store.tiles:
            shape = (*self.piece_shape, len(self.channels))
            return np.full(shape, np.nan, dtype=self.kept_as)
        coloured = self._decode((column, row))
        if coloured.shape[:2] != self.piece_shape:
            raise RasterError(
                f"{self.source}: tile {column}/{row} has {coloured.shape[:2]} pixels, "
                f"others {self.piece_shape}; expected tiles of one size."
            )
        pixels = coloured[:, :, self._bands].astype(self.kept_as)
        pixels[coloured[:, :, 3] == 0] = np.nan
        return pixels

    def _decode(self, place: Place) -> UInt8[np.ndarray, "rows columns 4"]:
        """Read a tile's red, green, blue and opacity."""
        try:
            with Image.open(io.BytesIO(self._store.read(place))) as image:
                coloured = np.asarray(image.convert("RGBA"))
        except (OSError, SyntaxError) as error:
            raise RasterError(
                f"{self.source}: tile {place[0]}/{place[1]} is no picture ({error}); "
                f"expected PNG, JPEG or WebP (vector tiles are none). Get it again."
            ) from error
        if coloured.shape[0] != coloured.shape[1]:
            raise RasterError(
                f"{self.source}: tile {place[0]}/{place[1]} has {coloured.shape[:2]} "
                f"pixels; expected squares."
            )
        return coloured


def is_tiles(path: Path | str) -> bool:
    """Say whether a path is a folder, or by its name MBTiles."""
    return Path(path).is_dir() or Path(path).suffix == MBTILES


def open_tiles(
    path: Path | str,
    *,
    zoom: int = ZOOM,
    bands: Sequence[int] | None = None,
    memory_gb: float | int = 1.0,
) -> TileRaster:
    """Open tiles of Web Mercator as one raster, without reading more than one.

    A place's picture is the mosaic of the tiles around it. Where there is no tile, and
    where a tile is transparent, there is no data.

    Args:
        path: a folder of ``{z}/{x}/{y}.png`` (``.jpg``, ``.webp``), or ``.mbtiles``.
        zoom: to read, 0..24; the others are left alone.
        bands: to read, counted from 1 (red, green, blue); all if not given.
        memory_gb: GB that the tiles kept may take, > 0.

    Raises:
        ConfigError: if there is no such zoom.
        MissingFileError: if there is no such folder or file.
        RasterError: if there are no tiles of this zoom, or they cannot be read.
        MemoryLimitError: if one tile does not fit into ``memory_gb``.
    """
    if not 0 <= zoom <= MOST_ZOOM:
        raise ConfigError(f"zoom {zoom} of {path}; expected 0..{MOST_ZOOM}.")
    if not Path(path).exists():
        raise MissingFileError(path, "imagery")
    stored = MBTiles if Path(path).suffix == MBTILES else FolderTiles
    store = stored(path, zoom)
    return TileRaster(store, zoom=zoom, bands=bands, memory_gb=memory_gb)
