"""AlphaEarth: the mean of published pixel vectors over each token's area."""

import numpy as np
from jaxtyping import Float32

from mora.baselines.checkpoints import require_file
from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.modalities.alphaearth import Paths, mean_pixel_vectors

WHERE = (
    "GeoTIFFs of the Satellite Embedding dataset (gs://alphaearth_foundations or "
    "source.coop/tge-labs/aef)"
)


@baseline(
    "alphaearth",
    group="pretrained",
    source="Brown et al. 2025, AlphaEarth Foundations",
    needs=("tokens",),
    needs_file=True,
    reproduction=Reproduction(
        "greatest difference from the mean of decoded pixels of a made GeoTIFF, pixel "
        "by pixel (published files not at hand: its accuracies are not reproduced)",
        0.0,
        7e-8,
        1e-6,
        "pytest tests/test_baselines_vectors.py -k alphaearth",
    ),
)
def alphaearth(
    given: BaselineInput, *, path: Paths | None = None
) -> Float32[np.ndarray, "tokens 64"]:
    """Give the mean of AlphaEarth's pixel vectors over each token's area.

    Source: Brown et al. 2025; bytes are decoded as Google's notes on the files say,
    before the mean, because the code is not linear. A pixel belongs to the token that
    holds its middle. A pixel vector has length 1, a mean does not: the more its pixels
    differ, the shorter it is, and it is left so.

    Args:
        given: needs ``tokens`` that know where they lie.
        path: a GeoTIFF of 64 bands of int8, several, or a name with ``*``; on any map,
            also from south to north as published. A pixel that two files show counts
            twice.

    Returns:
        64 columns; NaN for tokens without a pixel.

    Raises:
        MissingInputError: if there are no tokens or no file is named.
        NoGeometryError: if the tokens do not know where they lie.
        MissingFileError: if there is no such file.
        MissingExtraError: if rasterio or pyproj is not installed.
        RasterError: if a file is of another kind, or no pixel lies in a token.
    """
    tokens = given.require_tokens()
    if path is None or (isinstance(path, list | tuple) and not path):
        require_file(None, "alphaearth", WHERE)
    return mean_pixel_vectors(tokens, path)
