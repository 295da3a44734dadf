"""The distilled encoder: coordinates in, the vector of the place out."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mora.distill.config import Convention, DistillConfig
from mora.distill.harmonic_layer import HarmonicLayer
from mora.distill.wave_layer import WaveLayer


class DistilledModel(nn.Module):
    """Spherical harmonics, linear layers and ReLU between them; float64.

    Source: MoRA, the distilled model: 1,024 harmonics, eight hidden layers of 512, 128
    outputs. Its weights have the names ``network.0.weight``, ``network.2.weight``, ..
    of the released file.

    Args:
        widths: outputs of each linear layer, the last one the width of the vectors.
        degree: bands of spherical harmonics.
        convention: of the harmonics.
        wavelengths_km: of finer inputs beside the harmonics.
        waves: random directions of each wavelength.
        seed: of the first weights and of the waves.

    Attributes:
        degree: bands of spherical harmonics.
        convention: of the harmonics.
        dim: width of the vectors.
        network: the linear layers and ReLU.
    """

    def __init__(
        self,
        widths: Sequence[int] = (*[512] * 8, 128),
        *,
        degree: int = 32,
        convention: Convention = "orthonormal",
        wavelengths_km: Sequence[float] = (),
        waves: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.degree, self.convention = degree, convention
        self.wavelengths_km, self.waves_each = tuple(wavelengths_km), waves
        self.dim = widths[-1]
        self.harmonics = HarmonicLayer(degree, convention)
        self.waves = WaveLayer(wavelengths_km, waves, seed) if wavelengths_km else None
        inputs = degree**2 + 2 * waves * len(wavelengths_km)
        layers: list[nn.Module] = []
        generator = torch.Generator().manual_seed(seed)
        for before, after in pairwise([inputs, *widths]):
            layers += [_linear(before, after, generator), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])

    @property
    def widths(self) -> tuple[int, ...]:
        """Give the outputs of each linear layer."""
        return tuple(linear.out_features for linear in self.network[::2])

    def inputs(self, lonlat: Float[Tensor, "n 2"]) -> Float[Tensor, "n inputs"]:
        """Give what the first linear layer reads: harmonics, then waves."""
        harmonics = self.harmonics(lonlat)
        if self.waves is None:
            return harmonics
        return torch.cat([harmonics, self.waves(lonlat)], dim=1)

    def forward(self, lonlat: Float[Tensor, "n 2"]) -> Float[Tensor, "n dim"]:
        """Give the vectors of places, with gradients to their coordinates.

        Args:
            lonlat: degrees; float64, because float32 loses a metre.

        Returns:
            Vectors in the type of the weights. Longitudes -180 and 180 give the same,
            and so do all longitudes at a pole.
        """
        return self.network(self.inputs(lonlat))


def make_network(config: DistillConfig, dim: int) -> DistilledModel:
    """Build the network that a configuration tells of, with its first weights.

    Args:
        config: inputs, width, depth and seed.
        dim: width of the vectors.
    """
    return DistilledModel(
        [config.width] * config.depth + [dim],
        degree=config.degree,
        convention=config.convention,
        wavelengths_km=config.wavelengths_km,
        waves=config.waves,
        seed=config.seed,
    )


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Make a layer that keeps the size of what passes through it and a ReLU.

    Source: He et al. 2015, eq. 12. With the first weights of PyTorch, nine layers
    shrink their input to nothing, and training begins late.
    """
    linear = skip_init(nn.Linear, inputs, outputs, dtype=torch.float64)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(linear.bias)
    return linear
