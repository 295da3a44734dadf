"""A raster that stays on disk and is read piece by piece."""

from abc import abstractmethod
from functools import lru_cache

import numpy as np
from jaxtyping import Int, Shaped

from mora.memory import GB, MemoryLimitError
from mora.modalities.rasters import Raster, take_pixels

Piece = Shaped[np.ndarray, "rows columns channels"]


class PieceRaster(Raster):
    """Pixels that are read when they are asked for, whole pieces at a time.

    Pieces are numbered row by row, and the pieces used last are kept. A subclass sets
    the attributes, calls :meth:`_keep_pieces`, and reads one piece.

    Attributes:
        source: the file or folder, for messages.
        kept_as: type of the pixels in memory.
    """

    source: str
    kept_as: np.dtype

    @abstractmethod
    def _read_piece(self, number: int) -> Piece:
        """Read a piece; those at the lower and right edge may be smaller."""

    def _keep_pieces(self, memory_gb: float | int, remedy: str) -> None:
        """Keep as many pieces as fit; to be called once grid and types are set.

        Args:
            memory_gb: GB that they may take; fewer are read again more often.
            remedy: what to do if not even one fits.

        Raises:
            MemoryLimitError: if not even one fits.
        """
        rows, columns = self.piece_shape
        piece_bytes = rows * columns * len(self.channels) * self.kept_as.itemsize
        if piece_bytes > memory_gb * GB:
            raise MemoryLimitError(
                f"{self.source} is stored in blocks of {rows:,} x {columns:,} pixels, "
                f"{piece_bytes / GB:.3f} GB each; memory_gb is {memory_gb}. Raise it"
                f"{remedy}"
            )
        self._piece = lru_cache(int(memory_gb * GB // piece_bytes))(self._count_piece)
        self._used: set[int] = set()
        self._reads = 0

    def _count_piece(self, number: int) -> Piece:
        piece = self._read_piece(number)
        self._reads += 1
        self._used.add(number)
        return piece

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
        values = np.empty((*rows.shape, len(self.channels)), dtype=self.kept_as)
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

    def _box(self, top: int, left: int, bottom: int, right: int) -> Piece:
        """Put the pieces in a range of rows and columns together."""
        height, width = self.piece_shape
        shape = (bottom - top, right - left, len(self.channels))
        box = np.empty(shape, dtype=self.kept_as)
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

    def facts(self) -> dict[str, int | str]:
        """Say where the raster lies, and how many pieces were read how often."""
        return {
            "grid": self.grid.describe(),
            "pieces": self._pieces,
            "pieces_used": len(self._used),
            "pieces_read": self._reads,
        }

    def close(self) -> None:
        """Let go of the pieces kept."""
        self._piece.cache_clear()
