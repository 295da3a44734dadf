"""Columns as text or as numbers, with what cannot be read told apart."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float

MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none"})


def to_text(column: pd.Series) -> pd.Series:
    """Give a column as text; whole numbers lose the ``.0`` that a gap gave them.

    Args:
        column: ids of any type; what is missing stays missing.
    """
    if isinstance(column.dtype, pd.StringDtype):
        return column
    if pd.api.types.is_float_dtype(column):
        present = column.dropna()
        if (present == np.round(present)).all():
            column = column.astype("Int64")
    return column.astype(object).map(str, na_action="ignore").astype("str")


def is_blank(column: pd.Series) -> Bool[np.ndarray, " n"]:
    """Mark the values that are missing or have no text in them."""
    blank = column.isna()
    if not pd.api.types.is_numeric_dtype(column):
        blank |= column.astype("str").str.strip() == ""
    return blank.to_numpy(bool)


def to_numbers(
    column: pd.Series,
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Read a column as numbers.

    Args:
        column: numbers, or text such as ``12.5``; empty, NA, NaN, null and None in any
            case stand for a missing number. Times are not numbers.

    Returns:
        Values, NaN where missing or unreadable, and a mask of the unreadable.
    """
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(np.float64, na_value=np.nan)
        return values, np.zeros(len(column), dtype=bool)
    if pd.api.types.is_datetime64_any_dtype(column):
        return np.full(len(column), np.nan), column.notna().to_numpy()
    try:  # ten times faster than pandas, but only where every value is a number
        values = pa.array(column, from_pandas=True).cast(pa.float64())
        numbers = values.to_numpy(zero_copy_only=False)
        return numbers, np.zeros(len(column), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    said = column.map(_says_missing).to_numpy(bool)
    return numbers, np.isnan(numbers) & ~said


def _says_missing(value: Any) -> bool:
    return bool(pd.isna(value)) or str(value).strip().lower() in MISSING_WORDS
