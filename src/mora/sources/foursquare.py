"""Foursquare Open Source Places."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mora.errors import ConfigError, MissingColumnError
from mora.sources.parquet import (
    Field,
    find_parquet,
    has_field,
    open_parquet,
    stream_fields,
)
from mora.sources.registry import source
from mora.sources.selection import (
    Bounds,
    leave_out,
    misplaced,
    require_bounds,
    require_rows,
)

FIELDS: dict[str, Field] = {
    "name": "name",
    "labels": "fsq_category_labels",
    "lon": "longitude",
    "lat": "latitude",
    "closed": "date_closed",
}
SEPARATOR = " > "  # from the broadest to the most specific


@source(
    "foursquare_places",
    gives="places",
    licence="Apache-2.0",
    size="about 11 GB for the world in 100 files",
    home="https://docs.foursquare.com/data-products/docs/places-os-data-schema",
)
def read_foursquare_places(
    path: Path | str,
    *,
    bounds: Bounds | None = None,
    level: int | None = None,
    closed: bool = False,
) -> Iterator[pd.DataFrame]:
    """Read Foursquare OS Places (Parquet), a batch at a time.

    A place may have several categories; the first one counts.

    Args:
        path: a Parquet file, a folder of them, or a name with ``*``.
        bounds: west, south, east, north in degrees.
        level: of the category: 1 is the broadest ("Dining and Drinking"), and a place
            whose category ends earlier keeps its last level. None takes the most
            specific.
        closed: keep places that have a closing date.

    Returns:
        Frames with name, category, lon, lat; a place without a category has none.

    Raises:
        MissingFileError: if there is no such file.
        MissingColumnError: if a file lacks a column.
        ConfigError: if ``level`` is below 1, or the bounds are none.
        TableError: if a file cannot be read, or no place is left.
    """
    if level is not None and level < 1:
        raise ConfigError(f"level {level}; expected 1 (the broadest) or more, or None.")
    require_bounds(bounds)
    paths = find_parquet(path, "Foursquare places")
    parts = (_read_file(part, bounds, level, closed) for part in paths)
    return require_rows((frame for part in parts for frame in part), path)


def _read_file(
    path: Path, bounds: Bounds | None, level: int | None, closed: bool
) -> Iterator[pd.DataFrame]:
    dataset = open_parquet(path)
    names = dataset.schema.names
    missing = [str(f) for f in FIELDS.values() if not has_field(dataset.schema, f)]
    if missing:
        raise MissingColumnError(str(path), missing, names)
    for given in stream_fields(dataset, FIELDS):
        categories = [_category(labels, level) for labels in given["labels"]]
        frame = pd.DataFrame(
            {
                "name": given["name"].astype("str"),
                "category": pd.Series(categories, dtype="str"),
                "lon": given["lon"].astype(np.float64),
                "lat": given["lat"].astype(np.float64),
            }
        )
        reasons = misplaced(frame, bounds)
        if not closed:
            reasons["closed"] = given["closed"].notna().to_numpy()
        yield leave_out(frame, reasons)


def _category(labels: np.ndarray | None, level: int | None) -> str | None:
    """Give one level of a place's first category."""
    if labels is None or len(labels) == 0 or labels[0] is None:
        return None
    parts = labels[0].split(SEPARATOR)
    return parts[-1] if level is None else parts[min(level, len(parts)) - 1]
