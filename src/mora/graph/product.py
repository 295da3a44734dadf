"""Sparse matrix times dense matrix: the inner loop of LINE and of LightGCN."""

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numba import prange

from mora.errors import GraphError
from mora.kernels import kernel

# Far more blocks than cores, so that a thread's share is even to 1 %.
BLOCKS = 256


def multiply(
    indptr: Int64[np.ndarray, " rows_and_one"],
    indices: Int32[np.ndarray, " entries"],
    data: Float32[np.ndarray, " entries"],
    x: Float32[np.ndarray, "columns dim"],
    *,
    rows: Int64[np.ndarray, " selected"] | None = None,
    columns: Int64[np.ndarray, " columns"] | None = None,
    out: Float32[np.ndarray, "products dim"] | None = None,
) -> Float32[np.ndarray, "products dim"]:
    """Multiply a sparse matrix in CSR form by a dense one.

    Each row is summed by one thread, in the order of its entries: the result is the
    same bit for bit whatever the number of threads (``numba.set_num_threads``). Sums
    are float32; a row of ``n`` entries is within ``n * 6e-8 * sum |data * x|`` of the
    exact product, and in practice nearer to ``sqrt(n)`` of that.

    Args:
        indptr: where each row of the matrix begins; the last is the number of entries.
        indices: column of each entry, from 0.
        data: value of each entry.
        x: the dense matrix, C-contiguous.
        rows: compute these rows only, in this order, repeats allowed; all by default.
        columns: the columns of the matrix that the rows of ``x`` belong to, none
            twice; the others count as zero. By default ``x`` has a row for each.
        out: C-contiguous array for the result, overwritten; a new one by default.

    Returns:
        One row for each of ``rows``; zeros where a matrix row has no entries.

    Raises:
        GraphError: if the sparse arrays do not belong together, an index is out of
            range, a column is given twice, ``x`` or ``out`` is not C-contiguous or of
            the wrong shape, or they overlap.
    """
    width = _check_matrix(indptr, indices, data)
    if columns is None and width > len(x):
        raise GraphError(
            f"indices run up to {width - 1}; expected at most {len(x) - 1}, the last "
            f"row of x."
        )
    if rows is None:
        rows = np.arange(len(indptr) - 1)
    elif len(rows) and not 0 <= rows.min() <= rows.max() < len(indptr) - 1:
        raise GraphError(
            f"rows run from {rows.min()} to {rows.max()}; expected rows from 0 to "
            f"{len(indptr) - 2}."
        )
    out = _check_dense(x, out, (len(rows), x.shape[1]))
    blocks = _even_blocks(indptr, rows)
    if columns is None:
        _multiply_rows(indptr, indices, data, x, rows, blocks, out)
    else:
        place = _places(columns, width)
        longest = np.diff(indptr).max(initial=0)
        _multiply_columns(indptr, indices, data, x, place, longest, rows, blocks, out)
    return out


def _check_dense(
    x: np.ndarray, out: np.ndarray | None, shape: tuple[int, int]
) -> Float32[np.ndarray, "products dim"]:
    """Give the array for the result, once it is one that the kernel can write to."""
    out = np.empty(shape, np.float32) if out is None else out
    if out.shape != shape or not out.flags.c_contiguous or not x.flags.c_contiguous:
        raise GraphError(
            f"x is {_layout(x)} and out is {_layout(out)}; expected both C-contiguous "
            f"and out of shape {shape}. Use np.ascontiguousarray."
        )
    if np.may_share_memory(x, out):
        raise GraphError("out overlaps x, got one array for both; expected two.")
    return out


def _places(
    columns: Int64[np.ndarray, " columns"], width: int
) -> Int32[np.ndarray, " width"]:
    """Say which row of ``x`` belongs to each column of the matrix; -1 for none."""
    if columns.min(initial=0) < 0:
        raise GraphError(f"columns run from {columns.min()}; expected numbers from 0.")
    place = np.full(max(width, columns.max(initial=-1) + 1), -1, np.int32)
    place[columns] = np.arange(len(columns))
    lost = place[columns] != np.arange(len(columns))
    if lost.any():
        raise GraphError(
            f"{lost.sum()} of {len(columns)} columns come again later (first: "
            f"{columns[lost][:3].tolist()}); expected each once. Add their rows of x."
        )
    return place


def _check_matrix(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> int:
    """Refuse arrays that are no CSR matrix; give the columns that it needs."""
    if not (len(indptr) and indptr[0] == 0 and (np.diff(indptr) >= 0).all()):
        raise GraphError(
            f"indptr has {len(indptr)} values (first: {indptr[:3].tolist()}); expected "
            f"ascending offsets that begin with 0."
        )
    if not indptr[-1] == len(indices) == len(data):
        raise GraphError(
            f"indptr ends at {indptr[-1]} but there are {len(indices)} indices and "
            f"{len(data)} values; expected three times the same number."
        )
    if indices.min(initial=0) < 0:
        raise GraphError(f"indices run from {indices.min()}; expected numbers from 0.")
    return int(indices.max(initial=-1)) + 1


def _layout(x: np.ndarray) -> str:
    """Say shape and memory order for a message."""
    return f"{x.shape} {'contiguous' if x.flags.c_contiguous else 'not contiguous'}"


def _even_blocks(
    indptr: Int64[np.ndarray, " rows_and_one"], rows: Int64[np.ndarray, " selected"]
) -> Int64[np.ndarray, " blocks_and_one"]:
    """Cut the selected rows into blocks with about the same number of entries."""
    entries = np.cumsum(indptr[rows + 1] - indptr[rows])
    total = entries[-1] if len(entries) else 0
    cuts = np.searchsorted(entries, np.linspace(0, total, BLOCKS + 1)[1:-1])
    return np.concatenate([[0], cuts, [len(rows)]])


@kernel(parallel=True)
def _multiply_rows(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    x: np.ndarray,
    rows: np.ndarray,
    blocks: np.ndarray,
    out: np.ndarray,
) -> None:
    for block in prange(len(blocks) - 1):
        for k in range(blocks[block], blocks[block + 1]):
            entries = slice(indptr[rows[k]], indptr[rows[k] + 1])
            _sum_row(indices[entries], data[entries], x, out[k])


@kernel(parallel=True)
def _multiply_columns(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    x: np.ndarray,
    place: np.ndarray,
    longest: int,
    rows: np.ndarray,
    blocks: np.ndarray,
    out: np.ndarray,
) -> None:
    """Pick from each row the entries that have a row in ``x``, then sum those."""
    for block in prange(len(blocks) - 1):
        picked = np.empty(longest, np.int32)
        weight = np.empty(longest, np.float32)
        for k in range(blocks[block], blocks[block + 1]):
            found = 0
            for entry in range(indptr[rows[k]], indptr[rows[k] + 1]):
                picked[found] = place[indices[entry]]
                weight[found] = data[entry]
                found += picked[found] >= 0
            _sum_row(picked[:found], weight[:found], x, out[k])


@kernel()
def _sum_row(
    index: np.ndarray, weight: np.ndarray, x: np.ndarray, total: np.ndarray
) -> None:
    """Sum rows of ``x`` in ``total``, four a pass so that it is loaded less often."""
    total[:] = 0
    fours = len(index) // 4 * 4
    for k in range(0, fours, 4):
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        x0, x1, x2, x3 = x[index[k]], x[index[k + 1]], x[index[k + 2]], x[index[k + 3]]
        for c in range(x.shape[1]):
            total[c] += (w0 * x0[c] + w1 * x1[c]) + (w2 * x2[c] + w3 * x3[c])
    for k in range(fours, len(index)):
        w0, x0 = weight[k], x[index[k]]
        for c in range(x.shape[1]):
            total[c] += w0 * x0[c]
