from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from mora.benchmark.readouts import (
    READOUTS,
    LightGBMReadout,
    RidgeReadout,
    leave_one_out_ridge,
    make_readout,
)
from mora.benchmark.scores import r_squared
from mora.errors import MoraError

SMALL = LightGBMReadout(trees=15)


def problem(n: int = 600, dim: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)).astype(np.float32)
    y = 2 * x[:, 0] - x[:, 1] + 0.3 * rng.normal(size=n)
    half = n // 2
    return x[:half], y[:half], x[half:], y[half:]


@pytest.mark.parametrize(
    "readout", [LightGBMReadout(trees=80, feature_share=1.0), RidgeReadout()]
)
def test_planted_relation_is_recovered(readout):
    train_x, train_y, test_x, test_y = problem()
    assert r_squared(test_y, readout.fit_predict(train_x, train_y, test_x)) > 0.85


@pytest.mark.parametrize("readout", [SMALL, RidgeReadout()])
def test_same_input_gives_the_same_bits(readout):
    train_x, train_y, test_x, _ = problem()
    first, second = (readout.fit_predict(train_x, train_y, test_x) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("readout", [SMALL, RidgeReadout()])
def test_missing_values_are_taken(readout):
    train_x, train_y, test_x, _ = problem()
    train_x[::3], test_x[::2, 0], train_x[:, 4] = np.nan, np.nan, np.nan
    assert np.isfinite(readout.fit_predict(train_x, train_y, test_x)).all()


@pytest.mark.parametrize("readout", [SMALL, RidgeReadout()])
def test_constant_features_give_the_mean(readout):
    _, train_y, _, _ = problem()
    train_x, test_x = np.ones((300, 2), np.float32), np.ones((7, 2), np.float32)
    got = readout.fit_predict(train_x, train_y, test_x)
    np.testing.assert_allclose(got, train_y.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"trees": 5},
        {"learning_rate": 0.2},
        {"depth": 2},
        {"leaves": 4},
        {"leaf_samples": 20},
        {"feature_share": 1.0},
        {"bins": 5},
        {"seed": 3},
    ],
)
def test_each_setting_of_lightgbm_matters(change):
    train_x, train_y, test_x, _ = problem()
    base = replace(SMALL, leaf_samples=5)
    changed = replace(base, **change)
    first, second = (
        readout.fit_predict(train_x, train_y, test_x) for readout in (base, changed)
    )
    assert not np.array_equal(first, second)


def test_threads_change_nothing():
    train_x, train_y, test_x, _ = problem()
    first, second = (
        replace(SMALL, trees=3, threads=threads).fit_predict(train_x, train_y, test_x)
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(first, second)


def test_scale_of_the_columns_does_not_matter_to_trees():
    train_x, train_y, test_x, _ = problem()
    first = SMALL.fit_predict(train_x, train_y, test_x)
    second = SMALL.fit_predict(train_x * 1024, train_y, test_x * 1024)
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_few_rows_still_give_a_fit():
    train_x, train_y, test_x, _ = problem(n=80)
    got = LightGBMReadout(leaf_samples=50).fit_predict(train_x, train_y, test_x)
    assert np.ptp(got) > 0.5


def test_ridge_agrees_with_least_squares_where_noise_is_little():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 4))
    y = x @ [1.0, -2.0, 0.5, 0.0] + 3 + 1e-3 * rng.normal(size=200)
    design = np.column_stack([x[:150], np.ones(150)])
    solution = np.linalg.lstsq(design, y[:150], rcond=None)[0]
    expected = np.column_stack([x[150:], np.ones(50)]) @ solution
    got = RidgeReadout().fit_predict(x[:150], y[:150], x[150:])
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_ridge_ignores_a_common_scale_and_shift():
    train_x, train_y, test_x, _ = problem()
    first = RidgeReadout().fit_predict(train_x, train_y, test_x)
    second = RidgeReadout().fit_predict(train_x * 50 + 8, train_y, test_x * 50 + 8)
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_ridge_keeps_the_spectrum():
    """One strong column with the signal, many faint ones that are noise."""
    rng = np.random.default_rng(2)
    strong, faint = rng.normal(size=(300, 1)), rng.normal(size=(300, 120))
    y = strong[:, 0] + rng.normal(size=300)
    train, test = slice(0, 150), slice(150, 300)
    vectors = np.hstack([strong, faint * 1e-4])
    equal = np.hstack([strong, faint])
    ordered, flat = (
        r_squared(y[test], RidgeReadout().fit_predict(x[train], y[train], x[test]))
        for x in (vectors, equal)
    )
    assert ordered > flat + 0.1


def test_paper_settings_are_those_of_the_paper():
    grid, county = make_readout("lightgbm-paper"), make_readout("lightgbm-paper-county")
    assert grid == LightGBMReadout(1000, 0.05, 7, 63, 30, 1.0, 255)
    assert county == replace(grid, leaves=31, leaf_samples=50)


def test_quick_setting():
    expected = LightGBMReadout(200, 0.05, 7, 63, 30, 0.3, 63, threads=2, seed=5)
    assert make_readout("lightgbm", threads=2, seed=5) == expected


@pytest.mark.parametrize("name", READOUTS)
def test_descriptions_say_what_it_is(name):
    assert make_readout(name).description.startswith(("LightGBM, ", "Ridge, "))


def test_unknown_readout_is_refused():
    with pytest.raises(MoraError, match="no readout 'oracle'; expected one of light"):
        make_readout("oracle")


@pytest.mark.parametrize(("rows", "dim"), [(40, 6), (12, 30)])
def test_leave_one_out_ridge_agrees_with_scikit_learn(rows, dim):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, dim)), rng.normal(size=rows)
    y += x[:, 0]
    x, y = x - x.mean(axis=0), y - y.mean()
    alphas = np.geomspace(1e-3, 1e3, 13)
    theirs = RidgeCV(alphas=alphas).fit(x, y)
    ours = leave_one_out_ridge(x, y, alphas)
    np.testing.assert_allclose(ours, theirs.coef_, rtol=1e-6, atol=1e-9)
