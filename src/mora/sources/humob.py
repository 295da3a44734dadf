"""YJMob100K and the HuMob challenge as visits to cells of a grid."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mora.errors import TableError
from mora.sources.files import find_files, with_dropped
from mora.sources.registry import source
from mora.tables.inspection import Inspection
from mora.tables.reading import read_batches
from mora.tables.values import to_numbers

MASKED_XY = 999  # in x and y of an event that is to be predicted
DAYS_A_WEEK = 7
COLUMNS = {"user": "uid", "day": "d", "x": "x", "y": "y"}


@source(
    "humob",
    gives="visits",
    licence="as the Zenodo record of the year says; cite Yabe et al. 2024",
    size="0.1 to 1 GB, 100 million events at most",
    home="https://zenodo.org/records/10142719",
    use='write_source("humob", "visits.parquet", "yjmob100k-dataset1.csv.gz")',
)
def stream_humob(
    file: Path | str, *, first_day: int = 0, rows: int = 1_000_000
) -> Iterator[pd.DataFrame]:
    """Read events ``uid,d,t,x,y`` as visits to a grid, by week.

    For the sequence models, ``mora.trajectories`` reads the same files as events.

    Source: Yabe et al. 2024, YJMob100K.

    Args:
        file: CSV with a header, gzipped if its name ends in ``.gz``.
        first_day: number of the first day in the file: 0 in 2023 and 2024, 1 in 2025.
        rows: read at a time, > 0.

    Returns:
        Frames of user, week (from 0; it begins with the first day, whose weekday is
        not published), x and y (from 1). Masked events (999 in both) are left out and
        counted in ``attrs["dropped"]``.

    Raises:
        MissingFileError: if there is no such file.
        MissingColumnError: if it lacks a column.
        TableError: if a value is no whole number, a day is before the first, or only
            one of x and y is 999.
    """
    (path,) = find_files(file, "events of the HuMob challenge")
    batches = read_batches(path, COLUMNS, "grid visits", rows)
    return (_to_visits(frame, first_day, str(path)) for frame in batches)


def _to_visits(frame: pd.DataFrame, first_day: int, name: str) -> pd.DataFrame:
    if frame["user"].isna().any():
        raise TableError(
            f"{name}: {frame['user'].isna().sum()} of {len(frame)} events have no uid; "
            f"expected one in each."
        )
    inspection = Inspection(frame, "events", name)
    for column in ("day", "x", "y"):
        _require_whole(inspection, column)
    early = (inspection.frame["day"] < first_day).to_numpy()
    hint = f"Expected days from first_day={first_day}."
    inspection.refuse(early, "day before the first", hint, "day")
    x, y = ((inspection.frame[c] == MASKED_XY).to_numpy() for c in ("x", "y"))
    hint = "Expected it in both, for an event to be predicted, or in none."
    inspection.refuse(x != y, f"{MASKED_XY} in only one of x and y", hint, "x", "y")
    inspection.drop(x & y, "masked")
    inspection.put("week", (inspection.frame["day"] - first_day) // DAYS_A_WEEK)
    return with_dropped(inspection, ["user", "week", "x", "y"], frame)


def _require_whole(inspection: Inspection, column: str) -> None:
    values, _ = to_numbers(inspection.frame[column])
    whole = np.isfinite(values) & (values == np.round(values))
    hint = "Expected whole numbers, as in the challenge's files."
    inspection.refuse(~whole, f"{column} is not a whole number", hint, column)
    inspection.put(column, values.astype(np.int64))
