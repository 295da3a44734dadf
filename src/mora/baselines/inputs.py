"""Baselines that know what the model was given: movement and raw features."""

import numpy as np
from jaxtyping import Float, Float32

from mora.baselines.registry import BaselineInput, Reproduction, baseline


@baseline(
    "line",
    group="input",
    source="Tang et al. 2015, LINE, second order",
    needs=("line",),
    reproduction=Reproduction("vectors of the run, unchanged", 0.0, 0.0, 0.0),
)
def line(given: BaselineInput) -> Float32[np.ndarray, "tokens dim"]:
    """Give the LINE vectors, which the encoder starts from.

    Raises:
        MissingInputError: if no LINE vectors were trained.
    """
    return given.require_line().astype(np.float32)


@baseline(
    "volume",
    group="input",
    source="sums of the mobility graph",
    needs=("volume",),
    reproduction=Reproduction("difference from log(1 + sums)", 0.0, 0.0, 0.0),
)
def volume(given: BaselineInput) -> Float32[np.ndarray, "tokens 2"]:
    """Give log(1 + outflow) and log(1 + inflow): how busy a place is, no more.

    Raises:
        MissingInputError: if there is no mobility graph.
    """
    flows = given.require_volume()
    columns = [np.log1p(flows.outflow), np.log1p(flows.inflow)]
    return np.column_stack(columns).astype(np.float32)


@baseline(
    "line+volume",
    group="input",
    source="LINE with the volume that it hides",
    needs=("line", "volume"),
    reproduction=Reproduction("difference from its two parts", 0.0, 0.0, 0.0),
)
def line_volume(given: BaselineInput) -> Float32[np.ndarray, "tokens dim"]:
    """Give LINE and, in one last column, log(1 + outflow + inflow).

    LINE vectors have no length of their own, so they hide how busy a place is; this
    is the strongest baseline that sees movement alone.

    Raises:
        MissingInputError: if LINE vectors or the mobility graph are missing.
    """
    flows = given.require_volume()
    total = np.log1p(flows.outflow + flows.inflow)
    return np.column_stack([given.require_line(), total]).astype(np.float32)


@baseline(
    "raw",
    group="input",
    source="the modalities of the run",
    needs=("features",),
    reproduction=Reproduction("difference from the scaled columns", 0.0, 0.0, 0.0),
)
def raw(given: BaselineInput) -> Float32[np.ndarray, "tokens dim"]:
    """Give all raw features side by side, each column centred and scaled.

    Columns come in units of their own (people, shares, colours); without scaling a
    linear readout would see only those with large numbers. Trees see no difference.

    Returns:
        Columns in the order of ``given.features``, mean 0 and deviation 1 over the
        tokens that have them; NaN where a token has none, 0 in a constant column.

    Raises:
        MissingInputError: if the run has no features.
    """
    blocks = list(given.require_features().values())
    return _standardised(np.column_stack(blocks)).astype(np.float32)


def _standardised(
    columns: Float[np.ndarray, "tokens dim"],
) -> Float[np.ndarray, "tokens dim"]:
    """Centre each column and divide by its deviation, over the values that are known.

    A column without any known value stays NaN.
    """
    columns = columns.astype(np.float64)
    known = ~np.isnan(columns)
    count = np.maximum(known.sum(axis=0), 1)
    centred = columns - np.where(known, columns, 0.0).sum(axis=0) / count
    squares = np.where(known, centred, 0.0) ** 2
    deviation = np.sqrt(squares.sum(axis=0) / count)
    return centred / np.where(deviation > 0, deviation, 1.0)
