"""Which edges may be shown to others: one rule for maps, exports and cards."""

import numpy as np
from jaxtyping import Bool

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph

EVERY = slice(None)
DECLARED = (
    "Flows are shown as published: they count no users, and were declared to be of a "
    "publisher who has hidden small groups."
)
UNKNOWN = (
    "Flows are not shown: they count no users, and were not declared as published."
)


def shown_edges(
    graph: MobilityGraph,
    min_users: int = 5,
    *,
    published: bool = False,
    edges: slice = EVERY,
) -> Bool[np.ndarray, " edges"]:
    """Mark the edges that may be shown.

    Args:
        graph: edges between places.
        min_users: distinct users that an edge needs where users are counted, >= 1.
        published: flows that count no users are declared as published: whoever
            published them has hidden small groups. It frees no edge of counted users.
        edges: which of the graph's edges; all by default.

    Returns:
        The edges of enough users. Of flows that count none, all if they are declared
        as published, else none: a weight is no number of people.

    Raises:
        GraphError: if ``min_users`` is below 1.
    """
    if min_users < 1:
        raise GraphError(f"min_users is {min_users}; expected at least 1, such as 5.")
    if counts_users(graph):
        return np.asarray(graph.users[edges]) >= min_users
    return np.full(len(graph.neighbour[edges]), published)


def counts_users(graph: MobilityGraph) -> bool:
    """Say whether the users of each edge are known; there are none without edges."""
    return graph.edges == 0 or len(graph.users) > 0


def shown_rule(
    graph: MobilityGraph, min_users: int = 5, *, published: bool = False
) -> str:
    """Say in a sentence which edges are shown, for a page or a card.

    Args:
        graph: edges between places.
        min_users: see :func:`shown_edges`.
        published: see :func:`shown_edges`.

    Returns:
        What :func:`shown_edges` does; of flows that count no users, whether they were
        declared as published.
    """
    if counts_users(graph):
        return f"Flows of fewer than {min_users} people are not shown."
    return DECLARED if published else UNKNOWN
