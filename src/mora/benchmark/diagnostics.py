"""Where and for whom a model errs: one model on one task, every unit held out once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from threadpoolctl import threadpool_limits

from mora.benchmark.bootstrap import Interval, bootstrap_r2
from mora.benchmark.conformal import (
    Coverage,
    Intervals,
    calibration_folds,
    coverage,
    split_conformal,
)
from mora.benchmark.fitting import Fit, Readout
from mora.benchmark.moran import Moran, morans_i, neighbour_weights
from mora.benchmark.readouts import make_readout
from mora.benchmark.results import without_nan
from mora.benchmark.scores import fold_score
from mora.benchmark.splits import block_folds
from mora.benchmark.tasks import Task
from mora.errors import MoraError


@dataclass(frozen=True)
class GroupError:
    """How well the units of one group are predicted.

    Attributes:
        units: number of units.
        r2: around the group's own mean; None where its labels are all equal.
        rmse: root mean squared error.
        bias: mean of prediction minus label; positive where predicted too high.
    """

    units: int
    r2: float | None
    rmse: float
    bias: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Predictions of held-out blocks and what they tell; units are those of the label.

    Attributes:
        task: its name.
        readout: description of the readout.
        predicted: out-of-fold prediction of each of ``task.units()``.
        residuals: label minus prediction.
        r2: of all predictions, with an interval over blocks.
        moran: of the residuals; None where the task has no coordinates.
        groups: name -> group -> errors.
        intervals: prediction intervals of each unit.
        coverage: what the intervals hold.
    """

    task: str
    readout: str
    predicted: Float[np.ndarray, " known"]
    residuals: Float[np.ndarray, " known"]
    r2: Interval
    moran: Moran | None
    groups: Mapping[str, Mapping[str, GroupError]]
    intervals: Intervals
    coverage: Coverage

    def to_json(self) -> dict[str, Any]:
        """Give everything but the arrays as plain dicts, None for NaN."""
        return {
            "task": self.task,
            "readout": self.readout,
            "units": len(self.predicted),
            "r2": asdict(self.r2),
            "moran": None if self.moran is None else without_nan(asdict(self.moran)),
            "groups": {
                name: {group: asdict(error) for group, error in found.items()}
                for name, found in self.groups.items()
            },
            "conformal": self.coverage.to_json(),
        }


def diagnose(
    task: Task,
    vectors: Shaped[np.ndarray, "tokens _"],
    *,
    readout: str | Readout = "ridge",
    folds: int = 5,
    level: float = 0.9,
    draws: int = 1000,
    neighbours: int = 8,
    seed: int = 0,
) -> Diagnosis:
    """Predict every unit with its block held out, and look at the errors.

    Takes two fits a fold: one for the predictions, one for the intervals.

    Args:
        task: a label with blocks; ``groups`` and ``lonlat`` are used where given.
        vectors: rows in token order; NaN where a token has none.
        readout: a name for :func:`make_readout`, or a readout.
        folds: folds of whole blocks, at least 3; fewer where there are fewer blocks.
        level: of the R2 interval and of the prediction intervals, in (0, 1).
        draws: bootstrap samples of blocks.
        neighbours: nearest units for Moran's I; all others where there are fewer.
        seed: of the readout and of the bootstrap.

    Returns:
        The diagnosis; R2 is computed around the mean of all labels.

    Raises:
        MoraError: before the first fit, if the task cannot be diagnosed.
    """
    task.check(len(vectors))
    units, y = task.units(), task.targets()
    blocks = task.blocks[units]
    if isinstance(readout, str):
        readout = make_readout(readout, seed=seed)
    readout = readout.for_scale(task.scale)
    near = min(neighbours, len(units) - 1)
    lonlat = None if task.lonlat is None else task.lonlat[units]
    _check(task.name, blocks, lonlat, folds, level, draws, near)
    groups = {name: of[units] for name, of in task.groups.items()}
    with threadpool_limits(1, "blas"):
        fit = readout.bind(task.pool(vectors), blocks)
        predicted = out_of_fold(fit, y, blocks, folds)
        intervals = split_conformal(fit, y, blocks, folds=folds, level=level)
    return Diagnosis(
        task=task.name,
        readout=readout.description,
        predicted=predicted,
        residuals=y - predicted,
        r2=bootstrap_r2(y, predicted, blocks, level=level, draws=draws, seed=seed),
        moran=None if lonlat is None else morans_i(y - predicted, lonlat, near),
        groups={name: errors_by_group(y, predicted, of) for name, of in groups.items()},
        intervals=intervals,
        coverage=coverage(intervals, y, groups),
    )


def out_of_fold(
    fit: Fit,
    targets: Float[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    folds: int = 5,
) -> Float[np.ndarray, " n"]:
    """Predict every row by a fit that knows no row of its block.

    Args:
        fit: from train rows, labels and test rows to predictions.
        targets: labels of all rows.
        blocks: block of each row.
        folds: folds of whole blocks; fewer where there are fewer blocks.

    Returns:
        Predictions in row order.
    """
    predicted = np.empty(len(targets))
    for train, test in block_folds(blocks, folds):
        predicted[test] = fit(train, targets[train], test)
    return predicted


def errors_by_group(
    truth: Float[np.ndarray, " n"],
    predicted: Float[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
) -> dict[str, GroupError]:
    """Measure the errors of each group by itself.

    Args:
        truth: measured values.
        predicted: predictions in the same unit and order.
        groups: group of each unit; empty text where unknown.

    Returns:
        Errors by group, in alphabetical order; none where every group is unknown.
    """
    errors = {}
    for group in np.unique(groups[groups != ""]):
        inside = groups == group
        score = fold_score(truth[inside], predicted[inside])
        bias = float((predicted[inside] - truth[inside]).mean())
        errors[str(group)] = GroupError(score.units, score.r2, score.rmse, bias)
    return errors


def _check(
    name: str,
    blocks: Int[np.ndarray, " n"],
    lonlat: Float[np.ndarray, "n 2"] | None,
    folds: int,
    level: float,
    draws: int,
    neighbours: int,
) -> None:
    """Refuse what a later step would refuse only after the fits."""
    row = np.arange(len(blocks), dtype=np.float64)
    try:
        calibration_folds(blocks, folds, level)
        bootstrap_r2(row, row, blocks, level=level, draws=min(draws, 1))
        if lonlat is not None:
            neighbour_weights(lonlat, neighbours)
    except MoraError as error:
        raise MoraError(f"task {name!r}: {error}") from error
