"""Cells of a square grid as tokens, as in HuMob."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import shapely
from jaxtyping import Float, Int

from mora.errors import MoraError, NoGeometryError
from mora.geometry import hilbert_position
from mora.tokens.base import Tokens


@dataclass(frozen=True, eq=False)
class GridTokens(Tokens):
    """Cells of a square grid whose place on Earth may be unknown (HuMob).

    Ids follow HuMob: ``height (x - 1) + (y - 1)`` for x and y from 1. Rows follow a
    Hilbert curve.

    Attributes:
        ids: grid ids in Hilbert order.
        width: columns, x = 1..width.
        height: rows, y = 1..height.
        cell_km: side of a cell; 0.5 in HuMob.
    """

    kind: ClassVar[str] = "grid"
    ids: Int[np.ndarray, " tokens"]
    width: int = 200
    height: int = 200
    cell_km: float = 0.5

    @classmethod
    def from_xy(
        cls,
        xy: Int[np.ndarray, "n 2"],
        width: int = 200,
        height: int = 200,
        cell_km: float = 0.5,
    ) -> "GridTokens":
        """Build the order from the cells that occur.

        Raises:
            MoraError: if a cell lies outside the grid, or there are none.
        """
        if len(xy) == 0:
            raise MoraError("no cells to build tokens from; expected at least one.")
        ids = np.unique(_grid_ids(xy, width, height))
        bits = max(width, height).bit_length()
        position = hilbert_position(ids // height, ids % height, bits)
        return cls(ids[np.argsort(position)], width, height, cell_km)

    def xy(self) -> Int[np.ndarray, "tokens 2"]:
        """Give column and row of each token, from 1."""
        return np.column_stack([self.ids // self.height, self.ids % self.height]) + 1

    def encode_xy(self, xy: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Look tokens up by column and row.

        Raises:
            MoraError: if a cell lies outside the grid.
            UnknownTokenError: if a cell is not among the tokens.
        """
        return self.encode(_grid_ids(xy, self.width, self.height))

    def distance_km(
        self, first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """Give the straight distance in the plane of the grid."""
        xy = self.xy()
        return np.linalg.norm(xy[first] - xy[second], axis=1) * self.cell_km

    def areas_km2(self) -> Float[np.ndarray, " tokens"]:
        """Give the area of a grid cell, the same for all."""
        return np.full(len(self), self.cell_km**2)

    def neighbours(self) -> Int[np.ndarray, "2 pairs"]:
        """List the pairs of cells that share a side."""
        xy, pairs = self.xy(), []
        for step in ([1, 0], [0, 1]):
            beside = xy + step
            inside = (beside <= [self.width, self.height]).all(axis=1)
            other = self.find(self.height * (beside[:, 0] - 1) + beside[:, 1] - 1)
            there = np.flatnonzero(inside & (other >= 0))
            pairs.append(np.sort(np.stack([there, other[there]]), axis=0))
        joined = np.concatenate(pairs, axis=1)
        return joined[:, np.lexsort(joined[::-1])]

    def locate(self, lonlat: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Refuse: where the grid lies is not known."""
        raise self._unplaced(f"place for {len(lonlat)} points")

    def centroids(self) -> Float[np.ndarray, "tokens 2"]:
        """Refuse: where the grid lies is not known."""
        raise self._unplaced("lon/lat")

    def polygons(self) -> np.ndarray:
        """Give each cell as a square in grid coordinates, 0..width and 0..height."""
        (x, y) = self.xy().T
        return shapely.box(x - 1, y - 1, x, y)

    def _unplaced(self, question: str) -> NoGeometryError:
        return NoGeometryError(
            self.kind, question, "Use distance_km and neighbours, or H3 tokens."
        )

    def to_table(self) -> pa.Table:
        """Give the ids, with the grid's size in the metadata."""
        shape = f"{self.width} {self.height} {self.cell_km}".encode()
        return pa.table({"grid": self.ids}).replace_schema_metadata(
            {b"mora:grid": shape}
        )


def _grid_ids(
    xy: Int[np.ndarray, "n 2"], width: int, height: int
) -> Int[np.ndarray, " n"]:
    """Number cells as HuMob does, refusing those outside the grid."""
    bad = (xy < 1).any(axis=1) | (xy > np.array([width, height])).any(axis=1)
    if bad.any():
        raise MoraError(
            f"{bad.sum()} of {len(xy)} cells lie outside the {width} x {height} "
            f"grid (first: {xy[bad][:3].tolist()}); expected x in 1..{width} and "
            f"y in 1..{height}."
        )
    return height * (xy[:, 0] - 1) + xy[:, 1] - 1
