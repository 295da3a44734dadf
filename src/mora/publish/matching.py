"""Pairs of places that are alike in all but the one thing that an attack asks for."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from numpy.random import Generator

from mora.errors import GraphError
from mora.geometry import great_circle_km
from mora.graph.storage import MobilityGraph

SMALLEST_KM = 0.01  # nearer is the same distance


@dataclass(frozen=True, eq=False)
class MatchedPairs:
    """A place, one that has the secret with it, and one like it that has not.

    Attributes:
        anchor: the place that both pairs share.
        case: the other end where the answer is yes.
        control: a place about as far from the anchor and about as busy, where it is no.
        unmatched: cases for which no such place was found; they are left out.
    """

    anchor: Int[np.ndarray, " pairs"]
    case: Int[np.ndarray, " pairs"]
    control: Int[np.ndarray, " pairs"]
    unmatched: int

    def __len__(self) -> int:
        return len(self.anchor)


def match_edges(
    graph: MobilityGraph,
    lonlat: Float[np.ndarray, "tokens 2"],
    *,
    pairs: int = 2_000,
    caliper: float = 0.1,
    most_users: int | None = None,
    among: Bool[np.ndarray, " tokens"] | None = None,
    seed: int = 0,
) -> MatchedPairs:
    """Draw edges, and for each a pair without an edge that looks just like it.

    Near and busy places are joined more often, and similar anyway: against pairs drawn
    at random every map would pass for a memory of the edges. So one end of each edge
    stays, and the other is exchanged for a place as far away and as busy. Edges at
    which no such place is found say nothing and are left out.

    Args:
        graph: the edges.
        lonlat: middle of each token, degrees.
        pairs: edges drawn, each as likely; all where there are fewer.
        caliper: by how much the logarithms of distance and of weight at the exchanged
            end may differ, > 0.
        most_users: draw only edges that at most as many people made.
        among: places that may take part; all by default.
        seed: of the draws.

    Returns:
        Edges as cases, other pairs as controls.

    Raises:
        GraphError: if no edge can be drawn or none finds its like.
    """
    rng = np.random.default_rng(seed)
    places = np.ones(len(graph), bool) if among is None else among
    ends = _draw_edges(graph, pairs, most_users, places, rng)
    anchor, case = _choose_anchor(ends, rng)
    joined = edges_at(graph, anchor)

    def free(row: int) -> Bool[np.ndarray, " tokens"]:
        allowed = places.copy()
        allowed[joined.indices[joined.indptr[row] : joined.indptr[row + 1]]] = False
        return allowed

    weight = graph.degree()
    control = [
        _choose_like(anchor[row], case[row], free(row), lonlat, weight, caliper, rng)
        for row in range(len(anchor))
    ]
    return _matched(anchor, case, np.array(control), caliper)


def match_members(
    graph: MobilityGraph,
    kept: MobilityGraph,
    held_out: Int[np.ndarray, "held_out 2"],
    lonlat: Float[np.ndarray, "tokens 2"],
    *,
    caliper: float = 0.5,
    seed: int = 0,
) -> MatchedPairs:
    """Pair edges that were in training with edges that were held out of it.

    Args:
        graph: all edges, whose weights tell how busy a place is.
        kept: those that were trained on.
        held_out: the two ends of edges that were not.
        lonlat: middle of each token, degrees.
        caliper: as in :func:`match_edges`.
        seed: of the draws.

    Returns:
        Edges in training as cases, held-out ones as controls.

    Raises:
        GraphError: if none finds its like.
    """
    rng = np.random.default_rng(seed)
    anchor, control = _choose_anchor(held_out, rng)
    joined = edges_at(kept, anchor)

    def member(row: int) -> Bool[np.ndarray, " tokens"]:
        allowed = np.zeros(len(graph), bool)
        allowed[joined.indices[joined.indptr[row] : joined.indptr[row + 1]]] = True
        return allowed

    weight = graph.degree()
    case = [
        _choose_like(
            anchor[row], control[row], member(row), lonlat, weight, caliper, rng
        )
        for row in range(len(anchor))
    ]
    found = _matched(anchor, control, np.array(case), caliper)
    return MatchedPairs(found.anchor, found.control, found.case, found.unmatched)


def edges_at(graph: MobilityGraph, places: Int[np.ndarray, " n"]) -> sp.csr_array:
    """Give the places that each of some places is joined to, in one pass over the file.

    Args:
        graph: the edges, maybe more than fit into memory.
        places: tokens; repeats allowed.

    Returns:
        A row for each of ``places``, a column for each token, 1 where there is an edge.
    """
    asked, slot = np.unique(places, return_inverse=True)
    number = np.full(len(graph), -1)
    number[asked] = np.arange(len(asked))
    here, there = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first, last in graph.row_blocks():
        indptr, neighbour, _ = graph.block(first, last)
        row = np.repeat(np.arange(first, last), np.diff(indptr))
        for end, other in ((row, neighbour), (neighbour, row)):
            known = number[end] >= 0
            here.append(number[end[known]])
            there.append(other[known].astype(np.int64))
    ends = np.concatenate(here), np.concatenate(there)
    shape = (len(asked), len(graph))
    joined = sp.csr_array((np.ones(len(ends[0]), np.int8), ends), shape=shape)
    return joined[slot]


def _draw_edges(
    graph: MobilityGraph,
    pairs: int,
    most_users: int | None,
    places: Bool[np.ndarray, " tokens"],
    rng: Generator,
) -> Int[np.ndarray, "edges 2"]:
    """Draw edges between places that take part."""
    if most_users is None:
        edge = rng.permutation(graph.edges)
    else:
        edge = rng.permutation(np.flatnonzero(np.asarray(graph.users) <= most_users))
    row = np.searchsorted(graph.indptr, edge, "right") - 1
    ends = np.column_stack([row, graph.neighbour[edge]]).astype(np.int64)
    ends = ends[places[ends].all(axis=1)][:pairs]
    if len(ends) == 0:
        raise GraphError(
            f"none of {graph.edges:,} edges joins two of the {places.sum():,} places "
            f"that take part; expected at least one. Nothing can be attacked."
        )
    return ends


def _choose_anchor(
    ends: Int[np.ndarray, "edges 2"], rng: Generator
) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]]:
    """Choose the end that stays."""
    turned = rng.random(len(ends)) < 0.5
    first, second = ends.T
    return np.where(turned, second, first), np.where(turned, first, second)


def _choose_like(
    anchor: int | np.integer,
    other: int | np.integer,
    allowed: Bool[np.ndarray, " tokens"],
    lonlat: Float[np.ndarray, "tokens 2"],
    weight: Float[np.ndarray, " tokens"],
    caliper: float,
    rng: Generator,
) -> int:
    """Choose a place like ``other`` as seen from the anchor; -1 where there is none.

    It is the next one by distance, on the nearer or the farther side by lot: edges
    become rarer with distance, so a place drawn from a band around would as a rule be
    farther off than the edge, and the map alone would win.
    """
    allowed[[anchor, other]] = False
    low, high = weight[other] * np.exp([-caliper, caliper])
    like = np.flatnonzero(allowed & (weight >= low) & (weight <= high))
    places = np.append(other, like)
    start = np.broadcast_to(lonlat[anchor], (len(places), 2))
    distance = np.log(great_circle_km(start, lonlat[places]).clip(min=SMALLEST_KM))
    side = 1 if rng.random() < 0.5 else -1
    apart = (distance[1:] - distance[0]) * side
    apart = np.where((apart >= 0) & (apart <= caliper), apart, np.inf)
    if not np.isfinite(apart).any():
        return -1
    return int(rng.choice(like[apart == apart.min()]))


def _matched(
    anchor: Int[np.ndarray, " n"],
    case: Int[np.ndarray, " n"],
    control: Int[np.ndarray, " n"],
    caliper: float,
) -> MatchedPairs:
    found = control >= 0
    if not found.any():
        raise GraphError(
            f"none of {len(anchor):,} edges has a pair of places like it within a "
            f"caliper of {caliper:g}; expected some. Widen the caliper, or draw more."
        )
    return MatchedPairs(anchor[found], case[found], control[found], int((~found).sum()))
