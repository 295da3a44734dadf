"""The nearest rows by cosine: exact, in blocks, ties in the order of the rows."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from mora.errors import MissingExtraError, MoraError

QUERY_BLOCK = 256  # queries compared at a time
ROUNDING = 1e-6  # of squared distances between float32 rows of length 1
PLACE_BLOCK = 32_768  # with so many places: 34 MB of cosines
# Of the graph: links of a place, and candidates while it is built and asked. All of the
# ten nearest of 100,000 made-up places in 500 clusters are found.
LINKS, BUILT_WITH, ASKED_WITH = 32, 100, 128


def unit_rows(
    vectors: Float[np.ndarray, "rows dim"],
) -> Float[np.ndarray, "rows dim"]:
    """Scale rows to length 1; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def along_from(
    rows: Float[np.ndarray, "rows dim"],
    middle: Float[np.ndarray, " dim"],
    direction: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, " rows"]:
    """Give the cosine of rows, seen from a point, with a direction; no copy of them.

    Args:
        rows: of about length 1; a row of NaN gives NaN.
        middle: the point.
        direction: of length 1, else the cosines are as many times longer.

    Returns:
        In -1..1; 0 for rows that are at the point.
    """
    square = np.einsum("ij,ij->i", rows, rows) - 2 * (rows @ middle)
    square = square + middle @ middle
    length = np.sqrt(np.where(square <= ROUNDING, np.inf, square))
    return (rows @ direction - middle @ direction) / length


def most_similar(
    unit: Float32[np.ndarray, "places dim"],
    queries: Float32[np.ndarray, "n dim"],
    k: int,
) -> tuple[Int[np.ndarray, "n found"], Float32[np.ndarray, "n found"]]:
    """Find the rows of highest cosine with each query, exactly, block by block.

    Args:
        unit: rows of length 1, or 0.
        queries: of any length.
        k: how many, >= 1; at most the number of rows are found.

    Returns:
        Rows, the most similar first, and their cosines; of equal ones the first row
        is the first. A query of zeros is equally far, 0, from all.

    Raises:
        MoraError: if ``k`` is below 1.
    """
    if k < 1:
        raise MoraError(f"k must be at least 1, got {k!r}.")
    width = min(k, len(unit))
    rows = np.empty((len(queries), width), dtype=np.int64)
    cosines = np.empty((len(queries), width), dtype=np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        rows[block], cosines[block] = _best_rows(unit, unit_rows(queries[block]), k)
    return rows, cosines


def neighbour_graph(unit: Float32[np.ndarray, "places dim"]) -> Any:
    """Build a graph of near rows, which answers without looking at all of them.

    Source: Malkov and Yashunin 2018 (HNSW), in FAISS.

    Args:
        unit: rows of length 1, or 0.

    Returns:
        An index of FAISS: ``search(queries, k)`` gives cosines and rows.

    Raises:
        MissingExtraError: if FAISS is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss-cpu", "ann", "Approximate search") from error
    graph = faiss.IndexHNSWFlat(unit.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = BUILT_WITH, ASKED_WITH
    graph.add(np.ascontiguousarray(unit))
    return graph


def _best_rows(
    unit: np.ndarray, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Go through the places block by block and keep the best of each query."""
    best = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(unit), PLACE_BLOCK):
        cosine = queries @ unit[start : start + PLACE_BLOCK].T
        slot, value = highest(cosine, k)
        best, rows = np.hstack([best, value]), np.hstack([rows, start + slot])
        if start > 0:  # what came first stands first, so that it wins ties
            slot, best = highest(best, k)
            rows = np.take_along_axis(rows, slot, axis=1)
    return rows, best


def highest(
    values: Float[np.ndarray, "rows columns"], k: int
) -> tuple[Int[np.ndarray, "rows found"], Float[np.ndarray, "rows found"]]:
    """Find the columns of the k highest values of each row.

    Args:
        values: finite.
        k: how many, >= 1; at most all columns are found.

    Returns:
        Columns and values, the highest first; of equal values the first column is the
        first, also where only some of them are among the k.
    """
    rows, columns = values.shape
    if k < columns:
        last = np.partition(values, columns - k, axis=1)[:, columns - k, None]
        above, equal = values > last, values == last
        room = k - above.sum(axis=1, keepdims=True)
        chosen = above | (equal & (equal.cumsum(axis=1) <= room))
        column = chosen.nonzero()[1].reshape(rows, k)
    else:
        column = np.broadcast_to(np.arange(columns), values.shape)
    value = np.take_along_axis(values, column, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    return tuple(np.take_along_axis(a, order, axis=1) for a in (column, value))
