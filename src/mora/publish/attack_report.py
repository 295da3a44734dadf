"""What the attacks found, and whether it is safe to share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mora.graph.storage import MobilityGraph
from mora.harmonics import spherical_harmonics
from mora.publish.attacks import AttackResult, attack_pairs
from mora.publish.matching import MatchedPairs, match_edges

THRESHOLD = 0.55  # AUC from which an attack counts as one that works
EMBEDDINGS, ENCODER = "embeddings", "distilled encoder"
COORDINATES = "coordinates alone"
FLOOR_DEGREE = 16  # of their harmonics: finer ones tell no more, and take longer
FEWEST_SHARE = 0.25  # of the edges: those of the fewest people are attacked alone
TO_DO = (
    "Build the graph with a higher `mobility.min_users` and coarser cells, learn from "
    "a smaller `sample.share` or shorter vectors, publish again, and read this again."
)


@dataclass(frozen=True)
class AttackReport:
    """What every attack found.

    Attributes:
        results: of each attack, subject and score.
        threshold: AUC above which vectors are not safe to share.
        skipped: attacks that were not tried, each with its reason.
        kept_back: subjects that are not published: shown, and not in the verdict.
        floor: the same attacks on coordinates alone, which everybody has: what they
            reach is no secret of the vectors. The verdict tells it and does not take
            it off.
    """

    results: Sequence[AttackResult]
    threshold: float = THRESHOLD
    skipped: Sequence[str] = ()
    kept_back: Sequence[str] = ()
    floor: Sequence[AttackResult] = ()

    def published(self) -> list[AttackResult]:
        """Give the attacks on what is published."""
        return [r for r in self.results if r.subject not in self.kept_back]

    def unsafe(self) -> list[AttackResult]:
        """Give the attacks that work."""
        return [r for r in self.published() if r.advantage > self.threshold]

    def unsure(self) -> list[AttackResult]:
        """Give the attacks that may work: only their interval is above."""
        return [
            r
            for r in self.published()
            if r.advantage <= self.threshold < r.advantage_at_most
        ]

    def verdict(self) -> list[str]:
        """Say in sentences whether it is safe to share, and what to do if not."""
        return list(self._verdict())

    def _verdict(self) -> Iterator[str]:
        bad = self.unsafe()
        if bad:
            worst = max(bad, key=lambda r: r.advantage)
            yield (
                f"**Not safe to share, unless the flows themselves are public**: "
                f"{_named(bad)}. Worst: {worst.attack} on the {worst.subject}, score "
                f"'{worst.score}', AUC {_told(worst)}, on {worst.pairs:,} pairs; "
                f"{self._bar()} counts as given away."
            )
            yield from self._beside_floor(worst)
            if {r.subject for r in bad} == {EMBEDDINGS}:
                yield self._of_the_encoder()
            yield TO_DO
        elif self.unsure():
            yield (
                f"**Not shown to be safe to share**: {_named(self.unsure())} may be "
                f"{self._bar()}, for the interval reaches that far. Attack more pairs."
            )
        else:
            yield (
                f"None of these attacks is {self._bar()}, interval included. "
                f"Other attacks may be stronger: this is no proof."
            )

    def _bar(self) -> str:
        """Say the threshold on either side of 0.5: a score can be read both ways."""
        return f"above {self.threshold:g} or below {1 - self.threshold:g}"

    def _of_the_encoder(self) -> str:
        """Say whether the encoder can be shared where the table cannot."""
        if any(r.subject == ENCODER for r in self.unsure()):
            return (
                "The distilled encoder is not shown to be safe either: its interval "
                "reaches above. Attack more pairs before it is shared alone."
            )
        return "The distilled encoder held: share it alone, without the table."

    def _beside_floor(self, result: AttackResult) -> Iterator[str]:
        for floor in self.floor:
            if (floor.attack, floor.score) == (result.attack, result.score):
                yield (
                    f"The same attack on coordinates alone, which everybody has, "
                    f"reaches {_told(floor)}: only what is above that was learned "
                    f"from the movement."
                )

    def to_markdown(self) -> str:
        """Write the verdict and a table of the attacks."""
        lines = [
            "| attack | on | score | AUC | interval | pairs | unmatched |",
            "| --- | --- | --- | ---: | ---: | ---: | ---: |",
        ]
        lines += [self._row(result) for result in (*self.results, *self.floor)]
        return "\n\n".join([*self.verdict(), "\n".join(lines), *self.skipped])

    def _row(self, result: AttackResult) -> str:
        kept_back = " (kept back)" if result.subject in self.kept_back else ""
        auc = result.auc
        return (
            f"| {result.attack} | {result.subject}{kept_back} | {result.score} | "
            f"{auc.value:.3f} | {auc.low:.3f} to {auc.high:.3f} | {result.pairs:,} | "
            f"{result.unmatched:,} |"
        )

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "threshold": self.threshold,
            "verdict": self.verdict(),
            "skipped": list(self.skipped),
            "kept_back": list(self.kept_back),
            "unsafe": sorted({r.subject for r in self.unsafe()}),
            "results": [result.to_json() for result in self.results],
            "floor": [result.to_json() for result in self.floor],
        }


def attack_run(
    graph: MobilityGraph,
    lonlat: Float[np.ndarray, "tokens 2"],
    subjects: Mapping[str, Float[np.ndarray, "tokens dim"]],
    *,
    pairs: int = 2_000,
    caliper: float = 0.1,
    among: Bool[np.ndarray, " tokens"] | None = None,
    further: Sequence[AttackResult] = (),
    seed: int = 0,
) -> AttackReport:
    """Try to read the edges of a run out of its vectors.

    Args:
        graph: the edges that were learned from.
        lonlat: middle of each token, degrees.
        subjects: vectors by what they are: those of the run, those of its encoder.
        pairs: edges that an attack is tried on, at most.
        caliper: see :func:`mora.publish.matching.match_edges`.
        among: places that are published; all by default.
        further: results of attacks that learn again, such as
            :func:`mora.publish.attacks.membership_of_edges`.
        seed: of all draws.

    Returns:
        All results; those of edges of the fewest people too, where users are counted.

    Raises:
        GraphError: if there is no edge to attack.
    """
    matched = match_attacks(
        graph, lonlat, pairs=pairs, caliper=caliper, among=among, seed=seed
    )
    return run_attacks(matched, lonlat, subjects, further=further, seed=seed)


def match_attacks(
    graph: MobilityGraph,
    lonlat: Float[np.ndarray, "tokens 2"],
    *,
    pairs: int = 2_000,
    caliper: float = 0.1,
    among: Bool[np.ndarray, " tokens"] | None = None,
    seed: int = 0,
) -> dict[str, MatchedPairs]:
    """Draw the pairs for each attack of :func:`attack_run`, which has the arguments."""
    shared: dict[str, Any] = {
        "pairs": pairs,
        "caliper": caliper,
        "among": among,
        "seed": seed,
    }
    matched = {"edge reconstruction": match_edges(graph, lonlat, **shared)}
    if len(graph.users):
        few = int(np.quantile(np.asarray(graph.users), FEWEST_SHARE))
        name = f"edges of at most {few} users"
        matched[name] = match_edges(graph, lonlat, most_users=few, **shared)
    return matched


def run_attacks(
    matched: Mapping[str, MatchedPairs],
    lonlat: Float[np.ndarray, "tokens 2"],
    subjects: Mapping[str, Float[np.ndarray, "tokens dim"]],
    *,
    further: Sequence[AttackResult] = (),
    skipped: Sequence[str] = (),
    kept_back: Sequence[str] = (),
    seed: int = 0,
) -> AttackReport:
    """Try each attack on each kind of vectors; see :func:`attack_run`.

    ``kept_back`` names the subjects that are not published, and ``skipped`` says which
    attacks were not tried, and why.
    """
    floor = {COORDINATES: spherical_harmonics(lonlat.astype(np.float64), FLOOR_DEGREE)}
    results, beneath = (
        [
            result
            for attack, pairs in matched.items()
            for subject, vectors in attacked.items()
            for result in attack_pairs(
                vectors, pairs, attack=attack, subject=subject, seed=seed
            )
        ]
        for attacked in (subjects, floor)
    )
    return AttackReport(
        [*results, *further], skipped=skipped, kept_back=kept_back, floor=beneath
    )


def _named(results: Sequence[AttackResult]) -> str:
    return "; ".join(dict.fromkeys(f"{r.attack} on the {r.subject}" for r in results))


def _told(result: AttackResult) -> str:
    """Say an AUC and its interval; one below 0.5 also as what it is worth."""
    auc = result.auc
    worth = f", as telling as {result.advantage:.3f}" if auc.value < 0.5 else ""
    return f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}){worth}"
