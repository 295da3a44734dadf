"""Real spherical harmonics: smooth functions of a place, from coarse to fine."""

import math

import numpy as np
from jaxtyping import Float64

from mora.errors import MoraError
from mora.kernels import kernel

TILE_POINTS = 32  # 1024 harmonics x 32 points in float64 are 256 KB: they stay in L2


def spherical_harmonics(
    lonlat: Float64[np.ndarray, "n 2"], degree: int = 32
) -> Float64[np.ndarray, "n dim"]:
    """Give orthonormal real spherical harmonics without the Condon-Shortley sign.

    Source: Holmes and Featherstone 2002, eqs. 11-13, for the normalised Legendre
    functions; cos and sin of m phi follow by adding angles, whose error grows with m
    where that of the Chebyshev recurrence grows with m squared near phi = 0.

    Args:
        lonlat: degrees; phi = lon + 180, theta = lat + 90.
        degree: bands ``l = 0..degree - 1``; >= 1.

    Returns:
        ``degree**2`` columns in the order l = 0.., m = -l..l, sine part for m < 0; the
        error is below 1e-13 up to degree 32. At the poles only m = 0 is not zero.

    Raises:
        MoraError: if ``degree`` is below 1 or a coordinate is no place on Earth.
    """
    if degree < 1:
        raise MoraError(f"degree is {degree}; expected at least 1.")
    bad = ~((np.abs(lonlat[:, 0]) <= 360) & (np.abs(lonlat[:, 1]) <= 90))
    if bad.any():
        raise MoraError(
            f"{bad.sum()} of {len(lonlat)} points are not on Earth (first: "
            f"{lonlat[bad][:3].tolist()}); expected lon, lat in degrees. Are the "
            f"columns swapped or some missing?"
        )
    harmonics = np.empty((len(lonlat), degree * degree))
    _evaluate(np.ascontiguousarray(lonlat), degree, harmonics)
    return harmonics


@kernel()
def _evaluate(lonlat: np.ndarray, degree: int, harmonics: np.ndarray) -> None:
    """Fill ``harmonics`` (points, degree^2) one tile of points after another."""
    rise, fall = _legendre_factors(degree)
    tile = np.empty((degree * degree, TILE_POINTS))
    angles = np.zeros((4, TILE_POINTS))
    for start in range(0, len(lonlat), TILE_POINTS):
        count = min(TILE_POINTS, len(lonlat) - start)
        for point in range(count):
            lon = math.radians(lonlat[start + point, 0])
            lat = math.radians(lonlat[start + point, 1])
            # theta = lat + 90 and phi = lon + 180 degrees, without rounding the sum
            angles[0, point], angles[1, point] = -math.sin(lat), math.cos(lat)
            angles[2, point], angles[3, point] = -math.cos(lon), -math.sin(lon)
        _fill_tile(angles, rise, fall, tile)
        for point in range(count):
            for column in range(degree * degree):
                harmonics[start + point, column] = tile[column, point]


@kernel()
def _legendre_factors(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the two factors of the Legendre recurrence for each band and order."""
    rise = np.zeros((degree, degree))
    fall = np.zeros((degree, degree))
    for order in range(degree):
        for band in range(order + 1, degree):
            rise[band, order] = math.sqrt(
                (4 * band**2 - 1) / ((band - order) * (band + order))
            )
            fall[band, order] = math.sqrt(
                (band - 1 - order) * (band - 1 + order) / (4 * (band - 1) ** 2 - 1)
            )
    return rise, fall


@kernel()
def _fill_tile(
    angles: np.ndarray, rise: np.ndarray, fall: np.ndarray, tile: np.ndarray
) -> None:
    """Evaluate all harmonics (rows of ``tile``) at one tile of points (columns)."""
    cos_theta, sin_theta, cos_phi, sin_phi = angles[0], angles[1], angles[2], angles[3]
    sector = np.full(TILE_POINTS, math.sqrt(1 / (4 * math.pi)))  # P of band = order
    cos_order, sin_order = np.ones(TILE_POINTS), np.zeros(TILE_POINTS)
    legendre, before = np.empty(TILE_POINTS), np.empty(TILE_POINTS)
    for order in range(len(rise)):
        if order > 0:
            # order 1 also brings the sqrt(2) of the real harmonics with m != 0
            step = math.sqrt(3.0 if order == 1 else (2 * order + 1) / (2 * order))
            for p in range(TILE_POINTS):
                sector[p] *= step * sin_theta[p]
                turned = cos_order[p] * cos_phi[p] - sin_order[p] * sin_phi[p]
                sin_order[p] = sin_order[p] * cos_phi[p] + cos_order[p] * sin_phi[p]
                cos_order[p] = turned
        for p in range(TILE_POINTS):
            legendre[p], before[p] = sector[p], 0.0
        for band in range(order, len(rise)):
            if band > order:
                up, down = rise[band, order], fall[band, order]
                for p in range(TILE_POINTS):
                    new = up * (cos_theta[p] * legendre[p] - down * before[p])
                    before[p] = legendre[p]
                    legendre[p] = new
            middle = band * (band + 1)
            # for order 0 both rows are one, and the cosine, written last, stays
            for p in range(TILE_POINTS):
                tile[middle - order, p] = legendre[p] * sin_order[p]
            for p in range(TILE_POINTS):
                tile[middle + order, p] = legendre[p] * cos_order[p]
