"""Planted users who go to work and back, each between two places of their own."""

import numpy as np

from mora.trajectories.raw.steps import Steps

MINUTES = 360.0  # four steps a day: two at home, then two at work
DAY = 4


def periodic_users(users=160, days=5, seed=0, noise=0.002):
    """Give steps whose places are drawn from a square of 30 km, noise in degrees."""
    rng = np.random.default_rng(seed)
    home, work = rng.uniform([139.6, 35.6], [139.9, 35.9], (2, users, 1, 2))
    at_work = (np.arange(days * DAY) % DAY >= 2)[None, :, None]
    lonlat = np.where(at_work, work, home)
    lonlat = lonlat + rng.normal(scale=noise, size=lonlat.shape)
    return make_steps(lonlat, minutes=MINUTES)


def make_steps(lonlat, known=None, minutes=15.0, start=0.0):
    """Wrap points; all are known unless said otherwise."""
    lonlat = np.asarray(lonlat, dtype=np.float32)
    known = np.ones(lonlat.shape[:2], bool) if known is None else np.asarray(known)
    users = np.arange(len(lonlat))
    return Steps(users, lonlat, known, np.full(len(users), float(start)), minutes)
