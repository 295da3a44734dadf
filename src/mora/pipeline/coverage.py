"""Which places have a label: the paper's Figure 4 for any run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mora.benchmark import Task
from mora.errors import NoGeometryError
from mora.explore.figure_maps import coverage_map
from mora.pipeline.mobility import Mobility
from mora.tokens import GridTokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_coverage(tasks: Sequence[Task], mobility: Mobility) -> "Figure | None":
    """Draw a map a task of the places that have its label.

    Returns:
        The figure; None where places have no outlines.
    """
    outlines = outlines_of(mobility)
    if outlines is None:
        return None
    known = {task.name: np.isfinite(on_tokens(task, task.labels)) for task in tasks}
    geographic = not isinstance(mobility.tokens, GridTokens)
    return coverage_map(known, outlines, geographic=geographic)


def outlines_of(mobility: Mobility) -> np.ndarray | None:
    """Give the outline of each place, or None where there are none."""
    try:
        return mobility.tokens.polygons()
    except NoGeometryError:
        return None


def on_tokens(
    task: Task, values: Float[np.ndarray, " units"]
) -> Float[np.ndarray, " tokens"]:
    """Give each token the value of the unit that it makes up most of; NaN for none."""
    if task.pooling is None:
        return values
    columns = task.pooling.tocsc()
    share = columns.max(axis=0).toarray().ravel()
    unit = np.asarray(columns.argmax(axis=0)).ravel()
    return np.where(share > 0, values[unit], np.nan)
