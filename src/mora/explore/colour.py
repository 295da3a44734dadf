"""Vectors and numbers as colours, laid out in OKLab so that equal steps look equal."""

import numpy as np
from jaxtyping import Float, UInt8

LIGHTNESS = (0.58, 0.80)  # bright enough on dark paper, dark enough on white
CHROMA = 0.115  # the sRGB gamut allows 0.10 to 0.125 in every hue at this lightness
NEGLIGIBLE = 1e-9  # share of the variance below which a component is rounding error

# Viridis (van der Walt & Smith 2015), ten evenly spaced colours.
VIRIDIS = (
    *("#440154", "#482878", "#3e4989", "#31688e", "#26828e"),
    *("#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"),
)


def principal_components(
    vectors: Float[np.ndarray, "tokens dim"], count: int = 3
) -> tuple[Float[np.ndarray, "tokens count"], Float[np.ndarray, " count"]]:
    """Give each token's place on the directions in which the vectors differ most.

    The place farthest from the mean on a direction is on its positive side, which
    makes the signs the same on every machine and for every rotation of the vectors.

    Args:
        vectors: one row per token; every entry finite.
        count: components wanted; those beyond ``dim`` are 0.

    Returns:
        Scores, and the share of the variance each component explains, in 0..1; all 0
        where the vectors are equal.
    """
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred)
    strongest = np.argsort(variance)[::-1][:count]
    scores = np.zeros((len(vectors), count))
    scores[:, : len(strongest)] = centred @ axes[:, strongest]
    farthest = np.abs(scores).argmax(axis=0)
    scores *= np.where(scores[farthest, np.arange(count)] < 0, -1.0, 1.0)
    total = (centred**2).sum()
    share = (scores**2).sum(axis=0) / (total if total > 0 else 1.0)
    scores[:, share < NEGLIGIBLE] = 0.0
    return scores, share


def vector_colours(
    vectors: Float[np.ndarray, "tokens dim"],
) -> tuple[UInt8[np.ndarray, "tokens 3"], Float[np.ndarray, " 3"]]:
    """Colour each token so that like vectors get like colours.

    Each of three principal components is replaced by its rank, so that no outlier
    takes the whole range, and drawn by :func:`component_colours`.

    Args:
        vectors: one row per token; every entry finite.

    Returns:
        Red, green, blue per token, and the share of the variance behind each of the
        three components; equal vectors are all the same grey.
    """
    from scipy.stats import rankdata  # half a second to import

    scores, share = principal_components(vectors)
    ranks = rankdata(scores, method="average", axis=0)
    return component_colours((2 * ranks - 1) / len(vectors) - 1), share


def component_colours(
    components: Float[np.ndarray, "n 3"],
) -> UInt8[np.ndarray, "n 3"]:
    """Draw three numbers as blue to yellow, green to red and dark to light.

    The first two span the square of hues, drawn into a disc (elliptical mapping,
    Fong 2015) so that no corner is more colourful than the gamut allows.

    Args:
        components: each in -1..1.

    Returns:
        Red, green, blue; a medium grey for 0, 0, 0.
    """
    first, second, third = components.T
    dark, light = LIGHTNESS
    lightness = dark + (light - dark) * (third + 1) / 2
    redness = CHROMA * second * np.sqrt(1 - first**2 / 2)
    yellowness = CHROMA * first * np.sqrt(1 - second**2 / 2)
    return oklab_to_srgb(np.column_stack([lightness, redness, yellowness]))


def oklab_to_srgb(lab: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Turn OKLab colours into sRGB bytes.

    Source: Ottosson 2020, "A perceptual color space for image processing";
    IEC 61966-2-1 for the transfer curve.

    Args:
        lab: lightness in 0..1, green to red and blue to yellow around 0.

    Returns:
        Red, green, blue in 0..255; colours outside the gamut are cut to it.
    """
    to_cones = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = ((lab @ to_cones.T) ** 3 @ to_linear.T).clip(0, 1)
    curve = 1.055 * linear ** (1 / 2.4) - 0.055
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, curve)
    return np.round(255 * encoded).astype(np.uint8)


def sequential_ramp(steps: int = 64) -> UInt8[np.ndarray, "steps 3"]:
    """Give the viridis colours from low (dark blue) to high (yellow).

    Args:
        steps: how many; >= 1.

    Returns:
        Red, green, blue per step; the lowest colour alone for one step.
    """
    anchors = np.array([list(bytes.fromhex(colour[1:])) for colour in VIRIDIS])
    place = np.linspace(0, len(anchors) - 1, steps)
    channels = [np.interp(place, range(len(anchors)), anchor) for anchor in anchors.T]
    return np.round(np.column_stack(channels)).astype(np.uint8)
