import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import GraphError
from mora.graph.shown_edges import counts_users, shown_edges, shown_rule
from mora.graph.storage import MobilityGraph

# Edges 0-1 (7 users), 0-2 (1), 1-3 (4).
WEIGHT = sp.csr_array(([9.0, 3, 5], ([0, 0, 1], [1, 2, 3])), shape=(4, 4))
USERS = sp.csr_array(([7, 1, 4], ([0, 0, 1], [1, 2, 3])), shape=(4, 4))
COUNTED = MobilityGraph.from_matrix(WEIGHT, USERS + USERS.T)
FLOWS = MobilityGraph.from_matrix(WEIGHT)
EMPTY = MobilityGraph.from_matrix(sp.csr_array((3, 3)))


@pytest.mark.parametrize("published", [True, False])
def test_edges_below_the_threshold_are_never_shown(published):
    def shown(*least):
        return shown_edges(COUNTED, *least, published=published).tolist()

    assert shown() == [True, False, False]
    assert shown(4) == [True, False, True]
    assert shown(8) == [False] * 3


def test_flows_without_counts_are_shown_only_as_published():
    assert shown_edges(FLOWS, 1).tolist() == [False] * 3
    assert shown_edges(FLOWS, 99, published=True).tolist() == [True] * 3


@pytest.mark.parametrize("graph", [COUNTED, FLOWS])
def test_some_edges_are_told_as_all_are(graph):
    for published in (True, False):
        whole = shown_edges(graph, 4, published=published)
        part = shown_edges(graph, 4, published=published, edges=slice(1, 3))
        np.testing.assert_array_equal(part, whole[1:3])


def test_a_graph_without_edges_has_none_to_show():
    assert counts_users(EMPTY)
    assert len(shown_edges(EMPTY)) == 0


def test_no_users_are_no_threshold():
    with pytest.raises(GraphError, match="min_users is 0; expected at least 1"):
        shown_edges(COUNTED, 0)


def test_the_rule_is_told():
    assert shown_rule(COUNTED, 7) == "Flows of fewer than 7 people are not shown."
    assert shown_rule(COUNTED, 7, published=True) == shown_rule(COUNTED, 7)
    assert "not declared as published" in shown_rule(FLOWS)
    assert "shown as published" in shown_rule(FLOWS, published=True)
