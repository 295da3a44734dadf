"""LINE in closed form: factorise the matrix that its sampling approaches."""

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float, Float32, Float64

from mora.errors import GraphError
from mora.graph.product import multiply
from mora.graph.storage import MobilityGraph

# Singular values below this part of the largest are noise of the float32 products.
RANK_TOLERANCE = 1e-6


def closed_form(
    graph: MobilityGraph,
    *,
    dim: int = 128,
    shift: float = 0.25,
    power_iterations: int = 3,
    oversample: int = 16,
    exponent: float = 0.5,
    seed: int = 0,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed tokens by the second-order proximity of LINE, without sampling.

    Factorises :func:`shifted_pmi`, whose dot products of vertex and context vectors
    LINE's samples approach (Levy & Goldberg 2014, eq. 11; Qiu et al. 2018, NetMF,
    table 1). Departs from LINE, which draws its noise by degree^0.75: here by degree.

    Args:
        graph: the mobility graph; nearby tokens in nearby rows make it fast.
        dim: length of the vectors, >= 1.
        shift: noise draws for each edge, ``b`` in NetMF, > 0; below 1 it keeps edges
            that are rarer than chance. The default lies between what held-out links
            and what labels of the places prefer.
        power_iterations: passes that sharpen the sketch, >= 0.
        oversample: columns of the sketch beyond ``dim``, >= 0.
        exponent: power of the singular values, >= 0: 0.5 splits them evenly between
            vertex and context as LINE does, 1 damps the noise of the small ones (Levy
            et al. 2015, section 3.3).
        seed: seed of the sketch.

    Returns:
        Left singular vectors times that power of the singular values, largest first.
        Tokens without an edge above the shift are zero, and so are the columns beyond
        the rank, in particular beyond the number of tokens.

    Raises:
        GraphError: if no edge is above the shift, or an argument is out of its range.
    """
    if exponent < 0:
        raise GraphError(f"exponent is {exponent}; expected 0 or more, such as 0.5.")
    left, singular = truncated_svd(
        shifted_pmi(graph, shift),
        dim,
        power_iterations=power_iterations,
        oversample=oversample,
        seed=seed,
    )
    embedding = np.zeros((len(graph), dim), np.float32)
    embedding[:, : len(singular)] = left * singular**exponent
    return embedding


def shifted_pmi(graph: MobilityGraph, shift: float = 0.25) -> sp.csr_array:
    """Give the shifted positive pointwise mutual information of each edge.

    ``max(0, log(vol w_ij / (d_i d_j)) - log b)`` with ``d`` the degrees and ``vol``
    their sum. Source: Levy & Goldberg 2014, eq. 11 and section 3.3; Qiu et al. 2018,
    NetMF, table 1 (LINE).

    Args:
        graph: the mobility graph.
        shift: ``b``, > 0.

    Returns:
        Symmetric float32 matrix, its zeros not stored; scaling all weights changes
        nothing.

    Raises:
        GraphError: if ``shift`` is not positive, there is no edge, or none is above.
    """
    if shift <= 0 or graph.edges == 0:
        raise GraphError(
            f"shift {shift} on a graph of {graph.edges} edges; expected a shift above "
            f"0, such as 0.25, and at least one edge."
        )
    degree = graph.degree()
    with np.errstate(divide="ignore"):  # tokens without edges; never looked up below
        log_degree = np.log(degree)
    values = np.log(np.asarray(graph.weight, dtype=np.float64))
    values += np.log(degree.sum() / shift)
    values -= log_degree[graph.rows()] + log_degree[graph.neighbour]
    above = values > 0
    if not above.any():
        raise GraphError(
            f"none of {graph.edges} edges has a pointwise mutual information above "
            f"log({shift}); expected at least one. Choose a smaller shift."
        )
    kept = graph.select(above)
    upper = sp.csr_array(
        (values[above].astype(np.float32), kept.neighbour, kept.indptr),
        shape=(len(graph), len(graph)),
    )
    return sp.csr_array(upper + upper.T)


def truncated_svd(
    matrix: sp.csr_array,
    dim: int,
    *,
    power_iterations: int = 3,
    oversample: int = 16,
    seed: int = 0,
) -> tuple[Float32[np.ndarray, "tokens rank"], Float32[np.ndarray, " rank"]]:
    """Give the leading left singular vectors and values of a symmetric matrix.

    Source: Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1.

    Args:
        matrix: symmetric, float32.
        dim: pairs wanted, >= 1.
        power_iterations: passes that sharpen the sketch, >= 0.
        oversample: columns of the sketch beyond ``dim``, >= 0.
        seed: seed of the sketch.

    Returns:
        ``min(dim, tokens)`` vectors, each with its largest component positive, and
        the values, descending; exact where the sketch spans all tokens. Rows without
        entries are zero; so are vector and value beyond the rank.

    Raises:
        GraphError: if an argument is out of its range.
    """
    if dim < 1 or power_iterations < 0 or oversample < 0:
        raise GraphError(
            f"dim {dim}, power iterations {power_iterations}, oversample "
            f"{oversample}; expected at least 1, 0 and 0."
        )
    tokens = matrix.shape[0]
    sketch = min(dim + oversample, tokens)
    csr = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data
    basis = np.random.default_rng(seed).standard_normal((tokens, sketch), np.float32)
    for _ in range(1 + power_iterations):
        basis, _ = orthonormalise(multiply(*csr, basis))
    image = multiply(*csr, basis)
    _, triangle = orthonormalise(image)
    _, singular, right = np.linalg.svd(triangle)
    singular, right = singular[:dim], right[:dim]
    scale = np.zeros_like(singular)
    np.divide(1, singular, out=scale, where=singular > RANK_TOLERANCE * singular[0])
    left = image @ (right.T * scale).astype(np.float32)
    peak = left[np.argmax(np.abs(left), axis=0), np.arange(left.shape[1])]
    singular = np.where(scale > 0, singular, 0).astype(np.float32)
    return left * np.sign(peak), singular


def orthonormalise(
    x: Float[np.ndarray, "tokens sketch"],
) -> tuple[Float32[np.ndarray, "tokens sketch"], Float64[np.ndarray, "sketch sketch"]]:
    """Split a tall matrix into orthonormal columns times an upper triangle.

    CholeskyQR twice in float64, which is one pass over the rows each and loses no
    digits; Householder QR where the columns are dependent. Source: Yamamoto et al.
    2015, CholeskyQR2.

    Returns:
        The columns and the triangle; their product is ``x``.
    """
    columns = x.astype(np.float64)
    triangle = np.eye(x.shape[1])
    try:
        for _ in range(2):
            factor = np.linalg.cholesky(columns.T @ columns, upper=True)
            columns = scipy.linalg.solve_triangular(factor, columns.T, trans="T").T
            triangle = factor @ triangle
    except np.linalg.LinAlgError:
        columns, triangle = np.linalg.qr(x.astype(np.float64))
    return np.ascontiguousarray(columns, dtype=np.float32), triangle
