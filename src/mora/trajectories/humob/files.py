"""Files of the HuMob challenge: events ``uid,d,t,x,y`` and POI counts of cells.

Source of the format: Yabe et al. 2024, YJMob100K.
"""

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from jaxtyping import Bool, Int

from mora.errors import MoraError, TableError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, Events, build_events
from mora.trajectories.humob.columns import (
    COLUMNS,
    Columns,
    first_rows,
    read_columns,
    refuse_outside,
)

MASKED_XY = 999  # in x and in y of an event to be predicted
DAYS = 75
SLOTS_A_DAY = 48
ANOMALOUS_DAY = 26  # from 0; known to be unlike the other days of YJMob100K
CATEGORIES = 85  # of POI, numbered from 1


def read_humob(
    path: Path | str,
    *,
    first_day: int = 0,
    days: int = DAYS,
    width: int = 200,
    height: int = 200,
    cell_km: float | int = 0.5,
    every_cell: bool = False,
    tokens: GridTokens | None = None,
    leave_out: Sequence[int] = (),
) -> Events:
    """Read the events of a file ``uid,d,t,x,y``, gzipped if it ends in ``.gz``.

    Args:
        path: with the columns in any order, or in this one without a header line.
        first_day: number of the first day in the file: 0 in 2023 and 2024, 1 in 2025.
        days: that the period has.
        width: columns of the grid, x = 1..width.
        height: rows of the grid, y = 1..height.
        cell_km: side of a cell.
        every_cell: let all cells of the grid be tokens, not only those that occur.
        tokens: the places, such as those of another file of the same city; they
            settle ``width``, ``height``, ``cell_km`` and ``every_cell``.
        leave_out: days without their events, from 0, such as :data:`ANOMALOUS_DAY`.

    Returns:
        Events with days from 0. An event with 999 in x and in y is masked. Rows that
        repeat another are left out and counted in ``duplicates``.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if the file cannot be read as such rows.
        MoraError: if a day, slot or cell is out of range, only one of x and y is 999,
            or a cell is not among ``tokens``.
    """
    source, columns = str(path), read_columns(path)
    if tokens is not None:
        width, height = tokens.width, tokens.height
    _check_times(columns, source, first_day, days)
    masked = _check_cells(columns, source, width, height)
    keep = ~np.isin(columns["d"] - first_day, np.asarray(leave_out, dtype=np.int64))
    columns, masked = {n: c[keep] for n, c in columns.items()}, masked[keep]
    xy = np.column_stack([columns["x"], columns["y"]])[~masked].astype(np.int64)
    if tokens is None:
        cells = _every_xy(width, height) if every_cell else xy
        tokens = GridTokens.from_xy(cells, width, height, float(cell_km))
    token = np.full(len(masked), MASKED, np.int32)
    token[~masked] = tokens.encode_xy(xy)
    day = columns["d"] - np.int32(first_day)
    return build_events(columns["uid"], day, columns["t"], token, tokens, SLOTS_A_DAY)


def write_humob(events: Events, path: Path | str, first_day: int = 0) -> None:
    """Write events as ``uid,d,t,x,y``; :func:`read_humob` reads them back.

    The ids of the users are written as they are: treat the file like the one they came
    from.

    Args:
        events: at cells of a grid, of users with whole numbers as ids.
        path: gzipped if it ends in ``.gz``.
        first_day: number that day 0 gets.

    Raises:
        MoraError: if the places are no cells, or a user's id is no whole number.
    """
    if not isinstance(events.tokens, GridTokens):
        raise MoraError(
            f"the events are at {events.tokens.kind} tokens; expected cells of a grid."
        )
    if events.users.dtype.kind not in "iu":
        raise MoraError(
            f"user ids are {events.users.dtype}; expected whole numbers, as in HuMob."
        )
    xy = np.full((len(events), 2), MASKED_XY)
    known = ~events.masked()
    xy[known] = events.tokens.xy()[events.token[known]]
    uid = events.users[events.user_rows()]
    columns = [uid, events.day + first_day, events.slot, *xy.T]
    table = pa.table(dict(zip(COLUMNS, columns, strict=True)))
    with _open_to_write(Path(path)) as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=False))


@contextmanager
def _open_to_write(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file, gzipped by its name; the same contents give the same bytes."""
    with path.open("wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        # level 6: a third of the time of 9, and 1 % larger
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped:
            yield zipped


def describe_events(events: Events) -> dict[str, int | float]:
    """Count what a file held, and how far its anomalous day is from the others.

    Args:
        events: as :func:`read_humob` gives them.

    Returns:
        Users, events, masked events, duplicates left out, places, events of
        :data:`ANOMALOUS_DAY` and of a median day that has events.
    """
    by_day = np.bincount(events.day, minlength=ANOMALOUS_DAY + 1)
    return {
        "users": len(events.users),
        "events": len(events),
        "masked": int(events.masked().sum()),
        "duplicates": events.duplicates,
        "places": len(events.tokens),
        "anomalous_day": ANOMALOUS_DAY,
        "events_on_anomalous_day": int(by_day[ANOMALOUS_DAY]),
        "events_on_median_day": float(median(by_day[by_day > 0].tolist() or [0])),
    }


def read_cell_categories(
    path: Path | str, tokens: GridTokens, categories: int = CATEGORIES
) -> Int[np.ndarray, "tokens categories"]:
    """Read the POI counts of cells from a file ``x,y,category,POI_count``.

    Args:
        path: gzipped if it ends in ``.gz``.
        tokens: places to give counts for; cells of the file that are not among them
            are passed over.
        categories: that there are, numbered from 1.

    Returns:
        Counts; 0 in a cell that the file does not name. Rows of the same cell and
        category are added.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if the file cannot be read as such rows.
        MoraError: if a category or a count is out of range, or a cell off the grid.
    """
    names = ("x", "y", "category", "POI_count")
    columns, source = read_columns(path, names), str(path)
    refuse_outside(columns, "category", 1, categories, source)
    refuse_outside(columns, "POI_count", 0, np.iinfo(np.int32).max, source)
    for name, last in [("x", tokens.width), ("y", tokens.height)]:
        refuse_outside(columns, name, 1, last, source)
    token_at = np.full((tokens.width + 1, tokens.height + 1), -1)
    token_at[tuple(tokens.xy().T)] = np.arange(len(tokens))
    token = token_at[columns["x"], columns["y"]]
    known = token >= 0
    counts = np.zeros((len(tokens), categories), np.int32)
    place = (token[known], columns["category"][known] - 1)
    np.add.at(counts, place, columns["POI_count"][known])
    return counts


def _every_xy(width: int, height: int) -> Int[np.ndarray, "cells 2"]:
    grid = np.meshgrid(np.arange(1, width + 1), np.arange(1, height + 1))
    return np.column_stack([axis.ravel() for axis in grid])


def _check_times(columns: Columns, source: str, first_day: int, days: int) -> None:
    if len(columns["d"]) == 0:
        raise TableError(f"{source} has no rows; expected at least one.")
    refuse_outside(columns, "d", first_day, first_day + days - 1, source)
    refuse_outside(columns, "t", 0, SLOTS_A_DAY - 1, source)


def _check_cells(
    columns: Columns, source: str, width: int, height: int
) -> Bool[np.ndarray, " rows"]:
    """Say which rows are masked; refuse half-masked rows and cells off the grid."""
    half = (columns["x"] == MASKED_XY) != (columns["y"] == MASKED_XY)
    masked = (columns["x"] == MASKED_XY) & (columns["y"] == MASKED_XY)
    if half.any():
        first = first_rows(columns, ["x", "y"], half)
        raise MoraError(
            f"{source}: {half.sum()} of {len(half)} rows have {MASKED_XY} in only one "
            f"of x and y (first: {first}); expected it in both, for an event to be "
            f"predicted, or in none."
        )
    refuse_outside(columns, "x", 1, width, source, exempt=masked)
    refuse_outside(columns, "y", 1, height, source, exempt=masked)
    return masked
