"""Baselines that see the mobility graph alone: random walks and factors of flows."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Float32
from sklearn.utils.extmath import randomized_svd

from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.errors import MissingExtraError, MoraError

BOTH = ("log", "sqrt")
SCALES: dict[str, Callable[[sp.csr_array], sp.csr_array]] = {
    "log": lambda flows: flows.log1p(),
    "sqrt": lambda flows: flows.sqrt(),
}
POWER_ITERATIONS = 7  # of the randomised SVD: what sklearn takes for few factors
THREADS = "RAYON_NUM_THREADS"  # how ensmallen is told its number of threads


@baseline(
    "random_walk",
    group="trained",
    source="Perozzi et al. 2014, DeepWalk, KDD; SkipGram of the package ensmallen",
    needs=("flows",),
    reproduction=Reproduction("its papers report on other graphs than mobility"),
    settings=(
        {},  # DeepWalk, section 5: 80 walks of 40 steps, windows of 10, 128 columns
        {"window": 5},
        {"walks": 20, "walk_length": 80},
        {"epochs": 5},
    ),
)
def random_walk(
    given: BaselineInput,
    *,
    dim: int = 128,
    walk_length: int = 40,
    walks: int = 80,
    window: int = 10,
    epochs: int = 1,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed tokens with SkipGram on weighted random walks over the mobility graph.

    Source: Perozzi et al. 2014, DeepWalk, algorithm 1, with the negative sampling and
    the weighted steps of Grover and Leskovec 2016, node2vec (p = q = 1). A step goes
    to a neighbour with a chance in proportion to the movement in both directions
    between the two; movement within a token is left out.

    Deterministic only where ensmallen trains with one thread: its threads write
    without locks. It gets one thread here, unless this process has used ensmallen for
    something else before; for certainty start Python with ``RAYON_NUM_THREADS=1``.

    Args:
        given: flows and seed of the run.
        dim: columns, at least 1.
        walk_length: tokens of a walk, at least 2.
        walks: walks from each token.
        window: tokens before and after one that count as its context.
        epochs: passes over all walks, drawn anew each time.

    Returns:
        One row for each token; zero for a token without movement to or from others.

    Raises:
        MissingInputError: if there is no mobility graph.
        MissingExtraError: if ensmallen is not installed.
        MoraError: if an option is too small, or nothing moves between tokens.
    """
    _check_at_least(dim=(dim, 1), walk_length=(walk_length, 2), walks=(walks, 1))
    _check_at_least(window=(window, 1), epochs=(epochs, 1))
    flows = given.require_flows()
    options = {
        "embedding_size": dim,
        "walk_length": walk_length,
        "iterations": walks,
        "window_size": window,
        "epochs": epochs,
        "random_state": given.seed,
        "verbose": False,
    }
    vectors = np.zeros((flows.shape[0], dim), np.float32)
    rows, learned = _train_skipgram(_between(flows), options)
    vectors[rows] = learned
    return vectors


@baseline(
    "flow_svd",
    group="analytical",
    source="truncated SVD of log(1 + flows); Levy and Goldberg 2014 for the power",
    needs=("flows",),
    reproduction=Reproduction("no published value; tests compare with a dense SVD"),
    settings=({}, {"power": 1.0}, {"scales": BOTH}, {"scales": BOTH, "power": 1.0}),
)
def flow_svd(
    given: BaselineInput,
    *,
    dim: int = 128,
    power: float | int = 0.5,
    scales: Sequence[str] = ("log",),
) -> Float32[np.ndarray, "tokens dim"]:
    """Factor flows into singular vectors, scaled so that volume stays.

    Source: Levy, Goldberg and Dagan 2015, TACL, section 3.3, for singular vectors times
    a power of the singular values; here of movement itself, not of its PMI. Rows are
    not normalised: busy tokens have long vectors, as LINE's have not.

    Args:
        given: flows and seed of the run.
        dim: columns, at least 1; even for directed flows, where the first half
            describes a token as origin and the second as destination.
        power: of the singular values; 0.5 shares them between both sides, 1 gives all
            to each, 0 hides them.
        scales: of the flows: ``log`` of 1 + flow, ``sqrt``, or both, which share the
            columns evenly, each with a mean square of 1.

    Returns:
        One row for each token, zero where nothing moves. Fewer columns than ``dim``
        where there are not as many tokens: no more factors exist.

    Raises:
        MissingInputError: if there is no mobility graph.
        MoraError: if ``dim`` is below 1, or odd for directed flows, or a scale is
            unknown.
    """
    _check_at_least(dim=(dim, 1))
    unknown = [scale for scale in scales if scale not in SCALES]
    if unknown or not scales:
        raise MoraError(
            f"flow_svd got the scales {list(scales)}; expected some of "
            f"{', '.join(SCALES)}."
        )
    flows = given.require_flows().astype(np.float64)
    directed = _is_directed(flows)
    if directed and dim % 2:
        raise MoraError(
            f"flow_svd got dim={dim} for directed flows; expected an even number, half "
            f"for origins and half for destinations."
        )
    factors = min(dim // 2 if directed else dim, flows.shape[0])
    sides, each = 1 + directed, max(factors // len(scales), 1)
    parts = []
    for scale in scales:
        origin, values, destination = randomized_svd(
            SCALES[scale](flows),
            each,
            n_iter=POWER_ITERATIONS,
            random_state=given.seed,
        )
        part = np.hstack([origin, destination.T][:sides]) * np.tile(
            values**power, sides
        )
        size = np.sqrt(np.mean(part**2)) if len(scales) > 1 else 1.0
        parts.append(part / (size or 1.0))
    return np.hstack(parts).astype(np.float32)


def _is_directed(flows: sp.csr_array) -> bool:
    """Tell whether any flow differs from the one back."""
    return bool((flows != flows.T).nnz)


def _between(flows: sp.csr_array) -> sp.coo_array:
    """Add both directions, without what stays in place."""
    both = (flows + flows.T).tocoo()
    kept = (both.row != both.col) & (both.data > 0)
    if not kept.any():
        raise MoraError(
            f"random_walk got {flows.shape[0]} tokens without movement between any "
            f"two; expected at least one flow. Leave random_walk out of this run."
        )
    where = (both.row[kept], both.col[kept])
    return sp.coo_array((both.data[kept], where), shape=flows.shape)


def _train_skipgram(
    movement: sp.coo_array, options: dict[str, Any]
) -> tuple[np.ndarray, Float[np.ndarray, "nodes dim"]]:
    """Give the tokens that have a vector, and their vectors."""
    with _one_thread():
        try:
            import ensmallen
        except ImportError as missing:
            raise MissingExtraError("ensmallen", "bench", "random_walk") from missing
        import pandas as pd

        edges = pd.DataFrame(
            {
                "source": movement.row.astype(str),
                "target": movement.col.astype(str),
                "weight": movement.data.astype(np.float32),
            }
        )
        graph = ensmallen.Graph.from_pd(
            edges_df=edges,
            edge_src_column="source",
            edge_dst_column="target",
            edge_weight_column="weight",
            directed=False,
        )
        vectors = ensmallen.models.SkipGram(**options).fit_transform(graph)[0]
        return np.array(graph.get_node_names()).astype(int), vectors


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let ensmallen start with one thread; what comes after sees no change."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def _check_at_least(**options: tuple[int, int]) -> None:
    """Refuse options below their bound."""
    for name, (value, bound) in options.items():
        if value < bound:
            raise MoraError(f"{name} is {value}; expected at least {bound}.")
