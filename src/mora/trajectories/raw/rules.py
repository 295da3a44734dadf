"""What needs no network: rules for users, and what vectors of regions must beat."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from mora.embeddings import Embeddings
from mora.errors import MoraError
from mora.geometry import great_circle_km
from mora.trajectories.raw.regions import Presence, pool_regions
from mora.trajectories.raw.tasks import LabelTask, Predictor, Rows
from mora.trajectories.traces import Traces

NIGHT, NOON = (0, 6), (10, 16)  # local hours at home and at work


@dataclass(frozen=True, eq=False)
class NightAndNoon:
    """Where users usually are at night and around noon.

    Attributes:
        night: median position of each user at night, in degrees; NaN where unknown.
        noon: the same around noon.
    """

    night: Float[np.ndarray, "users 2"]
    noon: Float[np.ndarray, "users 2"]

    def distance_km(self) -> Float[np.ndarray, " users"]:
        """Give how far apart the two are; NaN where one is unknown."""
        return great_circle_km(self.night, self.noon)


def night_and_noon(
    traces: Traces, night: tuple[int, int] = NIGHT, noon: tuple[int, int] = NOON
) -> NightAndNoon:
    """Give where users usually are at night and around noon.

    Args:
        traces: points by the local clock.
        night: first hour, and the hour at which it ends; it may run over midnight.
        noon: the same around noon.

    Returns:
        Medians of longitude and of latitude, which a few trips do not move.

    Raises:
        MoraError: if an hour is not in 0..24, or a period is empty.
    """
    for hours in (night, noon):
        whole_day = (hours[1] - hours[0]) % 24 == 0
        if not all(0 <= hour <= 24 for hour in hours) or whole_day:
            raise MoraError(
                f"hours are {hours}; expected two different hours in 0..24, such as "
                f"{NIGHT}."
            )
    return NightAndNoon(_median_place(traces, night), _median_place(traces, noon))


def fit_threshold(
    distance_km: Float[np.ndarray, " n"], commuter: Bool[np.ndarray, " n"]
) -> float:
    """Give the distance above which calling users commuters is right most often.

    Args:
        distance_km: of each user, finite.
        commuter: whether they are.

    Returns:
        The middle between two neighbouring distances, the lowest of equally good ones;
        below or above all distances (infinite) where one answer for all is best.
    """
    values, place = np.unique(distance_km, return_inverse=True)
    gain = np.bincount(place, np.where(commuter, -1, 1), minlength=len(values))
    # With the threshold above the first i values, these are no commuters.
    right = commuter.sum() + np.concatenate([[0], np.cumsum(gain)])
    edges = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    return float(edges[right.argmax()])


@dataclass(frozen=True, eq=False)
class DistanceRule(Predictor):
    """Commuters are those whose night and noon are far apart.

    The threshold is fitted on the training users. Users without a distance get the
    more frequent answer of the training users.

    Attributes:
        distance_km: of each user, :meth:`NightAndNoon.distance_km`.
    """

    distance_km: Float[np.ndarray, " rows"]

    def fit_predict(
        self,
        task: LabelTask,
        train: Rows,
        test: Int[np.ndarray, " test"],
        seed: int,
    ) -> Shaped[np.ndarray, " test"]:
        """Fit the threshold on the training rows and predict the test rows.

        Raises:
            MoraError: if the task has more than two classes.
        """
        values = np.unique(task.labels[task.known()])
        if task.kind != "classes" or len(values) != 2:
            raise MoraError(
                f"task {task.name!r} has {len(values)} different {task.kind}; the rule "
                f"expected two classes, the greater for commuters."
            )
        usual = MajorityClass().fit_predict(task, train, test, seed)
        seen = train[np.isfinite(self.distance_km[train])]
        if len(seen) == 0:
            return usual
        commuter = task.labels[seen] == values[1]
        far = self.distance_km[test] > fit_threshold(self.distance_km[seen], commuter)
        known = np.isfinite(self.distance_km[test])
        return np.where(known, values[far.astype(np.int64)], usual)


@dataclass(frozen=True)
class MajorityClass(Predictor):
    """Everyone is what most of the training rows are."""

    def fit_predict(
        self,
        task: LabelTask,
        train: Rows,
        test: Int[np.ndarray, " test"],
        seed: int,  # noqa: ARG002
    ) -> Shaped[np.ndarray, " test"]:
        """Predict the most frequent label, the first in order among equals."""
        values, counts = np.unique(task.labels[train], return_counts=True)
        return np.full(len(test), values[counts.argmax()])


@dataclass(frozen=True)
class TrainingMean(Predictor):
    """Everyone is like the mean of the training rows."""

    def fit_predict(
        self,
        task: LabelTask,
        train: Rows,
        test: Int[np.ndarray, " test"],
        seed: int,  # noqa: ARG002
    ) -> Shaped[np.ndarray, " test"]:
        """Predict the mean label."""
        return np.full(len(test), task.labels[train].astype(np.float64).mean())


def describe_traces(traces: Traces) -> Float[np.ndarray, "users 5"]:
    """Describe users by hand, for a head that must be beaten.

    Args:
        traces: points by the local clock.

    Returns:
        Logarithms of 1 + the points, the kilometres from point to point, their root
        mean square from the user's middle, and the kilometres from night to noon (0
        where unknown); and 1 where the last is known. All finite.
    """
    users, user = len(traces.users), traces.user_rows()
    counts = np.maximum(traces.counts(), 1)
    leg = great_circle_km(traces.lonlat[:-1], traces.lonlat[1:])
    same = user[1:] == user[:-1]
    length = np.bincount(user[1:][same], leg[same], minlength=users)
    sums = [np.bincount(user, axis, minlength=users) for axis in traces.lonlat.T]
    middle = np.column_stack(sums) / counts[:, None]
    off = great_circle_km(traces.lonlat, middle[user]) ** 2
    radius = np.sqrt(np.bincount(user, off, minlength=users) / counts)
    apart = night_and_noon(traces).distance_km()
    known = np.isfinite(apart)
    columns = [traces.counts(), length, radius, np.where(known, apart, 0.0)]
    return np.column_stack([*np.log1p(columns), known])


def count_users(presence: Presence, *, min_users: int = 2) -> Embeddings:
    """Give each region the number of its users, and the logarithm, as its vector.

    A sum of user vectors that does no better than this knows only how many came.

    Args:
        presence: the distinct users of each region.
        min_users: regions with fewer are left out, as in :func:`pool_regions`.

    Returns:
        Vectors (users, log of 1 + users) for the regions that pooling shows.
    """
    ones = np.ones((len(presence.users), 1), np.float32)
    counted = pool_regions(presence, ones, min_users=min_users)
    vectors = np.concatenate([counted.vectors, np.log1p(counted.vectors)], axis=1)
    provenance = {**counted.provenance, "model": "user count"}
    return replace(counted, vectors=vectors, provenance=provenance)


def random_users(presence: Presence, seed: int = 0) -> Presence:
    """Give each region as many random users as it had.

    Vectors pooled of them know how many users came, not who.

    Args:
        presence: the distinct users of each region.
        seed: the same seed gives the same users.

    Returns:
        Regions with the same number of users, none twice in one region.
    """
    rng, everyone = np.random.default_rng(seed), len(presence.users)
    drawn = [
        np.sort(rng.choice(everyone, count, replace=False))
        for count in presence.counts()
    ]
    return replace(presence, user=np.concatenate(drawn))


def _median_place(
    traces: Traces, hours: tuple[int, int]
) -> Float[np.ndarray, "users 2"]:
    """Give each user's median position within hours of the day."""
    begin, end = hours
    within = (traces.hour() - begin) % 24 < (end - begin) % 24
    user = traces.user_rows()[within]
    medians = pd.DataFrame(traces.lonlat[within]).groupby(user).median()
    return medians.reindex(range(len(traces.users))).to_numpy(np.float64)
