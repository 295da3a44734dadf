from collections import Counter

import numpy as np
import pandas as pd
import pytest

from mora.benchmark.homes import infer_homes
from mora.errors import MoraError


def count(user, token, hour, **options) -> list[int]:
    options = {"tokens": 4, "min_records": 1, "min_users": 1} | options
    found = infer_homes(np.array(user), np.array(token), np.array(hour), **options)
    return found.tolist()


def records(size: int = 3000, users: int = 150) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    user = rng.integers(0, users, size)
    token = rng.integers(-1, 4, size)
    hour = rng.integers(0, 24, size)
    hour[user < 20] = 12  # some are never seen at night
    return user, token, hour


def homes_one_by_one(user, token, hour, min_records, min_users) -> list[int]:
    homes = Counter()
    for one in set(user.tolist()):
        own = [(t, h) for u, t, h in zip(user, token, hour, strict=True) if u == one]
        own = [(t, h) for t, h in own if t >= 0]
        if len(own) < min_records:
            continue
        at_night = [t for t, h in own if h >= 21 or h < 6]
        tally = Counter(at_night or [t for t, _ in own])
        homes[min(tally, key=lambda t: (-tally[t], t))] += 1
    return [homes[t] if homes[t] >= min_users else 0 for t in range(4)]


def test_known_answer():
    # "a" works in 0 and sleeps in 1; "b" is never seen at night and mostly in 2.
    user = [*"aaaaa", *"bbb"]
    token = [0, 0, 0, 1, 1, 2, 2, 3]
    hour = [9, 10, 11, 23, 5, 12, 13, 14]
    assert count(user, token, hour) == [0, 1, 1, 0]


def test_agrees_with_one_user_at_a_time():
    user, token, hour = records()
    expected = homes_one_by_one(user, token, hour, 12, 3)
    assert count(user, token, hour, min_records=12, min_users=3) == expected
    assert 0 < sum(expected) < 150


@pytest.mark.parametrize("kind", [str, np.uint64, object])
def test_order_and_kind_of_ids_do_not_matter(kind):
    user, token, hour = records()
    order = np.random.default_rng(1).permutation(len(user))
    renamed = (user[order] * 7919 + 5).astype(kind)
    assert count(renamed, token[order], hour[order]) == count(user, token, hour)


def test_ids_may_be_a_series_of_text():
    found = infer_homes(
        pd.Series(["a", "b"], dtype="str").to_numpy(),
        np.array([1, 1]),
        np.array([1.5, 23.9]),
        tokens=2,
        min_records=1,
        min_users=1,
    )
    assert found.tolist() == [0, 2]


def test_among_equals_the_lower_token_is_home():
    assert count(["a"] * 4, [3, 1, 1, 3], [22] * 4) == [0, 1, 0, 0]


def test_no_records_are_no_homes():
    assert count([], np.array([], int), []) == [0, 0, 0, 0]
    assert count(["a"], [-1], [23]) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("hour", "at_night"), [(21, True), (20.99, False), (5.99, True), (6, False)]
)
def test_the_night_is_from_21_to_6(hour, at_night):
    # Day records in 0 outnumber the one in 1, which decides if it is at night.
    assert count(["a"] * 3, [0, 0, 1], [12, 12, hour]) == [not at_night, at_night, 0, 0]


def test_night_changes_the_homes():
    user, token, hour = ["a"] * 3, [0, 0, 1], [12, 12, 22]
    assert count(user, token, hour, night=(9, 17)) == [1, 0, 0, 0]
    assert count(user, token, hour, night=(23, 4)) == [1, 0, 0, 0]
    assert count(user, token, hour, night=(22, 4)) == [0, 1, 0, 0]


def test_min_records_leaves_rare_users_out():
    user, token, hour = [*"aab"], [0, 0, 1], [23, 23, 23]
    assert count(user, token, hour) == [1, 1, 0, 0]
    assert count(user, token, hour, min_records=2) == [1, 0, 0, 0]


def test_min_users_hides_small_counts():
    user, token, hour = [*"abc"], [0, 0, 1], [23, 23, 23]
    assert count(user, token, hour, min_users=2) == [2, 0, 0, 0]


def test_tokens_sets_the_length():
    assert count(["a"], [0], [1], tokens=2) == [1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"token": [0]}, "2 users, 1 tokens and 2 hours"),
        ({"token": [0, 4]}, r"1 of 2 tokens are not in 0..3 \(first: 4\)"),
        ({"hour": [1.0, np.nan]}, r"1 of 2 hours are not in 0..24 \(first: nan\)"),
        ({"hour": [1, 24]}, r"1 of 2 hours are not in 0..24 \(first: 24\)"),
        ({"min_users": 0}, "min_records or min_users is 0; expected 1"),
        ({"min_records": 0}, "min_records or min_users is 0; expected 1"),
        ({"night": (6, 6)}, r"the night is \(6, 6\); expected two different hours"),
        ({"night": (21, 24)}, r"the night is \(21, 24\)"),
        ({"user": np.array(["a", None])}, "1 of 2 records have no user"),
    ],
)
def test_bad_records_are_refused(given, message):
    records = {"user": ["a", "b"], "token": [0, 1], "hour": [1, 2]} | given
    with pytest.raises(MoraError, match=message):
        count(**records)
