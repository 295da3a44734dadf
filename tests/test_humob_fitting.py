from dataclasses import replace

import numpy as np
import pytest

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.fitting import FitOptions, MedoidFit, fit_medoid, hold_out
from mora.trajectories.humob.medoid import MedoidOptions, predict_medoid

SQUARE = GridTokens.from_xy(
    np.array([[x, y] for x in range(1, 9) for y in range(1, 9)])
)


def events(user, day, slot, token):
    return build_events(*map(np.array, (user, day, slot, token)), SQUARE)


def noisy_city(users=6, days=20, seed=0):
    """Users at home at any hour, now and then somewhere else."""
    rng = np.random.default_rng(seed)
    user, day, _ = (axis.ravel() for axis in np.mgrid[0:users, 0:days, 0:5])
    away = rng.random(len(user)) < 0.4
    token = np.where(away, rng.integers(0, len(SQUARE), len(user)), 9 * user)
    return events(user, day, rng.integers(0, 48, len(user)), token)


def test_last_days_are_held_out_by_hand():
    history = events(
        [0, 0, 0, 0, 1, 1], [0, 4, 4, 9, 3, 3], [0, 0, 1, 0, 0, 1], [0] * 6
    )
    earlier, later = hold_out(history, 2)  # user 0 has 3 days: half of them is 1
    assert earlier.day.tolist() == [0, 4, 4, 3, 3]
    assert later.day.tolist() == [9]
    assert later.users.tolist() == earlier.users.tolist() == [0, 1]


def test_more_days_hold_more_out():
    city = noisy_city()
    assert set(hold_out(city, 3)[1].day) == {17, 18, 19}
    assert set(hold_out(city, 99)[1].day) == set(range(10, 20))


def test_masked_days_are_not_held_out():
    history = events([0, 0, 0], [0, 1, 2], [0, 0, 0], [1, 2, MASKED])
    assert hold_out(history, 1)[1].day.tolist() == [1]


def test_noise_calls_for_a_wide_bell():
    found = fit_medoid(noisy_city())
    assert isinstance(found, MedoidFit)
    assert found.options.slot_width > MedoidOptions().slot_width
    assert found.score > found.start_score
    assert found.users == 6


def test_score_is_the_one_of_the_options_found():
    city = noisy_city()
    found = fit_medoid(city, score=accuracy)
    earlier, later = hold_out(city, FitOptions().days)
    generated = later.with_tokens(predict_medoid(earlier, later, found.options))
    assert found.score == pytest.approx(accuracy(generated, later).mean())


def accuracy(generated, reference):
    right = (generated.token == reference.token).astype(float)
    return np.bincount(reference.user_rows(), right) / reference.counts()


def test_nothing_to_try_gives_the_start():
    start = MedoidOptions(slot_width=3.0)
    found = fit_medoid(noisy_city(), FitOptions(start=start, grid={}))
    assert found.options == start
    assert found.tried == 1
    assert found.score == found.start_score


def test_only_the_last_known_days_are_looked_at():
    city = noisy_city()
    late = city.day >= 15
    masked = city.with_tokens(np.where(late, MASKED, city.token).astype(np.int32))
    assert fit_medoid(masked) == fit_medoid(city.select(~late))


@pytest.mark.parametrize(
    "change",
    [
        {"days": 2},
        {"users": 3},
        {"start": MedoidOptions(slot_width=0.3, decay=0.7)},
        {"grid": {"decay": (1.0,)}},
    ],
)
def test_each_option_changes_the_fit(change):
    base = FitOptions(grid={"slot_width": (1.0, 2.0)})
    city = noisy_city()
    assert fit_medoid(city, replace(base, **change)) != fit_medoid(city, base)


def test_the_seed_draws_other_users():
    city, options = noisy_city(), FitOptions(users=1, grid={})
    scores = {fit_medoid(city, replace(options, seed=s)).score for s in range(4)}
    assert len(scores) > 1
    again = [fit_medoid(city, options) for _ in range(2)]
    assert again[0] == again[1]


def test_the_score_is_what_is_raised():
    city, options = noisy_city(), FitOptions(grid={"slot_width": (4.0,)})
    worst = fit_medoid(city, options, score=lambda g, r: -accuracy(g, r))
    assert worst.options.slot_width == MedoidOptions().slot_width
    assert fit_medoid(city, options, score=accuracy).options.slot_width == 4.0


def test_a_single_day_cannot_be_divided():
    history = events([0, 1], [3, 3], [0, 0], [1, 2])
    with pytest.raises(MoraError, match="none of 2 users has events on two days"):
        fit_medoid(history)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": 0}, "0 days to hold out; expected at least 1"),
        ({"users": 0}, "0 users to score; expected at least 1"),
    ],
)
def test_numbers_below_one_are_refused(change, message):
    with pytest.raises(MoraError, match=message):
        fit_medoid(noisy_city(), FitOptions(**change))
