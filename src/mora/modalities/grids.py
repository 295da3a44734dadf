"""Where the pixels of a raster lie: in degrees, or on a map in metres."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mora.errors import MoraError
from mora.geometry import EARTH_RADIUS_KM

Degrees = float | int
MapUnits = float | int  # metres, or what else the map counts in
Bounds = tuple[Degrees, Degrees, Degrees, Degrees]  # west, south, east, north

WORLD = (-180, -90, 180, 90)
KM_PER_DEGREE = EARTH_RADIUS_KM * np.pi / 180
OFF_THE_MAP = -1e9  # row and column of a point that the map cannot show
ROUND_TRIP_DEGREES = 1e-5  # a point that returns elsewhere is not on the map


class RasterError(MoraError):
    """A raster that cannot be read or placed."""


class Grid(ABC):
    """Rows from north to south and columns from west to east.

    Attributes:
        height: number of rows.
        width: number of columns.
        wraps: whether the last column lies beside the first, around the Earth.
    """

    height: int
    width: int
    wraps: bool = False

    @abstractmethod
    def positions(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give the fractional row and column of points.

        Returns:
            Rows and columns; pixel i reaches from i - 0.5 to i + 0.5, and points
            outside lie below -0.5 or beyond the last pixel.
        """

    @abstractmethod
    def km_per_row(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give how high a row is on the ground, at points."""

    @abstractmethod
    def columns_per_row(self, rows: Int[np.ndarray, "..."]) -> np.ndarray:
        """Give how many columns are as long on the ground as one row is high."""

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words where the grid lies."""

    @abstractmethod
    def distortion(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give by what part a square on the grid is none on the ground, at points."""

    def covers(self, lonlat: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Say which points lie inside."""
        row, column = (place + 0.5 for place in self.positions(lonlat))
        in_rows = (row >= 0) & (row <= self.height)
        return in_rows & (column >= 0) & (column <= self.width)

    def fit_columns(self, columns: Int[np.ndarray, "..."]) -> np.ndarray:
        """Bring columns into the grid: around the Earth, or to the nearest edge."""
        if self.wraps:
            return columns % self.width
        return columns.clip(0, self.width - 1)


@dataclass(frozen=True)
class DegreeGrid(Grid):
    """Plate carree: rows and columns of equal degrees.

    Attributes:
        height: number of rows.
        width: number of columns.
        bounds: west, south, east, north in degrees, outer edges of the pixels; east may
            be below west where the grid crosses the antimeridian. The outer rows may
            have their middle at the poles.
    """

    height: int
    width: int
    bounds: Bounds = WORLD

    def __post_init__(self) -> None:
        west, south, east, north = self.bounds
        half = (north - south) / self.height / 2
        # an edge row whose middle is at the pole reaches half a pixel beyond it
        north_fits = north <= 90 or abs(north - half - 90) < 1e-6 * half
        south_fits = south >= -90 or abs(south + half + 90) < 1e-6 * half
        fits = south < north and north_fits and south_fits
        if not fits or abs(east - west) > 360 * (1 + 1e-9) or east == west:
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
        return abs(self.width_degrees - 360) < 1e-6 * self.column_degrees

    @property
    def row_degrees(self) -> float:
        """Give the height of a pixel."""
        return (self.bounds[3] - self.bounds[1]) / self.height

    @property
    def column_degrees(self) -> float:
        """Give the width of a pixel."""
        return self.width_degrees / self.width

    def positions(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give the fractional row and column of points; see :class:`Grid`."""
        middle = self.bounds[0] + self.width_degrees / 2
        east_of_middle = (lonlat[:, 0] - middle + 180) % 360 - 180
        column = (east_of_middle + self.width_degrees / 2) / self.column_degrees
        row = (self.bounds[3] - lonlat[:, 1]) / self.row_degrees
        return row - 0.5, column - 0.5

    def km_per_row(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give how high a row is on the ground: the same everywhere."""
        return np.full(len(lonlat), KM_PER_DEGREE * self.row_degrees)

    def columns_per_row(self, rows: Int[np.ndarray, "..."]) -> np.ndarray:
        """Give how many columns are as long as a row is high: more near the poles."""
        latitude = (self.bounds[3] - (rows + 0.5) * self.row_degrees).clip(-90, 90)
        return self.row_degrees / (self.column_degrees * np.cos(np.radians(latitude)))

    def distortion(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give 0: windows follow the latitude."""
        return np.zeros(len(lonlat))

    def describe(self) -> str:
        """Say in a few words where the grid lies."""
        west, south, east, north = self.bounds
        return f"degrees, lon {west:g}..{east:g}, lat {south:g}..{north:g}"


@dataclass(frozen=True)
class MapGrid(Grid):
    """Pixels on a map that is true to shape where it is used, such as UTM.

    Distances on the ground are measured at each point by going one pixel north, so a
    map whose scale changes from place to place (Mercator) is no trouble.

    Attributes:
        height: number of rows.
        width: number of columns.
        corner: x and y of the upper left corner, in the map's own units.
        pixel: width and height of a pixel, both > 0.
        crs: the map, as WKT or anything else that pyproj understands.
    """

    height: int
    width: int
    corner: tuple[MapUnits, MapUnits]
    pixel: tuple[MapUnits, MapUnits]
    crs: str

    @cached_property
    def _transformer(self) -> Any:
        from pyproj import Transformer

        return Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)

    def positions(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give the fractional row and column of points; see :class:`Grid`."""
        x, y = self._project(lonlat)
        column = (x - self.corner[0]) / self.pixel[0] - 0.5
        row = (self.corner[1] - y) / self.pixel[1] - 0.5
        return (
            np.nan_to_num(row, nan=OFF_THE_MAP).clip(OFF_THE_MAP, -OFF_THE_MAP),
            np.nan_to_num(column, nan=OFF_THE_MAP).clip(OFF_THE_MAP, -OFF_THE_MAP),
        )

    def km_per_row(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give how high a row is on the ground, at points; 1 off the map."""
        north, _ = self._steps(lonlat)
        return np.nan_to_num(np.hypot(*north.T), nan=1.0)

    def columns_per_row(self, rows: Int[np.ndarray, "..."]) -> np.ndarray:
        """Give how many columns are as long as a row is high: the same everywhere."""
        return np.full(np.shape(rows), self.pixel[1] / self.pixel[0])

    def distortion(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Give by what part lengths or right angles are wrong; infinite off the map."""
        north, east = self._steps(lonlat)
        length, other = np.hypot(*north.T), np.hypot(*east.T)
        slant = np.abs((north * east).sum(axis=1)) / (length * other)
        wrong = np.maximum(slant, np.abs(other / length - 1))
        return np.nan_to_num(wrong, nan=np.inf)

    def describe(self) -> str:
        """Name the map and the size of a pixel."""
        from pyproj import CRS

        return f"{CRS.from_user_input(self.crs).name}, pixels of {self.pixel[0]:g}"

    def _project(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Give x and y; NaN for points that the map cannot show."""
        x, y = self._transformer.transform(*np.ascontiguousarray(lonlat.T))
        lost = ~(np.isfinite(x) & np.isfinite(y))
        back = self._unproject(np.where(lost, np.nan, x), np.where(lost, np.nan, y))
        turn = (back[:, 0] - lonlat[:, 0] + 180) % 360 - 180
        turn *= np.cos(np.radians(lonlat[:, 1]))
        away = np.maximum(np.abs(turn), np.abs(back[:, 1] - lonlat[:, 1]))
        shown = away < ROUND_TRIP_DEGREES
        return np.where(shown, x, np.nan), np.where(shown, y, np.nan)

    def _unproject(
        self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n 2"]:
        lonlat = np.column_stack(self._transformer.transform(x, y, direction="INVERSE"))
        return np.where(np.isfinite(lonlat), lonlat, np.nan)

    def _steps(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
        """Give the kilometres east and north of one pixel height up, then right."""
        x, y = self._project(lonlat)
        step = self.pixel[1]
        lon_scale = np.cos(np.radians(lonlat[:, 1]))
        here = self._unproject(x, y)
        ways = []
        for there in (self._unproject(x, y + step), self._unproject(x + step, y)):
            change = there - here
            change[:, 0] = ((change[:, 0] + 180) % 360 - 180) * lon_scale
            ways.append(change * KM_PER_DEGREE)
        return ways[0], ways[1]
