"""GEO-BLEU and DTW written the plain way, from their definitions."""

import itertools
import math

import numpy as np


def plain_ngram_score(generated, reference, n, per_match):
    """Sort all pairs of n-grams, nearest first; take a pair if both sides are free."""
    rows, columns = len(generated) - n + 1, len(reference) - n + 1
    pairs = []
    for i, j in itertools.product(range(rows), range(columns)):
        distances = [math.dist(generated[i + k], reference[j + k]) for k in range(n)]
        pairs.append((-np.prod([np.exp(-0.5 * d) for d in distances]), i, j))
    left, right, total = set(range(rows)), set(range(columns)), 0.0
    for negative, i, j in sorted(pairs):
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            total -= negative
    return total / (min(rows, columns) if per_match else rows)


def plain_day_geo_bleu(generated, reference, longest_ngram=3, per_match=True):
    lengths = len(generated), len(reference)
    scores = [
        plain_ngram_score(generated, reference, n, per_match)
        for n in range(1, min(longest_ngram, *lengths) + 1)
    ]
    penalty = 1.0 if lengths[0] > lengths[1] else math.exp(1 - lengths[1] / lengths[0])
    return penalty * math.prod(scores) ** (1 / len(scores))


def plain_day_dtw(generated, reference, open_beginning=True, cell_km=0.5):
    costs = np.full((len(generated) + 1, len(reference) + 1), np.inf)
    costs[0, 0] = 0.0
    if open_beginning:
        costs[0] = 0.0
    for i, j in itertools.product(range(len(generated)), range(len(reference))):
        before = min(costs[i, j], costs[i, j + 1], costs[i + 1, j])
        costs[i + 1, j + 1] = math.dist(generated[i], reference[j]) * cell_km + before
    return costs[-1, -1]


def plain_mean_over_days(score, generated, reference, **options):
    """Apply a score to each day of one user's (day, slot, x, y), and take the mean."""
    days = np.unique(reference[:, 0])
    return np.mean(
        [
            score(
                generated[generated[:, 0] == day, 2:].tolist(),
                reference[reference[:, 0] == day, 2:].tolist(),
                **options,
            )
            for day in days
        ]
    )


def tie_heavy_user(rng, days=4, events=12, cells=3):
    """Draw one user's true and predicted rows, all in a few cells next to another."""
    rows = [
        (60 + day, slot)
        for day in range(days)
        for slot in np.sort(rng.choice(48, rng.integers(1, events + 1), replace=False))
    ]
    times = np.array(rows, dtype=np.int64)
    sides = (rng.integers(1, cells + 1, (len(times), 2)) for _ in range(2))
    return tuple(np.column_stack([times, side]) for side in sides)
