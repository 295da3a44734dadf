"""A model given as several candidates, such as the settings of a tuned baseline."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped

from mora.benchmark.ridge import RidgeReadout
from mora.benchmark.scores import r_squared
from mora.benchmark.splits import Split, block_folds, shuffled_folds

INNER_FOLDS = 3  # a fit of each candidate for each; every training row is used once

# One matrix, or candidates of which one is taken per fold.
Model: TypeAlias = Shaped[np.ndarray, "tokens _"] | Sequence[Shaped[np.ndarray, "_ _"]]


def candidates_of(model: Model) -> list[Shaped[np.ndarray, "_ _"]]:
    """Give the matrices of a model, one where it has no choice."""
    return [model] if isinstance(model, np.ndarray) else list(model)


def choose_candidate(
    candidates: Sequence[Shaped[np.ndarray, "known _"]],
    targets: Float[np.ndarray, " known"],
    train: Int[np.ndarray, " train"],
    whole: Int[np.ndarray, " known"] | None = None,
    seed: int = 0,
) -> int:
    """Choose the candidate that a Ridge reads best within the training rows.

    The training rows are divided once more, as the rows of the protocol are. The test
    rows are never looked at.

    Args:
        candidates: vectors of all rows, one matrix a candidate.
        targets: labels of all rows; only those of ``train`` are used.
        train: training rows.
        whole: group of each row that is never divided; None where rows are.
        seed: seed of the inner folds.

    Returns:
        Position of the candidate with the highest R2 of the pooled inner folds; the
        first of equal ones, and 0 where the training labels are all equal.
    """
    y = targets[train]
    if len(candidates) == 1 or np.ptp(y) == 0:
        return 0
    groups = None if whole is None else whole[train]
    folds = _inner_folds(len(train), groups, seed)
    scores = [_inner_score(x[train], y, folds) for x in candidates]
    return int(np.argmax(scores))


def _inner_folds(
    rows: int, groups: Int[np.ndarray, " rows"] | None, seed: int
) -> list[Split]:
    """Divide training rows, whole groups together where there are at least two."""
    if groups is not None and len(np.unique(groups)) > 1:
        return block_folds(groups, INNER_FOLDS)
    return shuffled_folds(rows, min(INNER_FOLDS, rows), seed)


def _inner_score(
    x: Shaped[np.ndarray, "train _"],
    y: Float[np.ndarray, " train"],
    folds: Sequence[Split],
) -> float:
    """Give R2 of the pooled predictions of the inner folds."""
    readout, predicted = RidgeReadout(), np.empty(len(y))
    for inner, held_out in folds:
        predicted[held_out] = readout.fit_predict(x[inner], y[inner], x[held_out])
    return r_squared(y, predicted)
