"""Events and networks that tests of ST-MoE-BERT share."""

import numpy as np

from mora.tokens import GridTokens
from mora.trajectories.bert.presets import bert_preset
from mora.trajectories.events import MASKED, build_events

HISTORY, PREDICT = 8, 4  # of the preset ``tiny``


def grid(side=5):
    """Give all cells of a small grid."""
    xy = np.indices((side, side)).reshape(2, -1).T + 1
    return GridTokens.from_xy(xy, side, side)


def regular_events(users=6, days=12, seed=0, tokens=None):
    """Give users with a home, a work place and some errands, seen six times a day."""
    rng = np.random.default_rng(seed)
    tokens = tokens or grid()
    slots = np.array([2, 14, 20, 26, 34, 44])
    user, day, slot = (
        index.ravel()
        for index in np.meshgrid(range(users), range(days), slots, indexing="ij")
    )
    home, work = rng.integers(0, len(tokens), (2, users))
    token = np.where((slot > 15) & (slot < 30), work[user], home[user])
    errand = rng.random(len(token)) < 0.1
    token[errand] = rng.integers(0, len(tokens), errand.sum())
    return build_events(user * 10, day, slot, token, tokens)


def with_masked_days(events, first_day, users):
    """Mask the days from ``first_day`` on of the users at some positions."""
    late = (events.day >= first_day) & np.isin(events.user_rows(), users)
    return events.with_tokens(np.where(late, MASKED, events.token))


def tiny(**changes):
    """Give a network that trains in a moment."""
    return bert_preset("tiny", **changes)
