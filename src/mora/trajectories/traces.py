"""GPS points of many users in one sorted table, with the points of a user together."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Real, Shaped

from mora.errors import MissingColumnError, MoraError, examples
from mora.tables import TableReport, check_visits
from mora.trajectories.by_user import ByUser, offsets_of

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, eq=False)
class Traces(ByUser):
    """Where users were seen, sorted by user and time.

    Attributes:
        seconds: since midnight of a first day (1970-01-01 where dates are known) by the
            local clock, so that ``seconds % 86400`` is the time of day.
        lonlat: of each point, in degrees.
        duplicates: points left out because another one said the same.
    """

    ROWS: ClassVar[tuple[str, ...]] = ("seconds", "lonlat")
    seconds: Float64[np.ndarray, " points"]
    lonlat: Float64[np.ndarray, "points 2"]
    duplicates: int = 0

    def hour(self) -> Float64[np.ndarray, " points"]:
        """Give the local hour of the day of each point, in [0, 24)."""
        return self.seconds % SECONDS_A_DAY / 3600

    def of_users(self, users: Shaped[np.ndarray, " kept"]) -> "Traces":
        """Give the points of the named users, such as those who have a vector.

        Args:
            users: own ids, in any order, none twice.

        Raises:
            MoraError: if a user is not among these.
        """
        unknown = ~np.isin(users, self.users)
        if unknown.any():  # the ids are personal, so the message counts them only
            raise MoraError(
                f"{unknown.sum()} of {len(users)} users are not among the "
                f"{len(self.users)} of these traces; expected users who have points. "
                f"Were they hashed with another salt?"
            )
        return self.take_users(np.searchsorted(self.users, users))


def build_traces(
    user: Shaped[np.ndarray, " points"],
    seconds: Real[np.ndarray, " _"],
    lonlat: Float[np.ndarray, "_ 2"],
) -> Traces:
    """Sort points by user and time, and leave out those that repeat another.

    Args:
        user: id of the user, number or text.
        seconds: since midnight of a first day, by the local clock.
        lonlat: in degrees, longitude first.

    Returns:
        The traces. Different points of one moment keep the order of the records.

    Raises:
        MoraError: if there are no points, lengths differ, a user or a time is missing,
            or a coordinate is missing or not on Earth.
    """
    _check_points(user, seconds, lonlat)
    users, position = np.unique(user, return_inverse=True)
    order = np.lexsort([seconds, position])
    position, seconds = position[order], seconds[order].astype(np.float64)
    lonlat = lonlat[order].astype(np.float64)
    fresh = _first_of_equal(position, seconds, lonlat)
    return Traces(
        users,
        offsets_of(np.bincount(position[fresh], minlength=len(users))),
        seconds[fresh],
        lonlat[fresh],
        duplicates=int(len(fresh) - fresh.sum()),
    )


def traces_from_visits(
    frame: pd.DataFrame, timezone: str, *, source: str = "visits"
) -> tuple[Traces, TableReport]:
    """Make traces of visits or check-ins whose times are dates.

    Args:
        frame: columns ``user``, ``time``, ``lon`` and ``lat``; others are ignored.
        timezone: IANA name of the zone the places are in. It says what the clock shows,
            and in which zone times without an offset are meant.
        source: where the visits came from, for messages.

    Returns:
        The traces, with seconds since 1970-01-01 by the local clock, and the report on
        rows that were left out, repeated ones among them.

    Raises:
        MissingColumnError: if a column is missing.
        TableError: if the zone is unknown or too many rows are bad.
        MoraError: if no row is left.
    """
    wanted = ["user", "time", "lon", "lat"]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise MissingColumnError(source, missing, [str(c) for c in frame.columns])
    visits, report = check_visits(frame[wanted], timezone=timezone, source=source)
    clock = visits["time"].dt.tz_convert(timezone).dt.tz_localize(None)
    seconds = (clock - pd.Timestamp(0)) / pd.Timedelta(seconds=1)
    lonlat = visits[["lon", "lat"]].to_numpy(np.float64)
    return build_traces(
        visits["user"].to_numpy(), seconds.to_numpy(np.float64), lonlat
    ), report


def check_lonlat(lonlat: Float[np.ndarray, "n 2"]) -> None:
    """Refuse coordinates that are missing or not on Earth.

    Raises:
        MoraError: saying how many, with examples.
    """
    unknown = ~np.isfinite(lonlat).all(axis=1)
    if unknown.any():
        raise MoraError(
            f"{unknown.sum()} of {len(lonlat)} points have no longitude or latitude "
            f"(first at row {np.argmax(unknown)}); expected finite degrees. Leave "
            f"them out."
        )
    outside = (np.abs(lonlat) > [180, 90]).any(axis=1)
    if outside.any():
        raise MoraError(
            f"{outside.sum()} of {len(lonlat)} points are not on Earth (first: "
            f"{lonlat[outside][:3].tolist()}); expected longitude in -180..180, then "
            f"latitude in -90..90, in degrees. Are the two swapped or projected?"
        )


def _check_points(user: np.ndarray, seconds: np.ndarray, lonlat: np.ndarray) -> None:
    if not len(user) == len(seconds) == len(lonlat):
        raise MoraError(
            f"{len(user)} users, {len(seconds)} times and {len(lonlat)} points; "
            f"expected one of each a point."
        )
    if len(user) == 0:
        raise MoraError("no points; expected at least one point of a user.")
    for name, missing in [
        ("user", pd.isna(user)),
        ("time", ~np.isfinite(seconds.astype(np.float64))),
    ]:
        if missing.any():
            rows = np.flatnonzero(missing).tolist()
            raise MoraError(
                f"{missing.sum()} of {len(user)} points have no {name} (first rows: "
                f"{examples(rows)}); expected one each. Leave these points out."
            )
    check_lonlat(lonlat)


def _first_of_equal(
    position: np.ndarray, seconds: np.ndarray, lonlat: np.ndarray
) -> Bool[np.ndarray, " points"]:
    """Mark the first of sorted points that are equal in all columns."""
    again = (position[1:] == position[:-1]) & (seconds[1:] == seconds[:-1])
    # Only the few points of one moment are compared with each other.
    shared = np.flatnonzero(np.append(again, False) | np.append(False, again))
    columns = np.column_stack([position[shared], seconds[shared], lonlat[shared]])
    fresh = np.ones(len(position), bool)
    fresh[shared] = ~pd.DataFrame(columns).duplicated().to_numpy()
    return fresh
