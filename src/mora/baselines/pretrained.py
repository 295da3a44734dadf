"""Location encoders that others trained: places through weights read from a file."""

import importlib.util
import io
import math
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64

from mora.baselines.checkpoints import (
    CheckpointError,
    Weights,
    linear_names,
    read_checkpoint,
    require_file,
    require_settings,
    take_weights,
)
from mora.baselines.registry import (
    BaselineInput,
    MissingInputError,
    Reproduction,
    baseline,
)
from mora.baselines.waves import Encode, Lonlat, embed_in_blocks
from mora.harmonics import spherical_harmonics

GEOCLIP_PACKAGE = "geoclip"
GEOCLIP_WEIGHTS = "model/weights/location_encoder_weights.pth"  # within the package
GEOCLIP_WHERE = (
    "the file location_encoder_weights.pth or the wheel of the package geoclip "
    "(pip download --no-deps geoclip)"
)
GEOCLIP_CAPSULES = 3
GEOCLIP_LINEARS = ("capsule.1", "capsule.3", "capsule.5", "head.0")
EQUAL_EARTH = (1.340264, -0.081106, 0.000893, 0.003796)  # A1..A4
EQUAL_EARTH_SCALE = 66.50336 / 180  # GeoCLIP's own

SATCLIP_WHERE = "a SatCLIP checkpoint (satclip-*.ckpt, microsoft/SatCLIP-*)"
SATCLIP_W0 = 30.0  # of its first layer


@baseline(
    "geoclip",
    group="pretrained",
    source="Vivanco et al. 2023, GeoCLIP",
    needs=("lonlat",),
    needs_file=True,
    reproduction=Reproduction(
        "greatest difference from the package geoclip 1.3.0's own encoder (float32) "
        "with its weights at 2,000 random places (its accuracies need its photos: not "
        "reproduced)",
        0.0,
        2.4e-5,
        1e-4,
        "MORA_GEOCLIP=<wheel> pytest tests/test_baselines_pretrained.py -k own_code",
    ),
)
def geoclip(
    given: BaselineInput, *, path: Path | str | None = None
) -> Float32[np.ndarray, "tokens dim"]:
    """Give GeoCLIP's vectors of the tokens' middles, learned from geotagged photos.

    Source: Vivanco et al. 2023, section 3: Equal Earth coordinates, random Fourier
    features at three scales, a network for each, summed. Vectors are not scaled to
    length 1.

    Args:
        given: needs ``lonlat``.
        path: ``location_encoder_weights.pth``, or a wheel (``.whl``) of the package
            ``geoclip``; None takes the file of the installed package, which is not
            imported.

    Returns:
        512 columns.

    Raises:
        MissingInputError: if the tokens have no known place, or no file is named and
            the package is not installed.
        MissingFileError: if there is no such file.
        CheckpointError: if it holds other weights.
    """
    lonlat = given.require_lonlat()
    file, source = _open_geoclip(path)
    state = read_checkpoint(file, source)
    capsules = _geoclip_capsules(take_weights(state, ("",), source))

    def encode(places: Lonlat) -> Float64[np.ndarray, "n dim"]:
        projected = equal_earth(places)
        return sum(capsule(projected) for capsule in capsules)

    return embed_in_blocks(encode, lonlat)


def equal_earth(lonlat: Lonlat) -> Float64[np.ndarray, "n 2"]:
    """Give coordinates on the Equal Earth map, scaled as GeoCLIP has them.

    Source: Savric et al. 2019, The Equal Earth map projection, eq. 7, times GeoCLIP's
    66.50336 / 180.

    Args:
        lonlat: degrees.

    Returns:
        ``x`` and ``y``; 0 where longitude and latitude are 0.
    """
    a1, a2, a3, a4 = EQUAL_EARTH
    lon, lat = np.radians(lonlat).T
    theta = np.arcsin(math.sqrt(3) / 2 * np.sin(lat))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2 * math.sqrt(3) * lon * np.cos(theta) / (3 * slope)
    y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
    return np.stack([x, y], axis=1) * EQUAL_EARTH_SCALE


def _open_geoclip(path: Path | str | None) -> tuple[Path | io.BytesIO, str]:
    """Find the weights: as named, inside a wheel, or in the installed package."""
    if path is None:
        # looking up a package of the top level does not import it
        spec = importlib.util.find_spec(GEOCLIP_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingInputError(
                "file for 'geoclip'",
                f"Give its `path` ({GEOCLIP_WHERE}), or install the package.",
            )
        path = Path(spec.submodule_search_locations[0]) / GEOCLIP_WEIGHTS
    file = require_file(path, "geoclip", GEOCLIP_WHERE)
    if file.suffix != ".whl":
        return file, str(file)
    try:
        with zipfile.ZipFile(file) as wheel:
            weights = wheel.read(f"{GEOCLIP_PACKAGE}/{GEOCLIP_WEIGHTS}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise CheckpointError(
            f"{file} is no wheel with {GEOCLIP_WEIGHTS} ({error}); expected the "
            f"package geoclip 1.x. Get it with: pip download --no-deps geoclip"
        ) from error
    return io.BytesIO(weights), str(file)


def _geoclip_capsules(weights: Weights) -> list[Encode]:
    """Build the network of each scale, all with as many outputs."""
    capsules = [f"LocEnc{number}" for number in range(GEOCLIP_CAPSULES)]
    names = [*linear_names(GEOCLIP_LINEARS), "capsule.0.b"]
    weights.require_names([f"{part}.{name}" for part in capsules for name in names])
    width = len(weights.array("LocEnc0.head.0.bias", None))
    return [_geoclip_capsule(weights, part, width) for part in capsules]


def _geoclip_capsule(weights: Weights, part: str, width: int) -> Encode:
    directions = weights.array(f"{part}.capsule.0.b", None, 2)
    names = [f"{part}.{name}" for name in GEOCLIP_LINEARS]
    layers = weights.linears(names, 2 * len(directions))
    weights.array(f"{part}.head.0.bias", width)  # all capsules are summed

    def capsule(projected: Float[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n dim"]:
        angle = 2 * np.pi * projected @ directions.T
        x = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
        for layer in layers[:-1]:
            x = np.maximum(layer(x), 0)
        return layers[-1](x)

    return capsule


@baseline(
    "satclip",
    group="pretrained",
    source="Klemmer et al. 2025, SatCLIP",
    needs=("lonlat",),
    needs_file=True,
    reproduction=Reproduction(
        "greatest difference from SatCLIP's layers in PyTorch with drawn weights, "
        "L = 10 and 40 (published weights not at hand: its accuracies are not "
        "reproduced)",
        0.0,
        1.4e-7,
        1e-5,
        "pytest tests/test_baselines_pretrained.py -k satclip",
    ),
)
def satclip(
    given: BaselineInput, *, path: Path | str | None = None
) -> Float32[np.ndarray, "tokens dim"]:
    """Give SatCLIP's vectors of the tokens' middles, learned from satellite images.

    Source: Klemmer et al. 2025: spherical harmonics through a network of sines.
    Vectors are not scaled to length 1. The harmonics are exact; those of the authors'
    ``analytic`` code lose digits towards the poles for many bands.

    Args:
        given: needs ``lonlat``.
        path: a Lightning checkpoint as published (``satclip-vit16-l40.ckpt``).

    Returns:
        256 columns.

    Raises:
        MissingInputError: if the tokens have no known place or no file is named.
        MissingFileError: if there is no such file.
        CheckpointError: if it holds another model.
    """
    lonlat = given.require_lonlat()
    file = require_file(path, "satclip", SATCLIP_WHERE)
    checkpoint = read_checkpoint(file, str(file))
    settings = require_settings(
        checkpoint.get("hyper_parameters"),
        {
            "le_type": {"sphericalharmonics"},
            "pe_type": {"siren"},
            "harmonics_calculation": {"analytic", "closed-form"},
            "legendre_polys": (int,),
            "num_hidden_layers": (int,),
        },
        str(file),
    )
    degree, hidden = settings["legendre_polys"], settings["num_hidden_layers"]
    prefixes = ("model.location.nnet.", "location.nnet.", "nnet.")
    weights = take_weights(checkpoint.get("state_dict"), prefixes, str(file))
    names = [*(f"layers.{layer}" for layer in range(hidden)), "last_layer"]
    weights.require_names(linear_names(names))
    layers = weights.linears(names, degree**2)
    factors = harmonic_factors(degree, settings["harmonics_calculation"])

    def encode(places: Lonlat) -> Float64[np.ndarray, "n dim"]:
        x = spherical_harmonics(places, degree) * factors
        for number, layer in enumerate(layers[:-1]):
            x = np.sin((SATCLIP_W0 if number == 0 else 1) * layer(x))
        return layers[-1](x)

    return embed_in_blocks(encode, lonlat)


def harmonic_factors(degree: int, calculation: str) -> Float64[np.ndarray, " dim"]:
    """Give what SatCLIP's harmonics are multiples of ours by, column by column.

    Source: SatCLIP's code. Its ``analytic`` columns of m = 0 are pi times too large
    (a misplaced bracket in its generator); ``closed-form``
    has the Condon-Shortley sign.

    Args:
        degree: bands of the harmonics.
        calculation: ``analytic`` or ``closed-form``.
    """
    order = np.concatenate(
        [np.abs(np.arange(-band, band + 1)) for band in range(degree)]
    )
    if calculation == "analytic":
        return np.where(order == 0, np.pi, 1.0)
    return (-1.0) ** order
