"""Single checks on tables, places, edges and vectors of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mora.graph.storage import MobilityGraph
from mora.pipeline.validation_report import Check, Level
from mora.tables.report import MOST_EXAMPLES
from mora.tokens import Tokens

# Shares above which a finding is more than the usual slips of a few records.
MANY_ROWS = 0.05
MOST_ROWS = 0.5
ISOLATED = 0.05
HALF_COVERED = 0.5
HUGE_NORM = 10  # times the median length
CONSTANT = 1e-6  # range of a dimension, in parts of the largest number
ROWS_A_BLOCK = 65_536
# Findings on tables that concern where rows lie; see mora.tables.rules.
NOWHERE = ("outside", "coordinates", "both 0", "no lon or no lat", "in none of")
REPEATS = "repeats an earlier row"
PLACES = ("places", "areas")


def check_coordinates_inside(reports: Sequence[Mapping[str, Any]]) -> Check:
    """Count the rows of all tables that lie nowhere or outside the study area.

    Args:
        reports: of the tables, as :meth:`mora.tables.TableReport.to_json` gives them.
    """
    found = [
        (report, problem)
        for report in reports
        for problem in report.get("problems", ())
        if any(word in problem["name"] for word in NOWHERE)
    ]
    lost = sum(problem["count"] for _, problem in found)
    levels = [_by_share(p["count"] / max(r["rows_read"], 1)) for r, p in found]
    # A table of places may cover the world; movement should lie in the study area.
    moved = ["visits" in r["kind"] or "flows" in r["kind"] for r, _ in found]
    wrong = any(
        level == "error" and of_movement
        for level, of_movement in zip(levels, moved, strict=True)
    )
    level: Level = "warning" if set(levels) - {"ok"} else "ok"
    return Check(
        "coordinates in the study area",
        "error" if wrong else level,
        f"{lost:,} rows lie outside or nowhere ({len(found)} findings in "
        f"{len(reports)} reports on tables)",
        _shown(found),
        "Check tokens.bounds, and that lon and lat are not swapped.",
    )


def check_rows_used(reports: Sequence[Mapping[str, Any]]) -> Check:
    """Say how many rows of the tables were left out for other reasons than place.

    Repeated places are counted by :func:`check_repeated_places`.
    """
    dropped = [
        (report, problem)
        for report in reports
        for problem in report.get("problems", ())
        if problem["action"] == "dropped"
        and not any(word in problem["name"] for word in NOWHERE)
        and not (report["kind"] in PLACES and problem["name"] == REPEATS)
    ]
    lost = sum(problem["count"] for _, problem in dropped)
    shares = [p["count"] / max(report["rows_read"], 1) for report, p in dropped]
    return Check(
        "rows that could be used",
        _by_share(max(shares, default=0.0)),
        f"{lost:,} rows were dropped ({len(dropped)} findings in {len(reports)} "
        f"reports on tables)",
        tuple(f"{p['name']}: {p['count']:,}" for _, p in dropped),
        "Look at these rows; map other columns, or leave the rows out on purpose.",
    )


def check_repeated_places(reports: Sequence[Mapping[str, Any]]) -> Check:
    """Count the places (POIs, areas) that a table lists again."""
    tables = [r for r in reports if r["kind"] in PLACES]
    found = [
        (report, problem)
        for report in tables
        for problem in report.get("problems", ())
        if "repeat" in problem["name"]
    ]
    lost = sum(problem["count"] for _, problem in found)
    shares = [p["count"] / max(report["rows_read"], 1) for report, p in found]
    return Check(
        "duplicate places in tables",
        "warning" if max(shares, default=0.0) > MANY_ROWS else "ok",
        f"{lost:,} places of the tables repeat an earlier one",
        _shown(found),
        "Remove copies: they count twice in what a place is made of.",
    )


def _by_share(share: float) -> Level:
    if share > MOST_ROWS:
        return "error"
    return "warning" if share > MANY_ROWS else "ok"


def _shown(found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> tuple:
    """Give examples of findings; a visit's point is a person's, and is not shown."""
    return tuple(
        example
        for report, problem in found
        if report["kind"] != "visits"
        for example in problem["examples"]
    )


def check_duplicate_tokens(
    tokens: Tokens, vectors: Float[np.ndarray, "tokens dim"]
) -> Check:
    """Find places that are there twice, or that have the very same vector."""
    names = np.array(tokens.names())
    _, first = np.unique(tokens.ids, return_index=True)
    twice = np.setdiff1d(np.arange(len(tokens)), first)
    used = np.flatnonzero(vectors.any(axis=1))
    _, other = np.unique(vectors[used], axis=0, return_index=True)
    alike = np.setdiff1d(used, used[other])
    return Check(
        "duplicate places",
        "error" if len(twice) else "warning" if len(alike) else "ok",
        f"{len(twice):,} of {len(tokens):,} places are there twice; {len(alike):,} "
        f"have the very same vector as another",
        tuple(names[np.concatenate([twice, alike])].tolist()),
        "Build the tokens again; equal vectors mean equal inputs.",
    )


def check_bounds(
    tokens: Tokens,
    centroids: Float[np.ndarray, "tokens 2"],
    bounds: tuple[float, float, float, float],
) -> Check:
    """Find places whose middle lies outside the study area.

    Args:
        tokens: the places.
        centroids: lon/lat of each, degrees.
        bounds: west, south, east, north, degrees.
    """
    low, high = np.array(bounds[:2]), np.array(bounds[2:])
    inside = ((centroids >= low) & (centroids <= high)).all(axis=1)
    # A cell of a border point may have its middle just outside.
    return Check(
        "places in the study area",
        _by_share(float((~inside).mean())),
        f"{(~inside).sum():,} of {len(tokens):,} places have their middle outside "
        f"tokens.bounds",
        _names(tokens, ~inside),
        "Check tokens.bounds.",
    )


def check_users(
    graph: MobilityGraph, kind: str, edges: str, min_users: int | None
) -> Check:
    """Check that every edge has the distinct users that the run asks for.

    Args:
        graph: the mobility graph.
        kind: of mobility: visits, flows, ...
        edges: ``movement``, or ``neighbours`` where records do not make the edges.
        min_users: that an edge needs; None where the source counts none.
    """
    name, publish = "users per edge", "Set mobility.min_users to 2 or more; 5 to share."
    if kind != "visits" or edges == "neighbours":
        return Check(name, "ok", f"edges of kind {kind} ({edges}) count no users")
    if len(graph.users) < graph.edges or min_users is None:
        found = f"{len(graph.users):,} of {graph.edges:,} edges have a count of users"
        return Check(name, "error", found, (), "Build the graph again.")
    least = int(np.min(graph.users)) if graph.edges else min_users
    below = int((np.asarray(graph.users) < min_users).sum())
    found = (
        f"{below:,} of {graph.edges:,} edges have fewer than {min_users} users; the "
        f"fewest is {least}"
    )
    if below:
        return Check(name, "error", found, (), "Build the graph again.")
    return Check(name, "warning" if min_users < 2 else "ok", found, (), publish)


def check_isolated(tokens: Tokens, graph: MobilityGraph) -> Check:
    """Find places without an edge: their vectors know nothing of movement."""
    alone = graph.degree() == 0
    share = float(alone.mean())
    level: Level = "error" if alone.all() else "ok"
    return Check(
        "isolated tokens",
        "warning" if ISOLATED < share < 1 else level,
        f"{alone.sum():,} of {len(tokens):,} places have no edge ({share:.1%})",
        _names(tokens, alone),
        "Use coarser places, a longer time or a lower threshold.",
    )


def check_modality(
    name: str, present: Bool[np.ndarray, " tokens"], broken: int, tokens: Tokens
) -> Check:
    """Say how many places have features of a modality.

    Args:
        name: of the modality.
        present: which places have features.
        broken: values that are not finite.
        tokens: the places.
    """
    share = float(present.mean())
    level: Level = "error" if broken or share == 0 else "ok"
    return Check(
        f"modality {name}",
        "warning" if level == "ok" and share < HALF_COVERED else level,
        f"{present.sum():,} of {len(present):,} places have features ({share:.1%}); "
        f"{broken:,} values are not finite",
        _names(tokens, ~present),
        "Give a table that covers the study area, or leave the modality out.",
    )


def check_vectors(
    tokens: Tokens, vectors: Float[np.ndarray, "tokens dim"]
) -> list[Check]:
    """Check embeddings for what is not finite, for their lengths and dimensions."""
    finite = np.isfinite(vectors).all(axis=1)
    checks = [
        Check(
            "embedding values",
            "ok" if finite.all() else "error",
            f"{(~finite).sum():,} of {len(finite):,} vectors hold NaN or infinity",
            _names(tokens, ~finite),
            "Lower training.learning_rate or set training.clip_norm, and train again.",
        )
    ]
    checks.append(_check_norms(tokens, vectors, finite))
    checks.append(_check_dimensions(vectors[finite & vectors.any(axis=1)]))
    return checks


def _check_norms(
    tokens: Tokens,
    vectors: Float[np.ndarray, "tokens dim"],
    finite: Bool[np.ndarray, " tokens"],
) -> Check:
    """Find vectors of length 0, and those far longer than the others."""
    length = np.zeros(len(vectors))
    length[finite] = np.linalg.norm(vectors[finite].astype(np.float64), axis=1)
    zero = finite & (length == 0)
    middle = float(np.median(length[length > 0])) if (length > 0).any() else 0.0
    huge = length > HUGE_NORM * middle
    level: Level = "error" if zero.all() else "ok"
    return Check(
        "embedding norms",
        "warning" if level == "ok" and (zero | huge).any() else level,
        f"{zero.sum():,} of {len(length):,} vectors are zero and {huge.sum():,} longer "
        f"than {HUGE_NORM} times the median {middle:.3g}",
        _names(tokens, zero | huge),
        "Look whether these places have edges and features.",
    )


def _check_dimensions(vectors: Float[np.ndarray, "tokens dim"]) -> Check:
    """Find dimensions that are the same wherever there is a vector; they say nothing.

    Args:
        vectors: those that are finite and not zero; without any, all are constant.
    """
    constant: Int[np.ndarray, " constant"] = np.arange(vectors.shape[1])
    if len(vectors):
        spread = vectors.max(axis=0) - vectors.min(axis=0)
        constant = np.flatnonzero(spread <= CONSTANT * np.abs(vectors).max())
    level: Level = "error" if len(constant) == vectors.shape[1] else "warning"
    return Check(
        "constant dimensions",
        level if len(constant) else "ok",
        f"{len(constant)} of {vectors.shape[1]} dimensions are the same everywhere",
        tuple(f"e{number:03d}" for number in constant[:MOST_EXAMPLES]),
        "Use fewer dimensions, or train on more places.",
    )


def count_not_finite(values: Float[np.ndarray, "tokens columns"]) -> int:
    """Count NaN and infinities block by block, for values that lie on disk."""
    blocks = range(0, len(values), ROWS_A_BLOCK)
    return sum(
        int((~np.isfinite(values[start : start + ROWS_A_BLOCK])).sum())
        for start in blocks
    )


def _names(tokens: Tokens, marked: Bool[np.ndarray, " tokens"]) -> tuple[str, ...]:
    rows = np.flatnonzero(marked)[:MOST_EXAMPLES]
    return tuple(tokens.name(place) for place in tokens.ids[rows])
