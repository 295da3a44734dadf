"""Imagery: what rasters show around the middle of each token."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.errors import ConfigError
from mora.modalities.features import Features, modality
from mora.modalities.random_convolution import pool_responses, sample_filters
from mora.modalities.rasters import WORLD, Degrees, Raster, read_raster, square_images
from mora.modalities.rows import fill_gaps
from mora.modalities.window_statistics import (
    STATISTICS,
    window_shares,
    window_statistics,
)
from mora.tokens import Tokens

METHODS = ("statistics", "random_convolution", "both")
CHANNELS = {1: ["grey"], 3: ["red", "green", "blue"]}
IMAGES_PER_BATCH = 256
IMAGES_TO_SAMPLE = 1024  # pictures that random patches are drawn from

Block = tuple[np.ndarray, list[str]]  # values with NaN for gaps, and column names


@dataclass(frozen=True)
class RasterSource:
    """One raster of an imagery modality, as a configuration names it.

    Attributes:
        path: image file.
        name: begins the names of its columns; the file's name if not given.
        classes: number of classes if the pixels are class codes from 0; codes beyond
            them (fill values) are left out. None for pictures and other quantities.
        bounds: west, south, east, north in degrees.
    """

    path: Path | str
    name: str | None = None
    classes: int | None = None
    bounds: Sequence[Degrees] = WORLD

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "RasterSource":
        """Read one entry of ``rasters``.

        Raises:
            ConfigError: if it has no path, a key that does not exist, or no classes.
        """
        unknown = set(options) - set(cls.__dataclass_fields__)
        classes = options.get("classes")
        if unknown or "path" not in options or (classes is not None and classes < 1):
            raise ConfigError(
                f"imagery: raster {dict(options)}; expected `path` and optionally "
                f"`name`, `classes` (at least 1) and `bounds`, nothing else."
            )
        return cls(**options)

    @property
    def label(self) -> str:
        """Give the name that begins the columns."""
        return self.name or Path(self.path).stem

    def read(self) -> Raster:
        """Read the file."""
        return read_raster(self.path, self.bounds, classes=self.classes is not None)


@dataclass(frozen=True)
class Convolution:
    """Options of random convolution; see :func:`build_imagery`."""

    patch_pixels: int
    filters: int
    patch: int
    bias: float
    seed: int


@modality("imagery")
def build_imagery(
    tokens: Tokens,
    frame: None = None,
    *,
    rasters: Sequence[Mapping[str, Any]],
    radii_km: Sequence[float | int] | None = None,
    method: str = "statistics",
    patch_pixels: int = 32,
    filters: int = 256,
    patch: int = 3,
    bias: float = 1.0,
    seed: int = 0,
) -> Features:
    """Describe the surroundings of each token's centroid in every raster.

    Args:
        tokens: the row order of the features; they must have a place on Earth.
        frame: none; imagery reads rasters. Here so that all builders are called alike.
        rasters: one mapping per raster with the keys of :class:`RasterSource`.
        radii_km: half sides of the square windows for statistics; None takes one and
            three times the radius of a circle of the token's area.
        method: ``statistics`` (mean, standard deviation, percentiles and gradient per
            channel), ``random_convolution`` (MOSAIKS) or ``both``. Class rasters give
            shares and entropy of their classes whatever the method.
        patch_pixels: side of the pictures for random convolution, in raster rows.
        filters: number of random patches per raster; gives twice as many columns.
        patch: side of a patch in pixels.
        bias: how strong a response to a patch must be to count.
        seed: of the patches.

    Returns:
        Features; tokens that no raster covers are missing, and a token that only some
        cover gets the mean of the others' columns (counted in the notes).

    Raises:
        ConfigError: if an option is not one of the above.
        MissingFileError: if a raster does not exist.
        NoGeometryError: if the tokens have no place.
    """
    if frame is not None:
        raise ConfigError(
            f"imagery: got a table of {len(frame)} rows; expected none. Name image "
            f"files under `rasters`."
        )
    sources = [RasterSource.from_options(options) for options in rasters]
    _check_options(sources, method, radii_km)
    convolution = Convolution(patch_pixels, filters, patch, bias, seed)
    centroids, radii = tokens.centroids(), window_radii(tokens, radii_km)
    blocks: list[Block] = []
    for source in sources:
        raster = source.read()
        if method != "random_convolution" or source.classes is not None:
            blocks += _statistics(raster, source, centroids, radii)
        if method != "statistics" and source.classes is None:
            blocks.append(_convolve(raster, source.label, centroids, convolution))
    values = np.column_stack([block for block, _ in blocks])
    columns = [name for _, names in blocks for name in names]
    filled, present, gaps = fill_gaps(values, np.ones(len(tokens)), columns)
    notes = {"rasters": len(sources), "filled_values": gaps}
    return Features.from_values(filled, present, columns, notes)


def _check_options(
    sources: list[RasterSource], method: str, radii_km: Sequence[float | int] | None
) -> None:
    pictures = sum(source.classes is None for source in sources)
    if method not in METHODS or not sources:
        raise ConfigError(
            f"imagery: method {method!r} with {len(sources)} rasters; expected one of "
            f"{', '.join(METHODS)} and at least one raster."
        )
    if method != "statistics" and pictures == 0:
        raise ConfigError(
            f"imagery: method {method!r} with {len(sources)} class rasters and no "
            f"picture; expected a raster without `classes`."
        )
    if radii_km is not None and not (len(radii_km) and min(radii_km) > 0):
        raise ConfigError(
            f"imagery: radii_km {list(radii_km)}; expected at least one, all above 0."
        )


def window_radii(
    tokens: Tokens, radii_km: Sequence[float | int] | None
) -> dict[str, Float[np.ndarray, " tokens"]]:
    """Give the half side of each window per token, by the window's name.

    Args:
        tokens: whose areas count if no radii are given.
        radii_km: the same for all tokens; None for one and three times the radius of a
            circle of each token's area.

    Returns:
        Kilometres, under names such as ``10km`` or ``3x``.
    """
    if radii_km is None:
        equivalent = np.sqrt(tokens.areas_km2() / np.pi)
        return {"1x": equivalent, "3x": 3 * equivalent}
    return {f"{radius:g}km": np.full(len(tokens), 1.0 * radius) for radius in radii_km}


def _statistics(
    raster: Raster,
    source: RasterSource,
    centroids: Float[np.ndarray, "tokens 2"],
    radii: Mapping[str, Float[np.ndarray, " tokens"]],
) -> Iterator[Block]:
    """Describe each window: quantities by their statistics, classes by their shares."""
    if source.classes is None:
        channels = CHANNELS[raster.values.shape[2]]
        names = [f"{c} {statistic}" for c in channels for statistic in STATISTICS]
    else:
        names = [*(f"class {code}" for code in range(source.classes)), "entropy"]
    for window, radius_km in radii.items():
        if source.classes is None:
            values = window_statistics(raster, centroids, radius_km)
        else:
            values = window_shares(raster, centroids, radius_km, source.classes)
        yield values, [f"{source.label} {window} {name}" for name in names]


def _convolve(
    raster: Raster,
    label: str,
    centroids: Float[np.ndarray, "tokens 2"],
    options: Convolution,
) -> Block:
    """Describe the picture around each token by random convolution, in batches."""
    side = options.patch_pixels
    inside = np.flatnonzero(raster.covers(centroids))
    values = np.full((len(centroids), 2 * options.filters), np.nan, dtype=np.float32)
    if len(inside):
        rng = np.random.default_rng(options.seed)
        few = min(len(inside), IMAGES_TO_SAMPLE)
        sample = np.sort(rng.choice(inside, few, replace=False))
        kernels = sample_filters(
            square_images(raster, centroids[sample], side),
            filters=options.filters,
            patch=options.patch,
            seed=options.seed,
        )
        for start in range(0, len(inside), IMAGES_PER_BATCH):
            batch = inside[start : start + IMAGES_PER_BATCH]
            images = square_images(raster, centroids[batch], side)
            values[batch] = pool_responses(images, kernels, bias=options.bias)
    signs = [f"{i}{sign}" for sign in "+-" for i in range(options.filters)]
    return values, [f"{label} filter {sign}" for sign in signs]
