"""GPS points become positions at equal steps of time, as RAW reads them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from mora.errors import MissingFileError, MoraError
from mora.trajectories.traces import (
    SECONDS_A_DAY,
    Traces,
    build_traces,
    check_lonlat,
)

Fill: TypeAlias = Literal["last", "linear"]


def _nobody() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Steps:
    """One position of each user for each step of time.

    Attributes:
        users: own id of each user.
        lonlat: in degrees, at each step; none missing.
        known: whether the user was seen in the step; elsewhere the position is filled.
        start_seconds: when the first step of each user begins, by the local clock.
        minutes: length of a step.
        left_out: users with too few known steps.
    """

    users: Shaped[np.ndarray, " users"]
    lonlat: Float32[np.ndarray, "users steps 2"]
    known: Bool[np.ndarray, "users steps"]
    start_seconds: Float[np.ndarray, " users"]
    minutes: float
    left_out: Shaped[np.ndarray, " _"] = field(default_factory=_nobody)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def steps_a_day(self) -> float:
        """Give the number of steps that a day has."""
        return SECONDS_A_DAY / (60 * self.minutes)

    def gaps(self) -> Int[np.ndarray, " users"]:
        """Give the number of filled steps of each user."""
        return (~self.known).sum(axis=1)

    def hour(self) -> Float[np.ndarray, "users steps"]:
        """Give the local hour of the day at which each step begins, in [0, 24)."""
        return self._seconds() % SECONDS_A_DAY / 3600

    def take_users(
        self, positions: Int[np.ndarray, " kept"] | Sequence[int] | slice
    ) -> "Steps":
        """Give the steps of some users, in the order of the positions."""
        rows = np.arange(len(self))[positions]
        return replace(
            self,
            users=self.users[rows],
            lonlat=self.lonlat[rows],
            known=self.known[rows],
            start_seconds=self.start_seconds[rows],
        )

    def to_traces(self) -> Traces:
        """Give the known steps as points, each at the beginning of its step.

        Raises:
            MoraError: if no step is known.
        """
        user, step = np.nonzero(self.known)
        lonlat = self.lonlat[user, step].astype(np.float64)
        return build_traces(self.users[user], self._seconds()[user, step], lonlat)

    def describe(self) -> str:
        """Say how much was seen, filled and left out, in one line."""
        share = self.gaps().sum() / max(self.known.size, 1)
        return (
            f"{len(self):,} users x {self.known.shape[1]:,} steps of "
            f"{self.minutes:g} min: {share:.1%} of the steps filled, "
            f"{len(self.left_out):,} users left out for too few known steps"
        )

    def _seconds(self) -> Float[np.ndarray, "users steps"]:
        step = np.arange(self.known.shape[1])
        return self.start_seconds[:, None] + 60 * self.minutes * step


def to_steps(
    traces: Traces,
    length: int = 960,
    minutes: float | int = 15,
    fill: Fill = "last",
    *,
    start: float | int | None = None,
    min_known: int = 2,
) -> Steps:
    """Bring points to equal steps of time.

    A step in which a user was seen has the last of its points. Points outside the
    window are not used.

    Source: Regions are Who Walk Them (2023): 960 steps of 15 minutes, which are 10
    days. How gaps are filled is not said there.

    Args:
        traces: points by the local clock.
        length: steps of the window, >= 1.
        minutes: length of a step, > 0.
        fill: of steps without a point: ``last`` stays where the user was seen last;
            ``linear`` goes straight to the next known step, and so tells the future
            (not for forecasts). Steps before the first known one have its place.
        start: seconds at which every user's window begins; by default each has their
            own, at the first midnight that is not before their first point.
        min_known: users with fewer known steps in the window are left out, >= 1.

    Returns:
        The steps, and the users left out.

    Raises:
        MoraError: if an argument is out of range, or every user is left out.
    """
    _check_window(length, minutes, fill, min_known)
    begin = _begin(traces, start)
    user = traces.user_rows()
    step = np.floor((traces.seconds - begin[user]) / (60 * minutes)).astype(np.int64)
    inside = (step >= 0) & (step < length)
    user, step = user[inside], step[inside]
    lonlat = np.zeros((len(traces.users), length, 2), np.float32)
    known = np.zeros(lonlat.shape[:2], bool)
    lonlat[user, step] = traces.lonlat[inside]  # of several points the last one stays
    known[user, step] = True
    kept = known.sum(axis=1) >= min_known
    if not kept.any():
        raise MoraError(
            f"none of {len(kept)} users is known in {min_known} of {length} steps of "
            f"{minutes:g} minutes (at most {known.sum(axis=1).max(initial=0)}); "
            f"expected one such user. Lower min_known, or begin the window elsewhere."
        )
    return Steps(
        traces.users[kept],
        _filled(lonlat[kept], known[kept], fill),
        known[kept],
        begin[kept],
        float(minutes),
        traces.users[~kept],
    )


def shuffle_steps(steps: Steps, seed: int = 0) -> Steps:
    """Give the same steps of each user in a random order: a control without time.

    Args:
        steps: positions in time.
        seed: the same seed gives the same order.

    Returns:
        Positions and whether they are known, moved together; the clock stays.
    """
    order = shuffled_order(steps, seed)
    return replace(
        steps,
        lonlat=np.take_along_axis(steps.lonlat, order[..., None], axis=1),
        known=np.take_along_axis(steps.known, order, axis=1),
    )


def shuffled_order(steps: Steps, seed: int = 0) -> Int[np.ndarray, "users steps"]:
    """Give the step from which :func:`shuffle_steps` takes each one."""
    in_order = np.broadcast_to(np.arange(steps.known.shape[1]), steps.known.shape)
    return np.random.default_rng(seed).permuted(in_order, axis=1)


def write_steps(steps: Steps, path: Path | str) -> None:
    """Write positions as the array that RAW reads: users x steps x (lon, lat).

    Gaps are written as NaN, so that they are known when the file is read again. Users
    and their clocks are not written: the file has no ids.
    """
    gaps = np.where(steps.known[..., None], steps.lonlat, np.float32(np.nan))
    part = Path(f"{path}.part")
    with part.open("wb") as file:
        np.save(file, gaps, allow_pickle=False)
    part.replace(path)


def read_steps(
    path: Path | str,
    minutes: float | int = 15,
    fill: Fill = "last",
    *,
    start: float | int = 0,
    users: Shaped[np.ndarray, " users"] | None = None,
) -> Steps:
    """Read an array of users x steps x (lon, lat) in degrees.

    Args:
        path: of the ``.npy`` file; rows that are NaN are gaps.
        minutes: length of a step, > 0.
        fill: of the gaps, see :func:`to_steps`.
        start: seconds at which the windows begin, by the local clock.
        users: own id of each row; by default their numbers.

    Raises:
        MissingFileError: if there is no such file.
        MoraError: if it holds something else, or a user has no known step.
    """
    if not Path(path).is_file():
        raise MissingFileError(path, "steps")
    try:
        lonlat = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise MoraError(f"{path} is no array of numbers ({error}).") from error
    if lonlat.ndim != 3 or lonlat.shape[2] != 2 or lonlat.dtype.kind not in "fiu":
        raise MoraError(
            f"{path} has shape {lonlat.shape} and type {lonlat.dtype}; expected "
            f"numbers of shape (users, steps, 2): longitude and latitude in degrees."
        )
    _check_window(lonlat.shape[1], minutes, fill, 1)
    known = ~np.isnan(lonlat).any(axis=2)
    check_lonlat(lonlat[known].astype(np.float64))
    names = np.arange(len(lonlat)) if users is None else users
    if len(names) != len(lonlat) or not known.any(axis=1).all():
        raise MoraError(
            f"{path} has {len(lonlat)} rows, {(~known.any(axis=1)).sum()} of them "
            f"without any position, for {len(names)} users; expected a position for "
            f"each user."
        )
    filled = _filled(lonlat.astype(np.float32), known, fill)
    begin = np.full(len(lonlat), float(start))
    return Steps(names, filled, known, begin, float(minutes))


def _begin(traces: Traces, start: float | int | None) -> Float[np.ndarray, " users"]:
    """Give the beginning of each user's window; that of nobody's points is any."""
    if start is not None:
        return np.full(len(traces.users), float(start))
    first = np.append(traces.seconds, 0.0)[traces.offsets[:-1]]
    return np.ceil(first / SECONDS_A_DAY) * SECONDS_A_DAY


def _filled(
    lonlat: Float32[np.ndarray, "users steps 2"],
    known: Bool[np.ndarray, "users steps"],
    fill: Fill,
) -> Float32[np.ndarray, "users steps 2"]:
    """Fill the unknown steps of users who have a known one."""
    step = np.arange(known.shape[1])
    if fill == "linear":
        filled = np.empty_like(lonlat)
        for user, seen in enumerate(known):
            for axis in range(2):
                at = lonlat[user, seen, axis]
                filled[user, :, axis] = np.interp(step, step[seen], at)
        return filled
    latest = np.maximum.accumulate(np.where(known, step, -1), axis=1)
    first = known.argmax(axis=1)[:, None]
    source = np.where(latest < 0, first, latest)
    return np.take_along_axis(lonlat, source[..., None], axis=1)


def _check_window(length: int, minutes: float | int, fill: str, min_known: int) -> None:
    if length < 1 or not minutes > 0 or min_known < 1:
        raise MoraError(
            f"length is {length}, minutes {minutes:g} and min_known {min_known}; "
            f"expected at least 1 step, above 0 minutes and at least 1 known step."
        )
    if fill not in ("last", "linear"):
        raise MoraError(f"fill is {fill!r}; expected 'last' or 'linear'.")
