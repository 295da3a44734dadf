"""GEO-BLEU and DTW of users of real size, against the plain way.

``python -m benchmarks.geobleu [--quick]``
"""

from functools import partial
from statistics import median

import numpy as np
from tests.oracles_trajectories import (
    plain_day_dtw,
    plain_day_geo_bleu,
    plain_mean_over_days,
)

from benchmarks.measure import (
    in_turn,
    one_thread,
    print_costs,
    print_ratio,
    quick_mode,
    ratio,
)
from mora.tokens import GridTokens
from mora.trajectories.events import Events, build_events
from mora.trajectories.humob.days import VARIANTS
from mora.trajectories.humob.scores import score_users

DAYS, EVENTS = 15, 18  # of a user in the target days, on average
REVISITS = 0.85  # share of predicted events that are in the right cell
GOAL_MS = {"humob2024": 1.5, "giscup2025": 3.0}  # for a user, both metrics
GOAL_RATIO = 50
ERROR = 1e-12  # between the sides


def simulate(users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give predicted and true rows (user, day, slot, column, row), SIMULATED.

    A user has a few cells around a home and goes to the first of them most often.
    """
    rng = np.random.default_rng(seed)
    true = []
    for user in range(users):
        cells = rng.integers(40, 160, 2) + rng.normal(0, 8, (40, 2)).astype(int)
        for day in range(60, 60 + DAYS):
            events = int(rng.integers(EVENTS // 2, EVENTS + EVENTS // 2 + 1))
            slots = np.sort(rng.choice(48, events, replace=False))
            chosen = cells[rng.zipf(1.6, events) % len(cells)]
            true.append(
                np.column_stack([np.full((events, 2), [user, day]), slots, chosen])
            )
    reference = np.concatenate(true)
    generated = reference.copy()
    wrong = rng.random(len(reference)) > REVISITS
    generated[wrong, 3:] += rng.integers(-9, 10, (wrong.sum(), 2))
    return generated, reference


def as_events(rows: np.ndarray) -> Events:
    """Put rows into the table that :func:`score_users` takes."""
    tokens = GridTokens.from_xy(rows[:, 3:])
    return build_events(*rows[:, :3].T, tokens.encode_xy(rows[:, 3:]), tokens)


def by_kernels(variant: str, sides: list[Events]) -> np.ndarray:
    """Score all users with the package."""
    scores = score_users(*sides, variant)
    return np.column_stack([scores.geo_bleu, scores.dtw_km])


def plainly(variant: str, sides: list[np.ndarray], users: int) -> np.ndarray:
    """Score the first users from the definitions."""
    chosen, scores = VARIANTS[variant], []
    for user in range(users):
        own = [side[side[:, 0] == user, 1:] for side in sides]
        geo_bleu = plain_mean_over_days(
            plain_day_geo_bleu,
            *own,
            longest_ngram=chosen.longest_ngram,
            per_match=chosen.per_match,
        )
        dtw = plain_mean_over_days(
            plain_day_dtw, *own, open_beginning=chosen.open_beginning
        )
        scores.append([geo_bleu, dtw])
    return np.array(scores)


def compare(variant: str, users: int, few: int, repeats: int) -> None:
    """Check that both sides agree, measure them, and print the goals."""
    rows = simulate(users)
    sides = [as_events(side) for side in rows]
    work = {
        "ours": partial(by_kernels, variant, sides),
        "plain": partial(plainly, variant, list(rows), few),
    }
    results, costs = in_turn(work, repeats)
    error = np.abs(results["ours"][:few] - results["plain"]).max()
    if not error < ERROR:
        raise SystemExit(f"{variant}: the sides differ by {error:.1e}.")
    print(
        f"{variant}: ours {users} users, plain {few}; largest difference {error:.0e}\n"
    )
    print_costs(costs)
    ms = 1000 * median(cost.cpu for cost in costs["ours"]) / users
    print(f"{ms:.3f} ms a user for both metrics\n")
    # above is better: how often the goal holds the time of a user
    print_ratio(f"geobleu_{variant}_ms", GOAL_MS[variant] / ms, 1)
    faster = ratio(costs["plain"], costs["ours"]) * users / few
    print_ratio(f"geobleu_{variant}", faster, GOAL_RATIO)


def main() -> None:
    """Check, measure and compare both variants."""
    users, few, repeats = (200, 3, 3) if quick_mode(__doc__) else (1000, 10, 5)
    one_thread()
    for variant in VARIANTS:
        compare(variant, users, few, repeats)


if __name__ == "__main__":
    main()
