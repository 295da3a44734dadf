"""Held-out links: how well vectors of tokens tell real pairs from chance ones."""

import numpy as np
from jaxtyping import Float, Int

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph

# Pairs scored together; 65,536 x 128 float32 twice is 64 MB.
PAIRS_AT_ONCE = 65_536


def hold_out(
    graph: MobilityGraph, share: float = 0.01, *, seed: int = 0
) -> tuple[
    MobilityGraph, Int[np.ndarray, "held_out 2"], Float[np.ndarray, " held_out"]
]:
    """Take a random share of the edges out of a graph.

    Args:
        graph: the whole graph.
        share: part of the edges to hold out, in (0, 1); every edge is as likely.
        seed: seed of the draw.

    Returns:
        The graph without these edges (same tokens, the edges in the same order),
        the two ends of each held-out edge and its weight.

    Raises:
        GraphError: if the share leaves no edge on either side.
    """
    count = round(share * graph.edges)
    if not 0 < count < graph.edges:
        raise GraphError(
            f"a share of {share} of {graph.edges} edges holds out {count}; expected "
            f"at least one held out and one left. Choose a share between 0 and 1."
        )
    chosen = np.random.default_rng(seed).choice(graph.edges, count, replace=False)
    held = np.zeros(graph.edges, bool)
    held[chosen] = True
    pairs = np.column_stack([graph.rows()[held], graph.neighbour[held]])
    return graph.select(~held), pairs, graph.weight[held].astype(np.float64)


def link_auc(
    embedding: Float[np.ndarray, "tokens dim"],
    pairs: Int[np.ndarray, "held_out 2"],
    weights: Float[np.ndarray, " held_out"],
    degree: Float[np.ndarray, " tokens"],
    *,
    negatives: int = 100_000,
    seed: int = 0,
) -> float:
    """Give the chance that a held-out link scores above a pair drawn by degree.

    The score of a pair is the cosine of its two vectors. A link is drawn by its
    weight, and both ends of a chance pair by their degree, so that big places alone
    do not win: against pairs drawn uniformly, the bare product of degrees would. A
    chance pair may happen to be a link.

    Args:
        embedding: vector of each token; the zero vector has cosine 0 with any.
        pairs: the held-out links.
        weights: weight of each link, > 0.
        degree: weight at each token in the training graph, >= 0.
        negatives: chance pairs to draw; a pair of a token with itself is dropped.
        seed: seed of the draw.

    Returns:
        Area under the ROC curve in [0, 1]; 0.5 where the vectors say nothing.

    Raises:
        GraphError: if there is no link, or no two tokens with a degree.
    """
    if len(pairs) == 0 or np.count_nonzero(degree) < 2:
        raise GraphError(
            f"{len(pairs)} held-out links and {np.count_nonzero(degree)} tokens with "
            f"a degree; expected at least 1 link and 2 tokens. Hold out a larger share."
        )
    chance = np.random.default_rng(seed).choice(
        len(degree), (negatives, 2), p=degree / degree.sum()
    )
    chance = chance[chance[:, 0] != chance[:, 1]]
    if len(chance) == 0:
        raise GraphError(
            f"none of {negatives} chance pairs joins two different tokens; expected at "
            f"least one. Draw more negatives."
        )
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = embedding / np.where(length > 0, length, 1)
    return _weighted_auc(
        _dot_products(unit, pairs), weights, _dot_products(unit, chance)
    )


def _dot_products(
    unit: Float[np.ndarray, "tokens dim"], pairs: Int[np.ndarray, "pairs 2"]
) -> Float[np.ndarray, " pairs"]:
    """Multiply the two vectors of each pair."""
    blocks = np.array_split(pairs, len(pairs) // PAIRS_AT_ONCE + 1)
    return np.concatenate(
        [
            np.einsum("pd,pd->p", unit[block[:, 0]], unit[block[:, 1]])
            for block in blocks
        ]
    )


def _weighted_auc(
    links: Float[np.ndarray, " links"],
    weights: Float[np.ndarray, " links"],
    chance: Float[np.ndarray, " chance"],
) -> float:
    """Give the weighted share of (link, chance) scores in order; ties count half."""
    ordered = np.sort(chance)
    below = np.searchsorted(ordered, links, "left")
    not_above = np.searchsorted(ordered, links, "right")
    return float(np.average((below + not_above) / 2, weights=weights) / len(ordered))
