"""Rows of a table brought to tokens: where they lie, and their weighted mean."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from mora.errors import MissingColumnError, MoraError, TableError, examples
from mora.tokens import Tokens


def rows_to_tokens(tokens: Tokens, frame: pd.DataFrame) -> Int[np.ndarray, " rows"]:
    """Find the token of each row, by its ``token`` column or else by lon and lat.

    Args:
        tokens: the row order of all features.
        frame: rows with ``token`` (H3 as hex or integer, grid id, zone code) or with
            ``lon`` and ``lat`` in degrees; empty values are allowed.

    Returns:
        Tokens in ``[0, len(tokens))``; -1 outside all tokens or where unknown.

    Raises:
        MissingColumnError: if there is neither ``token`` nor ``lon`` and ``lat``.
        TableError: if ids are of the wrong type or coordinates are off the Earth.
    """
    if "token" in frame:
        return _tokens_by_id(tokens, frame["token"])
    missing = [column for column in ("lon", "lat") if column not in frame]
    if missing:
        raise MissingColumnError("locating rows", missing, list(frame.columns))
    lonlat = frame[["lon", "lat"]].to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(lonlat).all(axis=1)
    outside = known & (np.abs(lonlat) > [180.0, 90.0]).any(axis=1)
    if outside.any():
        raise TableError(
            f"{outside.sum()} of {len(frame)} rows lie outside lon -180..180, lat "
            f"-90..90 (first: {examples(lonlat[outside].tolist())}); expected degrees "
            f"in WGS84. Are lon and lat swapped or projected?"
        )
    found = np.full(len(frame), -1, dtype=np.int64)
    if known.any():
        found[known] = tokens.locate(lonlat[known])
    return found


def _tokens_by_id(tokens: Tokens, column: pd.Series) -> Int[np.ndarray, " rows"]:
    if column.dtype.kind == "f" and column.notna().any():
        raise TableError(
            f"column 'token' holds {column.dtype} numbers; expected ids as text or "
            f"integers, which floats do not keep exact. Read the column as text."
        )
    row, distinct = pd.factorize(column)
    if len(distinct) == 0:
        return np.full(len(column), -1, dtype=np.int64)
    try:
        found = tokens.find(np.asarray(distinct.tolist()))
    except MoraError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise TableError(
            f"column 'token' cannot be read as {tokens.kind} ids ({error}; first: "
            f"{examples(distinct.tolist())}). Check that the ids are of this kind."
        ) from error
    return np.where(row >= 0, found[row], -1)


def rows_inside(
    tokens: Tokens, frame: pd.DataFrame, what: str
) -> tuple[Int[np.ndarray, " rows"], int]:
    """Find the token of each row and count the rows that lie in none.

    Args:
        tokens: the row order of all features.
        frame: see :func:`rows_to_tokens`.
        what: the rows' name in the message.

    Returns:
        Token of each row, -1 outside, and the number of those.

    Raises:
        TableError: if not one row lies inside a token.
    """
    token = rows_to_tokens(tokens, frame)
    dropped = int((token < 0).sum())
    if dropped == len(frame):
        seen = frame[[c for c in ("token", "lon", "lat") if c in frame]]
        raise TableError(
            f"{dropped} of {len(frame)} {what} lie outside all {len(tokens)} "
            f"{tokens.kind} tokens (first: {examples(seen.head(3).values.tolist())}); "
            f"expected at least one inside. Check the region, the coordinates' order "
            f"and the id format."
        )
    return token, dropped


def read_numbers(
    frame: pd.DataFrame, columns: Sequence[str] | None, besides: Sequence[str]
) -> tuple[list[str], Float[np.ndarray, "rows columns"]]:
    """Read the named columns, or every numeric one, as float64.

    Args:
        frame: any table.
        columns: exactly these, in this order; None takes every numeric column that is
            not among ``besides``.
        besides: columns that place or weigh a row and are no features.

    Returns:
        Names and values; NaN where a value is missing.

    Raises:
        MissingColumnError: if a named column does not exist.
        TableError: if there are no columns, one is not numeric, or a value is infinite.
    """
    if columns is None:
        numeric = frame.select_dtypes(["number", "bool"]).columns
        columns = [column for column in numeric if column not in besides]
    missing = [column for column in columns if column not in frame]
    if missing:
        raise MissingColumnError("reading features", missing, list(frame.columns))
    text = [c for c in columns if not pd.api.types.is_numeric_dtype(frame[c])]
    if text or not len(columns):
        raise TableError(
            f"{len(text)} of {len(columns)} columns are not numeric (first: "
            f"{examples(text)}); expected at least one column, all of numbers. Name "
            f"them under `columns`."
        )
    values = frame[list(columns)].to_numpy(np.float64, copy=True, na_value=np.nan)
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        names = [columns[i] for i in np.flatnonzero(infinite)]
        raise TableError(
            f"{np.isinf(values).sum()} values are infinite (columns: "
            f"{examples(names)}); expected numbers or empty values."
        )
    return list(columns), values


def weighted_group_means(
    group: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, "rows columns"],
    weight: Float[np.ndarray, " rows"],
    groups: int,
) -> Float[np.ndarray, "groups columns"]:
    """Average rows per group; a NaN is left out together with its weight.

    Args:
        group: group of each row, in ``[-1, groups)``; rows of -1 belong to none.
        values: NaN where unknown.
        weight: >= 0, aligned with ``group``.
        groups: number of groups.

    Returns:
        Weighted means; NaN where a group has no value of positive weight.
    """
    inside = np.flatnonzero(group >= 0)
    place = (group[inside], np.arange(len(inside)))
    sums = sp.csr_array((weight[inside], place), shape=(groups, len(inside)))
    known = np.isfinite(values[inside])
    total = sums @ np.where(known, values[inside], 0.0)
    mass = sums @ known.astype(np.float64)
    empty = np.full((groups, values.shape[1]), np.nan)
    return np.divide(total, mass, out=empty, where=mass > 0)


def fill_gaps(
    values: Float[np.ndarray, "tokens columns"],
    weight: Float[np.ndarray, " tokens"],
    columns: Sequence[str],
) -> tuple[Float[np.ndarray, "tokens columns"], Bool[np.ndarray, " tokens"], int]:
    """Give tokens that lack some columns the weighted mean of those columns.

    Args:
        values: one row per token; NaN where unknown.
        weight: what each token counts in the mean, >= 0.
        columns: names for the message.

    Returns:
        Values without gaps, which tokens had at least one value (the rows of the others
        are zero), and the number of values filled in.

    Raises:
        TableError: if a column has no value in any token.
    """
    present = np.isfinite(values).any(axis=1)
    one_group = np.zeros(len(values), dtype=np.int64)
    usual = weighted_group_means(one_group, values, weight, 1)[0]
    if np.isnan(usual).any():
        empty = [columns[i] for i in np.flatnonzero(np.isnan(usual))]
        raise TableError(
            f"{len(empty)} of {len(columns)} columns have no value in any token "
            f"(first: {examples(empty)}); expected at least one. Leave them out under "
            f"`columns`."
        )
    gaps = np.isnan(values) & present[:, None]
    filled = np.where(gaps, usual, values)
    filled[~present] = 0.0
    return filled, present, int(gaps.sum())
