"""GEO-BLEU: how well the n-grams of predicted days match those of the true days."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from mora.kernels import kernel
from mora.trajectories.humob.days import (
    PairedDays,
    find_variant,
    pair_one_day,
    pair_user,
)

DECAY = 0.5  # of proximity per cell: e^-1 at 1 km with the cells of HuMob
BLOCK_PAIRS = 2**15  # pairs of events at a time: their proximities stay in the cache


def geo_bleu(
    generated: Int[np.ndarray, "generated 4"],
    reference: Int[np.ndarray, "reference 4"],
    variant: str = "humob2024",
) -> float:
    """Give the mean GEO-BLEU over the days of one user.

    Source: Shimizu et al. 2022, GEO-BLEU; Yahoo Japan, ``geobleu``, for the variants.

    The proximity of two n-grams is the product over their events of
    exp(-0.5 distance in cells). N-grams are matched one to one, the nearest first and
    ties in the order of (generated, reference). p_n is the mean proximity of the
    matches, and the score is the geometric mean of p_1..p_N times the brevity penalty.

    Args:
        generated: day, slot, column and row of each predicted event.
        reference: the same days and slots, with the true columns and rows.
        variant: of :data:`~mora.trajectories.humob.days.VARIANTS`.

    Returns:
        Between 0 and 1; 1 if both are the same.

    Raises:
        MoraError: if days and slots are not the same, or the variant is unknown.
    """
    return float(daily_geo_bleu(pair_user(generated, reference), variant).mean())


def day_geo_bleu(
    generated: Int[np.ndarray, "generated 2"],
    reference: Int[np.ndarray, "reference 2"],
    variant: str = "humob2024",
) -> float:
    """Give the GEO-BLEU of one day, whose two sides may differ in length.

    Args:
        generated: column and row of each predicted event in order of time.
        reference: column and row of each true event.
        variant: as in :func:`geo_bleu`.
    """
    return float(daily_geo_bleu(pair_one_day(generated, reference), variant)[0])


def daily_geo_bleu(
    days: PairedDays, variant: str = "humob2024"
) -> Float[np.ndarray, " days"]:
    """Give the GEO-BLEU of each day, as in :func:`geo_bleu`."""
    chosen, scores = find_variant(variant), np.empty(len(days))
    rows, columns = np.diff(days.generated_bounds), np.diff(days.reference_bounds)
    for block in _blocks(rows * columns):
        distances = np.empty(int((rows[block] * columns[block]).sum()))
        ends = slice(block.start, block.stop + 1)
        generated_bounds = days.generated_bounds[ends]
        reference_bounds = days.reference_bounds[ends]
        _measure(
            days.generated,
            days.reference,
            generated_bounds,
            reference_bounds,
            distances,
        )
        # numpy's exp, not the compiler's: one unit in the last place can undo a tie
        proximity = np.exp(-DECAY * distances)
        _score(
            proximity,
            rows[block],
            columns[block],
            chosen.longest_ngram,
            chosen.per_match,
            scores[block],
        )
    return scores


def _blocks(pairs: Int[np.ndarray, " days"]) -> Iterator[slice]:
    """Cut the days into runs of about as many pairs of events."""
    block = np.cumsum(pairs) // BLOCK_PAIRS
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(pairs)], strict=True):
        yield slice(int(start), int(stop))


@kernel()
def _measure(
    generated: np.ndarray,
    reference: np.ndarray,
    generated_bounds: np.ndarray,
    reference_bounds: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Fill the distances of all pairs of events of each day, row by row."""
    pair = 0
    for day in range(len(generated_bounds) - 1):
        for i in range(generated_bounds[day], generated_bounds[day + 1]):
            for j in range(reference_bounds[day], reference_bounds[day + 1]):
                dx = generated[i, 0] - reference[j, 0]
                dy = generated[i, 1] - reference[j, 1]
                distances[pair] = math.sqrt(dx * dx + dy * dy)
                pair += 1


@kernel()
def _score(
    proximity: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    longest_ngram: int,
    per_match: bool,
    scores: np.ndarray,
) -> None:
    """Fill the score of each day from the proximities of its pairs of events."""
    pair = 0
    for day in range(len(rows)):
        m, n = rows[day], columns[day]
        points = proximity[pair : pair + m * n].reshape(m, n)
        pair += m * n
        ngrams = points.copy()
        orders = min(longest_ngram, m, n)
        log_sum = 0.0
        for order in range(1, orders + 1):
            height, width = m - order + 1, n - order + 1
            if order > 1:  # in the order of the events, so that ties stay ties
                for i in range(height):
                    for j in range(width):
                        ngrams[i, j] *= points[i + order - 1, j + order - 1]
            matches = min(height, width) if per_match else height
            log_sum += math.log(_match(ngrams, height, width) / matches)
        brevity = 1.0 if m > n else math.exp(1.0 - n / m)
        scores[day] = brevity * math.exp(log_sum / orders)


@kernel()
def _match(proximity: np.ndarray, height: int, width: int) -> float:
    """Sum the proximities of a one-to-one matching that takes the nearest pair first.

    Each row knows its nearest free column; only rows that lose it look again. This
    gives the pairs in the order in which a stable sort of them all would.
    """
    free = np.ones(width, np.bool_)
    best = np.full(height, np.inf)  # proximity of the nearest; -1 once matched
    nearest = np.full(height, -1)
    total, taken = 0.0, -1
    for _ in range(min(height, width)):
        chosen = 0
        for i in range(height):
            if nearest[i] == taken and best[i] >= 0:
                bound, best[i] = best[i], -1.0
                for j in range(width):
                    if free[j] and proximity[i, j] > best[i]:
                        best[i], nearest[i] = proximity[i, j], j
                        if best[i] == bound:  # it cannot become nearer than before
                            break
            if best[i] > best[chosen]:
                chosen = i
        total += best[chosen]
        taken = nearest[chosen]
        free[taken] = False
        best[chosen] = -1.0
    return total
