"""LINE in closed form: factorise the matrix that its sampling approaches."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float32, Float64

from mora.errors import GraphError
from mora.graph.storage import EDGES_A_BLOCK, MobilityGraph
from mora.line.pmi import ShiftedPmi
from mora.memory import require_memory
from mora.progress import Progress, silent

# Singular values below this part of the largest are noise of the float32 products.
RANK_TOLERANCE = 1e-6
# Of all float32 and float64 copies of the sketch at the peak.
BYTES_A_NUMBER = 24
ROWS_A_BLOCK = 65_536


def closed_form(
    graph: MobilityGraph,
    *,
    dim: int = 128,
    shift: float = 0.25,
    power_iterations: int = 3,
    oversample: int = 16,
    exponent: float = 0.5,
    weighting: float = 0.0,
    seed: int = 0,
    memory_gb: float | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed tokens by the second-order proximity of LINE, without sampling.

    Factorises :class:`mora.line.pmi.ShiftedPmi`, which the dot products of LINE's
    vertex and context vectors approach (Levy & Goldberg 2014, eq. 11; Qiu et al. 2018,
    NetMF, table 1). Departs from LINE, which draws its noise by degree^0.75: here by
    degree. The graph is streamed ``power_iterations + 2`` times; memory does not grow
    with its edges.

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
        weighting: the error of an entry counts by ``(d_i d_j)^weighting``, >= 0: 0 all
            alike, as in NetMF; 1 as often as LINE draws the pair as noise, which tells
            held-out links far better and labels of the places worse.
        seed: seed of the sketch.
        memory_gb: memory that it may take; what is free by default.
        folder: where the sketch is kept between passes; work that was killed goes on
            from there, to the same vectors.
        progress: told the edges streamed and in all, over all passes.

    Returns:
        Left singular vectors times that power of the singular values, largest first.
        Tokens without an edge above the shift are zero, and so are the columns beyond
        the rank, in particular beyond the number of tokens.

    Raises:
        GraphError: if no edge is above the shift, or an argument is out of its range.
        MemoryLimitError: if it does not fit into the memory that it may take.
    """
    if exponent < 0 or weighting < 0:
        raise GraphError(
            f"exponent is {exponent} and weighting {weighting}; expected 0 or more, "
            f"such as 0.5 and 1."
        )
    needed = len(graph) * (dim + oversample) * BYTES_A_NUMBER + EDGES_A_BLOCK * 20
    require_memory(needed, f"LINE of {len(graph):,} tokens x {dim}", memory_gb)
    matrix = ShiftedPmi(graph, shift, weighting)
    left, singular = truncated_svd(
        matrix,
        dim,
        power_iterations=power_iterations,
        oversample=oversample,
        seed=seed,
        folder=folder,
        progress=progress,
    )
    if not singular.any():
        raise GraphError(
            f"none of {graph.edges} edges has a pointwise mutual information above "
            f"log({shift}); expected at least one. Choose a smaller shift."
        )
    embedding = np.zeros((len(graph), dim), np.float32)
    embedding[:, : len(singular)] = left * singular**exponent / matrix.scale[:, None]
    return embedding


@runtime_checkable
class SymmetricMatrix(Protocol):
    """A symmetric matrix that is only ever multiplied."""

    def __len__(self) -> int: ...

    def multiply(
        self, x: Float32[np.ndarray, "tokens columns"], progress: Progress
    ) -> Float32[np.ndarray, "tokens columns"]:
        """Multiply it by a dense matrix, telling how far that is."""
        ...


def truncated_svd(
    matrix: SymmetricMatrix,
    dim: int,
    *,
    power_iterations: int = 3,
    oversample: int = 16,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[Float32[np.ndarray, "tokens rank"], Float32[np.ndarray, " rank"]]:
    """Give the leading left singular vectors and values of a symmetric matrix.

    Source: Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1.

    Args:
        matrix: streamed ``power_iterations + 2`` times.
        dim: pairs wanted, >= 1.
        power_iterations: passes that sharpen the sketch, >= 0.
        oversample: columns of the sketch beyond ``dim``, >= 0.
        seed: seed of the sketch.
        folder: where the sketch is kept after each pass; work that was killed goes on
            from there.
        progress: told the entries streamed and in all, over all passes.

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
    sketch = min(dim + oversample, len(matrix))
    passes = power_iterations + 2
    done, basis = _kept(folder)
    if basis is None:
        rng = np.random.default_rng(seed)
        basis = rng.standard_normal((len(matrix), sketch), np.float32)
    for number in range(done, passes - 1):
        image = matrix.multiply(basis, _part(progress, number, passes))
        basis, _ = orthonormalise(image)
        _keep(folder, number + 1, basis)
    image = matrix.multiply(basis, _part(progress, passes - 1, passes))
    _, triangle = orthonormalise(image)
    _, singular, right = np.linalg.svd(triangle)
    singular, right = singular[:dim], right[:dim]
    scale = np.zeros_like(singular)
    np.divide(1, singular, out=scale, where=singular > RANK_TOLERANCE * singular[0])
    left = image @ (right.T * scale).astype(np.float32)
    peak = left[np.argmax(np.abs(left), axis=0), np.arange(left.shape[1])]
    singular = np.where(scale > 0, singular, 0).astype(np.float32)
    return left * np.sign(peak), singular


def _part(progress: Progress, number: int, passes: int) -> Progress:
    """Tell how far one of several equal passes has brought the whole."""
    return lambda done, total: progress(number * total + done, passes * total)


def _kept(folder: Path | None) -> tuple[int, Float32[np.ndarray, "_ _"] | None]:
    """Give the passes that are done and their sketch."""
    files = sorted(folder.glob("sketch-*.npy")) if folder else []
    if not files:
        return 0, None
    return int(files[-1].stem.split("-")[1]), np.load(files[-1], allow_pickle=False)


def _keep(folder: Path | None, done: int, basis: Float32[np.ndarray, "_ _"]) -> None:
    """Write the sketch after a pass, whole or not at all."""
    if folder is None:
        return
    before = list(folder.glob("sketch-*.npy"))
    part = folder / "sketch.part"
    with part.open("wb") as file:
        np.save(file, basis)
    part.replace(folder / f"sketch-{done:03d}.npy")
    for path in before:
        path.unlink()


def orthonormalise(
    x: Float[np.ndarray, "tokens sketch"],
) -> tuple[Float32[np.ndarray, "tokens sketch"], Float64[np.ndarray, "sketch sketch"]]:
    """Split a tall matrix into orthonormal columns times an upper triangle.

    CholeskyQR twice, sums in float64, one pass over the rows each; Householder QR
    where the columns are dependent. Source: Yamamoto et al. 2015, CholeskyQR2.

    Returns:
        The columns and the triangle; their product is ``x``.
    """
    columns = x.astype(np.float32)
    triangle = np.eye(x.shape[1])
    blocks = np.array_split(np.arange(len(x)), len(x) // ROWS_A_BLOCK + 1)
    spans = [slice(block[0], block[-1] + 1) for block in blocks]
    try:
        for _ in range(2):
            wide = (columns[span].astype(np.float64) for span in spans)
            factor = np.linalg.cholesky(sum(w.T @ w for w in wide), upper=True)
            for span in spans:
                part = columns[span].T.astype(np.float64)
                columns[span] = scipy.linalg.solve_triangular(factor, part, trans="T").T
            triangle = factor @ triangle
    except np.linalg.LinAlgError:
        exact, triangle = np.linalg.qr(x.astype(np.float64))
        columns = exact.astype(np.float32)
    return columns, triangle
