"""What is in a window, against loops over the rows."""

import numpy as np
import pytest
from bert_events import HISTORY, PREDICT, grid, regular_events, tiny, with_masked_days

from mora.errors import MoraError
from mora.trajectories.bert.vocabulary import build_vocabulary
from mora.trajectories.bert.windows import (
    WindowConfig,
    build_columns,
    build_windows,
)
from mora.trajectories.events import build_events


def cut(events, **options):
    vocabulary = build_vocabulary(events.tokens, events.token)
    return build_windows(events, vocabulary, tiny(), WindowConfig(**options))


def everything(windows):
    return windows.gather(np.arange(len(windows)))


def test_features_of_a_hand_worked_user():
    day, slot = np.array([0, 0, 6, 7, 8]), np.array([3, 5, 0, 47, 0])
    events = build_events(np.zeros(5), day, slot, np.zeros(5, int), grid())
    features = build_columns(events).features(np.arange(5))
    np.testing.assert_array_equal(
        features,
        [
            [0, 3, 0, 0, 1, 0],
            [0, 5, 0, 0, 1, 2],
            [6, 0, 0, 6, 1, 283],
            [7, 47, 0, 0, 1, 95],
            [8, 0, 0, 1, 0, 1],
        ],
    )


def test_windows_are_those_of_a_loop():
    events = regular_events(users=3, days=5)  # 30 events a user
    vocabulary = build_vocabulary(events.tokens, events.token)
    windows, skipped = cut(events, window_stride=5)
    batch, number = everything(windows), 0
    for user in range(3):
        rows = np.flatnonzero(events.user_rows() == user)
        time = events.time()[rows]
        location = vocabulary.encode(events.token[rows])
        delta = np.append(0, np.diff(time))
        for start in range(0, len(rows) - HISTORY - PREDICT + 1, 5):
            past = slice(start, start + HISTORY)
            ahead = slice(start + HISTORY, start + HISTORY + PREDICT)
            np.testing.assert_array_equal(
                batch.history_locations[number], location[past]
            )
            np.testing.assert_array_equal(
                batch.future_locations[number], location[ahead]
            )
            np.testing.assert_array_equal(
                batch.future_features[number, :, 5], delta[ahead]
            )
            np.testing.assert_array_equal(
                batch.history_features[number, :, 0], events.day[rows][past]
            )
            number += 1
    assert len(windows) == number == 12
    assert batch.history_known.all()
    assert batch.future_known.all()
    assert len(skipped) == 0


def test_delta_does_not_restart_at_the_first_predicted_event():
    batch = everything(cut(regular_events())[0])
    assert (batch.future_features[:, 0, 5] > 0).all()


def test_users_do_not_see_each_other():
    events = regular_events(users=3)
    alone = everything(cut(events.take_users([1]))[0])
    windows, _ = cut(events)
    own = np.flatnonzero(windows.columns.user[windows.target] == 1)
    among = windows.gather(own)
    np.testing.assert_array_equal(
        alone.history_features[:, :, [0, 1, 5]], among.history_features[:, :, [0, 1, 5]]
    )


def test_short_histories_are_padded_in_front():
    events = regular_events(users=2, days=2).select(
        np.r_[np.ones(7, bool), np.zeros(5, bool), np.ones(12, bool)]
    )
    windows, skipped = cut(events)
    batch = everything(windows)
    np.testing.assert_array_equal(batch.history_known.sum(axis=1), [3, 8])
    assert not batch.history_known[0, :5].any()
    assert (batch.history_locations[0, :5] == 0).all()
    assert (batch.history_features[0, :5] == 0).all()
    assert len(skipped) == 0


def test_users_with_too_few_events_are_named():
    events = regular_events(users=2, days=2).select(
        np.r_[np.ones(7, bool), np.zeros(5, bool), np.ones(12, bool)]
    )
    windows, skipped = cut(events, minimum_history=4)
    assert len(windows) == 1
    assert skipped.message() == (
        "1 of 2 users have fewer than 8 known events, which a window needs (first: 0)"
    )
    with pytest.raises(MoraError, match="2 of 2 users have fewer than 24"):
        cut(events, minimum_history=20)


def test_stride_counts_events():
    events = regular_events(users=1, days=10)  # 60 events, 49 ends of a window
    assert len(cut(events, window_stride=1)[0]) == 49
    assert len(cut(events, window_stride=48)[0]) == 2
    assert len(cut(events, window_stride=49)[0]) == 1
    windows, _ = cut(events, window_stride=7)
    np.testing.assert_array_equal(np.diff(windows.target), 7)


def test_look_back_counts_days():
    batch = everything(cut(regular_events(), look_back_days=1, window_stride=1)[0])
    oldest = batch.future_features[:, 0, 0] - 1
    days = batch.history_features[:, :, 0]
    assert (days >= oldest[:, None])[batch.history_known].all()
    assert not batch.history_known.all()
    assert everything(cut(regular_events(), look_back_days=9)[0]).history_known.all()


def test_windows_of_target_users_repeat():
    events = with_masked_days(regular_events(users=3), 10, users=[1])
    once, _ = cut(events, window_stride=10)
    twice, _ = cut(events, window_stride=10, repeat_target_users=3)
    users = [np.bincount(w.columns.user[w.target]) for w in (once, twice)]
    np.testing.assert_array_equal(users[1], users[0] * [1, 3, 1])


def test_masked_events_are_in_no_window():
    events = with_masked_days(regular_events(users=2), 6, users=[0, 1])
    windows, _ = cut(events, window_stride=1)
    batch = everything(windows)
    assert batch.future_features[:, :, 0].max() == 5


def test_gather_takes_only_what_is_asked_for():
    windows, _ = cut(regular_events(), window_stride=3)
    every, some = everything(windows), windows.gather(np.array([4, 1, 4]))
    np.testing.assert_array_equal(
        some.history_locations, every.history_locations[[4, 1, 4]]
    )
    np.testing.assert_array_equal(some.future_rows, every.future_rows[[4, 1, 4]])


def test_gaps_grow_from_window_to_window_of_a_user():
    events = regular_events(users=2, days=6)  # 36 events a user
    windows, _ = cut(events, window_stride=5, gap_events=9)
    plain, _ = cut(events, window_stride=5)
    np.testing.assert_array_equal(windows.target, plain.target)
    gaps = windows.target - windows.history_end
    # 0, 4, 8 and again 2, as 12 is beyond 9; never more than leaves one event.
    np.testing.assert_array_equal(gaps, [0, 4, 8, 2, 6] * 2)
    np.testing.assert_array_equal(windows.known_end, windows.history_end)
    batch, location = everything(windows), windows.columns.location
    for row in range(len(windows)):
        end = windows.history_end[row]
        start = end - batch.history_known[row].sum()
        np.testing.assert_array_equal(
            batch.history_locations[row, batch.history_known[row]], location[start:end]
        )


def test_gaps_leave_the_least_history():
    events = regular_events(users=1, days=4)
    windows, _ = cut(events, window_stride=2, gap_events=99, minimum_history=3)
    assert windows.history_end.min() == 3
