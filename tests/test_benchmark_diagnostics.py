import json
from dataclasses import replace

import numpy as np
import pytest

from mora.benchmark import Task
from mora.benchmark.diagnostics import diagnose, errors_by_group, out_of_fold
from mora.benchmark.readouts import LightGBMReadout, RidgeReadout
from mora.benchmark.scores import r_squared
from mora.errors import MoraError

RNG = np.random.default_rng(0)
N = 400
SIDE = np.arange(N) % 20, np.arange(N) // 20
LONLAT = np.column_stack(SIDE) * 0.1
BLOCKS = SIDE[0] // 4 * 10 + SIDE[1] // 4
HIDDEN = RNG.normal(size=(N, 2))
VECTORS = (HIDDEN @ RNG.normal(size=(2, 5))).astype(np.float32)
SETTING = np.where(SIDE[0] < 10, "urban", "rural")
SETTING[:3] = ""
LABELS = HIDDEN[:, 0] + 0.3 * RNG.normal(size=N)
TASK = Task("income", LABELS, BLOCKS, groups={"setting": SETTING}, lonlat=LONLAT)


def test_every_unit_is_predicted_once_without_its_block():
    tested = []

    def spy(train, y, test):
        assert not set(BLOCKS[train]) & set(BLOCKS[test])
        np.testing.assert_array_equal(y, LABELS[train])
        tested.extend(test)
        return test.astype(float)

    got = out_of_fold(spy, LABELS, BLOCKS, folds=3)
    np.testing.assert_array_equal(got, np.arange(N))
    assert sorted(tested) == list(range(N))


def test_a_model_that_knows_leaves_no_order_behind():
    got = diagnose(TASK, VECTORS)
    assert got.r2.value > 0.85
    assert got.r2.low < got.r2.value < got.r2.high
    assert got.r2.value == pytest.approx(r_squared(LABELS, got.predicted))
    np.testing.assert_allclose(got.residuals, LABELS - got.predicted)
    assert abs(got.moran.z) < 4
    assert got.coverage.coverage == pytest.approx(0.9, abs=0.05)


def test_what_the_model_does_not_know_of_space_shows():
    slope = replace(TASK, labels=LABELS + LONLAT[:, 0] * 2)
    assert diagnose(slope, VECTORS).moran.z > 15


def test_a_group_that_is_predicted_too_low_shows():
    higher = replace(TASK, labels=LABELS + 2 * (SETTING == "urban"))
    found = diagnose(higher, VECTORS).groups["setting"]
    assert list(found) == ["rural", "urban"]
    assert found["urban"].bias < -0.5 < 0.5 < found["rural"].bias
    assert found["urban"].units + found["rural"].units == N - 3


def test_errors_by_group_by_hand():
    truth = np.array([1.0, 3, 5, 9])
    groups = np.array(["a", "a", "b", ""])
    got = errors_by_group(truth, np.array([2.0, 3, 8, 0]), groups)
    assert list(got) == ["a", "b"]
    assert (got["a"].units, got["a"].r2, got["a"].bias) == (2, 0.5, 0.5)
    assert got["a"].rmse == pytest.approx(np.sqrt(0.5))
    assert (got["b"].r2, got["b"].rmse, got["b"].bias) == (None, 3, 3)


def test_predictions_are_aligned_with_the_units():
    labels = np.where(np.arange(N) % 4 == 1, np.nan, LABELS)
    task = replace(TASK, labels=labels)
    got = diagnose(task, VECTORS)
    assert len(got.predicted) == len(task.units()) == 300
    assert np.corrcoef(got.predicted, HIDDEN[task.units(), 0])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"readout": RidgeReadout()}, None),
        ({"readout": "ridge-1"}, "predicted"),
        ({"folds": 3}, "predicted"),
        ({"level": 0.8}, "coverage"),
        ({"level": 0.8}, "r2"),
        ({"draws": 100}, "r2"),
        ({"seed": 1}, "r2"),
        ({"neighbours": 4}, "moran"),
    ],
)
def test_each_setting_matters(change, part):
    first, second = diagnose(TASK, VECTORS), diagnose(TASK, VECTORS, **change)
    if part is None:
        assert first.to_json() == second.to_json()
    elif part == "predicted":
        assert not np.array_equal(first.predicted, second.predicted)
    else:
        assert getattr(first, part) != getattr(second, part)


def test_the_readout_follows_the_scale():
    city = diagnose(replace(TASK, scale="city"), VECTORS, readout="lightgbm-paper")
    assert city.readout == "Ridge, alpha 1, columns as they are"


def test_trees_and_missing_values_are_taken():
    vectors = VECTORS.copy()
    vectors[::7] = np.nan
    readout = LightGBMReadout(trees=20, leaf_samples=5, feature_share=1.0)
    got = diagnose(TASK, vectors, readout=readout)
    assert np.isfinite(got.predicted).all()
    assert got.readout == readout.description


def test_json_holds_everything_but_arrays():
    got = json.loads(json.dumps(diagnose(TASK, VECTORS).to_json(), allow_nan=False))
    assert list(got) == [
        "task",
        "readout",
        "units",
        "r2",
        "moran",
        "groups",
        "conformal",
    ]
    assert got["units"] == N
    assert set(got["groups"]["setting"]["urban"]) == {"units", "r2", "rmse", "bias"}
    assert set(got["conformal"]["by_group"]["setting"]) == {"urban", "rural"}


def test_without_places_and_groups_the_rest_is_given():
    bare = replace(TASK, lonlat=None, groups={})
    got = diagnose(bare, VECTORS).to_json()
    assert got["moran"] is None
    assert got["groups"] == {}


def test_exact_predictions_leave_nothing_to_order():
    labels = np.zeros(N)
    labels[0] = 1.0
    task = replace(TASK, labels=LABELS * 0 + VECTORS[:, 0].astype(np.float64))
    got = diagnose(task, VECTORS)
    assert got.r2.low == pytest.approx(1, abs=1e-6)


class Refusing(RidgeReadout):
    """Stands for a readout that must not be fitted."""

    def fit_predict(self, train_x, train_y, test_x):  # noqa: ARG002
        raise AssertionError("fitted")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (replace(TASK, blocks=BLOCKS * 0), {}, "task 'income': 5 folds of 1 blocks"),
        (TASK, {"folds": 2}, "2 folds of 25 blocks"),
        (TASK, {"level": 0.999}, "calibration units are too few .* level 0.999"),
        (TASK, {"draws": 0}, "and 0 draws"),
        (TASK, {"neighbours": 0}, "0 neighbours among 400 places"),
        (replace(TASK, lonlat=LONLAT * np.nan), {}, "400 of them without coordinates"),
        (replace(TASK, labels=np.ones(N)), {}, "all 400 labels are 1"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused_before_a_fit(task, options, message):
    with pytest.raises(MoraError, match=message):
        diagnose(task, VECTORS, readout=Refusing(), **options)
