"""Areas: polygons, or points with a population, each under an id of its own."""

import numpy as np
import pandas as pd
import shapely

from mora.tables.inspection import Inspection
from mora.tables.report import TableReport
from mora.tables.rules import (
    UNINHABITED,
    Bounds,
    check_coordinates,
    drop_blank,
    find_repeats,
    refuse_unreadable,
)

DEGREES = 360.0  # coordinates beyond this are metres or feet of a projection
TINY_DEGREES = 0.01  # half the side of the square that stands for a lost outline
POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def check_areas(
    frame: pd.DataFrame,
    *,
    bounds: Bounds | None = None,
    swapped_share: float = 0.5,
    max_bad_share: float = 0.5,
    source: str = "areas",
) -> tuple[pd.DataFrame, TableReport]:
    """Check areas; invalid polygons are repaired and counted.

    Repair: rings that cross themselves are split, holes cut out, overlapping parts
    merged; a polygon that is only a line or a point is dropped.

    Args:
        frame: id and geometry, or id, lon, lat and population.
        bounds: west, south, east, north in degrees, where point areas are expected;
            those outside are counted and kept.
        swapped_share: share of the points that swapping lon and lat must repair for
            the table to be refused as swapped.
        max_bad_share: share of the rows that may be unusable.
        source: where the areas came from, for messages.

    Returns:
        The areas in their order, and the report.

    Raises:
        TableError: if an id repeats, a geometry is empty, no polygon or not in
            degrees, a population is negative, or too many rows are bad.
    """
    inspection = Inspection(frame, "areas", source)
    drop_blank(inspection, "id")
    if "geometry" in inspection:
        _check_polygons(inspection)
    else:
        check_coordinates(inspection, bounds, swapped_share)
        _check_population(inspection)
    inspection.refuse_mostly_bad(max_bad_share)
    repeated = find_repeats(inspection.frame[["id"]])
    inspection.refuse(repeated, "id repeated", "Expected each id once.", "id")
    return inspection.result()


def _check_population(inspection: Inspection) -> None:
    refuse_unreadable(inspection, "population")
    population = inspection.frame["population"].to_numpy()
    hint = "Expected people, 0 or more."
    inspection.refuse(population < 0, "population is negative", hint, "population")
    inspection.drop(np.isnan(population), "no population", "id")


def _check_polygons(inspection: Inspection) -> None:
    """Refuse what is no polygon in degrees; repair polygons that cross themselves."""
    given = inspection.frame["geometry"]
    unread = ~shapely.is_geometry(given.to_numpy(object)) & given.notna().to_numpy()
    hint = "Read the areas with mora.tables.read_areas first."
    inspection.refuse(unread, "geometry is not a shapely geometry", hint, "id")
    outlines = shapely.force_2d(given.where(given.notna(), None).to_numpy(object))
    missing = shapely.is_missing(outlines) | shapely.is_empty(outlines)
    need = "Expected a polygon for every area; leave areas without one out."
    inspection.refuse(missing, "geometry is empty", need, "id")
    other = ~np.isin(shapely.get_type_id(outlines), POLYGONAL)
    inspection.refuse(other, "geometry is not a polygon", need, "id", "geometry")
    _check_degrees(inspection, outlines)
    invalid = ~shapely.is_valid(outlines)
    outlines[invalid] = shapely.make_valid(
        outlines[invalid], method="structure", keep_collapsed=False
    )
    collapsed = shapely.is_empty(outlines)
    # A place must not vanish because its outline was simplified away to a line.
    lines = inspection.frame["geometry"].to_numpy(object)[collapsed]
    outlines[collapsed] = shapely.buffer(
        shapely.centroid(lines), TINY_DEGREES, cap_style="square"
    )
    inspection.put("geometry", outlines)
    inspection.note(invalid & ~collapsed, "invalid polygon repaired", "id")
    inspection.note(collapsed, "polygon without an area, drawn as a small square", "id")


def _check_degrees(inspection: Inspection, outlines: np.ndarray) -> None:
    west, south, east, north = shapely.bounds(outlines).T
    lon, lat = np.fmax(-west, east), np.fmax(-south, north)
    inspection.refuse(
        ~(np.fmax(lon, lat) <= DEGREES),
        "coordinates are not degrees",
        "Expected lon/lat (WGS84); transform the projection to EPSG:4326 first.",
        "id",
        "geometry",
    )
    inspection.refuse(
        lat > 90,
        "latitude beyond 90 degrees",
        "Expected lon before lat in every coordinate; they may be swapped.",
        "id",
        "geometry",
    )
    uninhabited = north < UNINHABITED
    if uninhabited.mean() > 0.5:
        inspection.refuse(
            uninhabited,
            "most outlines lie in Antarctica",
            "Expected lon before lat in every coordinate; they may be swapped.",
            "id",
            "geometry",
        )
