"""Which prediction of a day is kept: the one that past days would have rewarded."""

import numpy as np
import pytest
from bert_events import grid, regular_events

from mora.errors import MoraError
from mora.trajectories.bert.day_choice import (
    choose_days,
    expected_geo_bleu,
    past_as_wanted,
)
from mora.trajectories.events import build_events, plane_coordinates
from mora.trajectories.humob.geobleu import day_geo_bleu


def seen(days, slots, tokens, side=9):
    """Give one user."""
    return build_events(
        np.zeros(len(days), np.int64), np.array(days), np.array(slots),
        np.array(tokens), grid(side),
    )  # fmt: skip


def test_past_days_by_hand():
    # Days 3 and 10 are the same weekday, 4 and 6 are another: 6 is on a weekend.
    history = seen([3, 3, 4, 6, 10], [10, 30, 12, 20, 40], [1, 2, 3, 4, 5])
    wanted = seen([17, 17], [12, 33], [0, 0])
    tokens, weights = past_as_wanted(history, wanted, 4)
    np.testing.assert_array_equal(tokens, [[1, 2], [5, 5], [3, 3], [4, 4]])
    by_hand = np.array(
        [0.985**14 * 4 * 1.5 * 2, 0.985**7 * 4 * 1.5, 0.985**13 * 4, 0.985**11]
    )
    np.testing.assert_allclose(weights[:, 0], by_hand / by_hand.sum())


def test_fewer_past_days_than_asked_for_have_no_weight():
    history, wanted = seen([1, 2], [9, 9], [7, 8]), seen([5], [9], [0])
    tokens, weights = past_as_wanted(history, wanted, 5)
    assert (weights[2:] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    one, alone = past_as_wanted(history, wanted, 1)
    np.testing.assert_array_equal(one, tokens[:1])
    np.testing.assert_array_equal(alone, [[1.0]])


def test_expected_geo_bleu_is_the_weighted_mean_of_the_metric():
    events = regular_events(users=1, days=3)
    rng = np.random.default_rng(0)
    bounds = np.array([0, 6, 12, 18])
    predictions, past = rng.integers(0, 25, (2, 18)), rng.integers(0, 25, (3, 18))
    weights = rng.dirichlet(np.ones(3), 3).T
    found = expected_geo_bleu(predictions, past, weights, bounds, events)
    plane = plane_coordinates(events.tokens).astype(np.int64)
    for p, prediction in enumerate(predictions):
        for d in range(3):
            day = slice(bounds[d], bounds[d + 1])
            each = [day_geo_bleu(plane[prediction[day]], plane[q[day]]) for q in past]
            np.testing.assert_allclose(found[p, d], weights[:, d] @ each)


def test_a_day_that_always_was_is_worth_one():
    events = regular_events(users=1, days=1)
    same = events.token[None].astype(np.int64)
    worth = expected_geo_bleu(same, same, np.ones((1, 1)), np.array([0, 6]), events)
    np.testing.assert_allclose(worth, 1)


def test_a_prediction_far_off_gives_way_and_a_good_one_stays():
    days, slots = np.repeat(np.arange(8), 2), np.tile([16, 40], 8)
    history = seen(days, slots, np.tile([0, 40], 8))
    wanted = seen([8, 8], [16, 40], [5, 5])
    right = np.array([0, 40])
    for tokens in (right, np.array([80, 80])):
        np.testing.assert_array_equal(choose_days(tokens, history, wanted, 8), right)


def test_the_number_of_past_days_counts():
    # Lately at 80; on most days before at 0.
    days = np.arange(14)
    history = seen(days, np.full(14, 20), np.where(days == 7, 80, 0))
    wanted = seen([14], [20], [0])
    picked = [choose_days(np.array([80]), history, wanted, n).item() for n in (1, 14)]
    assert picked == [80, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_users_changes_nothing(seed):
    events = regular_events(users=3, days=9, seed=seed)
    known, wanted = events.select(events.day < 7), events.select(events.day >= 7)
    tokens = wanted.token[::-1].astype(np.int64)
    found = choose_days(tokens, known, wanted, 5)
    last = wanted.user_rows() == 2
    alone = choose_days(tokens[last], known.take_users([2]), wanted.take_users([2]), 5)
    np.testing.assert_array_equal(found[last], alone)


def test_truth_of_the_wanted_is_not_read():
    events = regular_events(users=2, days=4)
    known, wanted = events.select(events.day < 3), events.select(events.day >= 3)
    tokens = np.zeros(len(wanted), np.int64)
    other = wanted.with_tokens(np.zeros_like(wanted.token))
    np.testing.assert_array_equal(
        choose_days(tokens, known, wanted, 3), choose_days(tokens, known, other, 3)
    )


def test_users_without_a_past_are_refused():
    events = regular_events(users=3, days=4)
    known = events.select((events.day < 3) & (events.user_rows() != 1))
    wanted = events.select(events.day >= 3)
    tokens = np.zeros(len(wanted), np.int64)
    with pytest.raises(MoraError, match=r"1 of 3 users have no past day \(first: 10"):
        choose_days(tokens, known, wanted, 3)
