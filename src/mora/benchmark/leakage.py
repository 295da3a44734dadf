"""Inputs that give a label away: one column that by itself predicts it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mora.errors import MoraError

MOST_BINS = 64
FEWEST_BINS = 5  # an exact relation still reaches R2 0.94
BIN_SAMPLES = 10
FEWEST_SAMPLES = 30


@dataclass(frozen=True)
class Leak:
    """A column that predicts a label almost alone.

    Attributes:
        label: name of the label.
        source: name of the features that hold the column.
        column: name of the column.
        r2: share of the label's variance that it predicts.
    """

    label: str
    source: str
    column: str
    r2: float

    def __str__(self) -> str:
        return (
            f"label {self.label!r} can be read from the single input column "
            f"{self.column!r} of {self.source!r} (R2 {self.r2:.2f}); declare it "
            f"under `given_away:`, or leave the column out of the inputs."
        )


def find_leaks(
    features: Mapping[str, tuple[Shaped[np.ndarray, "units _"], Sequence[str]]],
    labels: Mapping[str, Float[np.ndarray, " units"]],
    threshold: float = 0.9,
) -> list[Leak]:
    """Find the columns that predict a label by themselves.

    Each column is cut into bins of about equally many units (ties stay together), and
    a unit's label is predicted by the mean of the others in its bin: leave-one-out,
    so that noise scores below 0, and free in shape, so that a curved or U-shaped
    relation is found like a straight one. The label is taken as it is and as ranks,
    whichever is predicted better: a monotone relation to a label with a long tail
    (income, counts) is plain only in ranks.

    Args:
        features: per modality a matrix, NaN where unknown, and its column names.
        labels: per label its values in the same rows, NaN where unknown.
        threshold: R2 from which a column is reported, <= 1.

    Returns:
        Leaks, by label in the given order and then by falling R2; none where a column
        and a label share fewer than 30 units.

    Raises:
        MoraError: if a matrix does not have one name a column or one row a unit.
    """
    ranks = {label: _ranks(values) for label, values in labels.items()}
    leaks = []
    for source, (matrix, names) in features.items():
        _check(source, matrix, names, labels)
        for column, name in zip(matrix.T, names, strict=True):
            bins = _bins(column)
            for label, values in labels.items():
                r2 = max(bin_mean_r2(bins, values), bin_mean_r2(bins, ranks[label]))
                if r2 >= threshold:
                    leaks.append(Leak(label, source, name, r2))
    place = {label: position for position, label in enumerate(labels)}
    return sorted(leaks, key=lambda leak: (place[leak.label], -leak.r2))


def bin_mean_r2(
    bins: Int[np.ndarray, " units"], values: Float[np.ndarray, " units"]
) -> float:
    """Give the R2 of predicting each value by the others in its bin, leave-one-out.

    With n in a bin, leaving a unit out moves the mean so that its error grows by
    n / (n - 1). A unit alone in its bin is predicted by the mean of all.

    Args:
        bins: bin of each unit, -1 where unknown.
        values: what to predict, NaN where unknown.

    Returns:
        At most 1; 0 where the values are constant or fewer than 30 units are known.
    """
    known = (bins >= 0) & np.isfinite(values)
    if known.sum() < FEWEST_SAMPLES or np.ptp(values[known]) == 0:
        return 0.0
    label, bin_of = values[known].astype(np.float64), bins[known]
    label -= label.mean()
    count = np.bincount(bin_of)
    total, squares = np.bincount(bin_of, label), np.bincount(bin_of, label**2)
    within = squares - total**2 / np.maximum(count, 1)
    error = within * (count / np.maximum(count - 1, 1)) ** 2
    error = np.where(count == 1, squares, error)
    return float(1 - error.sum() / squares.sum())


def _ranks(values: Float[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    """Rank the known values, ties sharing their mean rank; NaN stays NaN."""
    from scipy.stats import rankdata

    return rankdata(values, nan_policy="omit")


def _bins(column: Shaped[np.ndarray, " units"]) -> Int[np.ndarray, " units"]:
    """Cut a column at its quantiles; equal values share a bin, unknown ones get -1."""
    known = np.isfinite(column)
    bins = np.full(len(column), -1, dtype=np.int64)
    if known.any():
        count = int(np.clip(known.sum() // BIN_SAMPLES, FEWEST_BINS, MOST_BINS))
        inner = np.linspace(0, 1, count + 1)[1:-1]
        edges = np.unique(np.quantile(column[known], inner))
        bins[known] = np.searchsorted(edges, column[known], side="right")
    return bins


def _check(
    source: str,
    matrix: Shaped[np.ndarray, "units dim"],
    names: Sequence[str],
    labels: Mapping[str, Float[np.ndarray, " units"]],
) -> None:
    lengths = {label: len(values) for label, values in labels.items()}
    if matrix.shape[1] != len(names) or set(lengths.values()) - {len(matrix)}:
        raise MoraError(
            f"features {source!r} have shape {matrix.shape} and {len(names)} column "
            f"names, the labels {lengths} rows; expected one name a column and the "
            f"same rows. Pool the features to the units of the labels."
        )
