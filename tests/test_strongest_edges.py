import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import MoraError
from mora.explore.strongest_edges import strongest_edges
from mora.graph.storage import MobilityGraph


def random_graph(tokens=30, seed=0, users=False):
    rng = np.random.default_rng(seed)
    flows = sp.random_array((tokens, tokens), density=0.4, rng=rng).tocsr()
    flows.data = np.round(flows.data * 100) + 1
    both = sp.csr_array(flows + flows.T)
    both.data = rng.integers(1, 10, len(both.data)).astype(float)
    counted = sp.csr_array(sp.triu(both, k=1))
    return MobilityGraph.from_matrix(flows, counted + counted.T if users else None)


def lists(graph, **options):
    starts, other, weight = strongest_edges(graph, **{"published": True, **options})
    rows = itertools.pairwise(starts)
    return [
        list(zip(other[a:b].tolist(), weight[a:b].tolist(), strict=True))
        for a, b in rows
    ]


def test_a_triangle_by_hand():
    flows = sp.csr_array(np.array([[9.0, 1, 2], [1, 0, 5], [0, 0, 0]]))
    found = lists(MobilityGraph.from_matrix(flows), most=2)
    assert found == [[(1, 2.0), (2, 2.0)], [(2, 5.0), (0, 2.0)], [(1, 5.0), (0, 2.0)]]


def test_only_the_strongest_are_kept_with_the_lower_place_first():
    flows = sp.csr_array(np.array([[0.0, 1, 2], [1, 0, 5], [0, 0, 0]]))
    found = lists(MobilityGraph.from_matrix(flows), most=1)
    assert found == [[(1, 2.0)], [(2, 5.0)], [(1, 5.0)]]


@pytest.mark.parametrize("most", [1, 3, 50])
def test_agrees_with_sorting_the_dense_matrix(most):
    graph = random_graph()
    dense = graph.symmetric().toarray()
    for place, found in enumerate(lists(graph, most=most)):
        order = np.argsort(-dense[place], kind="stable")[:most]
        expected = [(int(j), dense[place, j]) for j in order if dense[place, j] > 0]
        assert found == expected


def test_scaling_the_weights_keeps_the_lists():
    graph = random_graph()
    doubled = MobilityGraph.from_matrix(2 * graph.symmetric())
    ends = [[j for j, _ in row] for row in lists(graph)]
    assert [[j for j, _ in row] for row in lists(doubled)] == ends


def test_edges_of_few_users_are_left_out():
    graph = random_graph(users=True)
    users = np.zeros((len(graph), len(graph)), int)
    users[graph.rows(), graph.neighbour] = graph.users
    users += users.T
    for least in (1, 5, 9):
        found = lists(graph, most=50, min_users=least)
        for place, row in enumerate(found):
            assert (
                sorted(j for j, _ in row)
                == np.flatnonzero(
                    (users[place] >= least) & (graph.symmetric().toarray()[place] > 0)
                ).tolist()
            )


def test_flows_without_counts_are_whole_if_published_and_else_hidden():
    graph = random_graph()
    assert lists(graph, min_users=99) == lists(graph, min_users=1)
    assert lists(graph, published=False) == [[]] * len(graph)


def test_a_graph_without_edges():
    graph = MobilityGraph.from_matrix(sp.csr_array((4, 4)))
    starts, other, weight = strongest_edges(graph)
    assert starts.tolist() == [0] * 5
    assert len(other) == len(weight) == 0


def test_no_edges_at_all_cannot_be_asked_for():
    with pytest.raises(MoraError, match="most is 0; expected at least one edge"):
        strongest_edges(random_graph(), most=0)
