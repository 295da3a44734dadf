"""Visits as (user, week, place) triples, for the tests of co-visits."""

import resource
from contextlib import contextmanager

import numpy as np

from mora.graph.user_weeks import UserWeekBuilder


def columns(records):
    """Give users, weeks and places as a builder takes them."""
    user, week, place = np.array(records).T
    return user.astype(np.uint64), week, place.astype(np.uint64)


def group(folder, records):
    """Group triples by user and week."""
    builder = UserWeekBuilder(folder / "records")
    builder.add(*columns(records))
    return builder.group()


def random_records(seed=0, visits=600):
    """Draw visits of 25 users in 4 weeks to 12 places."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers([0, 10, 0], [25, 14, 12], size=(visits, 3))
    return [tuple(map(int, row)) for row in drawn]


@contextmanager
def files_of_at_most(size):
    """Let no file grow beyond ``size`` bytes, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
