"""LINE, second order, written straight from its paper: what others would write."""

import math

import numpy as np

from mora.graph.storage import MobilityGraph
from mora.kernels import kernel
from mora.line.alias import AliasTable, alias_table

NOISE_TABLE = 10_000_000
SIGMOID_TABLE = 1_000
SIGMOID_BOUND = 6.0


def plain_line(
    graph: MobilityGraph, dim: int, samples: int, negatives: int = 5, seed: int = 0
) -> np.ndarray:
    """Embed by sampling edges; Tang et al. 2015, with table look-ups for speed."""
    rng = np.random.default_rng(seed)
    vertex = ((rng.random((len(graph), dim)) - 0.5) / dim).astype(np.float32)
    context = np.zeros_like(vertex)
    ends = np.stack([graph.rows(), graph.neighbour], axis=1)
    edges = alias_table(np.asarray(graph.weight, dtype=np.float64))
    share = np.cumsum(graph.degree() ** 0.75)
    slots = (np.arange(NOISE_TABLE) + 0.5) / NOISE_TABLE * share[-1]
    noise = np.searchsorted(share, slots).astype(np.int32)
    at = (np.arange(SIGMOID_TABLE) / SIGMOID_TABLE * 2 - 1) * SIGMOID_BOUND
    sigmoid = (1 / (1 + np.exp(-at))).astype(np.float32)
    _train(vertex, context, ends, edges, noise, sigmoid, samples, negatives, seed)
    return vertex


@kernel()
def _train(
    vertex: np.ndarray,
    context: np.ndarray,
    ends: np.ndarray,
    edges: AliasTable,
    noise: np.ndarray,
    sigmoid: np.ndarray,
    samples: int,
    negatives: int,
    seed: int,
) -> None:
    """Draw one edge, learn from it, draw the next."""
    np.random.seed(seed)  # noqa: NPY002 - numba has no other generator
    dim = vertex.shape[1]
    change = np.zeros(dim, np.float32)
    for sample in range(samples):
        rate = np.float32(0.025 * max(1 - sample / samples, 1e-4))
        edge = np.random.randint(len(edges.keep))  # noqa: NPY002
        if np.random.random() >= edges.keep[edge]:  # noqa: NPY002
            edge = edges.alias[edge]
        forth = np.random.randint(2)  # noqa: NPY002
        source, target = ends[edge, forth], ends[edge, 1 - forth]
        change[:] = 0
        for k in range(negatives + 1):
            label = np.float32(1.0 if k == 0 else 0.0)
            if k > 0:
                target = noise[np.random.randint(len(noise))]  # noqa: NPY002
            score = np.float32(0.0)
            for d in range(dim):
                score += vertex[source, d] * context[target, d]
            if abs(score) >= SIGMOID_BOUND:
                chance = np.float32(1.0 if score > 0 else 0.0)
            else:
                place = math.floor((score / SIGMOID_BOUND + 1) / 2 * SIGMOID_TABLE)
                chance = sigmoid[place]
            pull = rate * (label - chance)
            for d in range(dim):
                change[d] += pull * context[target, d]
            for d in range(dim):
                context[target, d] += pull * vertex[source, d]
        for d in range(dim):
            vertex[source, d] += change[d]
