"""What all figures share: one style, and their form as files or as text for a page."""

import base64
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mora.errors import MissingExtraError

if TYPE_CHECKING:
    import matplotlib.figure

WIDTH = 6.0  # inches; 9 points are then 17 pixels in a figure of 800, 11 in one of 540
PNG_DPI = 150
# Okabe and Ito 2008, Color universal design: told apart with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # and without colours
INK, MUTED, GRID = "#1b2330", "#5b6676", "#e3e7ec"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters: smaller, and can be searched
    "svg.hashsalt": "mora",  # ids inside the file are random otherwise
}
# Neither the date nor the version of matplotlib: equal figures are equal files.
NO_METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")


def styled(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Let a function draw in the style of Mora, whatever matplotlib is set to.

    Raises:
        MissingExtraError: when called without matplotlib.
    """

    @functools.wraps(draw)
    def draw_styled(*args: Given.args, **options: Given.kwargs) -> Drawn:
        try:
            import matplotlib.style
        except ImportError:
            raise MissingExtraError("matplotlib", "report", "a figure") from None
        with matplotlib.style.context(["default", STYLE]):
            return draw(*args, **options)

    return draw_styled


def new_figure(height: float, width: float = WIDTH) -> "matplotlib.figure.Figure":
    """Give an empty figure of a size in inches, outside pyplot's list of open ones."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save_figure(figure: "matplotlib.figure.Figure", stem: Path) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG.

    Args:
        figure: as given by :mod:`mora.explore.figures`.
        stem: path without an ending.

    Returns:
        The two files, ``<stem>.png`` and ``<stem>.svg``; the same bytes for the same
        figure.
    """
    png, svg = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    png.write_bytes(_rendered(figure, "png"))
    svg.write_text(as_svg(figure) + "\n", encoding="utf-8", newline="\n")
    return png, svg


def as_svg(figure: "matplotlib.figure.Figure") -> str:
    """Give a figure as an SVG element, for figures of few shapes."""
    text = _rendered(figure, "svg").decode("utf-8")
    # A document type would name an address, and has no place inside a page.
    return text[text.index("<svg") :].strip()


def as_png_data_uri(figure: "matplotlib.figure.Figure") -> str:
    """Give a figure as the address of an inline PNG, for maps of many outlines."""
    encoded = base64.b64encode(_rendered(figure, "png")).decode("ascii")
    return f"data:image/png;base64,{encoded}"


@styled
def _rendered(figure: Any, kind: str) -> bytes:
    """Draw a figure into memory."""
    memory = io.BytesIO()
    figure.savefig(memory, format=kind, dpi=PNG_DPI, metadata=NO_METADATA[kind])
    return memory.getvalue()
