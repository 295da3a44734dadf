"""Distances, areas, borders and cell covers on the sphere; lon/lat in degrees."""

import h3ronpy
import h3ronpy.vector
import numpy as np
import shapely
from jaxtyping import Float, Int, UInt64

from mora.errors import MoraError

EARTH_RADIUS_KM = 6371.0088  # IUGG mean radius


def great_circle_km(
    start: Float[np.ndarray, "n 2"], end: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, " n"]:
    """Give the distance on the sphere between paired points.

    Source: haversine formula (Sinnott 1984), stable for short distances.

    Args:
        start: lon, lat in degrees.
        end: lon, lat in degrees, row i paired with ``start`` row i.

    Returns:
        Kilometres; 0 where the points coincide, at most half the circumference.
    """
    (lon1, lat1), (lon2, lat2) = np.radians(start).T, np.radians(end).T
    h = (
        np.sin((lat2 - lat1) / 2) ** 2
        + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(h, 1.0)))


def polygon_areas_km2(polygons: np.ndarray) -> Float[np.ndarray, " n"]:
    """Give the area of each polygon through the equal-area cylindrical projection.

    Source: Lambert 1772; x = R lon, y = R sin(lat).

    Args:
        polygons: shapely polygons or multipolygons in lon/lat; none may cross the
            antimeridian.

    Returns:
        Square kilometres on the sphere; 0 for an empty geometry. Exact where edges
        follow meridians and parallels; others are straight in the projection, which
        matters only for edges of continental size.
    """

    def cylindrical(lonlat: np.ndarray) -> np.ndarray:
        lon, lat = np.radians(lonlat).T
        return np.column_stack([lon, np.sin(lat)]) * EARTH_RADIUS_KM

    return shapely.area(shapely.transform(polygons, cylindrical))


def shared_borders(
    polygons: np.ndarray, tolerance: float = 1e-6
) -> Int[np.ndarray, "2 pairs"]:
    """Find the pairs of polygons that touch along more than a point.

    Args:
        polygons: shapely polygons in lon/lat.
        tolerance: how far apart, in degrees, two drawings of one border may lie.

    Returns:
        Row indices ``first < second`` of each pair, sorted; none twice.
    """
    grown = shapely.buffer(polygons, tolerance, quad_segs=1)
    first, second = shapely.STRtree(polygons).query(grown, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    common = shapely.intersection(grown[first], grown[second])
    # A border of length L overlaps in about 2 L tolerance, a corner in tolerance^2.
    touching = shapely.length(common) > 20 * tolerance
    pairs = np.stack([first[touching], second[touching]]).astype(np.int64)
    return pairs[:, np.lexsort(pairs[::-1])]


def cover_with_cells(
    polygons: np.ndarray, resolution: int, finer: int = 2
) -> tuple[
    Int[np.ndarray, " pieces"],
    UInt64[np.ndarray, " pieces"],
    Float[np.ndarray, " pieces"],
]:
    """Cover polygons with H3 cells and say which share of the polygon each cell holds.

    Each polygon is filled with cells ``finer`` levels down (centre inside), which are
    counted by area per ancestor; a polygon too small for any takes the cell of a
    point inside it.

    Args:
        polygons: shapely polygons in lon/lat.
        resolution: H3 level of the cells wanted.
        finer: extra levels used to measure the overlap; 2 means 49 parts a cell.

    Returns:
        Polygon row, cell and share; the shares of one polygon sum to 1.

    Raises:
        MoraError: if a polygon reaches beyond longitude 180 or latitude 90.
    """
    _require_on_earth(polygons)
    rows, cells, shares = [], [], []
    for row, polygon in enumerate(polygons):
        parts = _fill(polygon, min(resolution + finer, 15))
        if len(parts) == 0:
            inside = shapely.get_coordinates(shapely.point_on_surface(polygon))
            parts = cells_at(inside, resolution)
        area = np.asarray(h3ronpy.cells_area_km2(parts))
        cell, part = np.unique(change_level(parts, resolution), return_inverse=True)
        share = np.bincount(part, area)
        rows.append(np.full(len(cell), row))
        cells.append(cell)
        shares.append(share / share.sum())
    return np.concatenate(rows), np.concatenate(cells), np.concatenate(shares)


def _require_on_earth(polygons: np.ndarray) -> None:
    bounds = shapely.bounds(polygons)
    outside = (np.abs(bounds) > [180, 90, 180, 90]).any(axis=1)
    if outside.any():
        raise MoraError(
            f"{outside.sum()} of {len(polygons)} polygons reach beyond longitude 180 "
            f"or latitude 90 (first bounds: {bounds[outside][0].round(3).tolist()}); "
            f"expected lon/lat in degrees. Cut polygons in two at the antimeridian."
        )


def _fill(polygon: shapely.Geometry, level: int) -> UInt64[np.ndarray, " cells"]:
    mode = h3ronpy.ContainmentMode.ContainsCentroid
    # H3 takes an edge of more than 180 degrees to run the other way round the Earth.
    short_edges = shapely.segmentize(polygon, 90.0)
    cells = h3ronpy.vector.geometry_to_cells(short_edges, level, containment_mode=mode)
    return np.asarray(cells, dtype=np.uint64)


class PlaceIndex:
    """H3 cells of points, each distinct point of all batches indexed once.

    Args:
        resolution: H3 level, 0..15.
        most: points remembered at most; 40 million take about a gigabyte.
    """

    def __init__(self, resolution: int, most: int = 40_000_000) -> None:
        self.resolution = resolution
        self.most = most
        self.indexed = 0
        self._points = np.zeros(0, np.complex128)
        self._cells = np.zeros(0, np.uint64)

    def find(self, lonlat: Float[np.ndarray, "n 2"]) -> UInt64[np.ndarray, " n"]:
        """Give the cell of each point; lon/lat in degrees, NaN is not allowed."""
        points = np.ascontiguousarray(lonlat, dtype=np.float64)
        # Complex numbers sort by lon, then lat: a fast key that loses nothing.
        keys = points.view(np.complex128).ravel()
        distinct, back = np.unique(keys, return_inverse=True)
        place = np.searchsorted(self._points, distinct)
        known = place < len(self._points)
        known[known] = self._points[place[known]] == distinct[known]
        cells = np.empty(len(distinct), np.uint64)
        cells[known] = self._cells[place[known]]
        new = distinct[~known]
        cells[~known] = h3ronpy.vector.coordinates_to_cells(
            np.ascontiguousarray(new.imag),
            np.ascontiguousarray(new.real),
            self.resolution,
        )
        self.indexed += len(new)
        if len(self._points) + len(new) <= self.most:
            self._points = np.insert(self._points, place[~known], new)
            self._cells = np.insert(self._cells, place[~known], cells[~known])
        return cells[back]


def cells_at(
    lonlat: Float[np.ndarray, "n 2"], resolution: int
) -> UInt64[np.ndarray, " n"]:
    """Index points as H3 cells, touching each distinct point once.

    Args:
        lonlat: degrees; NaN is not allowed.
        resolution: H3 level, 0..15.
    """
    return PlaceIndex(resolution).find(lonlat)


def change_level(
    cells: UInt64[np.ndarray, " n"], resolution: int
) -> UInt64[np.ndarray, " n"]:
    """Give the ancestor of each cell at a coarser (or the same) H3 level."""
    return np.asarray(h3ronpy.change_resolution(cells, resolution), dtype=np.uint64)


def hilbert_order(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], bits: int = 16
) -> Int[np.ndarray, " n"]:
    """Order points along a Hilbert curve, so that neighbours get near positions.

    Source: Hilbert 1891; the bitwise form after Warren 2012, Hacker's Delight, ch. 16.

    Args:
        x: first coordinate, any unit.
        y: second coordinate, aligned with ``x``.
        bits: curve order; ``2^bits`` steps an axis.

    Returns:
        The permutation that sorts the points along the curve; ties keep their order.
    """
    side = (1 << bits) - 1

    def steps(values: np.ndarray) -> np.ndarray:
        span = np.ptp(values) if len(values) else 0.0
        scaled = (values - values.min()) / span * side if span > 0 else values * 0.0
        return scaled.astype(np.int64)

    return np.argsort(hilbert_position(steps(x), steps(y), bits), kind="stable")


def hilbert_position(
    column: Int[np.ndarray, " n"], row: Int[np.ndarray, " n"], bits: int
) -> Int[np.ndarray, " n"]:
    """Give the place of each grid cell along a Hilbert curve of order ``bits``.

    Args:
        column: in ``[0, 2^bits)``.
        row: in ``[0, 2^bits)``, aligned with ``column``.
        bits: curve order.

    Returns:
        Positions in ``[0, 4^bits)``, none twice; cells at following positions touch.
    """
    side, position = (1 << bits) - 1, np.zeros(len(column), dtype=np.int64)
    for bit in range(bits - 1, -1, -1):
        right, up = (column >> bit) & 1, (row >> bit) & 1
        position += ((3 * right) ^ up) << (2 * bit)
        flip = (up == 0) & (right == 1)
        column = np.where(flip, side - column, column)
        row = np.where(flip, side - row, row)
        column, row = np.where(up == 0, row, column), np.where(up == 0, column, row)
    return position


def bounding_box(
    west: float | int, south: float | int, east: float | int, north: float | int
) -> shapely.Geometry:
    """Give the area between two meridians and two parallels.

    Args:
        west: degrees, -180..180.
        south: degrees, -90..90.
        east: degrees, -180..180; below ``west`` where the area crosses the
            antimeridian.
        north: degrees, above ``south``.

    Raises:
        MoraError: if the box is empty or leaves the Earth.
    """
    lons = max(abs(west), abs(east)) <= 180 and west != east
    if not (lons and -90 <= south < north <= 90):
        raise MoraError(
            f"the box is {west}, {south}, {east}, {north}; expected west, south, east, "
            f"north in degrees, south below north. Check their order."
        )
    if west < east:
        return shapely.box(west, south, east, north)
    halves = shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)
    return shapely.MultiPolygon(halves)
