import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora.benchmark.splits import (
    block_folds,
    blocked_splits,
    degree_blocks,
    few_rows,
    group_blocks,
    ordered_folds,
    random_splits,
    shuffled_folds,
)
from mora.errors import MoraError


def same(first, second) -> bool:
    return all(
        np.array_equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_random_split_of_ten_rows_tests_two():
    for train, test in random_splits(10, repeats=3):
        assert len(test) == 2
        np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(10))


def test_random_parameters_matter():
    base = random_splits(50, repeats=2)
    assert same(base, random_splits(50, repeats=2))
    assert not same(base, random_splits(50, repeats=2, seed=1))
    assert not same(base[:1], base[1:])
    assert len(random_splits(50, test_share=0.5)[0][1]) == 25


def test_more_repeats_keep_the_first_splits():
    blocks = np.arange(60) // 3
    assert same(random_splits(50, repeats=2), random_splits(50, repeats=4)[:2])
    assert same(blocked_splits(blocks, repeats=2), blocked_splits(blocks)[:2])


@given(st.lists(st.integers(1, 9), min_size=10, max_size=40), st.integers(0, 99))
def test_no_block_is_divided_and_a_fifth_is_tested(sizes, seed):
    blocks = np.repeat(np.arange(len(sizes)) * 7 - 50, sizes)
    for train, test in blocked_splits(blocks, repeats=2, seed=seed):
        assert not set(blocks[train]) & set(blocks[test])
        np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(len(blocks)))
        # the last block taken or left decides, so half of the largest is the limit
        assert abs(len(test) - 0.2 * len(blocks)) <= max(sizes) / 2


def test_blocked_parameters_matter():
    blocks = np.arange(100) // 4
    base = blocked_splits(blocks, repeats=2)
    assert not same(base, blocked_splits(blocks, repeats=2, seed=1))
    assert len(blocked_splits(blocks, test_share=0.4)[0][1]) == 40


def test_names_of_blocks_do_not_matter_as_long_as_their_order_stays():
    blocks = np.arange(100) // 4
    assert same(blocked_splits(blocks), blocked_splits(blocks * 1000 - 3))


def test_five_equal_blocks_are_tested_one_at_a_time():
    for _, test in blocked_splits(np.arange(25) // 5, repeats=4):
        assert len(test) == 5


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda: random_splits(4), "4 samples cannot be split; expected at least 5"),
        (
            lambda: blocked_splits(np.arange(30) // 10),
            "3 blocks cannot be split; expected at least 5 .* Use smaller blocks",
        ),
        (
            lambda: blocked_splits(np.array([0] * 96 + [1, 2, 3, 4])),
            "the largest of 5 blocks has 96 of 100 rows",
        ),
        (lambda: random_splits(10, test_share=1.0), "test_share is 1 and repeats 5"),
        (lambda: random_splits(10, repeats=0), "repeats 0; expected"),
    ],
)
def test_what_cannot_be_split_is_refused(split, message):
    with pytest.raises(MoraError, match=message):
        split()


def test_degree_blocks_are_squares():
    lonlat = np.array([[0.1, 0.1], [0.9, 0.9], [1.1, 0.1], [0.1, -0.1], [0.1, 1.1]])
    first, second, *others = degree_blocks(lonlat)
    assert first == second
    assert len({first, *others}) == 4


def test_wider_squares_join_blocks():
    lonlat = np.array([[0.1, 0.1], [1.1, 0.1]])
    one, two = degree_blocks(lonlat), degree_blocks(lonlat, degrees=2.0)
    assert one[0] != one[1]
    assert two[0] == two[1]


def test_the_antimeridian_has_one_block():
    west, east = degree_blocks(np.array([[-180.0, 5.5], [180.0, 5.5]]))
    assert west == east


def test_points_without_coordinates_are_refused():
    with pytest.raises(MoraError, match=r"1 of 2 points have no coordinates \(rows 1"):
        degree_blocks(np.array([[0.0, 0.0], [np.nan, 1.0]]))


def test_a_side_of_nothing_is_refused():
    with pytest.raises(MoraError, match="blocks of 0 degrees"):
        degree_blocks(np.zeros((1, 2)), degrees=0.0)


def test_rows_follow_their_zone():
    # zones 0 and 1 lie in one square, zone 2 in the next
    middles = np.array([[0.2, 0.2], [0.8, 0.8], [1.5, 0.5]])
    blocks = group_blocks(np.array([2, 0, 1, 0, 2]), middles)
    assert blocks[1] == blocks[2] == blocks[3] != blocks[0] == blocks[4]
    assert len(set(group_blocks(np.array([2, 0]), middles, degrees=3.0))) == 1


def test_a_row_without_a_zone_is_refused():
    with pytest.raises(MoraError, match="1 of 2 rows belong to none of the 1 zones"):
        group_blocks(np.array([0, -1]), np.zeros((1, 2)))


def test_ordered_folds_by_hand():
    splits = ordered_folds(5, 2)
    assert [test.tolist() for _, test in splits] == [[0, 1, 2], [3, 4]]
    assert splits[1][0].tolist() == [0, 1, 2]


def test_shuffled_folds_cover_every_row_once():
    for options in ({}, {"seed": 3}, {"repeat": 2}, {"folds": 7}):
        splits = shuffled_folds(23, **options)
        assert sorted(np.concatenate([test for _, test in splits])) == list(range(23))
        sizes = [len(test) for _, test in splits]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"repeat": 1}, {"folds": 4}])
def test_each_setting_of_shuffled_folds_matters(change):
    first, second = shuffled_folds(40)[0], shuffled_folds(40, **change)[0]
    assert first[1].tolist() != second[1].tolist()


def test_block_folds_hold_blocks_out_once():
    blocks = np.random.default_rng(0).integers(0, 12, 100) * 7 - 5
    splits = block_folds(blocks, 4)
    assert len(splits) == 4
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(100))
    for train, test in splits:
        assert not set(blocks[train]) & set(blocks[test])


def test_fewer_blocks_than_folds_are_a_fold_each():
    assert len(block_folds(np.array([4, 4, 9, 9, 1]), 5)) == 3


def test_few_rows_are_nested_in_any_order_of_asking():
    train = np.arange(100, 300)
    few, more = few_rows(train, 5), few_rows(train, 40.0)
    assert len(few) == 10
    assert len(more) == 80
    assert set(few) < set(more) < set(train)
    assert few.tolist() == sorted(few)


@pytest.mark.parametrize("change", [{"seed": 1}, {"repeat": 1}])
def test_each_setting_of_few_rows_matters(change):
    train = np.arange(200)
    assert few_rows(train, 5).tolist() != few_rows(train, 5, **change).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ordered_folds(3, 4), "3 samples cannot be divided into 4 folds"),
        (lambda: shuffled_folds(9, 1), "9 samples cannot be divided into 1 folds"),
        (lambda: block_folds(np.ones(6, int)), "6 samples in 1 blocks cannot be"),
        (lambda: block_folds(np.arange(6), 1), "6 blocks cannot be divided into 1 f"),
        (lambda: few_rows(np.arange(30), 10), "10 % of 30 training rows are 3; .* 50"),
    ],
)
def test_impossible_folds_are_refused(call, message):
    with pytest.raises(MoraError, match=message):
        call()
