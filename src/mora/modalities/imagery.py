"""Imagery: what rasters show around the middle of each token."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mora.errors import ConfigError
from mora.modalities.features import Features, modality
from mora.modalities.picture_blocks import (
    Block,
    Convolution,
    Pictures,
    convolution_block,
    encoder_block,
)
from mora.modalities.picture_encoders import PICTURE_ENCODERS, load_picture_encoder
from mora.modalities.raster_sources import RasterSource, check_rasters
from mora.modalities.rasters import Raster
from mora.modalities.rows import fill_gaps
from mora.modalities.window_statistics import (
    STATISTICS,
    window_shares,
    window_statistics,
)
from mora.modalities.windows import reading_order
from mora.progress import Progress, silent
from mora.tokens import Tokens

METHODS = ("statistics", "random_convolution", "both", *PICTURE_ENCODERS)
TOKENS_PER_BATCH = 256


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
    memory_gb: float = 1.0,
    progress: Progress = silent,
) -> Features:
    """Describe the surroundings of each token's centroid in every raster.

    Args:
        tokens: the row order of the features; they must have a place on Earth.
        frame: none; imagery reads rasters. Here so that all builders are called alike.
        rasters: one mapping per raster with the keys of :class:`RasterSource`.
        radii_km: half sides of the square windows for statistics; None takes one and
            three times the radius of a circle of the token's area.
        method: ``statistics`` (mean, standard deviation, percentiles and gradient per
            channel), ``random_convolution`` (MOSAIKS), ``both`` of these, or
            ``efficientnet-lite0`` (a network whose weights are a package: 1280 columns,
            extra ``encoders``; red, green and blue, or grey). Class rasters give shares
            and entropy of their classes whatever the method.
        patch_pixels: side of the pictures for random convolution and for the network,
            in raster rows.
        filters: number of random patches per raster; gives twice as many columns.
        patch: side of a patch in pixels.
        bias: how strong a response to a patch must be to count.
        seed: of the patches.
        memory_gb: GB of a GeoTIFF that are kept, > 0. It is read block by block; each
            block once, if two rows of the blocks that are needed fit in (the notes
            count pieces used and read). Other images are read whole.
        progress: called with the tokens done, over all rasters, and their total.

    Returns:
        Features; tokens that no raster covers are missing, and a token that only some
        cover gets the mean of the others' columns (counted in the notes).

    Raises:
        ConfigError: if an option is not one of the above.
        MissingFileError: if a raster does not exist.
        MissingExtraError: if the package of the method is not installed.
        NoGeometryError: if the tokens have no place.
    """
    if frame is not None:
        raise ConfigError(
            f"imagery: got a table of {len(frame)} rows; expected none. Name image "
            f"files under `rasters`."
        )
    sources = [RasterSource.from_options(options) for options in rasters]
    _check_options(sources, method, radii_km)
    check_rasters(tokens, rasters=rasters, memory_gb=memory_gb)
    convolution = Convolution(filters, patch, bias, seed)
    encoder = load_picture_encoder(method) if method in PICTURE_ENCODERS else None
    centroids, radii = tokens.centroids(), window_radii(tokens, radii_km)
    parts: list[np.ndarray] = []
    columns: list[str] = []
    notes: dict[str, int | str] = {"rasters": len(sources)}
    if encoder is not None:
        notes["encoder"] = encoder.name

    def advance(done: int) -> None:
        progress(len(parts) * len(tokens) + done, len(sources) * len(tokens))

    for source in sources:
        with closing(source.open(memory_gb)) as raster:
            reach = _reach(raster, centroids, radii, patch_pixels)
            blocks: list[Block] = []
            if method in ("statistics", "both") or source.classes is not None:
                blocks += _statistics(raster, source, centroids, radii)
            if method != "statistics" and source.classes is None:
                # of many bits, the range is read from the whole raster: only if needed
                low, high = source.value_range or raster.value_range
                around = centroids, patch_pixels, (low, high)
                pictures = Pictures(raster, source.label, *around)
                if encoder is None:
                    shape = reach, convolution, TOKENS_PER_BATCH
                    blocks.append(convolution_block(pictures, *shape))
                else:
                    blocks.append(encoder_block(pictures, encoder))
            parts.append(_describe(raster, centroids, reach, blocks, advance))
            columns += [name for names, _ in blocks for name in names]
            notes |= _facts(raster, source, centroids)
    filled, present, gaps = fill_gaps(
        np.column_stack(parts), np.ones(len(tokens)), columns
    )
    notes["filled_values"] = gaps
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
    labels = [source.label for source in sources]
    if len(set(labels)) < len(labels):
        raise ConfigError(
            f"imagery: rasters called {', '.join(labels)}; expected a `name` of its "
            f"own for each, which its columns begin with."
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


def _reach(
    raster: Raster,
    centroids: Float[np.ndarray, "tokens 2"],
    radii: Mapping[str, Float[np.ndarray, " tokens"]],
    patch_pixels: int,
) -> Float[np.ndarray, " tokens"]:
    """Give the half side of the largest window or picture around each token."""
    picture = raster.grid.km_per_row(centroids) * patch_pixels / 2
    return np.max([picture, *radii.values()], axis=0)


def _describe(
    raster: Raster,
    centroids: Float[np.ndarray, "tokens 2"],
    reach: Float[np.ndarray, " tokens"],
    blocks: Sequence[Block],
    advance: Callable[[int], None],
) -> Float[np.ndarray, "tokens columns"]:
    """Fill in all blocks together, so that every piece of the raster is read once."""
    values = np.empty((len(centroids), sum(len(names) for names, _ in blocks)))
    done = 0
    for batch in reading_order(raster, centroids, reach, TOKENS_PER_BATCH):
        values[batch] = np.column_stack([describe(batch) for _, describe in blocks])
        done += len(batch)
        advance(done)
    return values


def _facts(
    raster: Raster, source: RasterSource, centroids: Float[np.ndarray, "tokens 2"]
) -> dict[str, int | str]:
    """Say where a raster lies, what was read, and how many tokens lie outside."""
    outside = int((~raster.grid.covers(centroids)).sum())
    facts = {**raster.facts(), "outside": outside}
    return {f"{source.label} {fact}": value for fact, value in facts.items()}


def _statistics(
    raster: Raster,
    source: RasterSource,
    centroids: Float[np.ndarray, "tokens 2"],
    radii: Mapping[str, Float[np.ndarray, " tokens"]],
) -> Iterator[Block]:
    """Describe each window: quantities by their statistics, classes by their shares."""
    if source.classes is None:
        names = [
            f"{c} {statistic}" for c in raster.channels for statistic in STATISTICS
        ]
    else:
        names = [*(f"class {code}" for code in range(source.classes)), "entropy"]

    def describe(
        batch: Int[np.ndarray, " batch"], radius_km: Float[np.ndarray, " tokens"]
    ) -> Float[np.ndarray, "batch columns"]:
        around = raster, centroids[batch], radius_km[batch]
        if source.classes is None:
            return window_statistics(*around)
        return window_shares(*around, source.classes)

    for window, radius_km in radii.items():
        yield (
            [f"{source.label} {window} {name}" for name in names],
            partial(describe, radius_km=radius_km),
        )
