import math

import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import GraphError
from mora.graph.sampling import normalise, sample_edges
from mora.graph.storage import MobilityGraph


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
        own = [edge for edge in range(graph.edges) if node in ends[edge]]
        best = sorted(own, key=lambda edge: (-rank[edge], edge))
        for edge in best[: math.ceil(round(share * len(own), 6))]:
            votes[edge] += 1
    return votes


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


def test_random_agrees_with_choosing_node_by_node():
    graph = random_graph()
    rank = np.random.default_rng(5).random(graph.edges)
    expected = votes_by_hand(graph, 0.2, rank) >= 1
    got = sample_edges(graph, 0.2, by="random", seed=5)
    np.testing.assert_array_equal(got, expected)


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
