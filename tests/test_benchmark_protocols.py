import numpy as np
import pytest

from mora.benchmark.protocols import (
    PROTOCOLS,
    Draw,
    Rows,
    check_protocols,
    draw_trials,
    parse_protocol,
)
from mora.benchmark.splits import blocked_splits, random_splits
from mora.errors import MoraError

N = 200
BLOCKS = np.arange(N) // 8
REGIONS = np.arange(N) // 50
ROWS = Rows(BLOCKS, REGIONS)


def trials(name: str, rows: Rows = ROWS, **draw):
    return draw_trials(name, rows, Draw(**draw))


def same(first, second) -> bool:
    pairs = [
        (a, b)
        for one, two in zip(first, second, strict=True)
        for fold_a, fold_b in zip(one.folds, two.folds, strict=True)
        for a, b in zip(fold_a, fold_b, strict=True)
    ]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_random_and_blocked_are_the_plain_splits():
    for name, splits in (
        ("random", random_splits(N, 0.2, 3, 7)),
        ("blocked", blocked_splits(BLOCKS, 0.2, 3, 7)),
    ):
        for trial, (train, test) in zip(
            trials(name, repeats=3, seed=7), splits, strict=True
        ):
            ((got_train, got_test),) = trial.folds
            np.testing.assert_array_equal(got_train, train)
            np.testing.assert_array_equal(got_test, test)


def test_each_region_is_held_out_once():
    (trial,) = trials("region")
    assert trial.names == ("0", "1", "2", "3")
    assert sorted(trial.tested) == list(range(N))
    for name, (train, test) in enumerate(trial.folds):
        assert set(REGIONS[test]) == {name}
        assert set(REGIONS[train]) == {0, 1, 2, 3} - {name}


def test_units_without_a_region_neither_train_nor_test():
    regions = np.where(np.arange(N) < 10, -1, REGIONS)
    (trial,) = trials("region", Rows(BLOCKS, regions))
    rows = np.concatenate([part for split in trial.folds for part in split])
    assert rows.min() == 10
    assert len(trial.folds) == 4


@pytest.mark.parametrize("name", ["kfold", "kfold-ordered"])
def test_folds_test_every_unit_once(name):
    for trial in trials(name):
        assert len(trial.folds) == 5
        assert sorted(trial.tested) == list(range(N))
        for train, test in trial.folds:
            assert len(np.intersect1d(train, test)) == 0
            assert len(train) + len(test) == N


def test_shuffled_folds_repeat_and_ordered_ones_do_not():
    shuffled = trials("kfold", repeats=3)
    assert len(shuffled) == 3
    assert not same(shuffled[:1], shuffled[1:2])
    (ordered,) = trials("kfold-ordered", repeats=3)
    np.testing.assert_array_equal(ordered.tested, np.arange(N))


@pytest.mark.parametrize("base", ["random", "blocked"])
def test_few_labels_are_nested_and_test_on_the_same_rows(base):
    whole = trials(base)
    larger = whole
    for percent in (50, 10, 5):
        fewer = trials(f"{base}@{percent}")
        for all_rows, more, few in zip(whole, larger, fewer, strict=True):
            ((train, test),) = few.folds
            np.testing.assert_array_equal(test, all_rows.folds[0][1])
            assert set(train) <= set(more.folds[0][0])
            assert len(train) == round(len(all_rows.folds[0][0]) * percent / 100)
            assert few.test_ratio == all_rows.test_ratio
        larger = fewer


@pytest.mark.parametrize("name", ["random", "blocked", "kfold", "random@10"])
@pytest.mark.parametrize("change", [{"seed": 1}, {"test_share": 0.4}])
def test_each_setting_matters(name, change):
    first, second = trials(name, repeats=2), trials(name, repeats=2, **change)
    sizes = [[len(trial.folds) for trial in drawn] for drawn in (first, second)]
    assert sizes[0] != sizes[1] or not same(first, second)


def test_ordered_folds_depend_on_the_share_alone():
    assert len(trials("kfold-ordered", test_share=0.1)[0].folds) == 10
    assert same(trials("kfold-ordered", seed=1), trials("kfold-ordered", seed=2))


@pytest.mark.parametrize("name", ["random", "blocked", "kfold", "blocked@10"])
def test_more_repeats_keep_the_first_trials(name):
    assert same(trials(name, repeats=2), trials(name, repeats=4)[:2])


def test_test_ratio_by_hand():
    # four regions of 50 units: 50 test, 150 do not
    assert trials("region")[0].test_ratio == pytest.approx(1 / 3)
    assert trials("random")[0].test_ratio == 40 / 160


@pytest.mark.parametrize(
    ("name", "whole"), [("random", None), ("blocked", BLOCKS), ("region", REGIONS)]
)
def test_trials_say_what_is_never_divided(name, whole):
    assert trials(name)[0].whole is whole


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("region", Rows(BLOCKS), "has no regions, so none can be left out"),
        ("region", Rows(BLOCKS, BLOCKS * 0), r"200 units lie in 1 regions \(0\)"),
        ("kfold", Rows(np.arange(4)), "4 samples cannot be divided into 5 folds"),
        ("kfold-ordered", Rows(np.arange(3)), "3 samples cannot be divided into 5"),
        (
            "random@1",
            ROWS,
            "1 % of 160 training rows are 2; expected at least 5, which takes 500",
        ),
        ("random", Rows(np.arange(3)), "3 samples cannot be split"),
        ("blocked", Rows(np.zeros(9, int)), "1 blocks cannot be split"),
    ],
)
def test_what_cannot_be_divided_is_refused(name, rows, message):
    with pytest.raises(MoraError, match=message):
        trials(name, rows)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("blokced", "blocked"),
        ("regions", "region"),
        ("k-fold", "kfold"),
        ("random@0", "random"),
        ("random@x", "random"),
        ("kfold@5", "kfold"),
        ("random@100", "random@10"),
    ],
)
def test_an_unknown_protocol_is_refused_with_the_nearest(name, near):
    with pytest.raises(MoraError, match=f"no protocol '{name}'.*mean '{near}"):
        parse_protocol(name)


@pytest.mark.parametrize("names", [[], ["random", "random"]])
def test_no_protocol_or_one_twice_is_refused(names):
    with pytest.raises(MoraError, match="at least one and none twice"):
        check_protocols(names)


def test_names_of_protocols():
    assert list(PROTOCOLS) == ["random", "blocked", "region", "kfold", "kfold-ordered"]
    assert parse_protocol("blocked@2.5") == ("blocked", 2.5)
    check_protocols([*PROTOCOLS, "random@1"])
