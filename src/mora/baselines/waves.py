"""Sines and cosines of places at many scales, from which encodings are made."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, Float64

from mora.errors import MoraError

Lonlat = Float[np.ndarray, "n 2"]
Encode = Callable[[Lonlat], Float[np.ndarray, "n dim"]]

BLOCK_ROWS = 4096  # places worked on at a time; 1,600 columns of them take 52 MB


def embed_in_blocks(
    encode: Encode, lonlat: Lonlat
) -> Float32[np.ndarray, "tokens dim"]:
    """Encode places block by block, so that only the result is large.

    Args:
        encode: gives one row for each place, whatever the others are.
        lonlat: degrees.

    Returns:
        The rows of all blocks; what ``encode`` gives for all places at once.
    """
    places = lonlat.astype(np.float64)
    starts = range(0, max(len(places), 1), BLOCK_ROWS)
    blocks = [encode(places[start : start + BLOCK_ROWS]) for start in starts]
    return np.concatenate([block.astype(np.float32) for block in blocks])


def geometric_radii(
    scales: int, smallest: float | int, largest: float | int
) -> Float64[np.ndarray, " scales"]:
    """Give radii from the smallest to the largest, each a fixed multiple of the last.

    Args:
        scales: how many, >= 2.
        smallest: > 0.
        largest: > ``smallest``.

    Raises:
        MoraError: if they are out of range.
    """
    if scales < 2 or not 0 < smallest < largest:
        raise MoraError(
            f"scales is {scales}, smallest {smallest} and largest {largest}; expected "
            f"at least 2 scales and 0 < smallest < largest."
        )
    return np.geomspace(smallest, largest, scales)


def plane_waves(
    lonlat: Lonlat,
    variant: str,
    radii: Float[np.ndarray, " scales"],
) -> Float64[np.ndarray, "n dim"]:
    """Give sines and cosines of degrees divided by radii.

    Source: Mai et al. 2020, Space2Vec, eqs. 4-6. The columns are in the order of the
    authors' code, which the weights of CSP need.

    Args:
        lonlat: degrees.
        variant: along longitude and latitude (``grid``), or along three directions
            120 degrees apart (``theory``).
        radii: in degrees; waves are ``2 pi`` of them long.

    Returns:
        ``4 scales`` columns (``grid``) or ``6 scales`` (``theory``) in [-1, 1]; sines
        are 0 and cosines 1 where longitude and latitude are 0.

    Raises:
        MoraError: if there is no such variant.
    """
    if variant == "grid":
        angle = lonlat[:, :, None] / radii
    elif variant == "theory":
        turns = np.arange(3) * 2 * np.pi / 3
        along = lonlat @ np.stack([np.cos(turns), np.sin(turns)])
        angle = along[:, None, :] / radii[:, None]
    else:
        raise MoraError(f"variant is {variant!r}; expected 'grid' or 'theory'.")
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return waves.reshape(len(lonlat), -1)


def sphere_waves(
    lonlat: Lonlat,
    variant: str,
    radii: Float[np.ndarray, " scales"],
) -> Float64[np.ndarray, "n dim"]:
    """Give products of sines and cosines of angles divided by radii.

    Source: Mai et al. 2023, Sphere2Vec, the definitions of sphereC and sphereC+; the
    columns are in the order of the authors' code.

    Args:
        lonlat: degrees.
        variant: the unit vector of the scaled angles (``sphereC``), or that and the
            sines and cosines themselves (``sphereC+``).
        radii: divide the angles; at 1, ``sphereC`` is the place on the unit sphere.

    Returns:
        ``3 scales`` columns (``sphereC``) or ``6 scales`` (``sphereC+``) in [-1, 1].

    Raises:
        MoraError: if there is no such variant.
    """
    lon, lat = np.radians(lonlat).T[:, :, None] / radii
    sin_lat, cos_lat = np.sin(lat), np.cos(lat)
    sin_lon, cos_lon = np.sin(lon), np.cos(lon)
    if variant == "sphereC":
        waves = [sin_lat, cos_lat * cos_lon, cos_lat * sin_lon]
    elif variant == "sphereC+":
        waves = [sin_lat, cos_lat, sin_lon, cos_lon]
        waves += [cos_lat * cos_lon, cos_lat * sin_lon]
    else:
        raise MoraError(f"variant is {variant!r}; expected 'sphereC' or 'sphereC+'.")
    return np.stack(waves, axis=-1).reshape(len(lonlat), -1)
