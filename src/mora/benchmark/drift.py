"""Which places changed between two sets of vectors, beside how much is noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.linalg
from jaxtyping import Float, Float32, Int

from mora.errors import MoraError
from mora.tokens import Tokens

COLUMNS = (
    "place", "pattern", "volume", "noise_pattern", "noise_volume", "times_noise",
)  # fmt: skip

ROUNDING = 1e-6  # changes that float32 vectors cannot tell from none


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Places as they were in one period, or in one run.

    Attributes:
        tokens: the places.
        vectors: with whom each place exchanges people; zero where that is not known.
        log_volume: natural logarithm of 1 + its movement, in any unit that is the
            same for all snapshots compared; NaN where unknown.
    """

    tokens: Tokens
    vectors: Float32[np.ndarray, "tokens dim"]
    log_volume: Float[np.ndarray, " tokens"]

    def __post_init__(self) -> None:
        counts = len(self.tokens), len(self.vectors), len(self.log_volume)
        if len(set(counts)) > 1:
            raise MoraError(
                f"{counts[0]} tokens, {counts[1]} vectors and {counts[2]} volumes; "
                f"expected one each, in the same order."
            )


@dataclass(frozen=True, eq=False)
class Change:
    """How places that two snapshots share differ.

    Attributes:
        token: of each, in the first snapshot.
        pattern: 1 - cosine of its two vectors, 0 to 2; NaN where either is zero.
        volume: log volume, second minus first; log(2) is twice the movement.
    """

    token: Int[np.ndarray, " shared"]
    pattern: Float[np.ndarray, " shared"]
    volume: Float[np.ndarray, " shared"]


@dataclass(frozen=True, eq=False)
class Noise:
    """The change that is usual where nothing happened.

    Attributes:
        tokens: the places.
        pattern: usual change of the vector, of each.
        volume: usual change of log volume, of each, without its sign.
    """

    tokens: Tokens
    pattern: Float[np.ndarray, " tokens"]
    volume: Float[np.ndarray, " tokens"]


def align(
    vectors: Float[np.ndarray, "places dim"], onto: Float[np.ndarray, "places _"]
) -> Float32[np.ndarray, "places _"]:
    """Rotate vectors onto others of the same places, as near as they come.

    Two trainings give the same distances in another orientation; the rotation takes
    that away and leaves what changed. Source: Schoenemann 1966, orthogonal Procrustes;
    Hamilton, Leskovec & Jurafsky 2016, section 3.2, for vectors of several periods.

    Args:
        vectors: to rotate; non-zero for at least as many places as there are columns.
            The rotation follows changes of few, long vectors: many more places hide
            them less.
        onto: where to; the narrower of both is filled up with zeros.

    Returns:
        Rotated vectors; those of ``onto`` where one is a rotation of the other.

    Raises:
        MoraError: if too few places have a vector in both.
    """
    dim = max(vectors.shape[1], onto.shape[1])
    first, second = (_widened(x, dim) for x in (vectors, onto))
    known = first.any(axis=1) & second.any(axis=1)
    if known.sum() < dim:
        raise MoraError(
            f"{known.sum():,} of {len(known):,} shared places have a vector in both, "
            f"for {dim} dimensions; expected at least as many places. Use fewer "
            f"dimensions, or periods that share an anchor."
        )
    rotation, _ = scipy.linalg.orthogonal_procrustes(first[known], second[known])
    return (first @ rotation).astype(np.float32)


def _widened(x: Float[np.ndarray, "places _"], dim: int) -> np.ndarray:
    return np.pad(x.astype(np.float64), [(0, 0), (0, dim - x.shape[1])])


def compare(before: Snapshot, after: Snapshot, *, rotate: bool = True) -> Change:
    """Measure how the places of two snapshots changed.

    Args:
        before: the first.
        after: the second.
        rotate: bring the vectors into one space first, see :func:`align`; not needed
            for periods that share an anchor.

    Returns:
        The change of each shared place; all 0 for equal snapshots.

    Raises:
        MoraError: if no place is in both, or too few are to rotate.
    """
    other = _find_shared(before.tokens, after.tokens)
    token = np.flatnonzero(other >= 0)
    other = other[token]
    first, second = before.vectors[token], after.vectors[other]
    if rotate:
        second = align(second, first)
        first = _widened(first, second.shape[1])
    return Change(
        token,
        cosine_change(first, second),
        (after.log_volume[other] - before.log_volume[token]).astype(np.float64),
    )


def _find_shared(first: Tokens, second: Tokens) -> Int[np.ndarray, " tokens"]:
    """Find the places of the first among the second; -1 where they are not."""
    found = np.full(len(first), -1)
    if first.kind == second.kind:
        found = second.find(first.ids)
    if (found < 0).all():
        raise MoraError(
            f"none of {len(first):,} {first.kind} places is among {len(second):,} "
            f"{second.kind} places; expected places in common. Compare runs on the "
            f"same kind and level of places."
        )
    return found


def cosine_change(
    first: Float[np.ndarray, "*rows dim"], second: Float[np.ndarray, "*rows dim"]
) -> Float[np.ndarray, "*rows"]:
    """Give 1 - cosine of paired vectors: 0 alike, 2 opposite, NaN where one is zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosine = np.full(length.shape, np.nan)
    np.divide((a * b).sum(axis=-1), length, out=cosine, where=length > 0)
    change = 1 - cosine
    return np.where(change < ROUNDING, 0, change)


def quiet_noise(pairs: Sequence[tuple[Snapshot, Snapshot]], *, rotate: bool) -> Noise:
    """Learn from pairs of quiet periods how much a place changes by itself.

    Args:
        pairs: snapshots of the same places, between which nothing happened.
        rotate: as the changes will be measured, see :func:`compare`.

    Returns:
        The root mean square change of each place over the pairs; at least the median
        place's, because few pairs tell little of one place.

    Raises:
        MoraError: if there is no pair, or the places differ.
    """
    same = [np.array_equal(a.tokens.ids, b.tokens.ids) for a, b in pairs]
    if not pairs or not all(same):
        raise MoraError(
            f"{len(pairs)} pairs of quiet snapshots, {same.count(False)} of them of "
            f"different places; expected at least one pair, of the same places."
        )
    changes = [compare(a, b, rotate=rotate) for a, b in pairs]
    return Noise(
        pairs[0][0].tokens,
        usual(np.stack([change.pattern for change in changes])),
        usual(np.stack([change.volume for change in changes])),
    )


def usual(changes: Float[np.ndarray, "pairs places"]) -> Float[np.ndarray, " places"]:
    """Give the root mean square of each column, at least that of the median column.

    Returns:
        One number a place, the median where it has no change known; NaN if none has.
    """
    known = np.isfinite(changes)
    times = known.sum(axis=0)
    total = np.where(known, changes, 0) ** 2
    level = np.full(changes.shape[1], np.nan)
    np.divide(total.sum(axis=0), times, out=level, where=times > 0)
    level = np.sqrt(level)
    middle = np.median(level[times > 0]) if times.any() else np.nan
    return np.fmax(level, middle)


def rank_changes(
    before: Snapshot,
    after: Snapshot,
    noise: Noise | None = None,
    *,
    rotate: bool = True,
) -> pd.DataFrame:
    """List the places that two snapshots share, the most changed first.

    Args:
        before: the first.
        after: the second.
        noise: of these places; by default the change of the median place, beside which
            a change that all places share is no more than noise.
        rotate: see :func:`compare`.

    Returns:
        ``place``, ``pattern`` and ``volume`` (see :class:`Change`), the noise of both,
        and ``times_noise``: the larger of the two changes over its noise. Around 1 and
        below is noise; 0 for a place that held still.

    Raises:
        MoraError: as :func:`compare` does, or if the noise lacks a shared place.
    """
    change = compare(before, after, rotate=rotate)
    if noise is None:
        shared = before.tokens.take(change.token)
        changes = (change.pattern, np.abs(change.volume))
        noise = Noise(shared, *(np.full(len(x), median_of_known(x)) for x in changes))
    at = noise.tokens.encode(before.tokens.ids[change.token])
    levels = noise.pattern[at], noise.volume[at]
    names = before.tokens.names()
    times = times_noise(change.pattern, change.volume, *levels)
    columns = ([names[i] for i in change.token], change.pattern, change.volume)
    frame = pd.DataFrame(
        dict(zip(COLUMNS, (*columns, *levels, times), strict=True)),
    )
    return frame.sort_values(
        "times_noise", ascending=False, kind="stable", ignore_index=True
    )


def median_of_known(changes: Float[np.ndarray, " places"]) -> float:
    """Give the median of the changes that are known; NaN where none is."""
    known = changes[~np.isnan(changes)]
    return float(np.median(known)) if len(known) else float("nan")


def times_noise(
    pattern: Float[np.ndarray, "*shape"],
    volume: Float[np.ndarray, "*shape"],
    noise_pattern: Float[np.ndarray, "*shape"],
    noise_volume: Float[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    """Give the larger of two changes over their noise; NaN where neither is known.

    Returns:
        0 where nothing changed; infinite for a change where noise is 0.
    """
    return np.fmax(_ratio(pattern, noise_pattern), _ratio(np.abs(volume), noise_volume))


def _ratio(
    change: Float[np.ndarray, "*shape"], noise: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    beyond = np.where(change > 0, np.inf, change)  # where noise is 0
    return np.divide(change, noise, out=beyond, where=noise != 0)
