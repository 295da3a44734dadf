"""Is one model better than another, over the same tasks and splits?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two models' R2.

    Attributes:
        difference: mean over tasks and splits, first minus second.
        standard_error: of ``difference``, corrected for the overlap of the splits;
            NaN for a single split.
        plain_error: the same without correction. Splits share most of their rows, so
            it is too small.
        wins: tasks on which the first model has the higher mean.
        tasks: number of tasks.
        splits: number of splits.
    """

    difference: float
    standard_error: float
    plain_error: float
    wins: int
    tasks: int
    splits: int


@dataclass(frozen=True)
class TaskDifference:
    """The paired difference of two models' R2 on one task.

    Attributes:
        difference: mean over splits, first minus second.
        standard_error: of ``difference``, corrected for the overlap of the splits;
            NaN for a single split.
        wins: splits on which the first model is better.
        splits: number of splits.
    """

    difference: float
    standard_error: float
    wins: int
    splits: int


def compare_scores(
    first: Float[np.ndarray, "tasks splits"],
    second: Float[np.ndarray, "tasks splits"],
    test_ratio: float,
) -> Comparison:
    """Compare two models split by split.

    The difference is averaged over tasks within each split; its spread over splits
    gives the standard error.

    Source: Nadeau and Bengio 2003, Inference for the generalization error, eq. 12
    (corrected resampled t-test): variance times (1 / splits + test rows / train rows).

    Args:
        first: R2 of one model.
        second: R2 of the other on the same tasks and splits.
        test_ratio: test rows over training rows; 0.25 for a test share of 0.2.

    Returns:
        The comparison; both errors are 0 where all splits agree.
    """
    by_split = (first - second).mean(axis=0)
    splits = len(by_split)
    return Comparison(
        difference=float(by_split.mean()),
        standard_error=_standard_error(by_split, test_ratio),
        plain_error=_standard_error(by_split, 0.0),
        wins=int(((first - second).mean(axis=1) > 0).sum()),
        tasks=len(first),
        splits=splits,
    )


def task_differences(
    first: Float[np.ndarray, "tasks splits"],
    second: Float[np.ndarray, "tasks splits"],
    test_ratio: float,
) -> list[TaskDifference]:
    """Compare two models split by split, on each task by itself.

    The arguments and the source are those of :func:`compare_scores`.

    Returns:
        One entry a task, in the given order.
    """
    return [
        TaskDifference(
            difference=float(by_split.mean()),
            standard_error=_standard_error(by_split, test_ratio),
            wins=int((by_split > 0).sum()),
            splits=len(by_split),
        )
        for by_split in first - second
    ]


def _standard_error(by_split: Float[np.ndarray, " splits"], test_ratio: float) -> float:
    """Give the error of a mean over splits; NaN for one, which says nothing of it."""
    splits = len(by_split)
    variance = np.var(by_split, ddof=1) if splits > 1 else np.nan
    return float(np.sqrt(variance * (1 / splits + test_ratio)))
