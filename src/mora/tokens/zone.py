"""Polygon zones as tokens: counties, districts, city regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import shapely
from jaxtyping import Float, Int

from mora.errors import MoraError, NoGeometryError
from mora.geometry import hilbert_order, polygon_areas_km2, shared_borders
from mora.tokens.base import Tokens


@dataclass(frozen=True, eq=False)
class ZoneTokens(Tokens):
    """Zones with names of their own: counties, districts, city regions.

    Rows follow a Hilbert curve through the centroids, or the names where no geometry
    is known.

    Attributes:
        ids: zone names, unique.
        outlines: shapely polygons in lon/lat, or None where unknown.
    """

    kind: ClassVar[str] = "zone"
    ids: np.ndarray
    outlines: np.ndarray | None = None

    def take(self, rows: Int[np.ndarray, " kept"]) -> "ZoneTokens":
        """Give some of the zones, in the order they have."""
        outlines = None if self.outlines is None else self.outlines[rows]
        return ZoneTokens(self.ids[rows], outlines)

    @classmethod
    def from_zones(
        cls, ids: Sequence[str] | np.ndarray, outlines: np.ndarray | None = None
    ) -> "ZoneTokens":
        """Build the order from zone names and, where known, their polygons.

        Raises:
            MoraError: if a name occurs twice, a zone has no outline, or there are none.
        """
        names = np.asarray(ids, dtype=str)
        unique, counts = np.unique(names, return_counts=True)
        if len(unique) == 0 or (counts > 1).any():
            twice = unique[counts > 1]
            raise MoraError(
                f"{len(names)} zones with {len(twice)} names that occur twice (first: "
                f"{', '.join(twice[:3])}); expected at least one zone and unique names."
            )
        if outlines is None:
            return cls(unique)
        empty = shapely.is_empty(outlines) | shapely.is_missing(outlines)
        if empty.any() or len(outlines) != len(names):
            raise MoraError(
                f"{empty.sum()} of {len(outlines)} outlines are empty, for "
                f"{len(names)} zones; expected a polygon for every zone."
            )
        middle = shapely.get_coordinates(shapely.centroid(outlines))
        order = hilbert_order(middle[:, 0], middle[:, 1])
        return cls(names[order], np.asarray(outlines)[order])

    def parse(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Bring ids to text without cutting long ones short."""
        return np.asarray(ids, dtype=str)

    def locate(self, lonlat: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Find the zone around each point; the first row where zones overlap."""
        points = shapely.points(lonlat)
        point, zone = shapely.STRtree(self.polygons()).query(points, "intersects")
        found = np.full(len(lonlat), len(self), dtype=np.int64)
        np.minimum.at(found, point, zone)
        return np.where(found < len(self), found, -1)

    def centroids(self) -> Float[np.ndarray, "tokens 2"]:
        """Give the lon/lat of each zone's centroid."""
        return shapely.get_coordinates(shapely.centroid(self.polygons()))

    def areas_km2(self) -> Float[np.ndarray, " tokens"]:
        """Give each zone's area on the sphere."""
        return polygon_areas_km2(self.polygons())

    def polygons(self) -> np.ndarray:
        """Give the outlines, if known."""
        if self.outlines is None:
            raise NoGeometryError(
                self.kind, "outlines", "Give polygons under `tokens: areas:`."
            )
        return self.outlines

    def neighbours(self) -> Int[np.ndarray, "2 pairs"]:
        """List the pairs of zones that share a border, corners not counted."""
        return shared_borders(self.polygons())

    def to_table(self) -> pa.Table:
        """Give names and, where known, outlines as WKB."""
        columns: dict[str, Any] = {"zone": self.ids.tolist()}
        if self.outlines is not None:
            columns["geometry"] = shapely.to_wkb(self.outlines).tolist()
        return pa.table(columns)
