"""Events of made-up people, in the form of HuMob."""

import numpy as np
from jaxtyping import Bool, Float, Int

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import Events
from mora.trajectories.generator.city_config import CityConfig
from mora.trajectories.generator.layout import (
    LayoutConfig,
    count_pois,
    lay_out,
)
from mora.trajectories.generator.schedule import HOME, SLOTS, Days, live

BLOCK_USERS = 2_000  # people made at once, to bound memory
MOST_SEEN = 0.95
# How often a phone is seen in each hour, from the first 100 rows of 1,000 users of
# YJMob100K (Yabe et al. 2024); only the ratios matter.
SEEN_BY_HOUR = np.array(
    [
        *(15, 14, 13, 13, 14, 19, 33, 56, 63, 61, 62, 64),
        *(65, 60, 57, 59, 60, 63, 57, 45, 37, 30, 24, 18),
    ]
)


def generate_city(config: CityConfig, seed: int = 0) -> Events:
    """Make up the events of the people of a city.

    Args:
        config: the city and how its people behave.
        seed: of the people; the map has its own.

    Returns:
        Events over all cells of the grid, in which users are numbered from 0. A user
        who was never seen is not among them.

    Raises:
        MoraError: if nobody was seen at all.
    """
    layout = lay_out(config.layout)
    tokens = grid_tokens(config.layout, config.cell_km)
    token_of = _token_of_cell(tokens)
    parts = []
    for first in range(0, config.users, BLOCK_USERS):
        rng = np.random.default_rng([seed, config.layout.seed, first])
        count = min(BLOCK_USERS, config.users - first)
        days = live(config, layout, count, rng)
        user, day, slot = np.nonzero(_watch(config, days, rng))
        cell = layout.cell_at(_locate(config, days, user, day, slot, rng))
        columns = (user + first, day, slot, token_of[cell])
        parts.append([column.astype(np.int32) for column in columns])
    user, day, slot, token = (np.concatenate(c) for c in zip(*parts, strict=True))
    if len(user) == 0:
        raise MoraError(
            f"none of {config.users} people was seen in {config.days} days with "
            f"seen={config.seen:g}; expected some events. Raise it, or the people."
        )
    # Sorted and without repeats as they are, so build_events is not needed.
    counts = np.bincount(user, minlength=config.users)
    users = np.flatnonzero(counts)
    offsets = np.concatenate([[0], np.cumsum(counts[users])])
    return Events(users, offsets, day, slot, token, tokens, SLOTS)


def generate_categories(
    config: LayoutConfig, seed: int = 0
) -> Int[np.ndarray, "tokens categories"]:
    """Count points of interest in every cell, as HuMob does for its cities.

    Args:
        config: map of the city.
        seed: of the counts.

    Returns:
        Counts of :data:`mora.trajectories.generator.layout.CATEGORIES`, in the order
        of the tokens of :func:`generate_city`.
    """
    counts = count_pois(lay_out(config), config.pois, seed)
    return counts[grid_tokens(config).ids]


def grid_tokens(config: LayoutConfig, cell_km: float = 0.5) -> GridTokens:
    """Give all cells of a city's grid."""
    xy = np.indices((config.width, config.height)).reshape(2, -1).T + 1
    return GridTokens.from_xy(xy, config.width, config.height, cell_km)


def _token_of_cell(tokens: GridTokens) -> Int[np.ndarray, " cells"]:
    token_of = np.empty(len(tokens), np.int64)
    token_of[tokens.ids] = np.arange(len(tokens))
    return token_of


def _watch(
    config: CityConfig, days: Days, rng: np.random.Generator
) -> Bool[np.ndarray, "users days slots"]:
    """Draw in which slots people are seen.

    Some people are seen often and some seldom, all more by day and away from home,
    and in runs: with a chance of ``burst`` a slot is like the one before it.
    """
    users, slots = len(days.stop), days.stop[0].size
    share = config.seen * rng.lognormal(0, config.seen_spread, (users, 1))
    by_hour = np.repeat(SEEN_BY_HOUR / SEEN_BY_HOUR.mean(), 2)
    outside = (days.stop != HOME).reshape(users, slots)
    chance = share * np.tile(by_hour, config.days)
    chance = chance * np.where(outside, config.seen_outside, 1.0)
    seen = rng.random((users, slots)) < chance.clip(max=MOST_SEEN)
    same = rng.random((users, slots)) < config.burst
    for slot in range(1, slots):
        seen[:, slot] = np.where(same[:, slot], seen[:, slot - 1], seen[:, slot])
    return seen.reshape(days.stop.shape)


def _locate(
    config: CityConfig,
    days: Days,
    user: Int[np.ndarray, " events"],
    day: Int[np.ndarray, " events"],
    slot: Int[np.ndarray, " events"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "events 2"]:
    """Give where people are seen, in cells from the corner."""
    stop = days.stop.reshape(len(days.stop), -1)
    time = day * SLOTS + slot
    here, before = stop[user, time], stop[user, np.maximum(time - 1, 0)]
    place, origin = days.place[user, here], days.place[user, before]
    left = (rng.random(len(user)) < config.en_route) * rng.random(len(user))
    noise = np.where(here == HOME, config.home_noise_cells, config.noise_cells)
    scatter = rng.normal(size=(len(user), 2)) * noise[:, None]
    return place + left[:, None] * (origin - place) + scatter
