"""Taxi trips of New York City between the zones of its taxi commission (TLC)."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mora.errors import MissingColumnError, TableError
from mora.sources.files import Files, find_files
from mora.sources.flows import ENDS, sum_flows, to_flows
from mora.sources.registry import source
from mora.tables.inspection import Inspection
from mora.tables.reading import PARQUET_ENDINGS, read_batches, read_frame

PICKUPS = ("tpep_pickup_datetime", "lpep_pickup_datetime")  # yellow, green
UNKNOWN_ZONES = ("264", "265")  # not recorded; outside the city


@source(
    "nyc_tlc",
    gives="flows",
    licence="terms of use of nyc.gov",
    size="50 MB a month (yellow), 1 MB (green)",
    home="https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page",
    use='read_source("nyc_tlc", "yellow_tripdata_2024-*.parquet")',
)
def read_tlc(
    files: Files,
    zones: Path | str | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
) -> pd.DataFrame:
    """Count yellow or green taxi trips between taxi zones.

    Some trips of a file lie years outside its month, because a meter's clock was wrong:
    ``since`` and ``until`` leave them out.

    Args:
        files: ``{yellow|green}_tripdata_YYYY-MM.parquet``, one or several.
        zones: ``taxi_zone_lookup.csv``; trips with other zones are then left out.
        since: first pickup to count, ISO 8601, clock time in New York.
        until: pickups before it count.

    Returns:
        origin, destination (LocationID as text) and weight (trips). The zones 264 and
        265, which are no places, are left out and counted in ``attrs["dropped"]``.

    Raises:
        MissingFileError: if a file is not there.
        MissingColumnError: if a file has no zones or, where a bound is given, no time
            of pickup.
        TableError: if a file is not Parquet, a bound is no time, or no trip is left.
    """
    bounds = tuple(_to_time(bound) for bound in (since, until))
    known = None if zones is None else _read_zones(zones)
    paths = find_files(files, "taxi trips")
    mappings = [_columns(path, bounds) for path in paths]
    return sum_flows(_parts(paths, mappings, known, bounds), "NYC TLC")


def _to_time(bound: str | None) -> pd.Timestamp | None:
    if bound is None:
        return None
    try:  # pandas would take "January" for one of this year
        time = datetime.fromisoformat(bound)
    except ValueError:
        time = None
    if time is None or time.tzinfo is not None:
        raise TableError(
            f"{bound!r} is no clock time; expected ISO 8601 without a zone, such as "
            f"2024-01-01 or 2024-01-01T06:00."
        )
    return pd.Timestamp(time)


def _read_zones(path: Path | str) -> frozenset[str]:
    zones = read_frame(path, {"id": "LocationID"}, "taxi zones")
    return frozenset(zones["id"])


def _columns(path: Path, bounds: tuple[pd.Timestamp | None, ...]) -> dict[str, str]:
    """Map our names to a file's; the time only where a bound asks for it."""
    if not path.name.endswith(PARQUET_ENDINGS):
        raise TableError(f"{path} is not Parquet; expected the publisher's file.")
    columns = {"origin": "PULocationID", "destination": "DOLocationID"}
    if bounds == (None, None):
        return columns
    found = pq.read_schema(path).names
    pickup = [name for name in PICKUPS if name in found]
    if not pickup:
        raise MissingColumnError(str(path), PICKUPS, found)
    return columns | {"time": pickup[0]}


def _parts(
    paths: list[Path],
    mappings: list[dict[str, str]],
    known: frozenset[str] | None,
    bounds: tuple[pd.Timestamp | None, ...],
) -> Iterator[pd.DataFrame]:
    # File by file: the type of the zones differs from year to year.
    for path, columns in zip(paths, mappings, strict=True):
        for frame in read_batches(path, columns, "trips"):
            inspection = Inspection(frame, "flows", str(path))
            _drop_unplaced(inspection, known)
            _drop_outside(inspection, bounds)
            inspection.put("weight", np.ones(len(inspection)))
            yield to_flows(inspection, frame)


def _drop_unplaced(inspection: Inspection, known: frozenset[str] | None) -> None:
    for end in ENDS:
        inspection.drop(inspection.frame[end].isna().to_numpy(), f"no {end}")
        unknown = inspection.frame[end].isin(UNKNOWN_ZONES).to_numpy()
        inspection.drop(unknown, f"{end} unknown or outside the city", end)
        if known is not None:
            strange = ~inspection.frame[end].isin(known).to_numpy()
            inspection.drop(strange, f"{end} not in the table of zones", end)


def _drop_outside(
    inspection: Inspection, bounds: tuple[pd.Timestamp | None, ...]
) -> None:
    since, until = bounds
    if since is not None:
        early = (inspection.frame["time"] < since).to_numpy()
        inspection.drop(early, "picked up too early", "time")
    if until is not None:
        late = (inspection.frame["time"] >= until).to_numpy()
        inspection.drop(late, "picked up too late", "time")
