"""The four stages between people and published vectors, and what each took away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora.errors import RunError

Manifests = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class PrivacyStage:
    """One of the stages.

    Attributes:
        name: anonymise, aggregate, learn or distil.
        does: what it is, in a sentence.
        removed: what it took away in this run, in sentences with numbers.
    """

    name: str
    does: str
    removed: tuple[str, ...]


def privacy_stages(
    manifests: Manifests,
    *,
    places: int,
    dim: int,
    parameters: int,
    min_users: int | None,
    r2: float | None = None,
) -> list[PrivacyStage]:
    """Tell what each stage removed in one run.

    Source: MoRA, Ethics statement: anonymisation, aggregation, learning, distillation.
    It has no numbers and calls going back "practically impossible"; here the numbers
    are those of the run, and whether one can go back is measured by attacks.

    Args:
        manifests: of the stages ``graph`` and ``train``; what they do not record is
            called not recorded.
        places: published.
        dim: length of a vector.
        parameters: weights of the distilled encoder.
        min_users: distinct users that a published place needs; None if not asked for.
        r2: part of the vectors' variance that the encoder gives back on the places
            it was distilled from.

    Returns:
        The four stages in their order.

    Raises:
        RunError: if there is no manifest of the graph.
    """
    graph = manifests.get("graph", {})
    if "facts" not in graph:
        raise RunError(
            "the run has no manifest of its graph; expected graph/manifest.json. "
            "Finish the run first."
        )
    facts, kind = graph["facts"], mobility_kind(manifests)
    sampled = manifests.get("train", {}).get("facts", {}).get("sampled_edges")
    return [
        PrivacyStage(
            "anonymise",
            "Ids of users become hashes under a secret that is drawn for the run and "
            "never written; the hashes are deleted when the graph is built.",
            tuple(_anonymised(facts, kind)),
        ),
        PrivacyStage(
            "aggregate",
            "Visits become weekly co-visits of places, summed over people and weeks; "
            "edges and places of few people are hidden.",
            tuple(_aggregated(facts, kind, places, min_users)),
        ),
        PrivacyStage(
            "learn",
            "Edges become one short vector a place, which keeps patterns that many "
            "places share and not the edges one by one.",
            tuple(_learned(facts, sampled, dim)),
        ),
        PrivacyStage(
            "distil",
            "The table of vectors becomes a network of coordinates, smooth over space.",
            tuple(_distilled(places, dim, parameters, r2)),
        ),
    ]


def mobility_kind(manifests: Manifests) -> str:
    """Give the kind of the run's mobility, such as ``visits``; empty if unknown."""
    settings = manifests.get("graph", {}).get("settings", {})
    return str(settings.get("mobility", {}).get("kind", ""))


def to_markdown(stages: Sequence[PrivacyStage]) -> str:
    """Write the stages as a numbered list."""
    return "\n".join(
        f"{number}. **{stage.name.capitalize()}.** {stage.does} "
        f"*In this run:* {' '.join(stage.removed)}"
        for number, stage in enumerate(stages, 1)
    )


def _anonymised(facts: Mapping[str, Any], kind: str) -> Iterator[str]:
    if kind != "visits":
        yield (
            f"The inputs ({kind or 'of a kind not recorded'}) hold no records of "
            f"persons: nothing to remove."
        )
        return
    visits = [t for t in facts.get("tables", ()) if t.get("kind") == "visits"]
    if not visits:
        yield "The number of visits is not recorded."
    for table in visits:
        yield (
            f"{table['rows_kept']:,} of {table['rows_read']:,} visits were kept, all "
            f"of them under hashes; the number of users is not recorded."
        )


def _aggregated(
    facts: Mapping[str, Any], kind: str, places: int, min_users: int | None
) -> Iterator[str]:
    edges, tokens = facts["edges"], facts["tokens"]
    if "privacy" in facts:
        yield from _hidden_by_users(facts["privacy"])
    elif facts.get("hidden"):
        hidden = facts["hidden"]
        yield (
            "No minimum weight was asked for."
            if not hidden["min_weight"]
            else (
                f"{hidden['edges']:,} of {edges + hidden['edges']:,} edges of a weight "
                f"below {hidden['min_weight']:g} were hidden."
            )
        )
    if kind != "visits":
        yield (
            f"The {edges:,} edges come from inputs of the kind {kind or 'unknown'!r}, "
            f"which count no users: small groups are hidden only if whoever published "
            f"them did so."
        )
    asked = "" if min_users is None else f", where at least {min_users} users are known"
    yield f"{places:,} of {tokens:,} places are published{asked}."


def _hidden_by_users(privacy: Mapping[str, Any]) -> Iterator[str]:
    applied = privacy["min_users"]
    at = privacy["thresholds"].index(applied)
    for what in ("edges", "places"):
        before, after = privacy[what][0], privacy[what][at]
        yield (
            f"{before - after:,} of {before:,} {what} of fewer than {applied} users "
            f"were hidden before learning."
        )


def _learned(facts: Mapping[str, Any], sampled: int | None, dim: int) -> Iterator[str]:
    edges, numbers = facts["edges"], facts["tokens"] * dim
    yield (
        f"{edges:,} edges became {facts['tokens']:,} vectors of {dim} numbers, "
        f"{numbers / max(edges, 1):.2g} numbers an edge: the fewer, the less can be "
        f"remembered."
    )
    if sampled is not None:
        yield f"{sampled:,} of the edges were propagated along while aligning."


def _distilled(
    places: int, dim: int, parameters: int, r2: float | None
) -> Iterator[str]:
    numbers = places * dim
    yield (
        f"{numbers:,} numbers became {parameters:,} weights, "
        f"{parameters / max(numbers, 1):.2g} a number: above 1, the network could "
        f"keep every vector."
    )
    if r2 is not None:
        yield (
            f"It gives back {max(r2, 0.0):.1%} of the vectors' variance on the places "
            f"it knows."
        )
