"""Attacks on vectors: which places are joined, and which edges were learned from."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mora.benchmark.bootstrap import Interval
from mora.errors import GraphError, MoraError
from mora.graph.storage import MobilityGraph
from mora.line.link_prediction import hold_out
from mora.publish.learned_attack import learned_scores
from mora.publish.matching import MatchedPairs, match_members

Embed = Callable[[MobilityGraph], np.ndarray]
Vectors = Float[np.ndarray, "tokens dim"]
Ends = Int[np.ndarray, " pairs"]
Scores = Float[np.ndarray, " pairs"]


def cosine(vectors: Vectors, first: Ends, second: Ends) -> Scores:
    """Give the cosine of paired vectors; 0 where one of them is zero."""
    length = np.linalg.norm(vectors, axis=1)
    lengths = length[first] * length[second]
    return dot_product(vectors, first, second) / np.where(lengths > 0, lengths, 1)


def dot_product(vectors: Vectors, first: Ends, second: Ends) -> Scores:
    """Give the dot product of paired vectors."""
    return np.einsum("pd,pd->p", vectors[first], vectors[second], dtype=np.float64)


def nearness(vectors: Vectors, first: Ends, second: Ends) -> Scores:
    """Give minus the Euclidean distance of paired vectors."""
    return -np.linalg.norm(vectors[first] - vectors[second], axis=1).astype(np.float64)


SCORES = {"cosine": cosine, "dot product": dot_product, "distance": nearness}
LEARNED = "learned"  # of an attacker who knows other pairs
ALL_SCORES = (*SCORES, LEARNED)


@dataclass(frozen=True)
class AttackResult:
    """How often an attack tells right.

    Attributes:
        attack: what it asks for.
        subject: the vectors that it was tried on.
        score: of a pair of vectors, one of :data:`ALL_SCORES`.
        auc: chance that the pair with the secret scores above its match; 0.5 tells
            nothing. Its interval draws whole places or users with replacement.
        pairs: matched pairs that it was tried on.
        unmatched: cases left out, for nothing was like them.
    """

    attack: str
    subject: str
    score: str
    auc: Interval
    pairs: int
    unmatched: int = 0

    @property
    def advantage(self) -> float:
        """Give the AUC of whoever also knows which way to read the score."""
        return max(self.auc.value, 1 - self.auc.value)

    @property
    def advantage_at_most(self) -> float:
        """Give the same at the end of the interval that is worse."""
        return max(self.auc.high, 1 - self.auc.low)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


def attack_pairs(
    vectors: Vectors,
    matched: MatchedPairs,
    *,
    attack: str,
    subject: str,
    scores: Sequence[str] = ALL_SCORES,
    level: float = 0.95,
    draws: int = 1_000,
    seed: int = 0,
) -> list[AttackResult]:
    """Try to tell which of two matched pairs of places has the secret.

    Args:
        vectors: what the attacker holds, a row a token.
        matched: pairs with the secret and pairs like them without.
        attack: what is asked for, to name the result.
        subject: what the vectors are, to name the result.
        scores: some of :data:`ALL_SCORES`.
        level: of the interval, in (0, 1).
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        A result for each score; 0.5 for vectors that know nothing.

    Raises:
        MoraError: if a score is unknown, or vectors are not finite.
    """
    require_scores(scores)
    used = np.concatenate([matched.anchor, matched.case, matched.control])
    if not np.isfinite(vectors[used]).all():
        raise MoraError(
            "some vectors of the places that are attacked are not finite; expected "
            "numbers. Leave these places out."
        )
    results = []
    for name in scores:
        if name == LEARNED:
            found = learned_scores(vectors, matched, seed=seed)
        else:
            found = (
                SCORES[name](vectors, matched.anchor, matched.case),
                SCORES[name](vectors, matched.anchor, matched.control),
            )
        auc = matched_auc(*found, matched.anchor, level=level, draws=draws, seed=seed)
        results.append(
            AttackResult(attack, subject, name, auc, len(matched), matched.unmatched)
        )
    return results


def membership_of_edges(
    graph: MobilityGraph,
    lonlat: Float[np.ndarray, "tokens 2"],
    embed: Embed,
    *,
    subject: str = "vectors learned again",
    share: float = 0.1,
    pairs: int = 2_000,
    caliper: float = 0.5,
    scores: Sequence[str] = ALL_SCORES,
    draws: int = 1_000,
    seed: int = 0,
) -> list[AttackResult]:
    """Tell the edges that were learned from, from real edges that were not.

    The vectors are learned again without some edges drawn by lot. Kept and held-out
    edges are of one kind, so whoever tells them apart reads the training, not the map.

    Source: Shokri et al. 2017, Membership inference attacks, for the game; here each
    held-out edge is matched with a kept one of the same place, as far and as busy.

    Args:
        graph: all edges.
        lonlat: middle of each token, degrees.
        embed: learns vectors from a graph, a row a token.
        subject: what the vectors are, to name the result.
        share: part of the edges to hold out, in (0, 1).
        pairs: held-out edges that are looked at, at most.
        caliper: see :func:`mora.publish.matching.match_edges`; wider, for the lot
            alone makes both kinds alike, and matching only sharpens the comparison.
        scores: some of :data:`ALL_SCORES`.
        draws: of the bootstrap.
        seed: of all draws.

    Returns:
        A result for each score; 0.5 where training left no trace.

    Raises:
        GraphError: if the share leaves nothing on one side, or no edge finds its like.
    """
    require_scores(scores)
    kept, held_out, _ = hold_out(graph, share, seed=seed)
    held_out = np.random.default_rng(seed).permutation(held_out)[:pairs]
    held_out = held_out.astype(np.int64)
    matched = match_members(graph, kept, held_out, lonlat, caliper=caliper, seed=seed)
    vectors = np.asarray(embed(kept))
    if len(vectors) != len(graph):
        raise GraphError(
            f"embed gave {len(vectors)} vectors for {len(graph)} tokens; expected one "
            f"each, in the graph's order."
        )
    return attack_pairs(
        vectors,
        matched,
        attack="edge membership",
        subject=subject,
        scores=scores,
        draws=draws,
        seed=seed,
    )


def matched_auc(
    case: Scores,
    control: Scores,
    cluster: Int[np.ndarray, " pairs"],
    *,
    level: float = 0.95,
    draws: int = 1_000,
    seed: int = 0,
) -> Interval:
    """Give the chance that a case scores above its own control.

    Pairs that share a place or a user say much the same, so these are drawn whole.

    Source: Efron 1979, the percentile interval.

    Args:
        case: score of each case.
        control: score of the control matched with it.
        cluster: what is drawn whole, any numbers.
        level: share of draws within the interval, in (0, 1).
        draws: number of bootstrap samples, >= 1.
        seed: the same seed gives the same interval.

    Returns:
        The area under the ROC curve within matched pairs; ties count half.

    Raises:
        MoraError: if there is only one cluster, or ``level`` or ``draws`` is out of
            range.
    """
    names, slot = np.unique(cluster, return_inverse=True)
    count = len(names)
    if count < 2 or not 0 < level < 1 or draws < 1:
        raise MoraError(
            f"{count} places or users, level {level:g} and {draws} draws; expected at "
            f"least 2, a level between 0 and 1, and 1. Attack more pairs."
        )
    wins = np.bincount(slot, (case > control) + 0.5 * (case == control))
    sizes = np.bincount(slot)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    drawn = (times @ wins) / (times @ sizes)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = float(wins.sum() / sizes.sum())
    return Interval(value, float(low), float(high), level, count)


def require_scores(scores: Sequence[str], known: Sequence[str] = ALL_SCORES) -> None:
    """Refuse scores that are not known.

    Raises:
        MoraError: naming those that exist.
    """
    unknown = [name for name in scores if name not in known]
    if unknown or not scores:
        raise MoraError(
            f"scores are {', '.join(scores) or 'none'}; expected some of "
            f"{', '.join(known)}."
        )
