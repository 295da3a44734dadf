"""Visits of made-up people to the cells of one town: as many as a benchmark needs."""

import numpy as np

from mora.geometry import hilbert_position
from mora.kernels import as_uniform, kernel, mix_bits

SIDE = 224  # cells a side: 50,176 in all
FIRST_CELL = 0x0881F1D400000000  # like an H3 cell: large, and near cells have near ids
CENTRES = 12
KNOWN_PLACES = 2000  # of one person
MOST_A_WEEK = 400  # visits of one user-week, to about 200 distinct cells
HEAVY_TAIL = 0.7  # exponent of the number of visits of a user-week
PART = 2_000_000  # visits made at once: bounds the memory beside the result

Visits = tuple[np.ndarray, np.ndarray, np.ndarray]


def synthetic_visits(
    visits: int,
    *,
    users: int = 200_000,
    weeks: int = 54,
    heavy_tailed: bool = False,
    seed: int = 0,
) -> Visits:
    """Give user (hashed), week and cell of each visit.

    People live and work around a few centres and know places around both, at distances
    that are even on a log scale; the place of rank r is visited in proportion to 1/r.

    Args:
        visits: how many.
        users: people.
        weeks: weeks that the visits spread over.
        heavy_tailed: give few user-weeks very many visits, instead of all about the
            same number.
        seed: decides everything.
    """
    rng = np.random.default_rng(seed)
    name = rng.integers(0, 2**63, users).astype(np.uint64)
    anchors = _anchors(users, rng)
    user, week = np.empty(visits, np.uint64), np.empty(visits, np.int64)
    cell = np.empty(visits, np.uint64)
    for first in range(0, visits, PART):
        part = slice(first, min(first + PART, visits))
        size = part.stop - first
        if heavy_tailed:
            person, week[part] = _busy_weeks(size, users, weeks, rng)
        else:
            person = rng.integers(0, users, size)
            week[part] = rng.integers(0, weeks, size)
        user[part] = name[person]
        rank = (KNOWN_PLACES ** rng.random(size)).astype(np.int64)
        cell[part] = _cells(person, rank, anchors)
    return user, week, cell


def _anchors(users: int, rng: np.random.Generator) -> np.ndarray:
    """Draw where each person works (0) and lives (1), around shared centres."""
    centres = rng.integers(0, SIDE, (CENTRES, 2))
    share = 1 / np.arange(1, CENTRES + 1)
    chosen = rng.choice(CENTRES, (2, users), p=share / share.sum())
    return centres[chosen] + rng.normal(0, 10, (2, users, 2))


def _busy_weeks(
    visits: int, users: int, weeks: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw user-weeks of Zipf sizes; give user and week of each of their visits."""
    size = np.arange(1, MOST_A_WEEK + 1)
    share = size**-HEAVY_TAIL
    share /= share.sum()
    drawn = rng.choice(size, int(visits / (size @ share) * 1.2) + 1000, p=share)
    times = np.repeat(np.arange(len(drawn)), drawn)[:visits]
    return (
        rng.integers(0, users, len(drawn))[times],
        rng.integers(0, weeks, len(drawn))[times],
    )


def _cells(person: np.ndarray, rank: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Give the cell of each person's place of each rank: 1 is home, 2 is work."""
    place = person * KNOWN_PLACES + rank
    far = SIDE ** (_noise(place, 1) - 0.3)
    far[rank <= 2] = 0
    angle = 2 * np.pi * _noise(place, 2)
    anchor = anchors[rank % 2, person]
    x = (anchor[:, 0] + far * np.cos(angle)).astype(np.int64).clip(0, SIDE - 1)
    y = (anchor[:, 1] + far * np.sin(angle)).astype(np.int64).clip(0, SIDE - 1)
    return (hilbert_position(x, y, 8) << 8).astype(np.uint64) + np.uint64(FIRST_CELL)


@kernel()
def _noise(place: np.ndarray, stream: int) -> np.ndarray:
    """Give each place its own number in [0, 1)."""
    noise = np.empty(len(place))
    for i in range(len(place)):
        noise[i] = as_uniform(mix_bits(np.uint64(4 * place[i] + stream)))
    return noise
