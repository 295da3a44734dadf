"""Where map tiles lie: folders ``{z}/{x}/{y}.png``, and MBTiles."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from mora.errors import examples
from mora.modalities.grids import RasterError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
MBTILES = ".mbtiles"

Place = tuple[int, int]  # column from the west and row from the north, both from 0


class TileStore(ABC):
    """Encoded tiles of one zoom, found when opened and read one by one.

    Attributes:
        source: the folder or file, for messages.
        tiles: column and row of every tile there is.
    """

    source: str
    tiles: frozenset[Place]

    @abstractmethod
    def read(self, place: Place) -> bytes:
        """Give the encoded picture of a tile that is there."""


class FolderTiles(TileStore):
    """Tiles in a folder, ``{z}/{x}/{y}`` with an ending of pictures.

    Args:
        path: of the folder that holds the folders of the zooms.
        zoom: to read.
    """

    def __init__(self, path: Path | str, zoom: int) -> None:
        self.source = str(path)
        self._files = _find_files(Path(path) / str(zoom))
        self.tiles = frozenset(self._files)

    def read(self, place: Place) -> bytes:
        """Give the bytes of a tile's file."""
        return self._files[place].read_bytes()


class MBTiles(TileStore):
    """Tiles in an MBTiles file, whose rows count from the south.

    Source: Mapbox, MBTiles Specification 1.3: an SQLite table ``tiles`` with
    ``zoom_level``, ``tile_column``, ``tile_row`` (of the Tile Map Service, so row 0 is
    in the south) and ``tile_data``.

    Args:
        path: of the file.
        zoom: to read.

    Raises:
        RasterError: if it is no MBTiles file.
    """

    def __init__(self, path: Path | str, zoom: int) -> None:
        self.source = str(path)
        self._zoom = zoom
        with self._database() as database:
            rows = database.execute(
                "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ?", (zoom,)
            )
            self.tiles = frozenset((x, self._turned(y)) for x, y in rows)

    def read(self, place: Place) -> bytes:
        """Give the bytes of a tile's row."""
        x, y = place
        with self._database() as database:
            (found,) = database.execute(
                "SELECT tile_data FROM tiles WHERE zoom_level = ? "
                "AND tile_column = ? AND tile_row = ?",
                (self._zoom, x, self._turned(y)),
            ).fetchone()
        return bytes(found)

    def _turned(self, row: int) -> int:
        """Count a row from the other side."""
        return 2**self._zoom - 1 - row

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        address = f"file:{quote(str(Path(self.source).resolve()))}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True)) as database:
                yield database
        except (sqlite3.Error, TypeError) as error:
            raise RasterError(
                f"{self.source} cannot be read as MBTiles ({error}); expected an "
                f"SQLite file with a table `tiles`. Get it again."
            ) from error


def _find_files(folder: Path) -> Mapping[Place, Path]:
    """List the pictures ``{x}/{y}`` of one zoom; other files are none of ours."""
    files: dict[Place, Path] = {}
    for file in sorted(folder.glob("*/*")):
        x, y = file.parent.name, file.stem
        if file.suffix.lower() in IMAGE_ENDINGS and x.isdigit() and y.isdigit():
            place = (int(x), int(y))
            if place in files:
                raise RasterError(
                    f"{folder}: {examples([files[place].name, file.name])} in {x} are "
                    f"one tile; expected one picture each. Remove one."
                )
            files[place] = file
    return files
