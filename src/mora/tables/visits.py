"""Visits: who was where and when, with times in UTC, weeks and hashed users."""

import difflib
import zoneinfo
from hashlib import blake2b

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Int, UInt64

from mora.errors import TableError
from mora.tables.inspection import Inspection
from mora.tables.report import TableReport
from mora.tables.rules import (
    Bounds,
    check_coordinates,
    drop_blank,
    drop_repeats,
    drop_unreadable,
)
from mora.tables.values import to_text

LENGTH_OF_DATE = len("2024-05-01")  # only behind it can a sign begin an offset
PLAUSIBLE_YEARS = range(1900, 2200)  # 9999-12-31 and the like stand for no time
DAYS_TO_MONDAY = 3  # 1970-01-01 was a Thursday


def check_visits(
    frame: pd.DataFrame,
    *,
    timezone: str | None,
    bounds: Bounds | None = None,
    swapped_share: float = 0.5,
    max_bad_share: float = 0.5,
    source: str = "visits",
) -> tuple[pd.DataFrame, TableReport]:
    """Check visits and bring their times to UTC.

    Args:
        frame: user; time or (whole, running) week; lon and lat, or token. Repeated
            rows are only found within one frame, not across batches.
        timezone: IANA name of the zone of times without an offset; None if all have
            one.
        bounds: west, south, east, north in degrees, where visits are expected; those
            outside are counted and kept.
        swapped_share: share of the points that swapping lon and lat must repair for
            the table to be refused as swapped.
        max_bad_share: share of the rows that may be unusable.
        source: where the visits came from, for messages.

    Returns:
        The visits in their order, ``time`` as datetime64[us, UTC], and the report.

    Raises:
        TableError: if times have no zone, coordinates are swapped or too many rows are
            bad.
    """
    inspection = Inspection(frame, "visits", source)
    drop_blank(inspection, "user")
    if "token" in inspection:
        drop_blank(inspection, "token")
    if "lon" in inspection and "lat" in inspection:
        check_coordinates(inspection, bounds, swapped_share)
    if "week" in inspection:
        _check_weeks(inspection)
    if "time" in inspection:
        _check_times(inspection, timezone)
    inspection.refuse_mostly_bad(max_bad_share)
    drop_repeats(inspection)
    return inspection.result()


def hash_users(users: pd.Series | np.ndarray, salt: bytes) -> UInt64[np.ndarray, " n"]:
    """Replace user ids by keyed hashes, before anything is written.

    Source: BLAKE2b (RFC 7693) with the salt as key and 8 bytes of digest. Among a
    million users two share a hash with a probability of 3e-8.

    Args:
        users: ids; a number and its text give one hash.
        salt: secret of a run, 1 to 64 bytes; the same salt gives the same hashes.

    Raises:
        TableError: if the salt has another length or a user is missing.
    """
    if not 1 <= len(salt) <= 64:
        raise TableError(f"the salt has {len(salt)} bytes; expected 1 to 64.")
    codes, distinct = pd.factorize(pd.Series(users))
    if (codes < 0).any():
        raise TableError(
            f"{(codes < 0).sum()} of {len(codes)} users are missing; expected an id in "
            f"every row. Check the visits first."
        )
    texts = to_text(pd.Series(distinct))
    digests = b"".join(
        blake2b(text.encode(), digest_size=8, key=salt).digest() for text in texts
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)[codes]


def iso_weeks(times: pd.Series | np.ndarray, timezone: str) -> Int[np.ndarray, " n"]:
    """Number the ISO weeks, which begin on Monday at local midnight.

    Args:
        times: in UTC, none missing.
        timezone: IANA name of the zone whose weeks are meant.

    Returns:
        Weeks since the one that holds 1 January 1970, which is 0. Two times lie in one
        ISO week of the zone if and only if their numbers are equal.

    Raises:
        TableError: if a time is missing or the zone is unknown.
    """
    _check_zone(timezone)
    utc = pd.to_datetime(pd.Series(times), utc=True)
    if utc.isna().any():
        raise TableError(
            f"{utc.isna().sum()} of {len(utc)} times are missing; expected a time in "
            f"every row. Check the visits first."
        )
    local = utc.dt.tz_convert(timezone).dt.tz_localize(None)
    days = local.to_numpy().astype("datetime64[D]").astype(np.int64)
    return (days + DAYS_TO_MONDAY) // 7


def _check_weeks(inspection: Inspection) -> None:
    drop_unreadable(inspection, "week")
    weeks = inspection.frame["week"].to_numpy()
    whole = np.isfinite(weeks) & (weeks == np.round(weeks))
    inspection.drop(~whole, "week is not a whole number", "week")
    inspection.put("week", weeks[whole].astype(np.int64))


def _check_times(inspection: Inspection, timezone: str | None) -> None:
    """Read times, say which cannot be read or have no zone, and bring them to UTC."""
    if timezone is not None:
        _check_zone(timezone)
    given = inspection.frame["time"]
    inspection.refuse(
        np.full(len(given), pd.api.types.is_numeric_dtype(given)),
        "time is a number",
        "Expected ISO 8601 such as 2024-05-01T13:45:00+08:00, or timestamps; convert "
        "counts of seconds or days first.",
        "time",
    )
    inspection.drop(given.isna().to_numpy(), "no time")
    times, has_zone = _parse_times(inspection.frame["time"])
    unreadable = times.isna().to_numpy()
    inspection.drop(unreadable, "time is not ISO 8601", "time")
    times, has_zone = times[~unreadable], has_zone[~unreadable]
    odd = ~times.dt.year.isin(PLAUSIBLE_YEARS).to_numpy()
    inspection.drop(odd, "time before 1900 or after 2199", "time")
    times, has_zone = times[~odd], has_zone[~odd]
    if timezone is None:
        inspection.refuse(
            ~has_zone,
            "time has no zone",
            "Say in which zone they are with `timezone:` in the YAML, such as "
            "Asia/Shanghai or UTC.",
            "time",
        )
    elif not has_zone.all():
        times = times.where(has_zone, _localize(inspection, times, ~has_zone, timezone))
    inspection.put("time", times.dt.tz_localize("UTC"))


def _parse_times(given: pd.Series) -> tuple[pd.Series, Bool[np.ndarray, " n"]]:
    """Read times as UTC where they have a zone, else as the clock shows them."""
    if pd.api.types.is_datetime64_any_dtype(given):
        aware = given.dt.tz is not None
        wall = given.dt.tz_convert(None) if aware else given
        return wall.astype("datetime64[us]"), np.full(len(given), aware)
    text = to_text(given)
    for zone in ("UTC", None):  # several times faster, but only where all are alike
        try:
            read = pa.array(text).cast(pa.timestamp("us", zone)).to_pandas()
        except pa.ArrowInvalid:
            continue
        return _parse_times(read.set_axis(given.index))
    has_zone = text.str[LENGTH_OF_DATE:].str.contains("[Z+-]").to_numpy(bool)
    text = text.mask(text.isin(["now", "today"]))  # pandas would read the clock
    times = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    return times.dt.tz_convert(None).astype("datetime64[us]"), has_zone


def _localize(
    inspection: Inspection,
    times: pd.Series,
    naive: Bool[np.ndarray, " rows"],
    timezone: str,
) -> pd.Series:
    """Bring clock times to UTC: the first of two, or the first after a gap."""
    wall = times[naive]
    summer, winter = (
        wall.dt.tz_localize(
            timezone, ambiguous=np.full(len(wall), dst), nonexistent="shift_forward"
        )
        for dst in (True, False)
    )
    for found, name in (
        (summer != winter, "clock time occurs twice, the first is taken"),
        (summer.dt.tz_localize(None) != wall, "clock time is skipped, moved forward"),
    ):
        marked = np.zeros(len(times), dtype=bool)
        marked[naive] = found
        inspection.note(marked, name, "time")
    return summer.dt.tz_convert(None)


def _check_zone(timezone: str) -> None:
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        known = sorted(zoneinfo.available_timezones())
        near = difflib.get_close_matches(timezone, known, n=3)
        raise TableError(
            f"unknown time zone {timezone!r}; expected an IANA name such as "
            f"{', '.join(near or ['Asia/Shanghai', 'UTC'])}."
        ) from error
