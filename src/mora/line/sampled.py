"""LINE as published: edges drawn one by one, stochastic gradient, negative sampling."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float32, UInt64
from numba import prange

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph
from mora.kernels import GOLDEN_GAMMA, as_uniform, kernel, mix_bits
from mora.line.alias import AliasTable, alias_table

# Noise vertices are drawn by degree^0.75 (Mikolov et al. 2013; LINE, section 4.1.2).
NOISE_POWER = 0.75
# The learning rate never falls below this part of its first value, as in LINE's code.
LAST_RATE = 1e-4
# See `default_samples`.
SAMPLES_PER_EDGE = 10
SAMPLES_PER_TOKEN = 5_000
# Between two looks at the keyboard and two calls of `progress`: about 0.3 s a core.
SAMPLES_A_CHUNK = 2**18
# Drawn ahead of their use, so that the draws' cache misses overlap.
SAMPLES_A_BATCH = 256
# Only these: reordered sums may use vector units, and the order is fixed by the binary.
FASTMATH = {"reassoc", "contract", "nsz"}


class Vectors(NamedTuple):
    """What is learned: a vector of each token as itself and as another's context."""

    vertex: Float32[np.ndarray, "tokens dim"]
    context: Float32[np.ndarray, "tokens dim"]


def sampled(
    graph: MobilityGraph,
    *,
    dim: int = 128,
    samples: int | None = None,
    negatives: int = 5,
    learning_rate: float = 0.025,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed tokens by the second-order proximity of LINE, by sampling.

    Each sample draws an edge by its weight, one of its two directions ``i -> j`` and
    noise tokens ``n``, and steps along the gradient of
    ``log s(c_j . v_i) + sum_n log s(-c_n . v_i)``, ``s`` the logistic function. Source:
    Tang et al. 2015, LINE, eq. 7, with the start values, the linear decay of the
    learning rate and the in-place updates of its released code. Departs from that
    code where it approximates: the noise is drawn exactly and ``s`` is computed.

    Args:
        graph: the mobility graph; nearby tokens in nearby rows make it fast.
        dim: length of the vectors, >= 1.
        samples: edges to draw, >= 1; by default that of :func:`default_samples`.
        negatives: noise tokens for each edge, >= 0.
        learning_rate: first step size, > 0; falls linearly to 1e-4 of it.
        seed: seed of start values and draws.
        threads: threads that write the same vectors without locks (Hogwild, Niu et
            al. 2011). With 1 the result is the same bit for bit for a seed; with
            more it is not.
        progress: called with the samples done and the samples in all.

    Returns:
        Vertex vectors ``v``, not normalised; zero for tokens without edges.

    Raises:
        GraphError: if the graph has no edge, or an argument is out of its range.
    """
    samples = default_samples(graph) if samples is None else samples
    _check(graph, dim, samples, negatives, learning_rate, threads)
    vectors = _start_vectors(len(graph), dim, seed)
    ends = np.stack([graph.rows(), graph.neighbour], axis=1)
    edges = alias_table(np.asarray(graph.weight, dtype=np.float64))
    noise = alias_table(graph.degree() ** NOISE_POWER)
    states = _start_states(threads, seed)
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        for start in range(0, samples, SAMPLES_A_CHUNK):
            stop = min(start + SAMPLES_A_CHUNK, samples)
            span = (start, stop, samples)
            draws = (ends, edges, noise, states)
            _train_chunk(vectors, *draws, span, negatives, learning_rate)
            if progress is not None:
                progress(stop, samples)
    finally:
        numba.set_num_threads(before)
    vectors.vertex[graph.degree() == 0] = 0
    return vectors.vertex


def default_samples(graph: MobilityGraph) -> int:
    """Give the samples after which held-out links are hardly told better.

    On three graphs of 3,000 tokens, four times fewer cost 0.002 to 0.013 of link AUC
    and three times more gained at most 0.0014.
    """
    return max(SAMPLES_PER_TOKEN * len(graph), SAMPLES_PER_EDGE * graph.edges)


def _start_vectors(tokens: int, dim: int, seed: int) -> Vectors:
    """Give vertex vectors uniform within 0.5 / dim and context vectors of zero."""
    uniform = np.random.default_rng(seed).random((tokens, dim), np.float32)
    vertex = (uniform - np.float32(0.5)) / np.float32(dim)
    return Vectors(vertex, np.zeros_like(vertex))


def _start_states(threads: int, seed: int) -> UInt64[np.ndarray, "threads padding"]:
    """Give each thread a generator, in a cache line of its own."""
    states = np.zeros((threads, 8), np.uint64)
    states[:, 0] = np.random.SeedSequence(seed).generate_state(threads, np.uint64)
    return states


@kernel()
def _uniform(state: np.ndarray) -> float:
    """Draw from [0, 1) and bring the generator one step on."""
    uniform = as_uniform(mix_bits(state[0]))
    state[0] += GOLDEN_GAMMA
    return uniform


@kernel()
def _draw(table: AliasTable, state: np.ndarray) -> int:
    """Draw a column; the digits of the draw behind the point choose keep or alias."""
    place = _uniform(state) * len(table.keep)
    column = int(place)
    if place - column < table.keep[column]:
        return column
    return table.alias[column]


@kernel()
def _draw_samples(
    ends: np.ndarray,
    edges: AliasTable,
    noise: AliasTable,
    state: np.ndarray,
    samples: np.ndarray,
) -> None:
    """Fill each row with a token, the token it moves to, and noise tokens."""
    for i in range(len(samples)):
        samples[i, 0] = _draw(edges, state)
    for i in range(len(samples)):
        edge = samples[i, 0]
        forth = int(_uniform(state) < 0.5)
        samples[i, 0] = ends[edge, 1 - forth]
        samples[i, 1] = ends[edge, forth]
        for k in range(2, samples.shape[1]):
            samples[i, k] = _draw(noise, state)


@kernel(fastmath=FASTMATH)
def _step(
    vectors: Vectors,
    sample: np.ndarray,
    rate: float,
    own: np.ndarray,
    change: np.ndarray,
) -> None:
    """Step along one sample's gradient; ``own`` and ``change`` are scratch space."""
    vertex, context = vectors
    token = sample[0]
    for d in range(len(own)):
        own[d] = vertex[token, d]
        change[d] = 0
    for k in range(1, len(sample)):
        other = sample[k]
        score = np.float32(0)
        for d in range(len(own)):
            score += own[d] * context[other, d]
        pull = np.float32(rate * ((k == 1) - 1 / (1 + math.exp(-score))))
        for d in range(len(own)):
            change[d] += pull * context[other, d]
        for d in range(len(own)):
            context[other, d] += pull * own[d]
    for d in range(len(own)):
        vertex[token, d] += change[d]


@kernel()
def _train(
    vectors: Vectors,
    ends: np.ndarray,
    edges: AliasTable,
    noise: AliasTable,
    state: np.ndarray,
    span: tuple[int, int, int],
    negatives: int,
    learning_rate: float,
) -> None:
    """Draw and learn the samples ``start`` to ``stop`` of ``total``."""
    start, stop, total = span
    batch = np.empty((SAMPLES_A_BATCH, 2 + negatives), np.int32)
    own = np.empty(vectors.vertex.shape[1], np.float32)
    change = np.empty(vectors.vertex.shape[1], np.float32)
    for first in range(start, stop, SAMPLES_A_BATCH):
        samples = batch[: min(SAMPLES_A_BATCH, stop - first)]
        _draw_samples(ends, edges, noise, state, samples)
        for i in range(len(samples)):
            rate = learning_rate * max(1 - (first + i) / total, LAST_RATE)
            _step(vectors, samples[i], rate, own, change)


@kernel(parallel=True)
def _train_chunk(
    vectors: Vectors,
    ends: np.ndarray,
    edges: AliasTable,
    noise: AliasTable,
    states: np.ndarray,
    span: tuple[int, int, int],
    negatives: int,
    learning_rate: float,
) -> None:
    """Share the samples of a span out among as many threads as there are states."""
    start, stop, total = span
    threads = len(states)
    for thread in prange(threads):
        begin = start + (stop - start) * thread // threads
        end = start + (stop - start) * (thread + 1) // threads
        part = (begin, end, total)
        draws = (ends, edges, noise, states[thread])
        _train(vectors, *draws, part, negatives, learning_rate)


def _check(
    graph: MobilityGraph,
    dim: int,
    samples: int,
    negatives: int,
    learning_rate: float,
    threads: int,
) -> None:
    """Refuse arguments that cannot be followed."""
    if graph.edges == 0:
        raise GraphError(
            f"the graph of {len(graph)} tokens has no edge; expected at least one. "
            f"Were the visits of a single user a week?"
        )
    if dim < 1 or samples < 1 or negatives < 0 or learning_rate <= 0:
        raise GraphError(
            f"dim {dim}, samples {samples}, negatives {negatives}, learning rate "
            f"{learning_rate}; expected at least 1, 1, 0 and above 0."
        )
    most = numba.config.NUMBA_NUM_THREADS
    if not 1 <= threads <= most:
        raise GraphError(f"{threads} threads; expected 1 to {most}, the cores here.")
