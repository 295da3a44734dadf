"""Baselines that know only where a place is."""

import numpy as np
from jaxtyping import Float32

from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.harmonics import spherical_harmonics


@baseline(
    "lonlat",
    group="analytical",
    source="the coordinates themselves",
    needs=("lonlat",),
    reproduction=Reproduction("difference from the degrees given", 0.0, 0.0, 0.0),
)
def lonlat(given: BaselineInput) -> Float32[np.ndarray, "tokens 2"]:
    """Give the longitude and latitude in degrees.

    Raises:
        MissingInputError: if the tokens have no known place.
    """
    return given.require_lonlat().astype(np.float32)


@baseline(
    "harmonics",
    group="analytical",
    source="Russwurm et al. 2024, Geographic Location Encoding",
    needs=("lonlat",),
    settings=({"degree": 16}, {"degree": 5}, {"degree": 10}, {"degree": 32}),
    reproduction=Reproduction(
        "greatest difference from 1,024 harmonics in 50-digit arithmetic",
        0.0,
        4e-16,
        1e-12,
        "pytest tests/test_harmonics.py",
    ),
)
def harmonics(
    given: BaselineInput, degree: int = 16
) -> Float32[np.ndarray, "tokens dim"]:
    """Give the real spherical harmonics of each token's middle.

    Source: Russwurm et al. 2024, Geographic Location Encoding with Spherical
    Harmonics and Sinusoidal Representation Networks, without the network.

    Args:
        given: needs ``lonlat``.
        degree: bands ``l = 0..degree - 1``; the finest has a wavelength of
            ``40,000 km / (degree - 1)``.

    Returns:
        ``degree**2`` columns; the first is constant.

    Raises:
        MissingInputError: if the tokens have no known place.
    """
    lonlat = given.require_lonlat().astype(np.float64)
    return spherical_harmonics(lonlat, degree).astype(np.float32)
