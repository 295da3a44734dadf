"""Demographics: the population-weighted mean of census columns in each token."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mora.errors import MissingColumnError, TableError, examples
from mora.modalities.features import Features, modality
from mora.modalities.rows import (
    fill_gaps,
    read_numbers,
    rows_inside,
    weighted_group_means,
)
from mora.tokens import Tokens

PLACING = ("token", "lon", "lat", "share")


@modality("demographics")
def build_demographics(
    tokens: Tokens,
    frame: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    weight: str | None = "weight",
    histogram: bool | Sequence[Sequence[str]] = False,
    log_total: bool = False,
) -> Features:
    """Average census columns per token, weighted by population.

    A row may be an area's point or one piece of an area, allocated to a token with the
    part of the area that lies there as ``share``.

    Args:
        tokens: the row order of the features.
        frame: rows with ``token`` or ``lon`` and ``lat``, numeric columns, the weight,
            and optionally ``share`` (0..1), which multiplies the weight.
        columns: exactly these columns; None takes every numeric one.
        weight: column of weights such as population, >= 0; rows without one count
            nothing. None weighs all rows alike.
        histogram: True if the columns are counts of one histogram (such as age by sex),
            or one list of columns per histogram; each row's counts are divided by
            their sum before averaging.
        log_total: append log(1 + total weight) of each token.

    Returns:
        Features; tokens without any value are missing, and a column that a token lacks
        gets that column's weighted mean over all tokens (counted in the notes).

    Raises:
        MissingColumnError: if a named column does not exist.
        TableError: if no row lies in a token, or a weight or count is negative.
    """
    names, values = read_numbers(frame, columns, (*PLACING, weight or ""))
    token, dropped = rows_inside(tokens, frame, "rows")
    heaviness = row_weights(frame, weight)
    for group in _histograms(histogram, names):
        values[:, group] = histogram_shares(values[:, group])
    total = np.bincount(token[token >= 0], heaviness[token >= 0], len(tokens))
    means = weighted_group_means(token, values, heaviness, len(tokens))
    filled, present, gaps = fill_gaps(means, total, names)
    if log_total:
        filled = np.column_stack([filled, np.log1p(total)])
        names = [*names, "log_total"]
    notes = {
        "rows": len(frame),
        "dropped": dropped,
        "without_weight": int((heaviness == 0).sum()),
        "filled_values": gaps,
    }
    return Features.from_values(filled, present, names, notes)


def row_weights(frame: pd.DataFrame, weight: str | None) -> Float[np.ndarray, " rows"]:
    """Read what each row counts: its weight times its share of the area.

    Args:
        frame: rows with the ``weight`` column and optionally ``share``.
        weight: name of the column; None counts each row once.

    Returns:
        Weights >= 0; 0 where the weight or the share is empty.

    Raises:
        MissingColumnError: if the column does not exist.
        TableError: if a weight or share is negative or infinite.
    """
    if weight is not None and weight not in frame:
        raise MissingColumnError("weighing rows", [weight], list(frame.columns))
    factors = [] if weight is None else [weight]
    factors += ["share"] if "share" in frame and weight != "share" else []
    heaviness = np.ones(len(frame))
    for column in factors:
        read = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        bad = read[(read < 0) | np.isinf(read)]
        if len(bad):
            raise TableError(
                f"column {column!r}: {len(bad)} of {len(frame)} weights are negative "
                f"or infinite (first: {examples(bad.tolist())}); expected numbers >= 0."
            )
        heaviness = heaviness * np.nan_to_num(read, nan=0.0)
    return heaviness


def _histograms(
    histogram: bool | Sequence[Sequence[str]], names: list[str]
) -> list[Int[np.ndarray, " bins"]]:
    """Give the positions of each histogram's bins."""
    if isinstance(histogram, bool):
        return [np.arange(len(names))] if histogram else []
    unknown = [name for group in histogram for name in group if name not in names]
    if unknown:
        raise MissingColumnError("`histogram`", unknown, names)
    return [np.array([names.index(name) for name in group]) for group in histogram]


def histogram_shares(
    counts: Float[np.ndarray, "rows bins"],
) -> Float[np.ndarray, "rows bins"]:
    """Divide each row of counts by its sum.

    Returns:
        Shares that sum to 1; all NaN in a row whose sum is 0 or which has an empty bin.

    Raises:
        TableError: if a count is negative.
    """
    if (counts < 0).any():
        raise TableError(
            f"{(counts < 0).sum()} histogram counts are negative (first: "
            f"{examples(counts[counts < 0].tolist())}); expected counts >= 0."
        )
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
