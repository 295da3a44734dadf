"""Rules that several tables share: ids, coordinates, weights and repeated rows."""

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mora.tables.inspection import Inspection
from mora.tables.values import is_blank, to_numbers, to_text

Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees

# Fewer rows than this share with latitudes beyond 90 are slips of a few records; more
# of them mean that two whole columns may have changed places.
SWAP_ALARM = 0.01
UNINHABITED = -60.0  # degrees of latitude; nobody lives further south
MIDDLE_SHARE = 0.98  # of the rows tell where a table is
MARGIN = 1.0  # degrees around them
LARGEST = 30.0  # degrees; in a wider area a row may be right as it is


def drop_blank(inspection: Inspection, column: str) -> None:
    """Drop rows without an id; the others' ids become text."""
    inspection.drop(is_blank(inspection.frame[column]), f"no {column}")
    inspection.put(column, to_text(inspection.frame[column]))


def drop_unreadable(inspection: Inspection, column: str) -> None:
    """Drop rows whose value is not a number; missing ones become NaN."""
    _, unreadable = to_numbers(inspection.frame[column])
    inspection.drop(unreadable, f"{column} is not a number", column)
    inspection.put(column, to_numbers(inspection.frame[column])[0])


def refuse_unreadable(inspection: Inspection, column: str) -> None:
    """Refuse values that are not finite numbers; missing ones become NaN."""
    numbers, unreadable = to_numbers(inspection.frame[column])
    inspection.refuse(
        unreadable | np.isinf(numbers),
        f"{column} is not a number",
        "Expected numbers with a decimal point, or nothing where there is no value.",
        column,
    )
    inspection.put(column, numbers)


def check_coordinates(
    inspection: Inspection,
    bounds: Bounds | None,
    swapped_share: float,
    lon: str = "lon",
    lat: str = "lat",
) -> None:
    """Drop points that are nowhere; refuse a table whose lon and lat are swapped.

    Args:
        inspection: the table.
        bounds: where the points are expected; those outside are counted and kept.
        swapped_share: the table is refused if swapping repairs more than this share of
            the points out of range, or moves more than this share of all points into
            the bounds, or if without bounds more than this share is in Antarctica.
            Single rows that swapping moves to where nearly all others are are dropped.
        lon: column of longitudes, degrees.
        lat: column of latitudes, degrees.

    Raises:
        TableError: if the columns look swapped.
    """
    for column in (lon, lat):
        drop_unreadable(inspection, column)
    blank = inspection.frame[[lon, lat]].isna().any(axis=1).to_numpy()
    inspection.drop(blank, f"no {lon} or no {lat}", lon, lat)
    _check_range(inspection, swapped_share, lon, lat)
    x, y = (inspection.frame[column].to_numpy() for column in (lon, lat))
    inspection.drop((x == 0) & (y == 0), f"{lon} and {lat} are both 0", lon, lat)
    if bounds is not None:
        _check_bounds(inspection, bounds, swapped_share, lon, lat)
    elif len(inspection):
        _check_inhabited(inspection, swapped_share, lon, lat)
        _drop_swapped(inspection, lon, lat)


def _check_range(
    inspection: Inspection, swapped_share: float, lon: str, lat: str
) -> None:
    x, y = (np.abs(inspection.frame[column].to_numpy()) for column in (lon, lat))
    outside = (x > 180) | (y > 90)
    repaired = outside & (x <= 90) & (y <= 180)
    many = outside.sum() > SWAP_ALARM * len(inspection)
    if many and repaired.sum() > swapped_share * outside.sum():
        _refuse_swapped(inspection, repaired, lon, lat)
    inspection.drop(outside, "coordinates out of range", lon, lat)


def _check_bounds(
    inspection: Inspection, bounds: Bounds, swapped_share: float, lon: str, lat: str
) -> None:
    x, y = (inspection.frame[column].to_numpy() for column in (lon, lat))
    outside = ~_within(x, y, bounds)
    repaired = outside & _within(y, x, bounds)
    if repaired.sum() > swapped_share * len(inspection):
        _refuse_swapped(inspection, repaired, lon, lat)
    inspection.note(outside, "outside the expected bounds", lon, lat)


def _check_inhabited(
    inspection: Inspection, swapped_share: float, lon: str, lat: str
) -> None:
    south = inspection.frame[lat].to_numpy() < UNINHABITED
    if south.sum() > swapped_share * len(inspection):
        _refuse_swapped(inspection, south, lon, lat)


def _drop_swapped(inspection: Inspection, lon: str, lat: str) -> None:
    """Drop rows that are far from the others, and among them once swapped.

    Nothing can be told where the table is of a wide area, or a place and its mirror
    image are near each other.
    """
    x, y = (inspection.frame[column].to_numpy() for column in (lon, lat))
    edge = (1 - MIDDLE_SHARE) / 2
    margins = np.array([-MARGIN, MARGIN])
    west, east = np.quantile(x, [edge, 1 - edge]) + margins
    south, north = np.quantile(y, [edge, 1 - edge]) + margins
    bounds = float(west), float(south), float(east), float(north)
    wide = max(east - west, north - south) > LARGEST
    if wide or max(west, south) <= min(east, north):
        return
    swapped = ~_within(x, y, bounds) & _within(y, x, bounds)
    inspection.drop(swapped, f"{lon} and {lat} look swapped in these rows", lon, lat)


def _within(x: np.ndarray, y: np.ndarray, bounds: Bounds) -> np.ndarray:
    west, south, east, north = bounds
    return (x >= west) & (x <= east) & (y >= south) & (y <= north)


def _refuse_swapped(
    inspection: Inspection, marked: Bool[np.ndarray, " rows"], lon: str, lat: str
) -> None:
    name = f"{lon} and {lat} look swapped"
    hint = f"Swap the two under `columns:`, where {lon} runs west to east (-180..180)."
    inspection.refuse(marked, name, hint, lon, lat)


def check_weights(inspection: Inspection) -> None:
    """Refuse weights that are negative, missing or not numbers.

    Raises:
        TableError: if there is one.
    """
    refuse_unreadable(inspection, "weight")
    weight = inspection.frame["weight"].to_numpy()
    inspection.refuse(
        np.isnan(weight) | (weight < 0),
        "weight is negative or missing",
        "Expected weights >= 0; leave rows without a weight out, or give them 0.",
        "weight",
    )


def drop_repeats(inspection: Inspection) -> None:
    """Drop rows that equal an earlier row in every column."""
    inspection.drop(find_repeats(inspection.frame), "repeats an earlier row")


def find_repeats(frame: pd.DataFrame) -> Bool[np.ndarray, " rows"]:
    """Mark the rows that equal an earlier one.

    Only rows that share a hash are compared, which is several times faster than
    comparing all where few repeat.
    """
    hashes = pd.util.hash_pandas_object(frame, index=False)
    alike = hashes.duplicated(keep=False).to_numpy()
    repeated = np.zeros(len(frame), dtype=bool)
    repeated[alike] = frame[alike].duplicated()
    return repeated
