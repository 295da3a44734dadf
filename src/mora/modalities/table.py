"""Any table of numbers as a modality: the mean of its rows in each token."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mora.modalities.features import Features, modality
from mora.modalities.rows import (
    fill_gaps,
    read_numbers,
    rows_inside,
    weighted_group_means,
)
from mora.tokens import Tokens

PLACING = ("token", "lon", "lat")


@modality("table")
def build_table(
    tokens: Tokens,
    frame: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    standardise: bool = False,
) -> Features:
    """Average the rows of a table per token, all rows alike.

    Args:
        tokens: the row order of the features.
        frame: rows with ``token`` or ``lon`` and ``lat``, and numeric columns; NaN
            where a value is missing.
        columns: exactly these columns; None takes every numeric one.
        standardise: bring each column to mean 0 and standard deviation 1.

    Returns:
        Features; tokens without any value are missing, and a column that a token lacks
        gets that column's mean over all rows (counted in the notes).

    Raises:
        MissingColumnError: if a named column does not exist.
        TableError: if no row lies in a token.
    """
    names, values = read_numbers(frame, columns, PLACING)
    token, dropped = rows_inside(tokens, frame, "rows")
    rows = np.bincount(token[token >= 0], minlength=len(tokens)).astype(np.float64)
    means = weighted_group_means(token, values, np.ones(len(frame)), len(tokens))
    filled, present, gaps = fill_gaps(means, rows, names)
    notes = {"rows": len(frame), "dropped": dropped, "filled_values": gaps}
    features = Features.from_values(filled, present, names, notes)
    return features.standardised() if standardise else features
