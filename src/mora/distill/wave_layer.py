"""Random waves over the globe: inputs finer than spherical harmonics can be."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mora.geometry import EARTH_RADIUS_KM


class WaveLayer(nn.Module):
    """Sines and cosines of the place on the sphere along random directions.

    Source: Rahimi and Recht 2007, random Fourier features, with directions of fixed
    length for each wavelength; as functions of x, y, z they have neither seam nor pole.

    Args:
        wavelengths_km: of the waves; where a direction leaves the ground at an angle,
            the wave on the ground is longer.
        waves: directions of each wavelength.
        seed: of the directions.
    """

    def __init__(
        self, wavelengths_km: Sequence[float], waves: int, seed: int = 0
    ) -> None:
        super().__init__()
        rng = np.random.default_rng([seed, len(wavelengths_km), waves])
        directions = rng.standard_normal((3, len(wavelengths_km), waves))
        directions /= np.linalg.norm(directions, axis=0)
        turns = 2 * math.pi * EARTH_RADIUS_KM / np.array(wavelengths_km)[:, None]
        self.register_buffer(
            "directions", torch.from_numpy((directions * turns).reshape(3, -1))
        )

    def forward(self, lonlat: Float[Tensor, "n 2"]) -> Float[Tensor, "n inputs"]:
        """Give all sines, then all cosines.

        Args:
            lonlat: degrees.

        Returns:
            Values in [-1, 1]; points closer than a small part of the wavelength have
            almost the same.
        """
        lon, lat = torch.deg2rad(lonlat).split(1, 1)
        cos_lat = torch.cos(lat)
        place = [cos_lat * torch.cos(lon), cos_lat * torch.sin(lon), torch.sin(lat)]
        turned = torch.cat(place, 1).to(self.directions.dtype) @ self.directions
        return torch.cat([torch.sin(turned), torch.cos(turned)], 1)
