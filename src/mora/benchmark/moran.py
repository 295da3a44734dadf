"""Moran's I: do near places have values alike?"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from mora.errors import MoraError

FEWEST_PLACES = 4  # the variance divides by (n - 3)


@dataclass(frozen=True)
class Moran:
    """Moran's I and how unusual it is.

    Attributes:
        i: about 1 where neighbours are equal, negative where they are opposite; NaN
            where all values are equal.
        expected: of values without any order in space, -1 / (n - 1).
        z: deviations from ``expected``, under randomisation.
        p: two-sided probability of so large a ``z`` by chance, by the normal law.
        neighbours: neighbours of each place.
    """

    i: float
    expected: float
    z: float
    p: float
    neighbours: int


def morans_i(
    values: Float[np.ndarray, " n"],
    lonlat: Float[np.ndarray, "n 2"],
    neighbours: int = 8,
) -> Moran:
    """Give Moran's I over the nearest neighbours on the sphere.

    Source: Moran 1950; Cliff and Ord 1981, variance under randomisation. Weights are
    1 / neighbours for each of the nearest ones, so rows sum to 1.

    Args:
        values: one a place, such as residuals.
        lonlat: degrees.
        neighbours: nearest places that count, in 1..n-1.

    Returns:
        The statistic. Positive residuals next to each other mean that a model misses
        something that varies in space.

    Raises:
        MoraError: if there are too few places, or one has no coordinates.
    """
    weights = neighbour_weights(lonlat, neighbours)
    n, z = len(values), values - values.mean()
    expected = -1 / (n - 1)
    if np.ptp(values) == 0:
        return Moran(math.nan, expected, math.nan, math.nan, neighbours)
    i = float(z @ (weights @ z) / (z @ z))  # weights sum to n, which cancels
    deviation = math.sqrt(_variance(z, weights))
    score = (i - expected) / deviation if deviation > 0 else math.nan
    p = math.erfc(abs(score) / math.sqrt(2))
    return Moran(i, expected, score, p, neighbours)


def neighbour_weights(
    lonlat: Float[np.ndarray, "n 2"], neighbours: int = 8
) -> sp.csr_array:
    """Give the matrix that averages over the nearest places, without the place itself.

    Args:
        lonlat: degrees.
        neighbours: nearest places that count, in 1..n-1.

    Raises:
        MoraError: if there are too few places, or one has no coordinates.
    """
    from sklearn.neighbors import NearestNeighbors

    lost = int((~np.isfinite(lonlat).all(axis=1)).sum())
    if lost or len(lonlat) < FEWEST_PLACES or not 1 <= neighbours < len(lonlat):
        raise MoraError(
            f"{neighbours} neighbours among {len(lonlat)} places, {lost} of them "
            f"without coordinates; expected lon, lat for each, at least "
            f"{FEWEST_PLACES} places, and from 1 neighbour to one less than places. "
            f"Leave out lost places, or ask for fewer neighbours."
        )
    latlon = np.radians(lonlat[:, ::-1])
    index = NearestNeighbors(n_neighbors=neighbours, metric="haversine").fit(latlon)
    return sp.csr_array(index.kneighbors_graph()) / neighbours


def _variance(z: Float[np.ndarray, " n"], weights: sp.csr_array) -> float:
    """Give the variance of I if the values were put to the places at random."""
    n = len(z)
    both = weights + weights.T
    s0, s1 = weights.sum(), (both.data**2).sum() / 2
    s2 = ((weights.sum(axis=1) + weights.sum(axis=0)) ** 2).sum()
    kurtosis = n * (z**4).sum() / (z @ z) ** 2
    spread = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    tails = kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2)
    mean_square = (spread - tails) / ((n - 1) * (n - 2) * (n - 3) * s0**2)
    return max(0.0, float(mean_square - 1 / (n - 1) ** 2))
