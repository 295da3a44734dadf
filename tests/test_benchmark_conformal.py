import numpy as np
import pytest

from mora.benchmark.conformal import (
    Intervals,
    calibration_folds,
    conformal_half_width,
    coverage,
    split_conformal,
)
from mora.benchmark.readouts import RidgeReadout
from mora.errors import MoraError

RNG = np.random.default_rng(0)
N = 1000
BLOCKS = np.arange(N) // 10
X = RNG.normal(size=(N, 3))
Y = X[:, 0] * 2 + RNG.normal(size=N)
FIT = RidgeReadout().bind(X, BLOCKS)


def test_half_width_by_hand():
    # 9 errors: ceil(10 * 0.8) = 8th smallest; signs do not count
    errors = np.array([1.0, -2, 3, -4, 5, 6, -7, 8, 9])
    assert conformal_half_width(errors, 0.8) == 8
    assert conformal_half_width(errors, 0.5) == 5
    assert conformal_half_width(errors * 0, 0.5) == 0


def test_a_new_error_is_within_as_often_as_said():
    inside = []
    for seed in range(2000):
        errors = np.random.default_rng(seed).normal(size=20)
        inside.append(abs(errors[0]) <= conformal_half_width(errors[1:], 0.8))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_is_near_the_level(level):
    got = split_conformal(FIT, Y, BLOCKS, level=level)
    assert got.covers(Y).mean() == pytest.approx(level, abs=0.03)
    assert got.level == level


def test_the_width_is_that_of_the_noise():
    got = split_conformal(FIT, Y, BLOCKS, level=0.9)
    assert np.mean(got.high - got.low) == pytest.approx(2 * 1.645, abs=0.2)


def test_no_row_is_predicted_by_its_own_block_or_calibrated_on_training_rows():
    seen = []

    def spy(train, y, test):
        assert not set(BLOCKS[train]) & set(BLOCKS[test])
        assert len(y) == len(train)
        seen.append(len(train))
        return np.zeros(len(test))

    got = split_conformal(spy, Y, BLOCKS, folds=4)
    assert seen == [500] * 4
    assert np.isfinite(got.low).all()


def test_labels_of_the_test_rows_do_not_move_their_intervals():
    test = calibration_folds(BLOCKS, 5, 0.9)[2]
    changed = Y.copy()
    changed[test[0]] = 1e3
    first, second = (split_conformal(FIT, y, BLOCKS) for y in (Y, changed))
    np.testing.assert_array_equal(first.low[test], second.low[test])


def test_each_setting_matters():
    first = split_conformal(FIT, Y, BLOCKS)
    for options in ({"folds": 3}, {"level": 0.7}):
        assert not np.array_equal(
            first.low, split_conformal(FIT, Y, BLOCKS, **options).low
        )
    other = split_conformal(FIT, Y, np.arange(N) // 20)
    assert not np.array_equal(first.low, other.low)


def test_coverage_by_group_by_hand():
    intervals = Intervals(np.zeros(4), np.array([1.0, 2, 3, 2]), 0.9)
    setting = np.array(["urban", "", "rural", "urban"])
    got = coverage(intervals, np.array([0.5, 1, 5, 3]), {"setting": setting})
    assert got.coverage == 0.5
    assert got.mean_width == 2
    assert got.by_group == {"setting": {"rural": (0.0, 1), "urban": (0.5, 2)}}
    assert got.to_json()["by_group"]["setting"]["urban"] == {
        "coverage": 0.5,
        "units": 2,
    }
    assert got.to_json()["level"] == 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_half_width(np.ones(5), 1.0), "level is 1; expected"),
        (lambda: conformal_half_width(np.ones(8), 0.9), "8 calibration .* at least 9"),
        (lambda: calibration_folds(BLOCKS, 2, 0.9), "2 folds of 100 blocks"),
        (lambda: calibration_folds(BLOCKS // 50, 5, 0.9), "5 folds of 2 blocks"),
        (lambda: calibration_folds(np.arange(20), 5, 0.9), "4 calibration units are"),
    ],
)
def test_impossible_intervals_are_refused(call, message):
    with pytest.raises(MoraError, match=message):
        call()
