import math
from dataclasses import replace

import numpy as np
import pytest
from tests.oracles_medoid import decode, visits_of, weigh

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, build_events, plane_coordinates
from mora.trajectories.humob import medoid
from mora.trajectories.humob.medoid import (
    MedoidOptions,
    histogram_weights,
    predict_medoid,
)
from mora.trajectories.humob.proximity import nearest_in_expectation

ROW = GridTokens.from_xy(np.array([[x, 1] for x in range(1, 9)]), 8, 1)
SQUARE = GridTokens.from_xy(
    np.array([[x, y] for x in range(1, 9) for y in range(1, 9)])
)


def events(user, day, slot, token, tokens=ROW):
    return build_events(*map(np.array, (user, day, slot, token)), tokens)


def ask(day, slot, tokens=ROW):
    return events([0], [day], [slot], [MASKED], tokens)


def random_events(seed, rows, days, tokens=SQUARE):
    rng = np.random.default_rng(seed)
    return events(
        rng.integers(0, 6, rows),
        rng.integers(*days, rows),
        rng.integers(0, 48, rows),
        rng.integers(0, len(tokens), rows),
        tokens,
    )


def decode_one(weights, cells=(0, 1, 2), **options):
    places = ROW.encode_xy(np.array([[x + 1, 1] for x in cells]))
    found = nearest_in_expectation(
        np.array([0, len(cells)]),
        places,
        np.array(weights),
        plane_coordinates(ROW),
        **options,
    )
    return int(plane_coordinates(ROW)[found[0], 0]) - 1


def test_weights_by_hand():
    history = events([0, 0], [0, 1], [10, 11], [0, 1])
    cells = histogram_weights(history, ask(7, 10), MedoidOptions(decay=0.5))
    first = 0.5**7 * 4 * 1.5  # same slot, weekend and weekday
    second = math.exp(-2) * 0.5**6  # one slot beside: (1 / 0.5)^2 / 2 = 2
    assert cells.offsets.tolist() == [0, 2]
    assert cells.tokens.tolist() == [0, 1]
    np.testing.assert_allclose(
        cells.weights, np.array([first, second]) / (first + second)
    )


def test_the_cell_between_two_others_wins_by_hand():
    # 0.25 + 0.75 e^-1/2 = 0.705 against 0.649 on the left and 0.680 on the right
    assert decode_one([0.35, 0.25, 0.40]) == 1


def test_the_heaviest_cell_wins_where_beta_is_large():
    assert decode_one([0.35, 0.25, 0.40], beta=50.0) == 2


def test_equal_candidates_give_the_first():
    assert decode_one([0.2, 0.3, 0.5], beta=0) == 0


@pytest.mark.parametrize("circular", [True, False])
def test_agrees_with_loops(circular):
    options = MedoidOptions(slot_width=1.5, decay=0.9, circular=circular)
    history = random_events(0, 300, (0, 20))
    wanted = random_events(1, 60, (20, 30))
    cells = histogram_weights(history, wanted, options)
    found = predict_medoid(history, wanted, options)
    plane = plane_coordinates(SQUARE)
    for event, user in enumerate(wanted.user_rows()):
        past = visits_of(history, user)
        expected = weigh(past, wanted.day[event], wanted.slot[event], options)
        mine = slice(*cells.offsets[event : event + 2])
        assert cells.tokens[mine].tolist() == list(expected)
        np.testing.assert_allclose(
            cells.weights[mine], list(expected.values()), atol=1e-15
        )
        assert found[event] == decode(expected, plane, options.beta)


def test_candidates_agree_with_loops():
    rng = np.random.default_rng(0)
    plane = plane_coordinates(SQUARE)
    sizes = rng.integers(1, 6, (2, 40))
    offsets, bounds = (np.concatenate([[0], np.cumsum(s)]) for s in sizes)
    tokens = np.concatenate([rng.choice(64, n, replace=False) for n in sizes[0]])
    options = np.concatenate([rng.choice(64, n, replace=False) for n in sizes[1]])
    weights = rng.random(len(tokens))
    found = nearest_in_expectation(
        offsets, tokens, weights, plane, candidates=(bounds, options)
    )
    for i in range(40):
        mine = slice(*offsets[i : i + 2])
        share = dict(zip(tokens[mine], weights[mine], strict=True))
        assert found[i] == decode(share, plane, 0.5, options[slice(*bounds[i : i + 2])])


def test_a_week_later_nothing_but_the_age_has_changed():
    history = random_events(0, 200, (0, 14))
    wanted = random_events(1, 40, (14, 21))
    later = replace(wanted, day=wanted.day + 7)
    np.testing.assert_allclose(
        histogram_weights(history, wanted).weights,
        histogram_weights(history, later).weights,
    )


def test_blocks_of_users_change_nothing(monkeypatch):
    history, wanted = random_events(0, 300, (0, 20)), random_events(1, 60, (20, 30))
    whole = predict_medoid(history, wanted)
    monkeypatch.setattr(medoid, "BLOCK_ENTRIES", 100)
    np.testing.assert_array_equal(predict_medoid(history, wanted), whole)


def test_weights_do_not_vanish_far_from_any_visit():
    history = events([0, 0], [0, 0], [0, 1], [3, 4])
    cells = histogram_weights(history, ask(900, 24), MedoidOptions(slot_width=0.1))
    assert cells.weights.sum() == pytest.approx(1)
    assert cells.weights.tolist() == [0, 1]  # 23 slots away against 24


def test_masked_events_of_the_history_weigh_nothing():
    history = events([0, 0, 0], [0, 1, 2], [0, 0, 0], [3, MASKED, 3])
    assert histogram_weights(history, ask(3, 0)).tokens.tolist() == [3]


def test_a_user_without_history_has_no_cells_and_no_prediction():
    history = events([0], [0], [0], [3])
    wanted = events([0, 7], [1, 1], [0, 0], [MASKED, MASKED])
    assert histogram_weights(history, wanted).offsets.tolist() == [0, 1, 1]
    assert predict_medoid(history, wanted).tolist() == [3, -1]


def test_an_event_without_cells_or_candidates_has_no_answer():
    found = nearest_in_expectation(
        np.array([0, 1, 1]),
        np.array([0]),
        np.array([1.0]),
        plane_coordinates(ROW),
        candidates=(np.array([0, 0, 1]), np.array([4])),
    )
    assert found.tolist() == [-1, -1]


def test_candidates_for_other_events_are_refused():
    other = (np.array([0, 1, 2]), np.array([0, 1]))
    with pytest.raises(MoraError, match=r"candidates for 2 events and .* for 1;"):
        decode_one([1.0, 1.0, 1.0], candidates=other)


def test_candidates_bound_the_answer():
    only = (np.array([0, 1]), ROW.encode_xy(np.array([[8, 1]])))
    assert decode_one([0.35, 0.25, 0.40], candidates=only) == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slot_width", 5.0),
        ("decay", 0.5),
        ("same_day_type", 1.0),
        ("same_weekday", 9.0),
        ("circular", False),
    ],
)
def test_each_option_changes_the_weights(name, value):
    history, wanted = random_events(0, 200, (0, 14)), random_events(1, 40, (14, 21))
    wide = MedoidOptions(slot_width=3.0)
    base = histogram_weights(history, wanted, wide).weights
    changed = histogram_weights(history, wanted, replace(wide, **{name: value}))
    assert np.abs(changed.weights - base).max() > 1e-3


def test_midnight_is_beside_the_last_slot_on_the_clock_alone():
    history = events([0, 0], [0, 0], [3, 47], [1, 2])
    assert predict_medoid(history, ask(1, 0), MedoidOptions(beta=9)).tolist() == [2]
    straight = MedoidOptions(beta=9, circular=False)
    assert predict_medoid(history, ask(1, 0), straight).tolist() == [1]


def test_beta_changes_the_prediction():
    history = events([0] * 5, range(5), [0] * 5, [0, 0, 1, 2, 2])
    wide = MedoidOptions(decay=1.0, same_day_type=1.0, same_weekday=1.0, beta=0.1)
    assert predict_medoid(history, ask(5, 0), wide).tolist() == [1]
    narrow = replace(wide, beta=9.0)
    assert predict_medoid(history, ask(5, 0), narrow).tolist() == [0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("slot_width", 0.0, "slot_width is 0.0; expected a number above 0"),
        ("same_weekday", -1.0, "same_weekday is -1.0; expected a number above 0"),
        ("decay", 1.5, r"decay is 1.5; expected a number in \(0, 1\]"),
        ("beta", -0.5, "beta is -0.5; expected a number from 0 up"),
    ],
)
def test_options_out_of_range_are_refused(name, value, message):
    with pytest.raises(MoraError, match=message):
        MedoidOptions(**{name: value})
