"""Figures of places: which have a label, and what labels and predictions are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from jaxtyping import Bool, Int, Real, Shaped

from mora.errors import MoraError
from mora.explore.drawing import COLOURS, MUTED, WIDTH, new_figure, styled
from mora.explore.map import ENDS, colour_scale, unbroken

if TYPE_CHECKING:
    import matplotlib.figure

UNKNOWN = "#c9ced6"  # of a place without a value
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"  # both for any colour vision
MANY = 500  # shapes from which an SVG holds them as a picture
TALL, WIDE = 1.6, 0.3  # limits of a map's height over its width
CELL = 2.6  # inches of one map among several


@dataclass(frozen=True)
class ColourScale:
    """How numbers become colours.

    Attributes:
        low: gets the first colour, as everything below.
        high: gets the last colour, as everything above; more than ``low``.
        logarithmic: equal steps of colour are equal ratios.
        diverging: the middle is pale and the ends are two hues, for differences.
    """

    low: float | int
    high: float | int
    logarithmic: bool = False
    diverging: bool = False


def sequential_scale(values: Real[np.ndarray, " places"]) -> ColourScale:
    """Give the scale for amounts, the one the interactive map chooses.

    Labels and their predictions are drawn with one scale, that of the labels.

    Args:
        values: NaN where unknown.

    Returns:
        From the 2nd to the 98th percentile; in logs for long-tailed amounts.
    """
    return ColourScale(*colour_scale(values))


def diverging_scale(values: Real[np.ndarray, " places"]) -> ColourScale:
    """Give the scale for differences: 0 is the middle, both sides reach equally far.

    Args:
        values: NaN where unknown.

    Returns:
        To the 2nd or 98th percentile, whichever is farther from 0; -1 to 1 where all
        are 0 or unknown.
    """
    known = values[np.isfinite(values)]
    reach = np.abs(np.percentile(known, ENDS)).max() if len(known) else 0.0
    if reach == 0 and len(known):
        reach = np.abs(known).max()  # nearly all are 0
    end = float(reach) if reach > 0 else 1.0
    return ColourScale(-end, end, diverging=True)


@styled
def choropleth(
    polygons: Shaped[np.ndarray, " places"],
    values: Real[np.ndarray, " _"],
    *,
    title: str,
    unit: str = "",
    scale: ColourScale | None = None,
    geographic: bool = True,
) -> "matplotlib.figure.Figure":
    """Draw one number per place as a map.

    Args:
        polygons: shapely outlines, empty where a place has none.
        values: what to draw; NaN is grey.
        title: stands above the map.
        unit: stands beside the colours.
        scale: of the colours; :func:`sequential_scale` of the values by default.
        geographic: whether outlines are in lon/lat; other planes are drawn as they
            are.

    Returns:
        The figure; all grey where nothing is known.

    Raises:
        MoraError: if there is not one value a place, no place has an outline, or the
            scale has no extent.
    """
    if len(polygons) != len(values):
        raise MoraError(
            f"{len(values)} values for {len(polygons)} outlines; expected one a place, "
            f"in the same order."
        )
    scale = scale or sequential_scale(values)
    if not scale.low < scale.high:
        raise MoraError(
            f"the colours run from {scale.low} to {scale.high}; expected a low end "
            f"below the high end."
        )
    shapes = _placed(polygons, geographic)
    figure = new_figure(WIDTH * 0.85 * _shape(shapes, geographic) + 0.4)
    axes = figure.add_subplot()
    paths, place = _paths(shapes)
    drawn = _draw_paths(
        axes,
        paths,
        array=np.ma.masked_invalid(values[place].clip(scale.low, scale.high)),
        cmap=_colour_map(scale),
        norm=_norm(scale),
    )
    _frame(axes, shapes, geographic)
    axes.set_title(title)
    _draw_key(figure, axes, drawn, values, unit, scale)
    return figure


@styled
def coverage_map(
    known: Mapping[str, Bool[np.ndarray, " _"]],
    places: np.ndarray | Mapping[str, np.ndarray],
    *,
    columns: int = 3,
    geographic: bool = True,
) -> "matplotlib.figure.Figure":
    """Draw one small map per task: which places have a label.

    Source: the kind of figure is MoRA's figure 4.

    Args:
        known: task -> whether each place has a label.
        places: outlines ``(places,)``, or points ``(places, 2)`` as lon, lat; for all
            tasks, or by task where they have different places.
        columns: maps in a row; >= 1.
        geographic: whether places are in lon/lat.

    Returns:
        The figure; a task without any label is a grey map.

    Raises:
        MoraError: if there is no task, a task has not one value a place, or
            ``columns`` is not positive.
    """
    if not known or columns < 1:
        raise MoraError(
            f"{len(known)} tasks in {columns} columns; expected at least one of both."
        )
    given = {n: places[n] if isinstance(places, Mapping) else places for n in known}
    for name, has_label in known.items():
        if len(has_label) != len(given[name]):
            raise MoraError(
                f"task {name!r}: {len(has_label)} values for {len(given[name])} "
                f"places; expected one a place."
            )
    shapes = {name: _placed(p, geographic) for name, p in given.items()}
    columns = min(columns, len(known))
    rows = -(-len(known) // columns)
    tallest = max(_shape(each, geographic) for each in shapes.values())
    figure = new_figure(rows * (CELL * tallest + 0.45) + 0.3, CELL * columns)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, has_label) in zip(grid, known.items(), strict=False):
        _draw_coverage(axes, shapes[name], has_label)
        _frame(axes, shapes[name], geographic)
        axes.set_title(f"{name}\n{has_label.sum():,} of {len(has_label):,} places")
    for axes in grid[len(known) :]:
        axes.set_axis_off()
    figure.supxlabel("Blue: has a label. Grey: has none.", fontsize=9, color=MUTED)
    return figure


def _draw_coverage(axes: Any, shapes: np.ndarray, has_label: np.ndarray) -> None:
    colours = np.where(has_label, COLOURS[0], UNKNOWN)
    if shapely.get_type_id(shapes[0]) == shapely.GeometryType.POINT:
        # Labelled points are drawn last, so that none is hidden.
        order = np.argsort(has_label, kind="stable")
        size = np.clip(8000 / len(shapes), 0.5, 20)
        points = shapely.get_coordinates(shapes[order])
        many = len(shapes) > MANY
        axes.scatter(*points.T, s=size, c=colours[order], lw=0, rasterized=many)
        return
    paths, place = _paths(shapes)
    _draw_paths(axes, paths, facecolors=colours[place])


def _draw_paths(axes: Any, paths: list[Any], **options: Any) -> Any:
    """Add outlines without gaps between neighbours."""
    from matplotlib.collections import PathCollection

    many = len(paths) > MANY
    drawn = PathCollection(
        paths, edgecolors="face", linewidths=0.25, rasterized=many, **options
    )
    axes.add_collection(drawn, autolim=False)
    return drawn


def _placed(places: np.ndarray, geographic: bool) -> np.ndarray:
    """Give shapes that the 180th meridian does not tear apart."""
    shapes = shapely.points(places) if places.ndim == 2 else places
    if shapely.is_empty(shapes).all():
        raise MoraError(
            f"none of {len(shapes)} places has an outline; expected polygons or points "
            f"to draw."
        )
    return unbroken(shapes) if geographic else shapes


def _paths(shapes: np.ndarray) -> tuple[list[Any], Int[np.ndarray, " parts"]]:
    """Give a path for each part of each shape, holes cut out, and its shape's row."""
    from matplotlib.path import Path

    parts, row = shapely.get_parts(shapes, return_index=True)
    parts, row = parts[~shapely.is_empty(parts)], row[~shapely.is_empty(parts)]
    # Holes must run the other way round to stay empty.
    parts = shapely.orient_polygons(parts)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    codes = np.full(len(corners), Path.LINETO, dtype=Path.code_type)
    codes[np.diff(ring, prepend=-1) != 0] = Path.MOVETO
    codes[np.diff(ring, append=-1) != 0] = Path.CLOSEPOLY
    cuts = np.flatnonzero(np.diff(part_of_ring[ring])) + 1
    pieces = zip(np.split(corners, cuts), np.split(codes, cuts), strict=True)
    return [Path(*piece) for piece in pieces], row


def _shape(shapes: np.ndarray, geographic: bool) -> float:
    """Give the height of a map over its width, within limits."""
    west, south, east, north = shapely.total_bounds(shapes)
    height = (north - south) * _stretch(shapes, geographic)
    return float(np.clip(height / max(east - west, 1e-9), WIDE, TALL))


def _stretch(shapes: np.ndarray, geographic: bool) -> float:
    """Give how much longer a degree of latitude is than one of longitude, midway."""
    _, south, _, north = shapely.total_bounds(shapes)
    if not geographic:
        return 1.0
    return float(1 / np.cos(np.radians(np.clip((south + north) / 2, -80, 80))))


def _frame(axes: Any, shapes: np.ndarray, geographic: bool) -> None:
    """Show the shapes, true to form at their middle latitude, and no axes."""
    west, south, east, north = shapely.total_bounds(shapes)
    margin = 0.01 * max(east - west, north - south, 1e-9)
    axes.set_xlim(west - margin, east + margin)
    axes.set_ylim(south - margin, north + margin)
    axes.set_aspect(_stretch(shapes, geographic))
    axes.set_axis_off()


def _draw_key(
    figure: Any,
    axes: Any,
    drawn: Any,
    values: np.ndarray,
    unit: str,
    scale: ColourScale,
) -> None:
    """Explain the colours, and the grey where there is any."""
    finite = values[np.isfinite(values)]
    below, above = (finite < scale.low).any(), (finite > scale.high).any()
    ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = figure.colorbar(
        drawn,
        ax=axes,
        label=unit,
        extend=ends.get((bool(below), bool(above)), "neither"),
        shrink=0.85,
        aspect=25,
        format="{x:,g}",
    )
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    if missing := len(values) - len(finite):
        note = f"Grey: unknown ({missing:,} of {len(values):,} places)"
        axes.text(0, -0.02, note, transform=axes.transAxes, va="top", color=MUTED)


def _colour_map(scale: ColourScale) -> Any:
    import matplotlib

    name = DIVERGING if scale.diverging else SEQUENTIAL
    return matplotlib.colormaps[name].with_extremes(bad=UNKNOWN)


def _norm(scale: ColourScale) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    return (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
