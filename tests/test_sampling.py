import math
import tracemalloc
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mora.errors import GraphError
from mora.graph import storage
from mora.graph.sampling import normalise, sample_edges
from mora.graph.storage import MobilityGraph, read_graph


def graph_of(matrix):
    return MobilityGraph.from_matrix(sp.csr_array(np.triu(matrix, 1).astype(float)))


def random_graph(tokens=40, most=9, seed=0):
    """Weights repeat often, so that many edges tie; token 7 is isolated."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, most, (tokens, tokens)) * (
        rng.random((tokens, tokens)) < 0.5
    )
    weight[7] = weight[:, 7] = 0
    return graph_of(weight)


def star(leaves=10):
    """Token 0 joined to each of the others; the last edge is the heaviest."""
    weight = np.zeros((leaves + 1, leaves + 1))
    weight[0, 1:] = np.arange(1, leaves + 1)
    return graph_of(weight)


def votes_by_hand(graph, share, rank):
    """Let every node choose its best edges, one after the other."""
    ends = np.stack([graph.rows(), graph.neighbour], axis=1)
    votes = np.zeros(graph.edges, int)
    for node in range(len(graph)):
        own = np.flatnonzero((ends == node).any(axis=1))
        best = own[np.argsort(-rank[own], kind="stable")]
        votes[best[: math.ceil(round(share * len(own), 6))]] += 1
    return votes


def splitmix64(number):
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)


def random_rank(edges, seed):
    """Give the 32 bits by which ``by="random"`` ranks each edge."""
    start = splitmix64(seed % 2**64)
    bits = [splitmix64((start + edge) % 2**64) >> 32 for edge in range(edges)]
    return np.array(bits, dtype=np.float64)


# From 1 and 1e-45 up to the largest; few values, so that many edges tie.
WEIGHTS = {
    np.uint32: [1, 2, 3, 255, 256, 65_535, 65_536, 2**31, 2**32 - 1],
    np.float32: [1e-45, 1e-30, 0.1, 0.3, 1.5, 2.5, 255.5, 1e30, 3.4e38],
}


@st.composite
def graphs(draw):
    """Draw a small graph with weights of either type."""
    tokens, kind = draw(st.integers(2, 12)), draw(st.sampled_from(list(WEIGHTS)))
    pairs = tokens * (tokens - 1) // 2
    joined = draw(arrays(bool, pairs))
    matrix = np.zeros((tokens, tokens))
    matrix[np.triu_indices(tokens, 1)] = joined
    graph = graph_of(matrix)
    index = draw(arrays(np.int8, graph.edges, elements=st.integers(0, 8)))
    return replace(graph, weight=np.array(WEIGHTS[kind], kind)[index])


def in_blocks(edges):
    """Read the graph in blocks of about so many edges."""
    return patch.object(storage, "EDGES_A_BLOCK", edges)


# sample_edges


def test_a_star_by_hand():
    # The centre keeps the heaviest 3 of 10; each leaf keeps its only edge.
    graph = star()
    both = sample_edges(graph, 0.3, ends="intersection")
    assert graph.weight[both].tolist() == [8, 9, 10]
    assert sample_edges(graph, 0.3).all()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("ends", ["union", "intersection"])
def test_agrees_with_choosing_node_by_node(share, ends):
    graph = random_graph()
    votes = votes_by_hand(graph, share, graph.weight.astype(float))
    expected = votes >= (1 if ends == "union" else 2)
    np.testing.assert_array_equal(sample_edges(graph, share, ends=ends), expected)


@pytest.mark.parametrize(
    ("share", "kept"), [(0.1, 1), (0.11, 2), (0.7, 7), (0.71, 8), (1e-6, 1)]
)
def test_a_share_is_rounded_up_and_at_least_one_stays(share, kept):
    assert sample_edges(star(), share, ends="intersection").sum() == kept


def test_whole_shares_do_not_round_up():
    assert 0.28 * 25 > 7  # in binary
    assert sample_edges(star(25), 0.28, ends="intersection").sum() == 7


@pytest.mark.parametrize("by", ["weight", "random"])
def test_each_node_with_edges_keeps_one(by):
    graph = random_graph()
    sampled = graph.select(sample_edges(graph, 0.01, by=by))
    np.testing.assert_array_equal(sampled.degree() > 0, graph.degree() > 0)
    assert sampled.edges < graph.edges / 4


@pytest.mark.parametrize("by", ["weight", "random"])
@pytest.mark.parametrize("ends", ["union", "intersection"])
def test_all_edges_stay_at_share_one(by, ends):
    graph = random_graph()
    assert sample_edges(graph, 1.0, by=by, ends=ends).all()


def test_ties_go_to_the_lower_edge_number():
    graph = graph_of(np.ones((5, 5)))  # edges 01 02 03 04 12 13 14 23 24 34
    kept = sample_edges(graph, 0.25, ends="union")
    ends = zip(graph.rows()[kept].tolist(), graph.neighbour[kept].tolist(), strict=True)
    assert list(ends) == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_intersection_is_within_the_union_and_smaller_shares_within_larger():
    graph = random_graph()
    union, both = (sample_edges(graph, 0.3, ends=e) for e in ("union", "intersection"))
    assert (union | both).sum() == union.sum() > both.sum() > 0
    assert (union & sample_edges(graph, 0.5)).sum() == union.sum()


def test_random_keeps_as_many_edges_at_each_node_as_weight():
    # Every node of a complete graph chooses 8 of its 39 edges, whoever ranks them.
    graph = graph_of(np.random.default_rng(0).integers(1, 99, (40, 40)))
    for by in ("weight", "random"):
        votes = sum(
            sample_edges(graph, 0.2, by=by, ends=ends).sum()
            for ends in ("union", "intersection")
        )
        assert votes == 40 * 8
    star_kept = sample_edges(star(), 0.3, by="random", ends="intersection")
    assert star_kept.sum() == 3


def test_random_does_not_look_at_weights_and_follows_the_seed():
    graph, flat = random_graph(), random_graph()
    flat = MobilityGraph.from_matrix(sp.csr_array(sp.triu(flat.symmetric()) > 0))
    choices = [sample_edges(graph, 0.1, by="random", seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(choices[0], choices[1])
    assert not np.array_equal(choices[0], choices[2])
    same = sample_edges(flat, 0.1, by="random")
    np.testing.assert_array_equal(same, choices[0])
    assert not np.array_equal(choices[0], sample_edges(graph, 0.1))
    by_weight = [sample_edges(graph, 0.1, seed=seed) for seed in (0, 1)]
    np.testing.assert_array_equal(*by_weight)


def test_scaling_all_weights_changes_nothing():
    graph = random_graph()
    scaled = MobilityGraph.from_matrix(sp.csr_array(sp.triu(graph.symmetric())) * 0.37)
    np.testing.assert_array_equal(sample_edges(scaled), sample_edges(graph))


def test_no_edges_to_sample():
    assert sample_edges(graph_of(np.zeros((4, 4)))).shape == (0,)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, math.nan])
def test_shares_outside_the_range_are_refused(share):
    with pytest.raises(GraphError, match=rf"share must be in \(0, 1\], got {share}"):
        sample_edges(star(), share)


@given(
    graph=graphs(),
    share=st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]),
    ends=st.sampled_from(["union", "intersection"]),
    by=st.sampled_from(["weight", "random"]),
    block=st.sampled_from([1, 3, 1000]),
)
@settings(deadline=None, max_examples=60)
def test_agrees_with_sorting_at_every_node(graph, share, ends, by, block):
    rank = graph.weight.astype(np.float64)
    rank = rank if by == "weight" else random_rank(graph.edges, seed=3)
    expected = votes_by_hand(graph, share, rank) >= (1 if ends == "union" else 2)
    with in_blocks(block):
        got = sample_edges(graph, share, by=by, ends=ends, seed=3)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("seed", [0, 1, 2**40, -1])
def test_random_follows_splitmix64(seed):
    graph = random_graph()
    rank = random_rank(graph.edges, seed)
    expected = votes_by_hand(graph, 0.2, rank) >= 1
    got = sample_edges(graph, 0.2, by="random", seed=seed)
    np.testing.assert_array_equal(got, expected)


def test_a_graph_on_disk_gives_the_same(tmp_path):
    matrix = np.random.default_rng(0).integers(0, 3, (40, 40)) * 40_000.0
    graph = graph_of(matrix)  # weights up to 80,000 pass the 16 bits of the file
    graph.write(tmp_path)
    mapped = read_graph(tmp_path)
    with in_blocks(50):
        kept = sample_edges(mapped, 0.2)
        np.testing.assert_array_equal(kept, sample_edges(graph, 0.2))
        for ours, theirs in zip(normalise(mapped), normalise(graph), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_memory_grows_with_the_tokens_and_not_with_the_edges():
    graph = graph_of(np.random.default_rng(0).random((400, 400)))
    with in_blocks(2_000):
        sample_edges(graph)
        tracemalloc.start()
        kept = sample_edges(graph)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert graph.weight.nbytes + graph.neighbour.nbytes > 600_000
    assert peak < kept.nbytes + 1.5 * 1024 * len(graph)


def test_weights_of_another_type_are_refused():
    graph = random_graph()
    graph = replace(graph, weight=graph.weight.astype(np.float64))
    with pytest.raises(GraphError, match="the weights are float64; expected uint32"):
        sample_edges(graph)


# normalise


def operator(graph, **settings):
    indptr, indices, data = normalise(graph, **settings)
    assert (indptr.dtype, indices.dtype) == (np.int64, np.int32)
    assert data.dtype == np.float32
    shape = (len(graph), len(graph))
    return sp.csr_array((data, indices, indptr), shape=shape).toarray()


def dense_operator(matrix):
    degree = matrix.sum(axis=1) + 1e-10
    return matrix / np.sqrt(np.outer(degree, degree))


def test_a_path_by_hand():
    # Degrees 3, 8 and 5: 3 / sqrt(24) and 5 / sqrt(40).
    path = graph_of(np.array([[0, 3, 0], [0, 0, 5], [0, 0, 0]]))
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 3 / 24**0.5
    expected[1, 2] = expected[2, 1] = 5 / 40**0.5
    np.testing.assert_allclose(operator(path), expected, rtol=1e-6)
    counted = np.where(expected, 2**-0.5, 0)
    np.testing.assert_allclose(operator(path, by="unweighted"), counted, rtol=1e-6)


def test_agrees_with_the_dense_quotient():
    graph = random_graph()
    full = graph.symmetric().toarray()
    np.testing.assert_allclose(operator(graph), dense_operator(full), rtol=1e-6)
    ones = dense_operator((full > 0).astype(float))
    np.testing.assert_allclose(operator(graph, by="unweighted"), ones, rtol=1e-6)


@given(
    graph=graphs(),
    by=st.sampled_from(["weighted", "unweighted"]),
    block=st.sampled_from([1, 3, 1000]),
)
@settings(deadline=None, max_examples=60)
def test_agrees_with_the_whole_matrix_in_double_precision(graph, by, block):
    full = graph.symmetric()
    if by == "unweighted":
        full.data[:] = 1
    scale = 1 / np.sqrt(full.sum(axis=1) + 1e-10)
    row = np.repeat(np.arange(len(graph)), np.diff(full.indptr))
    value = full.data * (scale[row] * scale[full.indices])
    with in_blocks(block):
        indptr, indices, data = normalise(graph, by=by)
    np.testing.assert_array_equal(indptr, full.indptr)
    np.testing.assert_array_equal(indices, full.indices)
    # Degrees are sums in another order: one unit in the last place of a float32.
    np.testing.assert_allclose(data, value.astype(np.float32), rtol=1.2e-7)


def test_whole_weights_agree_to_the_bit():
    graph = random_graph()
    full = graph.symmetric()
    scale = 1 / np.sqrt(full.sum(axis=1) + 1e-10)
    row = np.repeat(np.arange(len(graph)), np.diff(full.indptr))
    value = full.data * (scale[row] * scale[full.indices])
    np.testing.assert_array_equal(normalise(graph)[2], value.astype(np.float32))


def test_memory_is_that_of_the_operator():
    graph = graph_of(np.random.default_rng(0).random((400, 400)))
    with in_blocks(2_000):
        normalise(graph)
        tracemalloc.start()
        result = sum(array.nbytes for array in normalise(graph))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert result < peak < 1.3 * result


@pytest.mark.parametrize("by", ["weighted", "unweighted"])
def test_operator_is_symmetric_to_the_bit_with_largest_eigenvalue_one(by):
    matrix = operator(random_graph(), by=by)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).max() == pytest.approx(1.0, abs=1e-5)


def test_scaling_all_weights_changes_no_entry():
    graph = random_graph()
    scaled = MobilityGraph.from_matrix(sp.csr_array(sp.triu(graph.symmetric())) * 54)
    np.testing.assert_allclose(operator(scaled), operator(graph), rtol=1e-6)


def test_columns_ascend_and_rows_without_edges_are_empty():
    graph = random_graph()
    indptr, indices, data = normalise(graph)
    assert np.isfinite(data).all()
    assert indptr[7] == indptr[8]
    for row in range(len(graph)):
        assert (np.diff(indices[indptr[row] : indptr[row + 1]]) > 0).all()


def test_a_graph_without_edges_gives_an_empty_operator():
    indptr, indices, data = normalise(graph_of(np.zeros((4, 4))))
    assert (indptr.tolist(), len(indices), len(data)) == ([0] * 5, 0, 0)


def test_the_graph_is_left_as_it_was():
    graph = random_graph()
    before = graph.symmetric().toarray()
    normalise(graph, by="unweighted")
    np.testing.assert_array_equal(graph.symmetric().toarray(), before)
