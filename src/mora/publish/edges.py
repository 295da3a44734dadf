"""Which edges and places enough people made to be shown to others."""

import numpy as np
from jaxtyping import Int

from mora.errors import GraphError
from mora.graph.shown_edges import counts_users, shown_edges
from mora.graph.storage import MobilityGraph


def edges_to_show(
    graph: MobilityGraph, min_users: int = 5, *, published: bool = False
) -> MobilityGraph:
    """Keep the edges that enough people made, for maps and exports of flows.

    Args:
        graph: edges between places.
        min_users: see :func:`mora.graph.shown_edges.shown_edges`.
        published: see there.

    Returns:
        The same places with fewer edges; all edges for 1. The totals of each place are
        as observed: do not show them beside the edges, for their difference tells what
        was hidden.

    Raises:
        GraphError: if the graph counts no users and is not declared as published, or
            ``min_users`` is below 1.
    """
    if not published:
        require_user_counts(graph)
    return graph.select(shown_edges(graph, min_users, published=published))


def users_of_places(graph: MobilityGraph) -> Int[np.ndarray, " tokens"]:
    """Give the number of people that each place is known to have had.

    Whoever made an edge was in both its places, so a place had at least the users of
    its busiest edge. The true number may be larger; it is not kept in the graph.

    Args:
        graph: edges between places, with the distinct users of each.

    Returns:
        A lower bound of the distinct users; 0 for places without edges.

    Raises:
        GraphError: if the graph counts no users.
    """
    require_user_counts(graph)
    most = np.zeros(len(graph), np.int64)
    for first, last in graph.row_blocks():
        indptr, neighbour, _ = graph.block(first, last)
        users = np.asarray(graph.users[graph.indptr[first] : graph.indptr[last]])
        row = np.repeat(np.arange(first, last), np.diff(indptr))
        np.maximum.at(most, row, users)
        np.maximum.at(most, neighbour, users)
    return most


def require_user_counts(graph: MobilityGraph) -> None:
    """Refuse a graph that does not know how many people made its edges.

    Raises:
        GraphError: saying what would count them.
    """
    if not counts_users(graph):
        raise GraphError(
            f"the graph has {graph.edges:,} edges and counts no users; expected the "
            f"distinct users of each edge, which only graphs built from visits have. "
            f"Of published flows, set `min_users: null` if whoever published them has "
            f"hidden small groups; a weight is no number of people."
        )
