"""Clock times, UTC and ISO weeks in Spark, by the time zones of Python.

Java has a list of time zones of its own and of another age. With that, two engines
would number weeks differently in zones that changed their rules of late.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mora.pipeline.spark.values import DAY, floor_divide
from mora.tables.visits import DAYS_TO_MONDAY, PLAUSIBLE_YEARS, _check_zone

SECOND = 1_000_000  # microseconds
SECONDS_A_DAY = DAY // SECOND


def zone_days(timezone: str) -> pa.Table:
    """List how far a zone's clocks are ahead of UTC on every day.

    Args:
        timezone: IANA name.

    Returns:
        A row for each day of UTC (``clock`` false) and each day of the zone's own
        clocks (``clock`` true) in the years that a visit can be of: ``day`` since
        1970; ``change``, the time of UTC at which the clocks were last changed on this
        day or before; ``before`` and ``after``, how far they were ahead; all in
        microseconds. No zone ever changed its clocks twice within three days.

    Raises:
        TableError: if the zone is unknown.
    """
    _check_zone(timezone)
    years = np.array([PLAUSIBLE_YEARS.start, PLAUSIBLE_YEARS.stop]) - 1970
    first, end = years.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    day = np.arange(first - 2, end + 2)  # a clock is at most a day from UTC
    change, before, after = _changes(day * SECONDS_A_DAY, timezone)
    # On the clock, a change begins with the first time that it skips or repeats.
    begins = {False: change, True: change + np.minimum(before, after)}
    parts = []
    for clock, begin in begins.items():
        last = np.searchsorted(begin, (day + 1) * SECONDS_A_DAY) - 1
        columns = {"change": change, "before": before, "after": after}
        columns = {name: values[last] * SECOND for name, values in columns.items()}
        is_clock = np.full(len(day), clock)
        parts.append(pa.table({"day": day, "clock": is_clock, **columns}))
    return pa.concat_tables(parts)


def _changes(
    midnight: Int[np.ndarray, " days"], timezone: str
) -> tuple[
    Int[np.ndarray, " changes"],
    Int[np.ndarray, " changes"],
    Int[np.ndarray, " changes"],
]:
    """Find when clocks changed, in seconds, and how far ahead they were around it.

    The first entry changes nothing, long ago; it stands for the time before the others.
    """
    offset = _offsets(midnight, timezone)
    at = np.flatnonzero(np.diff(offset))
    low, high = midnight[at], midnight[at + 1]
    while (high - low > 1).any():
        middle = (low + high) // 2
        same = _offsets(middle, timezone) == offset[at]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    long_ago, first = midnight[:1] - 2 * SECONDS_A_DAY, offset[:1]
    return (
        np.concatenate([long_ago, high]),
        np.concatenate([first, offset[at]]),
        np.concatenate([first, offset[at + 1]]),
    )


def _offsets(seconds: Int[np.ndarray, " n"], timezone: str) -> Int[np.ndarray, " n"]:
    """Say how many seconds clocks are ahead at times of UTC."""
    utc = pd.DatetimeIndex(seconds.astype("datetime64[s]")).tz_localize("UTC")
    clock = utc.tz_convert(timezone).tz_localize(None)
    return clock.to_numpy().astype("datetime64[s]").astype(np.int64) - seconds


def add_times(rows: DataFrame, timezone: str | None) -> DataFrame:
    """Add what times are in UTC and on the clocks of the zone.

    Source: :func:`mora.tables.visits.check_visits`. A clock time that occurs twice is
    the first of the two; one that is skipped becomes the first time after the gap
    (with pandas the next full hour, another time where a gap ends between hours).

    Args:
        rows: with ``time`` in microseconds, of UTC where ``time_zoned`` and else as
            the clock shows it; null is allowed.
        timezone: IANA name of the clock's zone; None takes every time for UTC.

    Returns:
        The rows with ``utc``, ``local``, ``twice`` and ``skipped``; null where there
        is no time or not one of a plausible year.
    """
    time, no = F.col("time"), F.lit(False)
    if timezone is None:
        same = {"utc": time, "local": time, "twice": no, "skipped": no}
        return rows.withColumns(same)
    days = F.broadcast(rows.sparkSession.createDataFrame(zone_days(timezone)))
    keys = {"day": floor_divide(time, DAY), "clock": ~F.col("time_zoned")}
    rows = rows.withColumns(keys).join(days, [*keys], "left")
    change, clock = F.col("change"), F.col("clock")
    old, new = change + F.col("before"), change + F.col("after")  # on the clock
    moved = F.when(time < old, time - F.col("before")).otherwise(
        F.greatest(change, time - F.col("after"))
    )
    ahead = F.when(time < change, F.col("before")).otherwise(F.col("after"))
    local = F.when(time < old, time).otherwise(F.greatest(new, time))
    return rows.withColumns(
        {
            "utc": F.when(clock, moved).otherwise(time),
            "local": F.when(clock, local).otherwise(time + ahead),
            "twice": clock & (new < old) & (time >= new) & (time < old),
            "skipped": clock & (new > old) & (time >= old) & (time < new),
        }
    ).drop(*keys, "change", "before", "after")


def iso_week(local: Column) -> Column:
    """Number the ISO week of a clock time, as :func:`mora.tables.iso_weeks`."""
    days = floor_divide(local, DAY)
    return floor_divide(days + F.lit(DAYS_TO_MONDAY), 7)
