"""Position encodings: fixed functions of longitude and latitude, without training."""

import numpy as np
from jaxtyping import Float32, Float64

from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.baselines.waves import (
    Lonlat,
    embed_in_blocks,
    geometric_radii,
    plane_waves,
    sphere_waves,
)
from mora.errors import MoraError
from mora.harmonics import spherical_harmonics


@baseline(
    "space2vec",
    group="analytical",
    source="Mai et al. 2020, Multi-Scale Representation Learning (Space2Vec)",
    needs=("lonlat",),
    settings=(
        {"variant": "grid", "scales": 32, "smallest": 0.1, "largest": 360},
        {"variant": "theory", "scales": 64, "smallest": 0.1, "largest": 360},
        {"variant": "grid", "scales": 128, "smallest": 0.005, "largest": 360},
        {"variant": "grid", "scales": 64, "smallest": 0.05, "largest": 360},
    ),
    reproduction=Reproduction(
        "greatest difference from eqs. 4-6 written out, without the network",
        0.0,
        3e-8,
        1e-6,
        "pytest tests/test_baselines_analytical.py",
    ),
)
def space2vec(
    given: BaselineInput,
    *,
    variant: str = "grid",
    scales: int = 32,
    smallest: float | int = 0.1,
    largest: float | int = 360,
) -> Float32[np.ndarray, "tokens dim"]:
    """Give waves along longitude and latitude, from short to long (Space2Vec).

    Source: Mai et al. 2020, eqs. 4-6, without the network that follows. The settings
    are those of the runs published with TorchSpatial (Wu et al. 2024).

    Args:
        given: needs ``lonlat``.
        variant: ``grid``, or ``theory`` with three directions 120 degrees apart.
        scales: how many radii, >= 2.
        smallest: radius in degrees, > 0.
        largest: radius in degrees.

    Returns:
        128 columns by default: ``4 scales`` for ``grid``, ``6 scales`` for ``theory``.

    Raises:
        MissingInputError: if the tokens have no known place.
        MoraError: if an option is out of range.
    """
    radii = geometric_radii(scales, smallest, largest)
    return embed_in_blocks(
        lambda lonlat: plane_waves(lonlat, variant, radii), given.require_lonlat()
    )


@baseline(
    "sphere2vec",
    group="analytical",
    source="Mai et al. 2023, Sphere2Vec",
    needs=("lonlat",),
    settings=(
        {"variant": "sphereC+", "scales": 16, "smallest": 0.001},
        {"variant": "sphereC+", "scales": 64, "smallest": 0.001},
        {"variant": "sphereC+", "scales": 32, "smallest": 0.01},
        {"variant": "sphereC", "scales": 64, "smallest": 0.001},
    ),
    reproduction=Reproduction(
        "greatest difference from the formulas of sphereC and sphereC+ written out",
        0.0,
        3e-8,
        1e-6,
        "pytest tests/test_baselines_analytical.py",
    ),
)
def sphere2vec(
    given: BaselineInput,
    *,
    variant: str = "sphereC+",
    scales: int = 16,
    smallest: float | int = 0.001,
    largest: float | int = 1,
) -> Float32[np.ndarray, "tokens dim"]:
    """Give waves on the sphere, from short to long (Sphere2Vec).

    Source: Mai et al. 2023, without the network that follows. MoRA's Table 2 has 96
    columns, hence 16 scales; it does not give the radii, which are those of the runs
    published with TorchSpatial (Wu et al. 2024).

    Args:
        given: needs ``lonlat``.
        variant: ``sphereC+`` or ``sphereC``.
        scales: how many radii, >= 2.
        smallest: radius, > 0; divides the angles.
        largest: radius; at 1 the longest wave goes once around the Earth.

    Returns:
        96 columns by default: ``6 scales`` for ``sphereC+``, ``3 scales`` for
        ``sphereC``.

    Raises:
        MissingInputError: if the tokens have no known place.
        MoraError: if an option is out of range.
    """
    radii = geometric_radii(scales, smallest, largest)
    return embed_in_blocks(
        lambda lonlat: sphere_waves(lonlat, variant, radii), given.require_lonlat()
    )


@baseline(
    "nerf",
    group="analytical",
    source="Mildenhall et al. 2020, NeRF",
    needs=("lonlat",),
    settings=(
        {"frequencies": 16},
        {"frequencies": 10},
        {"frequencies": 4},
        {"frequencies": 32},
    ),
    reproduction=Reproduction(
        "greatest difference from eq. 4 on the unit sphere, written out",
        0.0,
        3e-8,
        1e-6,
        "pytest tests/test_baselines_analytical.py",
    ),
)
def nerf(
    given: BaselineInput, *, frequencies: int = 16
) -> Float32[np.ndarray, "tokens dim"]:
    """Give waves along the three axes of the unit sphere, each half as long (NeRF).

    Source: Mildenhall et al. 2020, eq. 4, on x, y and z of a place on the unit sphere
    as TorchSpatial (Wu et al. 2024) has it.

    Args:
        given: needs ``lonlat``.
        frequencies: per axis: ``pi``, ``2 pi``, ``4 pi``, ...; 1..32. Beyond about 26,
            waves are shorter than a metre.

    Returns:
        ``6 frequencies`` columns in [-1, 1], 96 by default as in MoRA's Table 2: all
        sines, axis by axis, then all cosines.

    Raises:
        MissingInputError: if the tokens have no known place.
        MoraError: if ``frequencies`` is out of range.
    """
    if not 1 <= frequencies <= 32:
        raise MoraError(f"frequencies is {frequencies}; expected 1..32.")
    factors = np.pi * 2.0 ** np.arange(frequencies)

    def encode(lonlat: Lonlat) -> Float64[np.ndarray, "n dim"]:
        z, x, y = sphere_waves(lonlat, "sphereC", np.ones(1)).T
        angle = np.stack([x, y, z], axis=1)[:, :, None] * factors
        waves = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
        return waves.reshape(len(lonlat), -1)

    return embed_in_blocks(encode, given.require_lonlat())


@baseline(
    "siren",
    group="analytical",
    source="Russwurm et al. 2024, Geographic Location Encoding",
    needs=("lonlat",),
    settings=(
        {"degree": 32, "layers": 0},
        {"degree": 32, "layers": 2},
        {"degree": 10, "layers": 2},
        {"degree": 10, "layers": 0},
    ),
    reproduction=Reproduction(
        "with no layers, greatest difference from the 1,024 harmonics",
        0.0,
        0.0,
        0.0,
        "pytest tests/test_baselines_analytical.py",
    ),
)
def siren(
    given: BaselineInput,
    *,
    degree: int = 32,
    layers: int = 0,
    width: int = 512,
    w0: float | int = 30,
) -> Float32[np.ndarray, "tokens dim"]:
    """Give spherical harmonics, and behind them an untrained network of sines (SIREN).

    Source: Russwurm et al. 2024; the network and how its weights are drawn are those
    of Sitzmann et al. 2020, section 3.2. MoRA's Table 2 lists "Siren" with 1,024
    columns, which are the harmonics alone: ``layers=0``, the default.

    Args:
        given: needs ``lonlat``; ``seed`` draws the weights.
        degree: bands of the harmonics, >= 1.
        layers: of the network, >= 0; the weights stay as drawn.
        width: of each layer, >= 1.
        w0: how fast the sines of the first layer turn, > 0.

    Returns:
        ``degree**2`` columns without layers (1,024 by default), else ``width`` columns
        in [-1, 1].

    Raises:
        MissingInputError: if the tokens have no known place.
        MoraError: if an option is out of range.
    """
    if layers < 0 or width < 1 or w0 <= 0:
        raise MoraError(
            f"layers is {layers}, width {width} and w0 {w0}; expected layers >= 0, "
            f"width >= 1 and w0 > 0."
        )
    network = _draw_siren(np.random.default_rng(given.seed), degree**2, layers, width)

    def encode(lonlat: Lonlat) -> Float64[np.ndarray, "n dim"]:
        x = spherical_harmonics(lonlat, degree)
        for layer, (weight, bias) in enumerate(network):
            x = np.sin((w0 if layer == 0 else 1) * (x @ weight + bias))
        return x

    return embed_in_blocks(encode, given.require_lonlat())


def _draw_siren(
    rng: np.random.Generator, inputs: int, layers: int, width: int
) -> list[tuple[Float64[np.ndarray, "inputs width"], Float64[np.ndarray, " width"]]]:
    """Draw weights and biases so that every layer spreads as widely as the last."""
    network = []
    for layer in range(layers):
        reach = 1 / inputs if layer == 0 else np.sqrt(6 / inputs)
        weight = rng.uniform(-reach, reach, (inputs, width))
        network.append((weight, rng.uniform(-reach, reach, width)))
        inputs = width
    return network
