"""Columns that describe the picture around each token, by filters or by a network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mora.modalities.picture_encoders import PictureEncoder
from mora.modalities.random_convolution import pool_responses, sample_filters
from mora.modalities.rasters import Raster
from mora.modalities.windows import reading_order, square_images

IMAGES_TO_SAMPLE = 1024  # pictures that random patches are drawn from

Describe = Callable[[np.ndarray], np.ndarray]  # tokens -> one row each, NaN for gaps
Block = tuple[list[str], Describe]  # column names, and what fills the columns


@dataclass(frozen=True)
class Convolution:
    """Options of random convolution; see :func:`mora.modalities.build_imagery`."""

    filters: int
    patch: int
    bias: float
    seed: int


@dataclass(frozen=True)
class Pictures:
    """The pictures around tokens in one raster.

    Attributes:
        raster: what shows them.
        label: begins the names of its columns.
        centroids: of the tokens, in degrees.
        pixels: side of a picture in rows of the raster.
        ends: values that become 0 and 1.
    """

    raster: Raster
    label: str
    centroids: Float[np.ndarray, "tokens 2"]
    pixels: int
    ends: tuple[float | int, float | int]

    @cached_property
    def inside(self) -> Bool[np.ndarray, " tokens"]:
        """Say which tokens the raster covers."""
        return self.raster.grid.covers(self.centroids)

    def cut(
        self, batch: Int[np.ndarray, " batch"]
    ) -> Float32[np.ndarray, "batch pixels pixels channels"]:
        """Cut out the pictures of some tokens."""
        return square_images(self.raster, self.centroids[batch], self.pixels, self.ends)

    def describe(
        self, batch: Int[np.ndarray, " batch"], columns: int, describe: Describe
    ) -> Float32[np.ndarray, "batch columns"]:
        """Describe the pictures of some tokens; NaN where the raster does not reach."""
        values = np.full((len(batch), columns), np.nan, dtype=np.float32)
        shown = self.inside[batch]
        if shown.any():
            values[shown] = describe(self.cut(batch[shown]))
        return values


def convolution_block(
    pictures: Pictures,
    reach: Float[np.ndarray, " tokens"],
    options: Convolution,
    batch_size: int,
) -> Block:
    """Describe pictures by random convolution, with patches drawn from some of them.

    Args:
        pictures: around the tokens; of at least one token.
        reach: half side of what is read around each token, in km, for the order.
        options: of the convolution.
        batch_size: pictures that are cut out together.
    """
    rng = np.random.default_rng(options.seed)
    few = min(pictures.inside.sum(), IMAGES_TO_SAMPLE)
    sample = np.sort(rng.choice(np.flatnonzero(pictures.inside), few, replace=False))
    shape = (few, pictures.pixels, pictures.pixels, len(pictures.raster.channels))
    shots = np.empty(shape, dtype=np.float32)
    near = pictures.centroids[sample], reach[sample]
    for batch in reading_order(pictures.raster, *near, batch_size):
        shots[batch] = pictures.cut(sample[batch])
    kernels = sample_filters(
        shots, filters=options.filters, patch=options.patch, seed=options.seed
    )

    def pool(images: np.ndarray) -> np.ndarray:
        return pool_responses(images, kernels, bias=options.bias)

    def describe(batch: np.ndarray) -> np.ndarray:
        return pictures.describe(batch, 2 * options.filters, pool)

    signs = [f"{i}{sign}" for sign in "+-" for i in range(options.filters)]
    return [f"{pictures.label} filter {sign}" for sign in signs], describe


def encoder_block(pictures: Pictures, encoder: PictureEncoder) -> Block:
    """Describe pictures by a network that others trained.

    Args:
        pictures: around the tokens.
        encoder: see :func:`mora.modalities.picture_encoders.load_picture_encoder`.
    """

    def describe(batch: np.ndarray) -> np.ndarray:
        return pictures.describe(batch, encoder.dim, encoder.encode)

    return [f"{pictures.label} network {i}" for i in range(encoder.dim)], describe
