import base64
import functools
import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import shapely
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from mora.benchmark.scaling import fit_scaling
from mora.errors import MissingExtraError, MoraError
from mora.explore.figures import (
    ColourScale,
    ablation_bars,
    as_png_data_uri,
    as_svg,
    choropleth,
    coverage_map,
    curve,
    diverging_scale,
    lines,
    save_figure,
    scatter,
    sequential_scale,
)

X = np.array([100, 1000, 10000])
Y = np.array([0.3, 0.4, 0.45])
NAMES = ["all", "without POIs"]
MEANS, ERRORS = np.array([0.6, 0.5]), np.array([0.02, np.nan])


def squares(count: int = 6) -> np.ndarray:
    return np.array([shapely.box(i, 40, i + 1, 41) for i in range(count)])


def draw_map(**options):
    options = {"title": "Income"} | options
    return choropleth(squares(), np.arange(6.0), **options)


def draw_scatter(truth=X / 10, predicted=X / 10 + 1, **options):
    return scatter(truth, predicted, **{"title": "Income", **options})


def draw_bars(**options):
    return ablation_bars(NAMES, MEANS, ERRORS, **{"title": "Ablation", **options})


def draw_curve(error=None, **options):
    return curve(X, Y, error, **{"title": "Scaling", "xlabel": "cells", **options})


def draw_fitted():
    return draw_curve(fitted=fit_scaling(X, Y))


def draw_lines(errors=None, **options):
    names = {"title": "Few labels", "xlabel": "labels", "ylabel": "R2"}
    return lines({"mora": (X, Y), "lonlat": (X, Y / 2)}, errors, **names | options)


@functools.cache
def default_svg(draw) -> str:
    return as_svg(draw())


def texts(figure) -> str:
    """All that is written in a figure."""
    return " | ".join(each.get_text() for each in figure.findobj(Text))


def pixels(figure) -> np.ndarray:
    encoded = as_png_data_uri(figure).removeprefix("data:image/png;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    return np.asarray(image.convert("RGB"))


def count_pixels(figure, colour: str) -> int:
    wanted = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)
    return int((pixels(figure) == wanted).all(axis=2).sum())


# Scales


def test_scales_known_answers():
    values = np.r_[np.arange(101.0), np.nan]
    assert sequential_scale(values) == ColourScale(2, 98)
    assert diverging_scale(values - 40) == ColourScale(-58, 58, diverging=True)
    assert diverging_scale(40 - values) == diverging_scale(values - 40)


def test_long_tails_get_logarithms():
    assert sequential_scale(np.geomspace(1, 1e4, 200)).logarithmic


@pytest.mark.parametrize("values", [np.zeros(3), np.full(3, np.nan)])
def test_a_scale_of_nothing_still_has_an_extent(values):
    assert diverging_scale(values) == ColourScale(-1, 1, diverging=True)


def test_a_single_difference_among_zeros_is_seen():
    assert diverging_scale(np.r_[np.zeros(400), -3.0]).high == 3


# Maps


def test_places_get_the_colours_of_their_values():
    scale = ColourScale(0, 4)
    figure = draw_map(scale=scale)
    viridis = matplotlib.colormaps["viridis"]
    drawn = figure.axes[0].collections[0]
    drawn.update_scalarmappable()
    colours = [to_hex(colour) for colour in drawn.get_facecolors()]
    expected = [to_hex(viridis(min(value, 4) / 4)) for value in range(6)]
    assert colours == expected


def test_unknown_places_are_grey_and_counted():
    values = np.array([1.0, np.nan, 3.0, np.inf, 5.0, 6.0])
    figure = choropleth(squares(), values, title="Income")
    assert count_pixels(figure, "#c9ced6") > 1000
    assert "Grey: unknown (2 of 6 places)" in texts(figure)
    assert "Grey" not in texts(draw_map())


def test_everything_unknown_is_all_grey():
    figure = choropleth(squares(), np.full(6, np.nan), title="Income")
    assert count_pixels(figure, "#c9ced6") > 10_000


def test_values_below_a_logarithmic_scale_are_not_unknown():
    scale = ColourScale(1, 100, logarithmic=True)
    figure = choropleth(squares(2), np.array([0.0, 50.0]), title="x", scale=scale)
    assert count_pixels(figure, "#c9ced6") == 0
    linear = choropleth(
        squares(2), np.array([0.0, 50.0]), title="x", scale=ColourScale(1, 100)
    )
    assert (pixels(figure) != pixels(linear)).any()


def test_zero_is_pale_on_a_diverging_scale():
    values = np.array([-1.0, 0.0, 1.0])
    scale = diverging_scale(values)
    figure = choropleth(squares(3), values, title="Residuals", scale=scale)
    drawn = figure.axes[0].collections[0]
    drawn.update_scalarmappable()
    low, middle, high = drawn.get_facecolors()[:, :3]
    assert middle.min() > 0.95
    assert low[2] > low[0]  # blue
    assert high[0] > high[2]  # red


def test_holes_stay_empty():
    ring = shapely.box(0, 0, 9, 9).difference(shapely.box(1, 1, 8, 8))
    for outline in (ring, shapely.reverse(ring)):
        options = {"title": "x", "geographic": False, "scale": ColourScale(0, 1)}
        figure = choropleth(np.array([outline]), np.array([1.0]), **options)
        full = choropleth(
            np.array([shapely.box(0, 0, 9, 9)]), np.array([1.0]), **options
        )
        inked = [count_pixels(f, "#fde725") for f in (figure, full)]
        assert inked[0] / inked[1] == pytest.approx(1 - 49 / 81, abs=0.02)


def test_all_parts_of_a_place_are_drawn_and_empty_ones_left_out():
    both = shapely.union(shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1))
    shapes = np.array([shapely.Polygon(), both, shapely.box(5, 0, 6, 1)])
    scale = ColourScale(0, 9)
    figure = choropleth(shapes, np.array([9.0, 1.0, 2.0]), title="x", scale=scale)
    assert figure.axes[0].collections[0].get_array().tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("option", "value"),
    [("title", "Other"), ("unit", "US$")],
)
def test_map_options_are_written(option, value):
    assert value in texts(draw_map(**{option: value}))
    assert value not in texts(draw_map())


def test_only_degrees_are_stretched_and_joined():
    shapes = np.array([shapely.box(-180, 60, -179, 61), shapely.box(179, 59, 180, 60)])
    values = np.array([1.0, 2.0])
    lonlat = choropleth(shapes, values, title="x").axes[0]
    plane = choropleth(shapes, values, title="x", geographic=False).axes[0]
    assert lonlat.get_aspect() == pytest.approx(2, rel=1e-6)
    assert plane.get_aspect() == 1
    assert np.diff(lonlat.get_xlim())[0] < 3 < 359 < np.diff(plane.get_xlim())[0]


@pytest.mark.parametrize("draw", ["polygons", "points"])
def test_coverage_has_a_map_a_task(draw):
    shapes = squares()
    places = shapes if draw == "polygons" else shapely.get_coordinates(shapes.tolist())
    places = places if draw == "polygons" else places[::5]
    known = {"income": np.arange(6) < 2, "health": np.ones(6, bool)}
    figure = coverage_map(known, places)
    assert "2 of 6 places" in texts(figure)
    assert "6 of 6 places" in texts(figure)
    blue = [
        count_pixels(coverage_map({"x": each}, places), "#0072b2")
        for each in (known["income"], known["health"])
    ]
    assert 0 < blue[0] < blue[1]


def test_coverage_without_labels_is_grey():
    figure = coverage_map({"income": np.zeros(6, bool)}, squares())
    assert count_pixels(figure, "#0072b2") == 0
    assert count_pixels(figure, "#c9ced6") > 1000


def test_tasks_may_have_places_of_their_own():
    known = {"income": np.ones(6, bool), "health": np.ones(2, bool)}
    figure = coverage_map(known, {"income": squares(), "health": squares(2)})
    assert "2 of 2 places" in texts(figure)


def test_columns_and_plane_change_the_coverage():
    known = {name: np.ones(6, bool) for name in "abc"}
    default = coverage_map(known, squares())
    one = coverage_map(known, squares(), columns=1)
    assert one.get_figwidth() < default.get_figwidth()
    assert one.get_figheight() > default.get_figheight()
    plane = coverage_map(known, squares(), geographic=False)
    assert plane.axes[0].get_aspect() == 1 != default.axes[0].get_aspect()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: draw_map(scale=ColourScale(2, 2)), "the colours run from 2 to 2"),
        (
            lambda: choropleth(np.array([shapely.Polygon()]), np.zeros(1), title=""),
            "none of 1 places has an outline",
        ),
        (
            lambda: choropleth(squares(), np.zeros(5), title=""),
            "5 values for 6 outlines",
        ),
        (lambda: coverage_map({}, squares()), "0 tasks in 3 columns"),
        (
            lambda: coverage_map({"a": np.ones(6, bool)}, squares(), columns=0),
            "1 tasks in 0 columns",
        ),
        (
            lambda: coverage_map({"a": np.ones(5, bool)}, squares()),
            "task 'a': 5 values for 6 places",
        ),
        (
            lambda: draw_scatter(np.array([1, np.nan]), np.array([1, 2])),
            "1 of 2 points have a label and a prediction",
        ),
        (
            lambda: ablation_bars(["a"], MEANS, ERRORS, title=""),
            "1 names for 2 bars",
        ),
        (
            lambda: lines({}, title="", xlabel="", ylabel=""),
            "0 series; expected 1 to 7",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(MoraError, match=message):
        draw()


# Charts


def test_scatter_says_r2_and_leaves_unknown_points_out():
    truth = np.array([1.0, 2.0, 3.0, np.nan, 5.0])
    predicted = np.array([1.0, 2.0, 2.0, 4.0, np.nan])
    figure = scatter(truth, predicted, title="Income")
    assert "R² 0.500, 3 places" in texts(figure)
    points = figure.axes[0].collections[0].get_offsets()
    assert points.tolist() == [[1, 1], [2, 2], [3, 2]]


def test_scatter_of_equal_labels_has_no_r2():
    assert "R²" not in texts(scatter(np.ones(3), np.arange(3.0), title="Income"))


def test_scatter_has_the_same_ends_on_both_axes():
    axes = draw_scatter().axes[0]
    assert axes.get_xlim() == axes.get_ylim()


@pytest.mark.parametrize(("option", "value"), [("title", "Other"), ("unit", "km")])
def test_scatter_options_are_written(option, value):
    assert value in texts(draw_scatter(**{option: value}))
    assert value not in texts(draw_scatter())


def test_bars_have_their_lengths_and_figures():
    figure = draw_bars(reference=np.array([0.779, np.nan]))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.6, 0.5]
    written = texts(figure)
    for text in ("all", "0.600 ± 0.020", "0.500", "0.779", "none", "◆ paper"):
        assert text in written
    assert "±" not in written.split("0.500")[1]


def test_the_first_bar_is_on_top():
    axes = draw_bars().axes[0]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("title", "Other", "Other"),
        ("xlabel", "RMSE", "RMSE"),
        ("labels", ("mora", "MoRA"), "mora"),
        ("reference", np.array([0.7, 0.6]), "0.700"),
    ],
)
def test_bar_options_are_written(option, value, text):
    assert text in texts(draw_bars(**{option: value}))
    assert text not in texts(draw_bars())


def test_curve_draws_points_line_and_interval():
    fitted = fit_scaling(X, Y)
    figure = draw_curve(fitted=fitted)
    line, points = figure.axes[0].get_lines()[:2]
    assert points.get_xydata().tolist() == np.column_stack([X, Y]).tolist()
    along, height = line.get_xydata().T
    np.testing.assert_allclose(height, fitted.at(along)[0])
    assert len(figure.axes[0].collections) == 1
    assert f"fit: {fitted}" in texts(figure)


def test_a_wide_interval_does_not_flatten_the_scores():
    low, high = draw_curve(fitted=fit_scaling(X, Y)).axes[0].get_ylim()
    assert high - low < 4 * np.ptp(Y)


@pytest.mark.parametrize(
    "options",
    [
        {"error": np.full(3, 0.05)},
        {"fitted": None},
        {"interval": False},
        {"logarithmic": False},
    ],
)
def test_curve_options_change_the_curve(options):
    options = {"fitted": fit_scaling(X, Y)} | options
    assert as_svg(draw_curve(**options)) != default_svg(draw_fitted)


@pytest.mark.parametrize("draw", [draw_curve, draw_lines])
@pytest.mark.parametrize("option", ["title", "xlabel", "ylabel"])
def test_names_of_axes_are_written(draw, option):
    assert "Another" in texts(draw(**{option: "Another"}))


def test_sizes_are_written_out_on_a_logarithmic_axis():
    assert " | 1,000 | " in texts(draw_curve())


def test_lines_differ_in_colour_and_mark():
    first, second = draw_lines().axes[0].get_lines()
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    assert first.get_xydata().tolist() == np.column_stack([X, Y]).tolist()
    assert "lonlat" in texts(draw_lines())


@pytest.mark.parametrize(
    "options",
    [
        {"errors": {"mora": np.full(3, 0.05)}},
        {"logarithmic": True},
    ],
)
def test_line_options_change_the_lines(options):
    assert as_svg(draw_lines(**options)) != default_svg(draw_lines)


# Files and text


@pytest.mark.parametrize("draw", [draw_map, draw_scatter])
def test_equal_figures_are_equal_files(draw, tmp_path):
    one, two = (save_figure(draw(), tmp_path / name) for name in ("a.1", "b"))
    assert [path.name for path in one] == ["a.1.png", "a.1.svg"]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()
    with Image.open(one[0]) as image:
        assert image.size[0] == 900


def test_svg_is_an_element_without_addresses_or_dates():
    text = default_svg(draw_scatter)
    assert text.startswith("<svg ")
    assert text.endswith("</svg>")
    assert "matplotlib" not in text.replace("matplotlib.axis", "")
    assert "<metadata>" not in text
    assert "DOCTYPE" not in text


def test_many_shapes_are_a_picture_inside_the_svg():
    shapes = np.array(
        [shapely.box(i % 30, i // 30, i % 30 + 1, i // 30 + 1) for i in range(900)]
    )
    assert "<image" in as_svg(choropleth(shapes, np.arange(900.0), title="x"))
    few = as_svg(coverage_map({"x": np.ones(6, bool)}, squares()))
    assert "<image" not in few


def test_settings_of_the_user_change_nothing():
    expected = default_svg(draw_bars)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert as_svg(draw_bars()) == expected


def test_matplotlib_is_imported_late_and_pyplot_never():
    code = (
        "import sys, numpy as np\n"
        "from mora.explore.figures import as_svg, scatter\n"
        "assert 'matplotlib' not in sys.modules\n"
        "as_svg(scatter(np.arange(3.), np.arange(3.), title='x'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(MissingExtraError, match=r"mora\[report\]"):
        draw_bars()
