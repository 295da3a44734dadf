"""What a reader leaves out of a source, counted by reason."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mora.errors import ConfigError, TableError
from mora.sources.registry import DROPPED, add_dropped

Bounds = Sequence[float | int]  # west, south, east, north in degrees

NOWHERE = "no coordinates"
OUTSIDE = "outside the bounds"


def leave_out(
    frame: pd.DataFrame, reasons: Mapping[str, Bool[np.ndarray, " rows"]]
) -> pd.DataFrame:
    """Drop rows and count them under the first reason that holds.

    Args:
        frame: any table.
        reasons: reason -> mask of the rows to drop, aligned with the frame.

    Returns:
        The other rows, numbered from 0, with the counts in ``attrs["dropped"]``; no
        such entry if no row goes.
    """
    left = np.ones(len(frame), dtype=bool)
    counts = {}
    for reason, rows in reasons.items():
        count = int((left & rows).sum())
        if count:
            counts[reason] = count
        left &= ~rows
    kept = frame[left].reset_index(drop=True)
    kept.attrs = {DROPPED: counts} if counts else {}
    return kept


def require_bounds(bounds: Bounds | None) -> None:
    """Refuse bounds that enclose nothing; None encloses everything.

    Raises:
        ConfigError: if there are not four of them, or south is not below north.
    """
    if bounds is None:
        return
    turned = len(bounds) == 4 and not -90 <= bounds[1] < bounds[3] <= 90
    if len(bounds) != 4 or turned or not np.isfinite(bounds).all():
        raise ConfigError(
            f"bounds {list(bounds)}; expected west, south, east, north in degrees, "
            f"south below north."
        )


def misplaced(
    frame: pd.DataFrame, bounds: Bounds | None
) -> dict[str, Bool[np.ndarray, " rows"]]:
    """Tell which rows lie nowhere or outside bounds, for :func:`leave_out`.

    Args:
        frame: with lon and lat.
        bounds: west, south, east, north in degrees, edges included; west beyond east
            crosses the antimeridian. None lets every point in.
    """
    lon, lat = frame["lon"].to_numpy(), frame["lat"].to_numpy()
    reasons = {NOWHERE: ~(np.isfinite(lon) & np.isfinite(lat))}
    if bounds is not None:
        west, south, east, north = bounds
        after, before = lon >= west, lon <= east
        across = after & before if west <= east else after | before
        reasons[OUTSIDE] = ~(across & (lat >= south) & (lat <= north))
    return reasons


def require_rows(
    frames: Iterator[pd.DataFrame], path: Path | str
) -> Iterator[pd.DataFrame]:
    """Pass frames on, and refuse a source of which no row is left at the end.

    Raises:
        TableError: saying why rows were left out.
    """
    kept = 0
    dropped: dict[str, int] = {}
    for frame in frames:
        kept += len(frame)
        add_dropped(dropped, frame)
        yield frame
    if not kept:
        why = ", ".join(f"{rows} {reason}" for reason, rows in dropped.items())
        raise TableError(
            f"{path}: none of {sum(dropped.values())} records can be used"
            f"{f' ({why})' if why else ''}; expected at least one. Check the file and "
            f"what is asked of it (bounds are west, south, east, north)."
        )
