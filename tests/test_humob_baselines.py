import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.baselines import (
    BASELINES,
    baseline,
    predict,
    predict_with_fallbacks,
)
from mora.trajectories.humob.fitting import FitOptions
from mora.trajectories.humob.medoid import MedoidOptions
from mora.trajectories.humob.scoring import compare

SHARED = Path(os.environ.get("MORA_SHARED", Path(__file__).parents[2] / "shared"))
SAMPLE = SHARED / "data" / "yjmob_sample" / "yjmob_sample.csv.gz"
SQUARE = GridTokens.from_xy(
    np.array([[x, y] for x in range(1, 9) for y in range(1, 9)])
)
CITY_WIDE = {"city_mode", "medoid_fitted"}  # they learn from all users
ROW = GridTokens.from_xy(np.array([[x, 1] for x in range(1, 10)]), 9, 1)


def events(user, day, slot, x):
    """Build events on a row of cells; x = 0 is masked."""
    x = np.array(x)
    token = ROW.encode_xy(np.column_stack([x.clip(1), np.ones_like(x)]))
    token = np.where(x > 0, token, MASKED)
    return build_events(*map(np.array, (user, day, slot)), token, ROW)


def ask(user, day, slot):
    return events(user, day, slot, [0] * len(user))


def columns(tokens):
    return ROW.xy()[tokens, 0].tolist()


def random_events(seed, rows, days, users=6):
    rng = np.random.default_rng(seed)
    return build_events(
        rng.integers(0, users, rows),
        rng.integers(*days, rows),
        rng.integers(0, 6, rows),
        rng.integers(0, 12, rows),
        SQUARE,
    )


# Days 1 and 8 are the same day of the week; user 0 is at 7 in slot 20.
WEEKS = events(
    [0, 0, 0, 0, 0, 0, 5, 5, 5, 5],
    [1, 1, 8, 8, 9, 10, 0, 1, 2, 3],
    [10, 20, 10, 20, 10, 10, 1, 1, 1, 1],
    [3, 7, 4, 7, 3, 2, 1, 1, 1, 2],
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("city_mode", [1, 1, 1]),  # three visits of user 5
        ("user_mode", [3, 3, 3]),  # as often as 7, and later
        ("slot_mode", [3, 7, 3]),  # slot 30 is new: the user's mode
        ("weekday_slot_mode", [4, 7, 3]),  # 3 and 4 once each: 4 was later
        ("last_week", [4, 7, 3]),
        ("last_place", [2, 2, 2]),
        ("user_mean", [4, 4, 4]),  # (3 + 7 + 4 + 7 + 3 + 2) / 6 = 4.33
        ("medoid", [3, 7, 7]),  # slot 20 is the nearest to 30
    ],
)
def test_by_hand(name, expected):
    found = columns(predict(name, WEEKS, ask([0, 0, 0], [15] * 3, [10, 20, 30])))
    assert found == expected


def test_last_week_is_the_latest_that_is_known():
    asked = ask([0, 0, 0], [8, 15, 16], [10, 10, 10])
    assert columns(predict("last_week", WEEKS, asked)) == [3, 4, 3]


@pytest.mark.parametrize("name", BASELINES)
def test_the_wanted_tokens_are_never_read(name):
    history, wanted = random_events(0, 200, (0, 14)), random_events(1, 60, (14, 21))
    masked = wanted.with_tokens(np.full(len(wanted), MASKED, np.int32))
    other = wanted.with_tokens(wanted.token[::-1].copy())
    options = {"grid": {"slot_width": (2.0,)}} if name == "medoid_fitted" else {}
    found = predict(name, history, masked, **options)
    np.testing.assert_array_equal(found, predict(name, history, wanted, **options))
    np.testing.assert_array_equal(found, predict(name, history, other, **options))


@pytest.mark.parametrize(
    ("name", "parts"),
    [("user_mode", [0]), ("slot_mode", [0, 2]), ("weekday_slot_mode", [0, 1, 2])],
)
def test_modes_agree_with_pandas(name, parts):
    def key(user, day, slot):
        return str([(user, day % 7, slot)[part] for part in parts])

    history, wanted = random_events(0, 900, (0, 60)), random_events(1, 80, (60, 75))
    asked = list(zip(*table(wanted), strict=True))
    past = pd.DataFrame(
        {
            "key": [key(*row) for row in zip(*table(history), strict=True)],
            "time": history.time(),
            "token": history.token,
        }
    )
    seen = past.groupby(["key", "token"]).time.agg(["size", "max"]).reset_index()
    best = seen.sort_values(["size", "max", "token"]).groupby("key").token.last()
    rule, found = BASELINES[name], predict(name, history, wanted)
    answered = rule.rule(history, wanted, rule.options()) != MASKED
    assert answered.sum() > 10
    expected = [best.get(key(*row), -1) for row in asked]
    np.testing.assert_array_equal(found[answered], np.array(expected)[answered])
    assert (np.array(expected)[~answered] == -1).all()


def table(events):
    users = events.users[events.user_rows()]
    return users.tolist(), events.day.tolist(), events.slot.tolist()


@pytest.mark.parametrize("name", sorted(set(BASELINES) - CITY_WIDE))
def test_other_users_change_nothing_for_those_with_history(name):
    history, wanted = random_events(0, 400, (0, 60)), random_events(1, 60, (60, 75))
    alone = wanted.take_users([2])
    found = predict(name, history, wanted)[wanted.user_rows() == 2]
    np.testing.assert_array_equal(predict(name, history.take_users([2]), alone), found)


@pytest.mark.parametrize("name", BASELINES)
def test_a_user_without_history_gets_the_city_mode(name):
    found = predict_with_fallbacks(name, WEEKS, ask([0, 3], [15, 15], [10, 10]))
    assert (
        columns(found.tokens)[1]
        == columns(predict("city_mode", WEEKS, ask([3], [15], [10]))).pop()
    )
    assert found.fallbacks == ({} if name == "city_mode" else {"city_mode": 1})


@pytest.mark.parametrize("name", BASELINES)
def test_only_strangers_get_the_city_mode(name):
    found = predict_with_fallbacks(name, WEEKS, ask([3, 4], [15, 15], [10, 10]))
    assert len(set(columns(found.tokens))) == 1
    assert sum(found.fallbacks.values()) == (0 if name == "city_mode" else 2)


def test_fallbacks_are_named_and_counted():
    asked = ask([0, 0, 0, 9], [15, 14, 15, 15], [10, 20, 30, 10])
    found = predict_with_fallbacks("weekday_slot_mode", WEEKS, asked)
    assert found.fallbacks == {"slot_mode": 1, "user_mode": 1, "city_mode": 1}


def test_nothing_wanted_gives_nothing():
    nothing = WEEKS.select(np.zeros(len(WEEKS), bool))
    for name in BASELINES:
        assert len(predict(name, WEEKS, nothing)) == 0


def test_options_reach_the_rule():
    history, wanted = random_events(0, 400, (0, 60)), random_events(1, 60, (60, 75))
    base = predict("medoid", history, wanted)
    assert (predict("medoid", history, wanted, slot_width=9.0) != base).any()
    start = MedoidOptions(slot_width=9.0)
    fitted = predict("medoid_fitted", history, wanted, grid={}, start=start)
    np.testing.assert_array_equal(
        fitted, predict("medoid", history, wanted, slot_width=9.0)
    )


def test_every_rule_is_documented():
    for found in BASELINES.values():
        assert found.description.endswith(".")
        assert found.falls_back_to in {*BASELINES, None}
    assert BASELINES["medoid_fitted"].options is FitOptions


def test_an_empty_history_is_refused():
    with pytest.raises(MoraError, match="none of the 0 events of the history has a"):
        predict("slot_mode", WEEKS.between(50, 60), ask([0], [60], [0]))


def test_an_unknown_name_is_refused():
    with pytest.raises(MoraError, match="no baseline 'medoids'; expected one of city_"):
        predict("medoids", WEEKS, WEEKS)


def test_an_unknown_option_is_refused():
    with pytest.raises(MoraError, match="'medoid' has no option width; expected slot_"):
        predict("medoid", WEEKS, WEEKS, width=1.0)


def test_a_name_is_given_once():
    with pytest.raises(MoraError, match="baseline 'medoid' exists already"):
        baseline("medoid", falls_back_to=None)(print)


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"the real data is not at {SAMPLE}")
def test_the_medoid_beats_the_modes_of_slots_on_real_users():
    frame = pd.read_csv(SAMPLE)
    xy = frame[["x", "y"]].to_numpy()
    tokens = GridTokens.from_xy(xy)
    every = build_events(
        frame.uid.to_numpy(),
        frame.d.to_numpy(),
        frame.t.to_numpy(),
        tokens.encode_xy(xy),
        tokens,
    )
    begun = np.arange(len(every)) - np.repeat(every.offsets[:-1], every.counts())
    history, truth = every.select(begun < 70), every.select(begun >= 70)
    names = ("medoid", "slot_mode", "weekday_slot_mode")
    table = compare({n: predict(n, history, truth) for n in names}, truth)
    assert table.find("medoid", "geo_bleu").mean == pytest.approx(0.2417, abs=1e-4)
    for name in names[1:]:
        score = table.find(name, "geo_bleu")
        assert score.difference < -3 * score.difference_error
