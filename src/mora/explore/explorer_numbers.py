"""Numbers of the explorer page: vectors in few bytes, flat outlines, legends."""

from typing import Any

import numpy as np
import shapely
from jaxtyping import Float, Float32, Int8, Real, UInt8, UInt32

from mora.explore.colour import oklab_to_srgb
from mora.explore.explorer_run import Column
from mora.explore.map import colour_scale

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def rounded(
    vectors: Float[np.ndarray, "tokens dim"],
) -> tuple[Int8[np.ndarray, "tokens dim"], Float32[np.ndarray, " tokens"]]:
    """Round each vector to 8 bits of its own largest entry.

    Args:
        vectors: one row per token, finite.

    Returns:
        Entries in -127..127, and the scale of each row: their product is the vector
        within half a scale an entry. Zero vectors have scale 0.
    """
    scale = np.abs(vectors).max(axis=1, initial=0) / 127
    entries = np.round(vectors / np.where(scale > 0, scale, 1)[:, None])
    return entries.astype(np.int8), scale.astype(np.float32)


def diverging_ramp(steps: int = 64) -> UInt8[np.ndarray, "steps 3"]:
    """Give colours from blue over a light grey to red, for numbers around 0.

    Args:
        steps: how many; >= 2.

    Returns:
        Red, green, blue per step; the two ends are equally dark.
    """
    place = np.linspace(-1, 1, steps)
    lightness = 0.87 - 0.35 * np.abs(place)
    red, yellow = 0.15 * place.clip(0), 0.07 * place.clip(0)
    green, blue = 0.04 * place.clip(None, 0), 0.13 * place.clip(None, 0)
    return oklab_to_srgb(np.column_stack([lightness, red + green, yellow + blue]))


def outline_arrays(
    outlines: np.ndarray,
) -> dict[str, Float[np.ndarray, "corners 2"] | UInt32[np.ndarray, " _"]]:
    """Flatten polygons into corners, where rings begin, and where places begin.

    Args:
        outlines: shapely polygons, none of them empty.

    Returns:
        ``corners`` without the one that closes a ring; ``ring_start`` counts corners
        and ``token_start`` rings, each with the end of the last. Outer rings run
        counter-clockwise and holes clockwise, which tells them apart.
    """
    parts, part_token = shapely.get_parts(
        shapely.orient_polygons(outlines), return_index=True
    )
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    corners, corner_ring = shapely.get_coordinates(rings, return_index=True)
    closing = np.diff(corner_ring, append=-1) != 0
    sizes = np.bincount(corner_ring[~closing], minlength=len(rings))
    of_token = np.bincount(part_token[ring_part], minlength=len(outlines))
    starts = [np.append(0, np.cumsum(n)).astype(np.uint32) for n in (sizes, of_token)]
    return {
        "corners": corners[~closing],
        "ring_start": starts[0],
        "token_start": starts[1],
    }


def column_legend(column: Column) -> dict[str, Any]:
    """Say where the colours of a column begin and end, and how its values spread.

    Args:
        column: NaN and infinities count as missing.

    Returns:
        ``low`` and ``high`` end of the colours, ``log`` if steps are ratios, the
        ``ramp``, the number of ``known`` values and their 5, 25, 50, 75 and 95 %
        ``quantiles`` (empty where nothing is known). Ends of residuals are equally far
        from 0.
    """
    values: Real[np.ndarray, " known"] = column.values[np.isfinite(column.values)]
    low, high, log = colour_scale(column.values)
    ramp = "sequential"
    if column.kind == "residual":
        end = max(abs(low), abs(high))
        low, high, log, ramp = -end, end, False, "diverging"
    quantiles = np.quantile(values, QUANTILES).tolist() if len(values) else []
    known = {"known": len(values), "quantiles": quantiles}
    return {"low": low, "high": high, "log": log, "ramp": ramp, **known}
