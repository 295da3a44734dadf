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
    out: Float32[np.ndarray, "products dim"] | None = None,
) -> Float32[np.ndarray, "products dim"]:
    """Multiply a sparse matrix in CSR form by a dense one.

    Each row is summed by one thread, in the order of its entries: the result is the
    same bit for bit whatever the number of threads (``numba.set_num_threads``). Sums
    are float32; a row of ``n`` entries is within ``n * 6e-8 * sum |data * x|`` of the
    exact product, and in practice nearer to ``sqrt(n)`` of that.

    Args:
        indptr: where each row of the matrix begins; the last is the number of entries.
        indices: column of each entry, in ``[0, columns)``.
        data: value of each entry.
        x: the dense matrix, C-contiguous.
        rows: compute these rows only, in this order, repeats allowed; all by default.
        out: C-contiguous array for the result, overwritten; a new one by default.

    Returns:
        One row for each of ``rows``; zeros where a matrix row has no entries.

    Raises:
        GraphError: if the sparse arrays do not belong together, an index is out of
            range, ``x`` or ``out`` is not C-contiguous or of the wrong shape, or they
            overlap.
    """
    _check_matrix(indptr, indices, data, len(x))
    if rows is None:
        rows = np.arange(len(indptr) - 1)
    elif len(rows) and not 0 <= rows.min() <= rows.max() < len(indptr) - 1:
        raise GraphError(
            f"rows run from {rows.min()} to {rows.max()}; expected rows from 0 to "
            f"{len(indptr) - 2}."
        )
    shape = (len(rows), x.shape[1])
    out = np.empty(shape, np.float32) if out is None else out
    if out.shape != shape or not out.flags.c_contiguous or not x.flags.c_contiguous:
        raise GraphError(
            f"x is {_layout(x)} and out is {_layout(out)}; expected both C-contiguous "
            f"and out of shape {shape}. Use np.ascontiguousarray."
        )
    if np.may_share_memory(x, out):
        raise GraphError("out overlaps x, got one array for both; expected two.")
    _multiply_rows(indptr, indices, data, x, rows, _even_blocks(indptr, rows), out)
    return out


def _check_matrix(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, columns: int
) -> None:
    """Refuse arrays that would make the kernel read outside them."""
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
    if len(indices) and not 0 <= indices.min() <= indices.max() < columns:
        raise GraphError(
            f"indices run from {indices.min()} to {indices.max()}; expected 0 to "
            f"{columns - 1}, the rows of x."
        )


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
    """Sum each row in ``out``, four entries a pass so that it is loaded less often."""
    for block in prange(len(blocks) - 1):
        for place in range(blocks[block], blocks[block + 1]):
            begin, end = indptr[rows[place]], indptr[rows[place] + 1]
            total = out[place]
            total[:] = 0
            fours = begin + (end - begin) // 4 * 4
            for k in range(begin, fours, 4):
                w0, w1, w2, w3 = data[k], data[k + 1], data[k + 2], data[k + 3]
                x0, x1 = x[indices[k]], x[indices[k + 1]]
                x2, x3 = x[indices[k + 2]], x[indices[k + 3]]
                for c in range(x.shape[1]):
                    total[c] += (w0 * x0[c] + w1 * x1[c]) + (w2 * x2[c] + w3 * x3[c])
            for k in range(fours, end):
                w0, x0 = data[k], x[indices[k]]
                for c in range(x.shape[1]):
                    total[c] += w0 * x0[c]
