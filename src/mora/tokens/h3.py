"""H3 cells as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import h3ronpy
import h3ronpy.vector
import numpy as np
import pyarrow as pa
import shapely
from jaxtyping import Float, Int, UInt64

from mora.errors import MoraError
from mora.geometry import cells_at, change_level
from mora.tokens.base import Tokens


@dataclass(frozen=True, eq=False)
class H3Tokens(Tokens):
    """H3 cells of one resolution, ascending: parents' children lie side by side.

    Attributes:
        ids: unique cell indices, ascending.
    """

    kind: ClassVar[str] = "h3"
    ids: UInt64[np.ndarray, " tokens"]

    @classmethod
    def from_cells(cls, cells: Sequence[Any] | np.ndarray) -> "H3Tokens":
        """Build the order from cells that occur, as integers or as hex text.

        Raises:
            MoraError: if there are none, one is not H3, or levels are mixed.
        """
        unique = np.unique(parse_cells(cells))
        if len(unique) == 0:
            raise MoraError("no cells to build tokens from; expected at least one.")
        levels = np.unique(np.asarray(h3ronpy.cells_resolution(unique)))
        if len(levels) > 1:
            raise MoraError(
                f"the cells are of H3 levels {levels.tolist()}; expected one level. "
                f"Bring them to one level first."
            )
        return cls(unique)

    @property
    def resolution(self) -> int:
        """Give the H3 level that all cells share."""
        return int(np.asarray(h3ronpy.cells_resolution(self.ids[:1]))[0])

    def parse(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Read cells as integers or hex text."""
        return parse_cells(ids)

    def name(self, place: Any) -> str:
        """Write a cell the way H3 tools print it, in hexadecimal."""
        return f"{int(place):x}"

    def locate(self, lonlat: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Find the cell that holds each point; -1 where it is not in the order."""
        return self.find(cells_at(lonlat, self.resolution))

    def centroids(self) -> Float[np.ndarray, "tokens 2"]:
        """Give the lon/lat of each cell's centre."""
        batch = pa.record_batch(h3ronpy.vector.cells_to_coordinates(self.ids))
        return np.column_stack([batch["lng"].to_numpy(), batch["lat"].to_numpy()])

    def areas_km2(self) -> Float[np.ndarray, " tokens"]:
        """Give the exact area of each cell."""
        return np.asarray(h3ronpy.cells_area_km2(self.ids))

    def polygons(self) -> np.ndarray:
        """Give each cell's outline."""
        wkb = pa.array(h3ronpy.vector.cells_to_wkb_polygons(self.ids))
        return shapely.from_wkb(np.array(wkb.to_pylist(), dtype=object))

    def neighbours(self) -> Int[np.ndarray, "2 pairs"]:
        """List the pairs of cells that share an edge."""
        disks = pa.array(h3ronpy.grid_disk(self.ids, 1, flatten=False))
        sizes = np.diff(disks.offsets.to_numpy())
        first = np.repeat(np.arange(len(self)), sizes)
        second = self.find(disks.values.to_numpy().astype(np.uint64))
        keep = second > first
        pairs = np.stack([first[keep], second[keep]])
        return pairs[:, np.lexsort(pairs[::-1])]

    def parents(self, resolution: int) -> UInt64[np.ndarray, " tokens"]:
        """Give each cell's ancestor at a coarser level."""
        return change_level(self.ids, resolution)

    def to_table(self) -> pa.Table:
        """Give the cells as one column."""
        return pa.table({"cell": self.ids})


def parse_cells(cells: Sequence[Any] | np.ndarray) -> UInt64[np.ndarray, " n"]:
    """Read H3 cells as integers or hexadecimal text.

    Raises:
        MoraError: if any is not a valid cell.
    """
    given = np.asarray(cells)
    if given.dtype.kind in "UO" and len(given):
        texts = pa.array(given.astype(str).tolist())
        read = pa.array(h3ronpy.cells_parse(texts, set_failing_to_invalid=True))
        parsed = read.fill_null(0).to_numpy().astype(np.uint64)
    else:
        parsed = given.astype(np.uint64)
    checked = pa.array(h3ronpy.cells_valid(parsed, booleanarray=True))
    valid = checked.to_numpy(zero_copy_only=False)
    if not valid.all():
        bad = given[~valid]
        raise MoraError(
            f"{len(bad)} of {len(given)} values are not H3 cells (first: "
            f"{', '.join(map(str, bad[:3]))}); expected 64-bit indices or hex text "
            f"such as 85283473fffffff."
        )
    return parsed
