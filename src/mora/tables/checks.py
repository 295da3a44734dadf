"""Flows, places, labels and rows of numbers, each checked by its rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mora.errors import TableError, examples
from mora.tables.inspection import Inspection
from mora.tables.report import MOST_EXAMPLES, Problem, TableReport
from mora.tables.rules import (
    Bounds,
    check_coordinates,
    check_weights,
    drop_blank,
    drop_repeats,
    find_repeats,
    refuse_unreadable,
)
from mora.tables.schema import POINT_ENDS
from mora.tables.values import is_blank, to_text

KEYS = ("id", "lon", "lat")


def check_flows(
    frame: pd.DataFrame,
    *,
    bounds: Bounds | None = None,
    swapped_share: float = 0.5,
    max_bad_share: float = 0.5,
    source: str = "flows",
) -> tuple[pd.DataFrame, TableReport]:
    """Check flows and add up those between the same two ends.

    Flows from a place to itself are counted and kept.

    Args:
        frame: origin and destination, or origin_lon, origin_lat, destination_lon and
            destination_lat; weight, or each row counts 1.
        bounds: west, south, east, north in degrees, where the ends are expected; those
            outside are counted and kept.
        swapped_share: share of the points that swapping lon and lat must repair for
            the table to be refused as swapped.
        max_bad_share: share of the rows that may be unusable; weights of 0 are not.
        source: where the flows came from, for messages.

    Returns:
        One row a pair of ends, in the order of their first rows, with the sum of their
        weights as float64 and no further columns; and the report.

    Raises:
        TableError: if a weight is negative, missing or not a number, coordinates are
            swapped or too many rows are bad.
    """
    inspection = Inspection(frame, "flows", source)
    ends = POINT_ENDS.split()
    if "origin" in inspection and "destination" in inspection:
        ends = ["origin", "destination"]
        for end in ends:
            drop_blank(inspection, end)
    else:
        for lon, lat in (ends[:2], ends[2:]):
            check_coordinates(inspection, bounds, swapped_share, lon, lat)
    inspection.refuse_mostly_bad(max_bad_share)
    if "weight" in inspection:
        check_weights(inspection)
        zero = inspection.frame["weight"].to_numpy() == 0
        inspection.drop(zero, "weight is 0", *ends)
    else:
        every = np.ones(len(inspection), dtype=bool)
        inspection.note(every, "no column of weights, each row counts 1")
        inspection.put("weight", every.astype(np.float64))
    _note_flows(inspection, ends)
    grouped = inspection.frame.groupby(ends, sort=False, as_index=False)
    inspection.frame = grouped["weight"].sum()
    return inspection.result()


def _note_flows(inspection: Inspection, ends: list[str]) -> None:
    """Count flows within a place and repeated pairs of ends."""
    pairs = inspection.frame[ends]
    half = len(ends) // 2
    origin, destination = pairs[ends[:half]], pairs[ends[half:]]
    itself = (origin.to_numpy() == destination.to_numpy()).all(axis=1)
    inspection.note(itself, "origin is the destination", *ends)
    repeated = find_repeats(pairs)
    inspection.note(repeated, "pair of ends repeated, weights summed", *ends)


def check_places(
    frame: pd.DataFrame,
    *,
    bounds: Bounds | None = None,
    swapped_share: float = 0.5,
    max_bad_share: float = 0.5,
    source: str = "places",
) -> tuple[pd.DataFrame, TableReport]:
    """Check places (points of interest).

    Args:
        frame: lon and lat; name, category or both; optionally id.
        bounds: west, south, east, north in degrees, where places are expected; those
            outside are counted and kept.
        swapped_share: share of the points that swapping lon and lat must repair for
            the table to be refused as swapped.
        max_bad_share: share of the rows that may be unusable.
        source: where the places came from, for messages.

    Returns:
        The places in their order, a missing name or category as empty text, and the
        report.

    Raises:
        TableError: if coordinates are swapped or too many rows are bad.
    """
    inspection = Inspection(frame, "places", source)
    if "id" in inspection:
        drop_blank(inspection, "id")
    said = [column for column in ("name", "category") if column in inspection]
    silent = np.all([is_blank(inspection.frame[column]) for column in said], axis=0)
    inspection.drop(silent, f"no {' and no '.join(said)}")
    for column in said:
        inspection.put(column, to_text(inspection.frame[column]).fillna(""))
    check_coordinates(inspection, bounds, swapped_share)
    inspection.refuse_mostly_bad(max_bad_share)
    drop_repeats(inspection)
    return inspection.result()


def check_labels(
    frame: pd.DataFrame,
    *,
    repeats: bool = False,
    bounds: Bounds | None = None,
    swapped_share: float = 0.5,
    max_bad_share: float = 0.5,
    source: str = "labels",
) -> tuple[pd.DataFrame, TableReport]:
    """Check labels: one row a place, one column a label.

    Args:
        frame: id, or lon and lat; every other column holds values. A missing value is
            kept as NaN, no label, and counted.
        repeats: accept several rows of one place and keep them.
        bounds: west, south, east, north in degrees, where points are expected; those
            outside are counted and kept.
        swapped_share: share of the points that swapping lon and lat must repair for
            the table to be refused as swapped.
        max_bad_share: share of the rows that may be unusable.
        source: where the labels came from, for messages.

    Returns:
        The labels in their order, values as float64, and the report.

    Raises:
        TableError: if a value is not a number, a place repeats, there is no column of
            values, coordinates are swapped or too many rows are bad.
    """
    inspection = Inspection(frame, "labels", source)
    keys = _check_keys(inspection, bounds, swapped_share)
    inspection.refuse_mostly_bad(max_bad_share)
    _check_values(inspection, [c for c in inspection.frame if c not in KEYS])
    _check_repeats(inspection, keys, repeats)
    return inspection.result()


def check_rows(
    frame: pd.DataFrame,
    *,
    repeats: bool = True,
    bounds: Bounds | None = None,
    swapped_share: float = 0.5,
    max_bad_share: float = 0.5,
    source: str = "rows",
) -> tuple[pd.DataFrame, TableReport]:
    """Check rows of numbers about places, such as demographics.

    Args:
        frame: id, or lon and lat; optionally weight; every other column holds values.
            A missing value is kept as NaN and counted; a missing weight becomes 0.
        repeats: accept several rows of one place and keep them.
        bounds: west, south, east, north in degrees, where points are expected; those
            outside are counted and kept.
        swapped_share: share of the points that swapping lon and lat must repair for
            the table to be refused as swapped.
        max_bad_share: share of the rows that may be unusable.
        source: where the rows came from, for messages.

    Returns:
        The rows in their order, values and weight as float64, and the report.

    Raises:
        TableError: if a value is not a number, a weight is negative, there is no column
            of values, coordinates are swapped or too many rows are bad.
    """
    inspection = Inspection(frame, "rows", source)
    keys = _check_keys(inspection, bounds, swapped_share)
    inspection.refuse_mostly_bad(max_bad_share)
    if "weight" in inspection:
        _weigh_missing_as_nothing(inspection)
        check_weights(inspection)
    beside = (*KEYS, "weight")
    _check_values(inspection, [c for c in inspection.frame if c not in beside])
    _check_repeats(inspection, keys, repeats)
    return inspection.result()


def _weigh_missing_as_nothing(inspection: Inspection) -> None:
    """Give rows without a weight weight 0: census tables leave empty areas blank."""
    refuse_unreadable(inspection, "weight")
    weight = inspection.frame["weight"].to_numpy()
    inspection.note(np.isnan(weight), "no weight, the row counts nothing")
    inspection.put("weight", np.nan_to_num(weight))


def _check_keys(
    inspection: Inspection, bounds: Bounds | None, swapped_share: float
) -> list[str]:
    """Check what says of which place a row is, and give the columns that do."""
    keys = []
    if "id" in inspection:
        drop_blank(inspection, "id")
        keys = ["id"]
    if "lon" in inspection and "lat" in inspection:
        check_coordinates(inspection, bounds, swapped_share)
        keys = keys or ["lon", "lat"]
    return keys


def _check_values(inspection: Inspection, columns: list[str]) -> None:
    if not columns:
        raise TableError(
            f"{inspection.source}: no column of values; expected at least one beside "
            f"id, lon and lat. Map it under `columns:` (ours: theirs)."
        )
    for column in columns:
        refuse_unreadable(inspection, column)
        missing = inspection.frame[column].isna().to_numpy()
        inspection.note(missing, f"no {column}")


def _check_repeats(inspection: Inspection, keys: list[str], accepted: bool) -> None:
    repeated = find_repeats(inspection.frame[keys])
    if accepted:
        inspection.note(repeated, f"{' and '.join(keys)} repeated", *keys)
    else:
        hint = "Expected one row a place; leave one, or average them first."
        inspection.refuse(repeated, f"{' and '.join(keys)} repeated", hint, *keys)


def check_known(
    ids: pd.DataFrame | pd.Series | np.ndarray,
    known: Sequence[Any] | np.ndarray | pd.Series,
    what: str,
    *,
    max_unknown_share: float = 0.5,
) -> tuple[Bool[np.ndarray, " rows"], TableReport]:
    """Tell which rows are about known places; ids are compared as text.

    Args:
        ids: places by their own names; a row with several, such as both ends of a
            flow, is known if all of them are.
        known: the names that exist.
        what: what the rows are, for messages: flows, labels, ...
        max_unknown_share: with this share of unknown rows, or more, all are refused.

    Returns:
        A mask of the rows to keep, and the report, which counts the others as dropped.

    Raises:
        TableError: if too many are unknown.
    """
    texts = pd.DataFrame(ids).apply(to_text)
    names = to_text(pd.Series(known)).unique().tolist()
    found = texts.isin(names).to_numpy()
    keep = found.all(axis=1)
    unknown = pd.unique(texts.to_numpy(object)[~found]).tolist()
    count = int((~keep).sum())
    if count and count >= max_unknown_share * len(keep):
        raise TableError(
            f"{count:,} of {len(keep):,} {what} name places that are not among the "
            f"{len(names):,} known ones (first: "
            f"{examples(unknown)}; known: {examples(names)}). Check that both use the "
            f"same ids, leading zeros included."
        )
    shown = tuple(str(name) for name in unknown[:MOST_EXAMPLES])
    problem = Problem("not among the known places", count, shown, "dropped")
    report = TableReport(
        what, what, len(keep), len(keep) - count, (problem,) if count else ()
    )
    return keep, report
