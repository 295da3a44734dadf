"""The embedded places as one page: a map that works offline, in any browser."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float, Int8, Real

from mora.errors import MoraError, examples
from mora.explore.colour import component_colours, sequential_ramp, vector_colours
from mora.tokens import GridTokens, Tokens

# Each needs those before it.
SCRIPTS = tuple(f"map_{part}.js" for part in ("data", "draw", "page", "place", "input"))
KEY_SIDE = 24  # colours along each side of the key to the vector colours
ENDS = (2, 98)  # percentiles of a layer that get the first and the last colour
SKEWED = 5  # a layer whose high end exceeds its median this often is drawn in logs
DECADES = 1e4  # most that a log scale spans


def write_map(
    path: Path,
    tokens: Tokens,
    vectors: Float[np.ndarray, "tokens dim"],
    *,
    title: str,
    notes: Sequence[str] = (),
    layers: Mapping[str, Real[np.ndarray, " values"]] | None = None,
    labels: Sequence[str] | None = None,
    scores: Sequence[tuple[str, ...]] | None = None,
    similar: int = 10,
) -> None:
    """Write a page on which every place has the colour of its vector.

    The page is one HTML file without any outside resource. A click on a place lists
    the places most similar to it: by cosine after subtracting the mean vector, which
    takes away what all places share, from vectors rounded to 8 bits.

    Args:
        path: the HTML file to write; replaced if it exists.
        tokens: places with outlines. Grid cells are drawn in their own plane, y
            upwards, all others in Web Mercator.
        vectors: one row per token, finite.
        title: heading of the page.
        notes: what a reader must know, shown below the heading.
        layers: numbers per token that can be shown in place of the vectors, by name.
            A unit may end the name in parentheses: ``Median income (US$)``. Missing
            values are NaN and drawn grey.
        labels: a human name per token; where empty, the token's id is shown.
        scores: rows of a small table, the first of them its heading.
        similar: places listed as similar; >= 1.

    Raises:
        MoraError: if lengths differ, a vector is not finite or ``similar`` is not
            positive.
        NoGeometryError: if the tokens have no outlines.
    """
    _check(tokens, vectors, layers or {}, labels, similar)
    data = {
        "kind": tokens.kind,
        "unitKm": tokens.cell_km if isinstance(tokens, GridTokens) else None,
        "ids": tokens.names(),
        "labels": list(labels or []),
        "similar": similar,
        "dim": vectors.shape[1],
        "vectors": _encode(quantise(vectors)),
        "layers": [_layer(name, values) for name, values in (layers or {}).items()],
        **_outlines(tokens),
        **_colours(vectors),
    }
    page = _page(title, notes, scores or (), data)
    path.write_text(page, encoding="utf-8", newline="\n")


def quantise(
    vectors: Float[np.ndarray, "tokens dim"],
) -> Int8[np.ndarray, "tokens dim"]:
    """Centre the vectors and round each to 8 bits of its own largest entry.

    The scale of a row drops out of a cosine, so none is kept.

    Args:
        vectors: one row per token, finite.

    Returns:
        Entries in -127..127; 0 throughout for a row equal to the mean.
    """
    centred = vectors - vectors.mean(axis=0)
    largest = np.abs(centred).max(axis=1, keepdims=True, initial=0)
    return np.round(127 * centred / np.where(largest > 0, largest, 1)).astype(np.int8)


def colour_scale(values: Real[np.ndarray, " n"]) -> tuple[float, float, bool]:
    """Choose where the colours of a layer begin and end, and whether in logs.

    Args:
        values: NaN and infinities count as missing.

    Returns:
        Low and high end, ``low < high``, from the middle 96 % of the values, and
        whether steps are ratios: for values >= 0 whose high end is far above the
        median. 0, 1 and no logs where everything is missing.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return 0.0, 1.0, False
    low, median, high = np.percentile(known, [ENDS[0], 50, ENDS[1]]).tolist()
    if low == high:
        low, high = float(known.min()), float(known.max())
    if low == high:
        return low - 0.5, high + 0.5, False
    if known.min() < 0 or high <= SKEWED * median:
        return low, high, False
    return max(low, high / DECADES), high, True


def _check(
    tokens: Tokens,
    vectors: np.ndarray,
    layers: Mapping[str, np.ndarray],
    labels: Sequence[str] | None,
    similar: int,
) -> None:
    """Refuse what does not fit together."""
    lengths = {"vectors": len(vectors)}
    lengths |= {f"layer {name!r}": len(values) for name, values in layers.items()}
    lengths |= {} if labels is None else {"labels": len(labels)}
    for what, length in lengths.items():
        if length != len(tokens):
            raise MoraError(
                f"{what}: {length} rows for {len(tokens)} tokens; expected one row "
                f"per token, in token order."
            )
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        names = [tokens.name(tokens.ids[row]) for row in broken[:4]]
        raise MoraError(
            f"{len(broken)} of {len(vectors)} vectors are not finite (first: "
            f"{examples(names)}); expected numbers. Leave these places out."
        )
    if similar < 1:
        raise MoraError(f"similar is {similar}; expected at least one place to list.")


def _encode(array: np.ndarray) -> str:
    """Write an array's bytes as text; the page knows dtype and shape."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _layer(name: str, values: np.ndarray) -> dict[str, Any]:
    """Describe one layer for the page."""
    unit = re.search(r"\S\s*\(([^()]+)\)$", name)
    low, high, logarithmic = colour_scale(values)
    return {
        "name": name,
        "unit": unit[1] if unit else "",
        "low": low,
        "high": high,
        "log": logarithmic,
        "values": _encode(values.astype("<f4")),
    }


def _colours(vectors: np.ndarray) -> dict[str, Any]:
    """Give the colours of the vectors, their key, and the ramp of the layers."""
    colours, share = vector_colours(vectors)
    steps = np.linspace(-1, 1, KEY_SIDE)
    across, up = (axis.ravel() for axis in np.meshgrid(steps, steps[::-1]))
    key = component_colours(np.column_stack([across, up, np.zeros(KEY_SIDE**2)]))
    return {
        "colours": _encode(colours),
        "share": share.tolist(),
        "key": _encode(key),
        "ramp": _encode(sequential_ramp()),
    }


def _outlines(tokens: Tokens) -> dict[str, str]:
    """Flatten the outlines: corners, where rings begin, and where tokens begin."""
    outlines = tokens.polygons()
    if tokens.kind != GridTokens.kind:
        outlines = unbroken(outlines)
    parts, part_token = shapely.get_parts(outlines, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    corners, corner_ring = shapely.get_coordinates(rings, return_index=True)
    closing = np.diff(corner_ring, append=-1) != 0  # repeats the ring's first corner
    ring_sizes = np.bincount(corner_ring[~closing], minlength=len(rings))
    token_rings = np.bincount(part_token[ring_part], minlength=len(tokens))
    middles = np.full((len(tokens), 2), np.nan)  # stays so where an outline is empty
    centroids = shapely.centroid(outlines)
    found, found_token = shapely.get_coordinates(centroids, return_index=True)
    middles[found_token] = found
    return {
        "corners": _encode(corners[~closing].astype("<f4")),
        "ringStart": _encode(_starts(ring_sizes)),
        "tokenStart": _encode(_starts(token_rings)),
        "middles": _encode(middles.astype("<f4")),
    }


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Give where each run begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype("<u4")


def unbroken(outlines: np.ndarray) -> np.ndarray:
    """Shift longitudes by whole turns so that the 180th meridian cuts nothing.

    A place that is narrower across the meridian is joined there, and the map is cut
    in the widest stretch of longitude without places.

    Args:
        outlines: shapely polygons in lon/lat, longitudes in -180..180.

    Returns:
        The same shapes, longitudes in -180..540; unchanged where nothing is near the
        meridian.
    """
    corners, token = shapely.get_coordinates(outlines, return_index=True)
    if len(corners) == 0:
        return outlines
    lon = corners[:, 0]
    (west, east), (west_360, east_360) = (
        _extent(x, token, len(outlines)) for x in (lon, lon % 360)
    )
    joined = (east_360 - west_360 < east - west)[token]
    lon = np.where(joined, lon % 360, lon)
    west, east = _extent(lon, token, len(outlines))
    middle = (west + east) / 2
    home = (middle + 180) % 360 - 180
    order = np.unique(home[token])
    gaps = np.diff(order, append=order[0] + 360)
    cut = order[gaps.argmax()] if gaps.argmax() < len(order) - 1 else -np.inf
    turn = np.round(home - middle) + np.where(home <= cut, 360, 0)
    corners[:, 0] = lon + turn[token]
    return shapely.set_coordinates(outlines.copy(), corners)


def _extent(
    lon: np.ndarray, token: np.ndarray, tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the least and the greatest longitude of each token."""
    west, east = np.full(tokens, 720.0), np.full(tokens, -720.0)  # none lies beyond
    np.minimum.at(west, token, lon)
    np.maximum.at(east, token, lon)
    return west, east


def _page(
    title: str,
    notes: Sequence[str],
    scores: Sequence[tuple[str, ...]],
    data: Mapping[str, Any],
) -> str:
    """Put text, style, script and data into the template."""
    script = "\n".join(_resource(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        # The browser itself then refuses every request and every other script.
        "policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        "title": html.escape(title),
        "style": _resource("map.css"),
        "notes": "".join(f"<li>{html.escape(note)}</li>" for note in notes),
        "scores": _table(scores),
        # Without "<" the data can neither end its element nor open another.
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        "script": script,
    }
    template = _resource("map.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda name: parts[name[1]], template)


def _resource(name: str) -> str:
    return files("mora.explore").joinpath(name).read_text(encoding="utf-8")


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Write rows as HTML; the first is the heading."""
    lines = []
    for number, row in enumerate(rows):
        cell = "th" if number == 0 else "td"
        cells = "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in row)
        lines.append(f"<tr>{cells}</tr>")
    return "".join(lines)
