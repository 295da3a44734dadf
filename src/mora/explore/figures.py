"""Figures of a report: maps of places, and charts of scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Real

from mora.benchmark.scaling import ScalingFit
from mora.benchmark.scores import r_squared
from mora.errors import MoraError
from mora.explore.drawing import (
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    as_png_data_uri,
    as_svg,
    new_figure,
    save_figure,
    styled,
)
from mora.explore.figure_maps import (
    MANY,
    ColourScale,
    choropleth,
    coverage_map,
    diverging_scale,
    sequential_scale,
)

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = [
    "ColourScale",
    "ablation_bars",
    "as_png_data_uri",
    "as_svg",
    "choropleth",
    "coverage_map",
    "curve",
    "diverging_scale",
    "lines",
    "save_figure",
    "scatter",
    "sequential_scale",
]

MOST_TICKS = 8  # sizes that are all written at a logarithmic axis
BAND_POINTS = 200
COLUMN_POINTS = 78  # width of "0.000 ± 0.000" in points


@styled
def scatter(
    truth: Real[np.ndarray, " n"],
    predicted: Real[np.ndarray, " n"],
    *,
    title: str,
    unit: str = "",
) -> "matplotlib.figure.Figure":
    """Draw predictions over labels, with the line on which they are equal and the R2.

    Args:
        truth: labels; NaN leaves a point out.
        predicted: predictions in the same unit; NaN leaves a point out.
        title: stands above.
        unit: of both.

    Returns:
        The figure; without an R2 where all labels are equal.

    Raises:
        MoraError: if fewer than two points are known.
    """
    known = np.isfinite(truth) & np.isfinite(predicted)
    if known.sum() < 2:
        raise MoraError(
            f"{known.sum()} of {len(known)} points have a label and a prediction; "
            f"expected at least 2."
        )
    x, y = truth[known].astype(float), predicted[known].astype(float)
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    figure = new_figure(4.6)
    axes = figure.add_subplot(aspect="equal")
    axes.axline(
        (ends[0], ends[0]),
        slope=1,
        color=INK,
        lw=1,
        ls="--",
        label="prediction = label",
    )
    alpha = float(np.clip(600 / len(x), 0.15, 0.8))
    many = len(x) > MANY
    axes.scatter(x, y, s=12, c=COLOURS[0], alpha=alpha, lw=0, rasterized=many)
    margin = 0.03 * (ends[1] - ends[0]) or 0.5
    axes.set_xlim(ends[0] - margin, ends[1] + margin)
    axes.set_ylim(ends[0] - margin, ends[1] + margin)
    score = f"R² {r_squared(x, y):.3f}, " if np.ptp(x) > 0 else ""
    axes.set_title(f"{title}\n{score}{len(x):,} places")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel(f"label{_in(unit)}")
    axes.set_ylabel(f"prediction{_in(unit)}")
    axes.legend(loc="upper left")
    return figure


@styled
def ablation_bars(
    names: Sequence[str],
    means: Float[np.ndarray, " bars"],
    errors: Float[np.ndarray, " bars"],
    reference: Float[np.ndarray, " bars"] | None = None,
    *,
    title: str,
    xlabel: str = "mean R²",
    labels: tuple[str, str] = ("ours", "paper"),
) -> "matplotlib.figure.Figure":
    """Draw scores as horizontal bars, the first on top, beside published figures.

    Args:
        names: of the bars.
        means: lengths of the bars.
        errors: half lengths of the error bars; NaN for none.
        reference: published figures, NaN where there is none; None without any.
        title: stands above.
        xlabel: what the lengths are, and what the error bars.
        labels: where the scores, and where the published figures are from.

    Returns:
        The figure; its height grows with the number of bars.

    Raises:
        MoraError: if there is no bar, or not one name a bar.
    """
    if not 0 < len(names) == len(means):
        raise MoraError(
            f"{len(names)} names for {len(means)} bars; expected at least one bar, and "
            f"a name for each."
        )
    figure = new_figure(0.32 * len(names) + 1.3)
    axes = figure.add_subplot()
    place = np.arange(len(names))
    axes.barh(place, means, 0.6, color=COLOURS[5])
    whiskers = {"ls": "none", "elinewidth": 1.2, "capsize": 3, "color": INK}
    axes.errorbar(means, place, xerr=errors, **whiskers)
    figures = {
        labels[0]: (INK, [_score(*row) for row in zip(means, errors, strict=True)])
    }
    if reference is not None:
        axes.plot(reference, place, "D", color=COLOURS[1], ms=5)
        written = [_score(value, np.nan) for value in reference]
        figures[f"◆ {labels[1]}"] = COLOURS[1], written
    _write_beside(axes, figures)
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set_yticks(place, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_title(title, pad=18)
    axes.set_xlabel(xlabel)
    return figure


def _score(mean: float, error: float) -> str:
    """Write a mean and its deviation, as far as they are known."""
    if not np.isfinite(mean):
        return "none"
    return f"{mean:.3f}" + (f" ± {error:.3f}" if np.isfinite(error) else "")


def _write_beside(axes: Any, columns: Mapping[str, tuple[str, list[str]]]) -> None:
    """Write columns of text at the right of the bars, each with a heading."""
    along_rows = axes.get_yaxis_transform()
    for number, (heading, (colour, texts)) in enumerate(columns.items()):
        look = {"color": colour, "va": "center", "textcoords": "offset points"}
        right = (10 + COLUMN_POINTS * number, 0)
        for row, text in [(-0.75, heading), *enumerate(texts)]:
            axes.annotate(text, (1, row), right, xycoords=along_rows, **look)


@styled
def curve(
    x: Real[np.ndarray, " n"],
    mean: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"] | None = None,
    *,
    title: str,
    xlabel: str,
    ylabel: str = "mean R²",
    fitted: ScalingFit | None = None,
    interval: bool = True,
    logarithmic: bool = True,
) -> "matplotlib.figure.Figure":
    """Draw scores over the amount of data or labels, with a fitted line.

    Args:
        x: sizes; > 0 on a logarithmic axis.
        mean: a score for each.
        error: half lengths of error bars; None for none.
        title: stands above.
        xlabel: what the sizes are.
        ylabel: what the scores are.
        fitted: the line to draw, see :func:`mora.benchmark.scaling.fit_scaling`.
        interval: whether to shade the line's interval.
        logarithmic: whether equal steps along x are equal ratios.

    Returns:
        The figure.
    """
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    if fitted is not None:
        space = np.geomspace if logarithmic else np.linspace
        along = space(float(x.min()), float(x.max()), BAND_POINTS)
        line, low, high = fitted.at(along)
        axes.plot(along, line, color=COLOURS[1], lw=1.5, label=f"fit: {fitted}")
        if interval:
            axes.fill_between(along, low, high, color=COLOURS[1], alpha=0.15, lw=0)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2))
    _draw_line(axes, 0, x, mean, error, "none")
    _finish(axes, x, logarithmic, title, xlabel, ylabel)
    if fitted is not None:
        _keep_scores_large(axes, mean)
    return figure


@styled
def lines(
    series: Mapping[str, tuple[Real[np.ndarray, " _"], Real[np.ndarray, " _"]]],
    errors: Mapping[str, Real[np.ndarray, " _"]] | None = None,
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    logarithmic: bool = False,
) -> "matplotlib.figure.Figure":
    """Draw several series as lines of different colours and marks.

    Args:
        series: name -> x and y, in the order of x.
        errors: name -> half lengths of error bars; series without are left as they
            are.
        title: stands above.
        xlabel: what x is.
        ylabel: what y is.
        logarithmic: whether equal steps along x are equal ratios.

    Returns:
        The figure.

    Raises:
        MoraError: if there is no series, or more than can be told apart.
    """
    if not 1 <= len(series) <= len(COLOURS):
        raise MoraError(
            f"{len(series)} series; expected 1 to {len(COLOURS)}, which can be told "
            f"apart. Draw several figures."
        )
    figure = new_figure(3.8)
    axes = figure.add_subplot()
    for number, (name, (x, y)) in enumerate(series.items()):
        error = (errors or {}).get(name)
        _draw_line(axes, number, x, y, error, "-", label=name)
    everywhere = np.concatenate([x for x, _ in series.values()])
    _finish(axes, everywhere, logarithmic, title, xlabel, ylabel)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _draw_line(
    axes: Any,
    number: int,
    x: np.ndarray,
    y: np.ndarray,
    error: np.ndarray | None,
    style: str,
    **options: Any,
) -> None:
    """Add points with error bars, in the colour and mark of a number."""
    axes.errorbar(
        x,
        y,
        error,
        color=COLOURS[number],
        marker=MARKERS[number],
        ms=5,
        lw=1.5,
        ls=style,
        capsize=3,
        elinewidth=1.2,
        **options,
    )


def _finish(
    axes: Any, x: np.ndarray, logarithmic: bool, title: str, xlabel: str, ylabel: str
) -> None:
    """Name the axes; few sizes on a logarithmic axis are all written out."""
    if logarithmic:
        axes.set_xscale("log")
    sizes = np.unique(x)
    if logarithmic and len(sizes) <= MOST_TICKS:
        axes.set_xticks(sizes, [f"{size:,g}" for size in sizes])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


def _keep_scores_large(axes: Any, mean: np.ndarray) -> None:
    """Let a wide interval run out of the picture rather than flatten the scores."""
    span = float(np.ptp(mean)) or 0.1
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, mean.min() - span), min(high, mean.max() + span))


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""
