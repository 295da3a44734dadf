"""Forecasts that need no network: what RAW has to be better than."""

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt64

from mora.geometry import cells_at
from mora.trajectories.raw.steps import Steps


def persistence(history: Steps, horizon: int) -> Float64[np.ndarray, "users horizon 2"]:
    """Forecast that users stay where they were seen last."""
    users, last = np.arange(len(history)), last_known(history)
    return _repeat(history.lonlat[users, last], horizon)


def own_mean(history: Steps, horizon: int) -> Float64[np.ndarray, "users horizon 2"]:
    """Forecast the mean of the points at which each user was seen.

    Users nowhere seen have the mean of their filled steps.
    """
    counted = history.known | ~history.known.any(axis=1, keepdims=True)
    total = (history.lonlat.astype(np.float64) * counted[..., None]).sum(axis=1)
    return _repeat(total / counted.sum(axis=1)[:, None], horizon)


def own_medoid(history: Steps, horizon: int) -> Float64[np.ndarray, "users horizon 2"]:
    """Forecast the point of each user's own that is least far from all others.

    What a density's ``median`` has to be better than: it needs no network, and errors
    in kilometres reward it more than a mean. Users nowhere seen stay.
    """
    forecasts = persistence(history, horizon)
    for user, known in enumerate(history.known):
        seen = history.lonlat[user, known].astype(np.float64)
        if len(seen) == 0:
            continue
        stretch = np.array([np.cos(np.radians(seen[:, 1].mean())), 1.0])
        apart = np.linalg.norm((seen[:, None] - seen) * stretch, axis=2)
        forecasts[user] = seen[apart.sum(axis=1).argmin()]
    return forecasts


def day_before(history: Steps, horizon: int) -> Float64[np.ndarray, "users horizon 2"]:
    """Forecast where each user was 24 hours earlier.

    Where the history is shorter, that they stay.
    """
    length, day = history.known.shape[1], round(history.steps_a_day)
    forecasts = persistence(history, horizon)
    for ahead in range(horizon):
        earlier = length + ahead - day * (1 + ahead // day)
        if earlier >= 0:
            forecasts[:, ahead] = history.lonlat[:, earlier]
    return forecasts


def next_place(
    history: Steps, horizon: int, *, resolution: int = 8
) -> Float64[np.ndarray, "users horizon 2"]:
    """Forecast the place to which each user went most often from the present one.

    For every distance in time, the user's own moves over that distance are counted
    from place to place. Equal counts go to the place with the lowest H3 index.

    Args:
        history: what is known.
        horizon: steps.
        resolution: H3 level of a place; a place lies at the mean of the user's points
            in it.

    Returns:
        Degrees. Users who never were at the present place before stay where they are.
    """
    shape = history.known.shape
    flat = history.lonlat.reshape(-1, 2).astype(np.float64)
    cells = cells_at(flat, resolution).reshape(shape)
    forecasts, lasts = persistence(history, horizon), last_known(history)
    for user, (own, known, last) in enumerate(
        zip(cells, history.known, lasts, strict=True)
    ):
        for ahead in range(horizon):
            step = _most_frequent_after(own, known, last, shape[1] + ahead - last)
            if step >= 0:
                there = known & (own == own[step])
                forecasts[user, ahead] = history.lonlat[user, there].mean(axis=0)
    return forecasts


def _most_frequent_after(
    cells: UInt64[np.ndarray, " steps"],
    known: Bool[np.ndarray, " steps"],
    last: int | np.integer,
    lag: int | np.integer,
) -> int:
    """Give a step at the place most often reached ``lag`` steps after the present one.

    Returns:
        -1 if there is none.
    """
    before, after = slice(0, max(len(cells) - lag, 0)), slice(lag, None)
    moved = known[before] & known[after] & (cells[before] == cells[last])
    reached = np.flatnonzero(moved) + lag
    if len(reached) == 0:
        return -1
    _, first, counts = np.unique(cells[reached], return_index=True, return_counts=True)
    return int(reached[first[counts.argmax()]])


def last_known(history: Steps) -> np.ndarray:
    """Give each user's last known step; the last one where none is known."""
    return history.known.shape[1] - 1 - history.known[:, ::-1].argmax(axis=1)


def _repeat(
    lonlat: Float[np.ndarray, "users 2"], horizon: int
) -> Float64[np.ndarray, "users horizon 2"]:
    return np.repeat(lonlat[:, None].astype(np.float64), horizon, axis=1)
