"""Spherical harmonics inside a network: a few sines and one matrix product."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from mora.distill.config import Convention
from mora.errors import MoraError
from mora.harmonics import spherical_harmonics


class HarmonicLayer(nn.Module):
    """Real spherical harmonics of lon/lat, with gradients and without a recurrence.

    Every harmonic is a wave in phi times a Legendre function, which is a finite sum of
    cosines (m even) or sines (m odd) of multiples of theta. The sums are one product
    with a fixed matrix, which any runtime can do.

    Args:
        degree: bands l = 0..degree - 1.
        convention: ``orthonormal``, or ``mora_released_analytic``, whose columns of
            m = 0 are pi times as large.
    """

    def __init__(self, degree: int, convention: Convention = "orthonormal") -> None:
        super().__init__()
        self.degree, self.convention = degree, convention
        column_scale = convention_scale(degree, convention)
        series = torch.from_numpy(legendre_series(degree) * column_scale)
        # Not among the weights of a file: degree and convention tell them.
        self.register_buffer("series", series, persistent=False)
        self.register_buffer("turns", _turn_columns(degree), persistent=False)

    def forward(self, lonlat: Float[Tensor, "n 2"]) -> Float[Tensor, "n inputs"]:
        """Give the harmonics in the order l = 0.., m = -l..l.

        Args:
            lonlat: degrees; float32 loses a metre.

        Returns:
            ``degree**2`` columns in the type of the layer; in float64 within 1e-12 of
            :func:`mora.harmonics.spherical_harmonics`.
        """
        # phi = lon + 180 and theta = lat + 90 degrees
        phi, theta = (torch.deg2rad(lonlat) + lonlat.new_tensor(HALF_TURNS)).split(1, 1)
        orders = torch.arange(self.degree, device=lonlat.device, dtype=lonlat.dtype)
        along = torch.cat([torch.cos(theta * orders), torch.sin(theta * orders)], 1)
        around = torch.cat([torch.cos(phi * orders), torch.sin(phi * orders)], 1)
        legendre = along.to(self.series.dtype) @ self.series
        return legendre * around.to(self.series.dtype)[:, self.turns]


HALF_TURNS = (np.pi, np.pi / 2)


def legendre_series(degree: int) -> Float64[np.ndarray, "waves inputs"]:
    """Give the sums of cosines and sines that the Legendre functions are.

    Source: a discrete cosine and sine transform (type II) of
    :func:`mora.harmonics.spherical_harmonics` where phi is 0. There are no more than
    ``degree`` frequencies, so as many points give the sums without error.

    Args:
        degree: bands, >= 1.

    Returns:
        One column a harmonic, the same for m and -m; rows are cosines, then sines, of
        0, 1, .., degree - 1 times theta.
    """
    theta = (np.arange(degree) + 0.5) * np.pi / degree
    south_to_north = np.column_stack([np.full(degree, -180.0), np.degrees(theta) - 90])
    legendre = spherical_harmonics(south_to_north, degree)[:, _positive(degree)]

    frequencies = np.arange(degree)[:, None]
    scale = np.where(frequencies > 0, 2, 1) / degree
    cosines = scale * np.cos(frequencies * theta) @ legendre
    sines = scale * np.sin(frequencies * theta) @ legendre
    odd = _orders(degree) % 2 == 1
    return np.vstack([np.where(odd, 0, cosines), np.where(odd, sines, 0)])


def convention_scale(degree: int, convention: str) -> Float64[np.ndarray, " inputs"]:
    """Give what each orthonormal harmonic is multiplied by in a convention.

    Raises:
        MoraError: if the convention is not known.
    """
    if convention not in ("orthonormal", "mora_released_analytic"):
        raise MoraError(
            f"the convention is {convention!r}; expected 'orthonormal', or "
            f"'mora_released_analytic' for the released weights."
        )
    too_large = (_orders(degree) == 0) & (convention == "mora_released_analytic")
    return np.where(too_large, np.pi, 1.0)


def _orders(degree: int) -> np.ndarray:
    """Give m of every column."""
    return np.concatenate([np.arange(-band, band + 1) for band in range(degree)])


def _positive(degree: int) -> np.ndarray:
    """Give for every column the one with the same band and the order |m|."""
    order = _orders(degree)
    return np.arange(degree**2) - order + np.abs(order)


def _turn_columns(degree: int) -> Tensor:
    """Give for every column its cosine (m >= 0) or sine among those of phi."""
    order = _orders(degree)
    return torch.from_numpy(np.where(order < 0, degree - order, order))
