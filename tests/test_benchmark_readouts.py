from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from mora.benchmark.readouts import (
    READOUTS,
    RIDGE_GRID,
    BlockedRidgeReadout,
    FixedRidgeReadout,
    LightGBMReadout,
    PaperReadout,
    RidgeReadout,
    leave_one_out_ridge,
    make_readout,
)
from mora.benchmark.scores import r_squared
from mora.errors import MoraError

SMALL = LightGBMReadout(trees=15)
ALL = [SMALL, RidgeReadout(), BlockedRidgeReadout(), FixedRidgeReadout()]


def problem(n: int = 600, dim: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)).astype(np.float32)
    y = 2 * x[:, 0] - x[:, 1] + 0.3 * rng.normal(size=n)
    half = n // 2
    return x[:half], y[:half], x[half:], y[half:]


@pytest.mark.parametrize(
    "readout",
    [
        LightGBMReadout(trees=80, feature_share=1.0),
        RidgeReadout(),
        BlockedRidgeReadout(),
        FixedRidgeReadout(),
    ],
)
def test_planted_relation_is_recovered(readout):
    train_x, train_y, test_x, test_y = problem()
    assert r_squared(test_y, readout.fit_predict(train_x, train_y, test_x)) > 0.85


@pytest.mark.parametrize("readout", ALL)
def test_same_input_gives_the_same_bits(readout):
    train_x, train_y, test_x, _ = problem()
    first, second = (readout.fit_predict(train_x, train_y, test_x) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("readout", ALL)
def test_missing_values_are_taken(readout):
    train_x, train_y, test_x, _ = problem()
    train_x[::3], test_x[::2, 0], train_x[:, 4] = np.nan, np.nan, np.nan
    assert np.isfinite(readout.fit_predict(train_x, train_y, test_x)).all()


@pytest.mark.parametrize("readout", ALL)
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
    paper = make_readout("lightgbm-paper")
    grid, county = paper.for_scale("grid"), paper.for_scale("county")
    assert paper.for_scale("city") == make_readout("ridge-1")
    assert grid == LightGBMReadout(1000, 0.05, 7, 63, 30, 1.0, 255)
    assert county == replace(grid, leaves=31, leaf_samples=50)


def test_quick_setting():
    expected = LightGBMReadout(200, 0.05, 7, 63, 30, 0.3, 63, 2, 5, shared_bins=True)
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


def bound(readout, blocks=None):
    """Give the predictions of rows 300..599 of the problem, trained on the others."""
    train_x, train_y, test_x, _ = problem()
    x = np.concatenate([train_x, test_x])
    fit = readout.bind(x, np.arange(600) if blocks is None else blocks)
    return fit(np.arange(300), train_y, np.arange(300, 600))


@pytest.mark.parametrize("readout", [SMALL, RidgeReadout(), FixedRidgeReadout()])
def test_a_bound_readout_predicts_the_same(readout):
    train_x, train_y, test_x, _ = problem()
    expected = readout.fit_predict(train_x, train_y, test_x)
    np.testing.assert_array_equal(bound(readout), expected)


def test_shared_bins_are_those_of_all_rows():
    """Where every row trains there is nothing to share: the bits are the same."""
    train_x, train_y, *_ = problem()
    everything = np.arange(300)
    own, shared = (
        replace(SMALL, leaf_samples=5, shared_bins=option).bind(train_x, everything)(
            everything, train_y, everything
        )
        for option in (False, True)
    )
    np.testing.assert_array_equal(own, shared)


@pytest.fixture
def _any_rows_share(monkeypatch):
    monkeypatch.setattr("mora.benchmark.trees.FEW", 10)


def test_few_rows_have_bins_of_their_own():
    own, shared = bound(SMALL), bound(replace(SMALL, shared_bins=True))
    np.testing.assert_array_equal(own, shared)


@pytest.mark.usefixtures("_any_rows_share")
def test_shared_bins_change_a_little():
    own, shared = bound(SMALL), bound(replace(SMALL, shared_bins=True))
    _, _, _, test_y = problem()
    assert not np.array_equal(own, shared)
    assert abs(r_squared(test_y, own) - r_squared(test_y, shared)) < 0.05


@pytest.mark.usefixtures("_any_rows_share")
def test_shared_bins_serve_several_splits_and_few_rows():
    train_x, train_y, *_ = problem()
    fit = replace(SMALL, shared_bins=True).bind(train_x, np.arange(300))
    for train in (np.arange(200), np.arange(100, 300), np.arange(6)):
        first, second = (fit(train, train_y[train], np.arange(50)) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_an_option_that_is_off_leaves_the_fingerprint_alone():
    assert repr(SMALL) == (
        "LightGBMReadout(trees=15, learning_rate=0.05, depth=7, leaves=63, "
        "leaf_samples=30, feature_share=0.3, bins=63, threads=1, seed=0)"
    )
    assert "shared_bins=True" in repr(replace(SMALL, shared_bins=True))
    assert "bins shared" in replace(SMALL, shared_bins=True).description


@pytest.mark.parametrize("name", ["lightgbm", "ridge", "ridge-blocked", "ridge-1"])
def test_most_readouts_do_not_depend_on_the_scale(name):
    assert make_readout(name).for_scale("county") == make_readout(name)


def test_the_paper_readout_reads_as_for_cells():
    train_x, train_y, test_x, _ = problem(n=120)
    paper = PaperReadout(threads=1, seed=3)
    assert paper.for_scale("grid").seed == 3
    expected = paper.for_scale("grid").fit_predict(train_x, train_y, test_x)
    got = paper.fit_predict(train_x, train_y, test_x)
    np.testing.assert_array_equal(got, expected)
    assert PaperReadout(threads=2).for_scale("county").threads == 2


def test_fixed_ridge_is_that_of_scikit_learn():
    train_x, train_y, test_x, _ = problem(n=60)
    theirs = Ridge(alpha=1.0).fit(train_x.astype(float), train_y).predict(test_x)
    got = make_readout("ridge-1").fit_predict(train_x, train_y, test_x)
    np.testing.assert_allclose(got, theirs, rtol=1e-5)


def test_fixed_ridge_depends_on_penalty_and_scale():
    train_x, train_y, test_x, _ = problem(n=60)
    first = FixedRidgeReadout().fit_predict(train_x, train_y, test_x)
    second = FixedRidgeReadout(alpha=9.0).fit_predict(train_x, train_y, test_x)
    third = FixedRidgeReadout().fit_predict(train_x / 3, train_y, test_x / 3)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(second, third, rtol=1e-5)  # alpha goes with the square


def test_blocked_ridge_agrees_with_a_search_over_folds():
    """The oracle tries each penalty with scikit-learn, block by block."""
    rng = np.random.default_rng(4)
    x, blocks = rng.normal(size=(60, 8)), np.arange(60) % 4
    y = x[:, 0] + 2 * rng.normal(size=60)

    def ridge(train, test, penalty):
        mean, offset = x[train].mean(axis=0), y[train].mean()
        scale = np.sqrt(np.mean((x[train] - mean) ** 2))
        fitted = Ridge(alpha=penalty * len(train), fit_intercept=False)
        fitted.fit((x[train] - mean) / scale, y[train] - offset)
        return fitted.predict((x[test] - mean) / scale) + offset

    rows = np.arange(60)
    errors = [
        sum(
            (
                (ridge(rows[blocks != b], rows[blocks == b], a) - y[blocks == b]) ** 2
            ).sum()
            for b in range(4)
        )
        for a in RIDGE_GRID
    ]
    expected = ridge(rows, rows[:5], RIDGE_GRID[np.argmin(errors)])
    got = BlockedRidgeReadout().bind(x, blocks)(rows, y, rows[:5])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_blocks_raise_the_penalty_where_neighbours_give_the_answer_away():
    """Columns that only tell blocks apart help rows of known blocks, and no others."""
    rng = np.random.default_rng(5)
    block = np.arange(300) // 10
    x = rng.normal(size=(30, 40))[block]
    y = rng.normal(size=30)[block] + 0.1 * rng.normal(size=300)
    rows = np.arange(300)
    free, blocked = (
        readout.bind(x, block)(rows, y, rows)
        for readout in (RidgeReadout(), BlockedRidgeReadout())
    )
    assert np.var(blocked) < 0.5 * np.var(free)


def test_the_number_of_inner_folds_matters():
    different = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(40, 12))
        y, blocks, rows = (
            x[:, 0] + rng.normal(size=40),
            np.arange(40) // 4,
            np.arange(40),
        )
        few, many = (
            BlockedRidgeReadout(folds).bind(x, blocks)(rows, y, rows)
            for folds in (2, 5)
        )
        different += not np.array_equal(few, many)
    assert different > 0


def test_one_block_is_divided_freely():
    same = bound(BlockedRidgeReadout(), np.zeros(600, int))
    np.testing.assert_array_equal(same, bound(BlockedRidgeReadout()))


def test_the_nearest_readout_is_named():
    with pytest.raises(MoraError, match="Did you mean 'ridge-blocked'"):
        make_readout("ridge_blocked")
