"""Predicted events scored user by user: GEO-BLEU, DTW and accuracy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mora.trajectories.events import Events
from mora.trajectories.humob.days import cell_side_km, find_variant, pair_events
from mora.trajectories.humob.dtw import daily_dtw_km
from mora.trajectories.humob.geobleu import daily_geo_bleu


@dataclass(frozen=True, eq=False)
class Scores:
    """How well each user was predicted; NaN for a user who has no events.

    Attributes:
        users: own id of each user, as in the reference.
        geo_bleu: mean over the user's days, 0 to 1; above is better.
        dtw_km: mean over the user's days, >= 0; below is better.
        accuracy: share of the user's events whose place is exactly right.
    """

    users: Shaped[np.ndarray, " users"]
    geo_bleu: Float[np.ndarray, " users"]
    dtw_km: Float[np.ndarray, " users"]
    accuracy: Float[np.ndarray, " users"]

    def means(self) -> dict[str, float]:
        """Give the mean of each measure over the users who have events."""
        names = ("geo_bleu", "dtw_km", "accuracy")
        return {name: float(np.nanmean(getattr(self, name))) for name in names}


def score_users(
    generated: Events, reference: Events, variant: str = "humob2024"
) -> Scores:
    """Score predicted events user by user.

    Args:
        generated: predicted events; users, days and slots as in the reference.
        reference: true events.
        variant: of :data:`~mora.trajectories.humob.days.VARIANTS`.

    Returns:
        Scores in the order of ``reference.users``. Where places are not cells, the
        unit of GEO-BLEU is the side of a square as large as a place on average.

    Raises:
        MoraError: if an event is missing, extra or masked, the places are not the
            same, or the variant is unknown.
    """
    find_variant(variant)
    days = pair_events(generated, reference)
    user = reference.user_rows()
    user_of_day, users = user[days.reference_bounds[:-1]], len(reference.users)
    cell_km = cell_side_km(reference.tokens)
    right = (days.generated == days.reference).all(axis=1)
    return Scores(
        reference.users,
        _means(daily_geo_bleu(days, variant), user_of_day, users),
        _means(daily_dtw_km(days, variant, cell_km), user_of_day, users),
        _means(right.astype(float), user, users),
    )


def _means(
    values: Float[np.ndarray, " n"], user: Int[np.ndarray, " n"], users: int
) -> Float[np.ndarray, " users"]:
    """Give the mean of each user's values; NaN without any."""
    counts = np.bincount(user, minlength=users).astype(float)
    counts[counts == 0] = np.nan
    return np.bincount(user, weights=values, minlength=users) / counts
