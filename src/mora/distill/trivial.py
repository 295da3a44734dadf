"""What a distilled encoder has to beat: the mean, the nearest cell, a linear model."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from mora.harmonics import spherical_harmonics

Known: TypeAlias = Float64[np.ndarray, "known 2"]  # lon/lat of training cells
Vectors: TypeAlias = Float[np.ndarray, "known dim"]  # what is known of them
Asked: TypeAlias = Float64[np.ndarray, "asked 2"]  # lon/lat of other cells
Answer: TypeAlias = Float[np.ndarray, "asked dim"]

LINEAR_DEGREE = 10
ALPHAS = np.logspace(-6, 2, 9)


def mean_vector(known: Known, vectors: Vectors, asked: Asked) -> Answer:
    """Give the mean of the known vectors, wherever it is asked for."""
    del known
    return np.tile(vectors.mean(axis=0), (len(asked), 1))


def nearest_cell(known: Known, vectors: Vectors, asked: Asked) -> Answer:
    """Give the vector of the nearest known place; a known place has its own."""
    from scipy.spatial import cKDTree

    _, row = cKDTree(_on_sphere(known)).query(_on_sphere(asked))
    return vectors[row]


def linear_harmonics(known: Known, vectors: Vectors, asked: Asked) -> Answer:
    """Give what a ridge regression on a few harmonics says.

    Its penalty is the best of leave-one-out errors among the known places.
    """
    from sklearn.linear_model import RidgeCV

    waves = [spherical_harmonics(lonlat, LINEAR_DEGREE) for lonlat in (known, asked)]
    fitted = RidgeCV(ALPHAS).fit(waves[0], vectors)
    return fitted.predict(waves[1])


Trivial: TypeAlias = Callable[[Known, Vectors, Asked], Answer]
TRIVIAL: Mapping[str, Trivial] = MappingProxyType(
    {
        "mean vector": mean_vector,
        "nearest training cell": nearest_cell,
        f"ridge, harmonics of degree {LINEAR_DEGREE}": linear_harmonics,
    }
)


def _on_sphere(lonlat: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 3"]:
    """Give points of the unit sphere: a straight line orders them as an arc does."""
    lon, lat = np.radians(lonlat).T
    return np.column_stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    )
