"""Split-conformal intervals: how far a prediction may be off, from held-out blocks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mora.benchmark.fitting import Fit
from mora.benchmark.splits import block_folds
from mora.errors import MoraError


@dataclass(frozen=True, eq=False)
class Intervals:
    """A prediction interval for each unit.

    Attributes:
        low: lower ends.
        high: upper ends.
        level: share of units that shall lie within.
    """

    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    level: float

    def covers(self, truth: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Say which values lie within their intervals."""
        return (self.low <= truth) & (truth <= self.high)


@dataclass(frozen=True)
class Coverage:
    """What intervals hold.

    Attributes:
        level: share of units that shall lie within.
        coverage: share that do.
        mean_width: of the intervals, in units of the label.
        by_group: name -> group -> share that do, and over how many units.
    """

    level: float
    coverage: float
    mean_width: float
    by_group: Mapping[str, Mapping[str, tuple[float, int]]]

    def to_json(self) -> dict[str, Any]:
        """Give plain dicts."""
        groups = {
            name: {
                group: {"coverage": coverage, "units": units}
                for group, (coverage, units) in found.items()
            }
            for name, found in self.by_group.items()
        }
        return asdict(self) | {"by_group": groups}


def conformal_half_width(
    errors: Float[np.ndarray, " calibration"], level: float
) -> float:
    """Give the distance within which a new prediction lies with probability ``level``.

    Source: Vovk et al. 2005; Lei et al. 2018, Distribution-free predictive inference
    for regression, algorithm 2: the ceil((n + 1) level)-th smallest absolute error.

    Args:
        errors: of units that did not train the model.
        level: in (0, 1).

    Returns:
        Half the width of the interval; 0 where calibration errors are 0.

    Raises:
        MoraError: if there are too few errors for the level.
    """
    if not 0 < level < 1:
        raise MoraError(f"level is {level:g}; expected a share between 0 and 1.")
    # Rounded, as 10 * 0.9 may be a little above 9 in floating point.
    rank = int(np.ceil(round((len(errors) + 1) * level, 6)))
    if rank > len(errors):
        needed = int(np.ceil(round(level / (1 - level), 6)))
        raise MoraError(
            f"{len(errors)} calibration units are too few for intervals of level "
            f"{level:g}; expected at least {needed}. Lower the level, or use fewer "
            f"folds."
        )
    return float(np.partition(np.abs(errors), rank - 1)[rank - 1])


def split_conformal(
    fit: Fit,
    targets: Float[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    *,
    folds: int = 5,
    level: float = 0.9,
) -> Intervals:
    """Give each unit an interval from a model that knows neither it nor its block.

    Blocks are dealt into folds. Each fold is predicted by a fit that leaves out the
    fold and the next one; the next one's errors give the width. Calibration units are
    in other blocks than training units, as test units are, so that the errors
    measured are those of unknown land.

    Args:
        fit: from train rows, labels and test rows to predictions.
        targets: labels of all rows.
        blocks: block of each row.
        folds: at least 3; fewer where there are fewer blocks.
        level: share of units that shall lie within, in (0, 1).

    Returns:
        Intervals around predictions, in row order.

    Raises:
        MoraError: if there are fewer than 3 folds or blocks, or too few units.
    """
    tests = calibration_folds(blocks, folds, level)
    low, high = np.empty(len(targets)), np.empty(len(targets))
    for number, test in enumerate(tests):
        calibration = tests[(number + 1) % len(tests)]
        outside = np.concatenate([calibration, test])
        train = np.setdiff1d(np.arange(len(targets)), outside)
        predicted = fit(train, targets[train], outside)
        errors = predicted[: len(calibration)] - targets[calibration]
        half = conformal_half_width(errors, level)
        centre = predicted[len(calibration) :]
        low[test], high[test] = centre - half, centre + half
    return Intervals(low, high, level)


def calibration_folds(
    blocks: Int[np.ndarray, " n"], folds: int, level: float
) -> list[Int[np.ndarray, " test"]]:
    """Give the rows of each fold, or refuse before the first fit.

    Raises:
        MoraError: if there are fewer than 3 folds or blocks, or too few units.
    """
    found = len(np.unique(blocks))
    if min(folds, found) < 3:
        raise MoraError(
            f"{folds} folds of {found} blocks; expected at least 3 of each, to train, "
            f"to calibrate and to test. Use smaller blocks."
        )
    tests = [test for _, test in block_folds(blocks, folds)]
    conformal_half_width(np.zeros(min(map(len, tests))), level)
    return tests


def coverage(
    intervals: Intervals,
    truth: Float[np.ndarray, " n"],
    groups: Mapping[str, Shaped[np.ndarray, " n"]],
) -> Coverage:
    """Measure what intervals hold, overall and for each group.

    Args:
        intervals: one a unit.
        truth: measured values in the same order.
        groups: name -> group of each unit; empty text where unknown.
    """
    inside = intervals.covers(truth)
    by_group = {
        name: {
            str(group): (float(inside[of == group].mean()), int((of == group).sum()))
            for group in np.unique(of[of != ""])
        }
        for name, of in groups.items()
    }
    width = float((intervals.high - intervals.low).mean())
    return Coverage(intervals.level, float(inside.mean()), width, by_group)
