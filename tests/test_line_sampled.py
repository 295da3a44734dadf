import math

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph, read_graph
from mora.line import sampled as module
from mora.line.alias import alias_table
from mora.line.sampled import Vectors, default_samples, sampled

two_threads = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="needs two cores"
)


def planted_graph(size=40, seed=0):
    """Two communities with many flows within and few across."""
    block = np.repeat([0, 1], size)
    rate = np.where(block[:, None] == block, 4.0, 0.4)
    flows = np.triu(np.random.default_rng(seed).poisson(rate), 1)
    return MobilityGraph.from_matrix(sp.csr_array(flows.astype(np.float64))), block


def probabilities(table):
    """Give the chance of each column: its own part and what others pass on."""
    n = len(table.keep)
    passed = np.bincount(table.alias, 1 - table.keep, n)
    return (table.keep + passed) / n


def new_state(seed=0):
    return np.array([seed], np.uint64)


def test_known_alias_table():
    # Means of 1: columns 0.5 and 1.5; the first is topped up from the second.
    table = alias_table(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(table.keep, [0.5, 1.0])
    assert table.alias[0] == 1


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_alias_table_holds_the_exact_probabilities(n):
    weight = np.random.default_rng(n).pareto(1.0, n)
    table = alias_table(weight)
    np.testing.assert_allclose(probabilities(table), weight / weight.sum(), rtol=1e-11)
    assert ((table.keep >= 0) & (table.keep <= 1)).all()


def test_column_without_weight_is_never_drawn():
    weight = np.array([0.0, 0.1, 0.2, 0.7, 0.0])
    table = alias_table(weight)
    assert (probabilities(table)[weight == 0] == 0).all()


@pytest.mark.parametrize("weight", [[1.0, -1.0], [0.0, 0.0], [1.0, np.nan], []])
def test_weights_without_a_distribution_are_refused(weight):
    with pytest.raises(GraphError, match=f"of {len(weight)} weights are negative or"):
        alias_table(np.array(weight, dtype=np.float64))


def test_uniform_is_splitmix64():
    # First output of the published generator from state 0.
    assert module._uniform(new_state()) == (0xE220A8397B1DCDAF >> 11) * 2.0**-53


def test_samples_are_drawn_by_weight_and_degree():
    graph, _ = planted_graph(size=4)
    ends = np.stack([graph.rows(), graph.neighbour], axis=1)
    edges = alias_table(graph.weight.astype(np.float64))
    noise = alias_table(graph.degree() ** 0.75)
    samples = np.empty((200_000, 4), np.int32)
    module._draw_samples(ends, edges, noise, new_state(), samples)
    moves = np.zeros((8, 8))
    np.add.at(moves, (samples[:, 0], samples[:, 1]), 1)
    expected = graph.symmetric().toarray() / graph.degree().sum()
    np.testing.assert_allclose(moves / 200_000, expected, atol=0.003)
    drawn = np.bincount(samples[:, 2:].ravel(), minlength=8) / 400_000
    power = graph.degree() ** 0.75
    np.testing.assert_allclose(drawn, power / power.sum(), atol=0.003)


def log_likelihood(vertex, context, sample):
    def log_logistic(score):
        return -math.log1p(math.exp(-score))

    token, other, *noise = sample
    scores = context @ vertex[token]
    return log_logistic(scores[other]) + sum(log_logistic(-scores[n]) for n in noise)


def test_one_step_follows_the_gradient():
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(2, 5, 3))
    vectors = Vectors(*arrays.astype(np.float32))
    sample = np.array([0, 3, 1, 4], np.int32)
    module._step(vectors, sample, 0.1, np.empty(3, np.float32), np.empty(3, np.float32))
    gradient = np.zeros_like(arrays)
    for place in np.ndindex(arrays.shape):
        nudge = np.zeros_like(arrays)
        nudge[place] = 1e-5
        up, down = arrays + nudge, arrays - nudge
        rise = log_likelihood(*up, sample) - log_likelihood(*down, sample)
        gradient[place] = rise / 2e-5
    np.testing.assert_allclose(np.stack(vectors), arrays + 0.1 * gradient, atol=1e-6)


def test_known_first_step():
    # Context vectors start at zero: the score is 0, so the context of the other end
    # moves by rate / 2 times the vertex vector and the vertex vector stays.
    vectors = Vectors(np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32))
    own, change = np.empty((2, 3), np.float32)
    module._step(vectors, np.array([0, 1], np.int32), 0.5, own, change)
    np.testing.assert_array_equal(vectors.vertex, np.ones((2, 3)))
    np.testing.assert_array_equal(vectors.context, [[0, 0, 0], [0.25, 0.25, 0.25]])


def recovers(embedding, block):
    middles = np.stack([embedding[block == b].mean(axis=0) for b in (0, 1)])
    distance = np.linalg.norm(embedding[:, None] - middles, axis=2)
    return np.array_equal(distance.argmin(axis=1), block)


def test_planted_communities_are_recovered():
    graph, block = planted_graph()
    assert recovers(sampled(graph, dim=8), block)


@two_threads
def test_planted_communities_are_recovered_by_two_threads():
    graph, block = planted_graph()
    assert recovers(sampled(graph, dim=8, threads=2), block)


def test_same_seed_gives_the_same_bits():
    graph, _ = planted_graph()
    first, second = (sampled(graph, dim=8, samples=5000, seed=3) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_doubling_all_weights_changes_nothing():
    graph, _ = planted_graph()
    double = MobilityGraph.from_matrix(graph.symmetric())
    np.testing.assert_array_equal(
        sampled(double, dim=8, samples=5000), sampled(graph, dim=8, samples=5000)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 6000},
        {"negatives": 2},
        {"learning_rate": 0.05},
        {"seed": 1},
        pytest.param({"threads": 2}, marks=two_threads),
    ],
)
def test_every_setting_changes_the_result(change):
    graph, _ = planted_graph()
    usual = {"dim": 8, "samples": 5000}
    assert not np.array_equal(
        sampled(graph, **(usual | change)), sampled(graph, **usual)
    )


def test_dim_is_the_length_of_the_vectors():
    graph, _ = planted_graph()
    assert sampled(graph, dim=3, samples=10).shape == (80, 3)


def test_samples_grow_with_tokens_and_edges():
    few, _ = planted_graph(size=10)
    assert default_samples(few) == 20 * module.SAMPLES_PER_TOKEN
    flows = sp.csr_array(np.triu(np.ones((1200, 1200)), 1))
    many = MobilityGraph.from_matrix(flows)
    assert default_samples(many) == many.edges * module.SAMPLES_PER_EDGE


def test_without_samples_the_default_number_is_drawn(monkeypatch):
    monkeypatch.setattr(module, "SAMPLES_PER_TOKEN", 3)
    monkeypatch.setattr(module, "SAMPLES_PER_EDGE", 2)
    graph, _ = planted_graph()
    np.testing.assert_array_equal(
        sampled(graph, dim=4), sampled(graph, dim=4, samples=2 * graph.edges)
    )


def test_progress_is_told_after_each_chunk(monkeypatch):
    graph, _ = planted_graph()
    whole = sampled(graph, dim=4, samples=2500)
    monkeypatch.setattr(module, "SAMPLES_A_CHUNK", 1024)
    told = []
    in_chunks = sampled(
        graph, dim=4, samples=2500, progress=lambda *done: told.append(done)
    )
    assert told == [(1024, 2500), (2048, 2500), (2500, 2500)]
    np.testing.assert_array_equal(in_chunks, whole)


def test_interrupt_passes_and_threads_are_put_back():
    graph, _ = planted_graph()
    before = numba.get_num_threads()

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampled(graph, dim=4, samples=10, progress=interrupt)
    assert numba.get_num_threads() == before


def test_isolated_tokens_are_zero():
    flows = planted_graph()[0].symmetric().toarray()
    flows[[3, 17]] = flows[:, [3, 17]] = 0
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    embedding = sampled(graph, dim=4, samples=1000)
    np.testing.assert_array_equal(np.flatnonzero(~embedding.any(axis=1)), [3, 17])


def test_memory_mapped_graph_gives_the_same(tmp_path):
    graph, _ = planted_graph()
    graph.write(tmp_path)
    np.testing.assert_array_equal(
        sampled(read_graph(tmp_path), dim=4, samples=1000),
        sampled(graph, dim=4, samples=1000),
    )


def test_graph_without_edges_is_refused():
    empty = MobilityGraph.from_matrix(sp.csr_array((4, 4)))
    with pytest.raises(GraphError, match="graph of 4 tokens has no edge"):
        sampled(empty)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim 0, samples 9"),
        ({"samples": 0}, "samples 0"),
        ({"negatives": -1}, "negatives -1"),
        ({"learning_rate": 0.0}, r"learning rate 0\.0; expected"),
        ({"threads": 0}, "0 threads; expected 1 to"),
        ({"threads": 100_000}, "100000 threads; expected 1 to"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(GraphError, match=message):
        sampled(planted_graph()[0], **({"samples": 9} | change))
