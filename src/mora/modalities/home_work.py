"""Where people live and work, from when they were seen where."""

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from mora.errors import MoraError

NIGHT = (21, 6)  # first hour, and the hour at which it ends
OFFICE = (9, 17)
SATURDAY = 5


def infer_commutes(
    user: Shaped[np.ndarray, " records"],
    token: Int[np.ndarray, " _"],
    local_time: pd.Series | pd.DatetimeIndex,
    *,
    night: tuple[int, int] = NIGHT,
    office: tuple[int, int] = OFFICE,
    min_records: int = 10,
    min_users: int = 5,
) -> pd.DataFrame:
    """Count the users who live in one place and work in another, or in the same.

    A user's home is the place of most records at night, the work place that of most
    records in office hours from Monday to Friday. Among equals the lower token counts.
    Users without a record at either time are left out: nothing is assumed of them.

    Source: the time windows are one of the criteria that Vanhoof et al. 2018 compare
    for homes (Assessing the quality of home detection from mobile phone data for
    official statistics); applied here to work places as well.

    Args:
        user: id of each record's user.
        token: place of each record; -1 outside all places.
        local_time: time at the place, aligned with ``user``.
        night: first hour of the night and the hour at which it ends, over midnight.
        office: first hour of office hours and the hour at which they end.
        min_records: users with fewer records inside places are left out; >= 1.
        min_users: pairs of places with fewer users are left out; 1 hides nothing.

    Returns:
        origin (home) and destination (work) as tokens and weight (users), by origin
        and destination; no rows without such users.

    Raises:
        MoraError: if lengths differ, hours are out of order or a threshold is below 1.
    """
    if not len(user) == len(token) == len(local_time):
        raise MoraError(
            f"{len(user)} users, {len(token)} tokens and {len(local_time)} times; "
            f"expected one of each a record."
        )
    hours_fit = 0 <= office[0] < office[1] <= night[0] <= 24 and night[1] <= office[0]
    if not hours_fit or min(min_records, min_users) < 1:
        raise MoraError(
            f"night {night}, office {office}, min_records {min_records}, min_users "
            f"{min_users}; expected office hours within the day, outside the night, "
            f"and thresholds of 1 or more."
        )
    time = pd.DatetimeIndex(local_time)
    seen = pd.DataFrame({"user": user, "token": token})
    seen["hour"], seen["day"] = time.hour, time.day_of_week
    seen = seen[seen["token"] >= 0]
    seen = seen[seen.groupby("user")["token"].transform("size") >= min_records]
    at_night = (seen["hour"] >= night[0]) | (seen["hour"] < night[1])
    in_office = seen["hour"].between(*office, inclusive="left")
    home = _most_seen(seen[at_night])
    work = _most_seen(seen[in_office & (seen["day"] < SATURDAY)])
    ends = pd.DataFrame({"origin": home, "destination": work}).dropna().astype(np.int64)
    flows = ends.value_counts().rename("weight").reset_index()
    flows = flows[flows["weight"] >= min_users].astype({"weight": np.float64})
    return flows.sort_values(["origin", "destination"], ignore_index=True)


def _most_seen(seen: pd.DataFrame) -> pd.Series:
    """Give each user's most frequent token, the lowest among equals."""
    count = seen.groupby(["user", "token"]).size().rename("records").reset_index()
    count = count.sort_values(["records", "token"], ascending=[False, True])
    return count.drop_duplicates("user").set_index("user")["token"]
