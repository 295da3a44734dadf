"""Was a person's movement learned from? Vectors learned with and without it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from mora.errors import MoraError
from mora.graph.covisits import UserWeekBuilder, build_covisit_graph
from mora.progress import Progress, silent
from mora.publish.attacks import (
    SCORES,
    AttackResult,
    Embed,
    matched_auc,
    require_scores,
)

Learn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class UserAttack:
    """What an attack on people found, or why it was not tried.

    Attributes:
        results: one for each score; none where it was not tried.
        skipped: the reason, in a sentence; empty where it was tried.
    """

    results: tuple[AttackResult, ...] = ()
    skipped: str = ""


def membership_of_users(
    user: UInt64[np.ndarray, " visits"],
    week: Int[np.ndarray, " visits"],
    place: UInt64[np.ndarray, " visits"],
    embed: Embed,
    *,
    min_users: int = 5,
    **options: Any,
) -> list[AttackResult]:
    """Attack as :func:`attack_membership`, with vectors learned from a graph alone.

    Args:
        user: of each visit.
        week: running number of its week.
        place: that was visited.
        embed: learns vectors from a graph, a row a token.
        min_users: distinct users per edge and place, as in the run that is published.
        options: of :func:`attack_membership`.

    Returns:
        A result for each score; 0.5 where vectors keep nothing of a single person.

    Raises:
        MoraError: if there are too few people, or the runs are not even.
    """
    places = np.unique(place)

    def learn(kept: Bool[np.ndarray, " visits"]) -> np.ndarray:
        records = user[kept], week[kept], place[kept]
        return _learn(*records, embed, places, min_users)

    return attack_membership(user, week, place, learn, **options)


def attack_membership(
    user: UInt64[np.ndarray, " visits"],
    week: Int[np.ndarray, " visits"],
    place: UInt64[np.ndarray, " visits"],
    learn: Learn,
    *,
    subject: str = "vectors learned again",
    targets: int = 50,
    runs: int = 8,
    scores: Sequence[str] = tuple(SCORES),
    draws: int = 1_000,
    seed: int = 0,
    progress: Progress = silent,
) -> list[AttackResult]:
    """Tell whether a person was among those whose movement was learned from.

    The attacker knows where the person was in each week, holds the published vectors,
    and asks whether the places this person joined are more alike than they would be
    without. Vectors are learned several times, each time with half of the targets, so
    that each person is compared with itself: some people's places are alike in any
    case. An attacker who also knew all the other people and the training's seed would
    always tell: nothing here adds noise, and no differential privacy is claimed.

    Source: Carlini et al. 2022, Membership inference attacks from first principles,
    for learning with random halves; here without a likelihood ratio.

    Args:
        user: of each visit.
        week: running number of its week.
        place: that was visited.
        learn: learns vectors from the marked visits: a row for each of the distinct
            places of all visits, ascending; NaN for places that are hidden.
        subject: what the vectors are, to name the result.
        targets: people attacked, drawn by lot from those who joined two places; all
            others are in every run.
        runs: times that vectors are learned, even, >= 2.
        scores: some of :data:`mora.publish.attacks.SCORES`.
        draws: of the bootstrap over people.
        seed: of all draws.
        progress: told the runs done and in all.

    Returns:
        A result for each score; 0.5 where vectors keep nothing of a single person.

    Raises:
        MoraError: if there are too few people, or the runs are not even.
    """
    require_scores(scores, tuple(SCORES))
    if runs < 2 or runs % 2:
        raise MoraError(f"runs is {runs}; expected an even number of 2 or more.")
    rng = np.random.default_rng(seed)
    number = np.unique(place, return_inverse=True)[1]
    joined = _joined_places(user, week, number)
    if not 2 <= targets < len(joined):
        raise MoraError(
            f"{targets} targets of {len(joined)} people who were in two places in a "
            f"week; expected at least 2, and others beside them. Choose fewer targets."
        )
    chosen = rng.choice(np.array(sorted(joined)), targets, replace=False)
    half = np.arange(runs) < runs // 2
    present = np.array([rng.permutation(half) for _ in range(targets)])
    found = np.zeros((len(scores), targets, runs))
    for run in range(runs):
        absent = np.isin(user, chosen[~present[:, run]])
        vectors = learn(~absent)
        for row, name in enumerate(scores):
            found[row, :, run] = _standardised(
                [_mean_score(vectors, joined[target], name) for target in chosen]
            )
        progress(run + 1, runs)
    results = []
    for name, values in zip(scores, found, strict=True):
        auc = matched_auc(*_compared(values, present), draws=draws, seed=seed)
        size = targets * (runs // 2) ** 2
        results.append(AttackResult("user membership", subject, name, auc, size))
    return results


def _joined_places(
    user: UInt64[np.ndarray, " visits"],
    week: Int[np.ndarray, " visits"],
    place: Int[np.ndarray, " visits"],
) -> dict[int, Int[np.ndarray, "pairs 2"]]:
    """Give the pairs of places that each person was in within a week."""
    visits: dict[tuple[int, int], set[int]] = {}
    for u, w, p in zip(user.tolist(), week.tolist(), place.tolist(), strict=True):
        visits.setdefault((u, w), set()).add(p)
    pairs: dict[int, set[tuple[int, int]]] = {}
    for (u, _), here in visits.items():
        pairs.setdefault(u, set()).update(combinations(sorted(here), 2))
    return {u: np.array(sorted(found)) for u, found in pairs.items() if found}


def _learn(
    user: UInt64[np.ndarray, " visits"],
    week: Int[np.ndarray, " visits"],
    place: UInt64[np.ndarray, " visits"],
    embed: Embed,
    places: UInt64[np.ndarray, " places"],
    min_users: int,
) -> Float[np.ndarray, "places dim"]:
    """Learn vectors from some people's visits; NaN for places that are hidden."""
    with TemporaryDirectory() as folder:
        builder = UserWeekBuilder(Path(folder) / "records")
        builder.add(user, week, place)
        visits = builder.group()
        graph, kept, _ = build_covisit_graph(
            visits, Path(folder) / "graph", min_users=min_users
        )
        known = np.asarray(embed(graph), dtype=np.float64)
    vectors = np.full((len(places), known.shape[1]), np.nan)
    vectors[np.searchsorted(places, visits.places[kept])] = known
    return vectors


def _mean_score(
    vectors: Float[np.ndarray, "places dim"],
    pairs: Int[np.ndarray, "pairs 2"],
    name: str,
) -> float:
    """Average the scores of one person's pairs; NaN where all are hidden."""
    pairs = pairs[np.isfinite(vectors[pairs]).all(axis=(1, 2))]
    return float(SCORES[name](vectors, *pairs.T).mean()) if len(pairs) else np.nan


def _standardised(values: Sequence[float]) -> Float[np.ndarray, " targets"]:
    """Take the run out of its scores; who is hidden gets the mean, 0."""
    scores = np.array(values)
    if np.isnan(scores).all():
        return np.zeros(len(scores))
    spread = np.nanstd(scores)
    return np.nan_to_num((scores - np.nanmean(scores)) / (spread if spread > 0 else 1))


def _compared(
    values: Float[np.ndarray, "targets runs"], present: Bool[np.ndarray, "targets runs"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Set every run with a person against every run without."""
    half = present.shape[1] // 2
    inside = values[present].reshape(-1, half)
    outside = values[~present].reshape(-1, half)
    case = np.repeat(inside, half, axis=1).ravel()
    control = np.tile(outside, (1, half)).ravel()
    return case, control, np.repeat(np.arange(len(values)), half * half)
