import numpy as np
import pytest

from mora.benchmark.compare import compare_scores, task_differences


def test_known_answer():
    # by split the mean difference is 0.1, 0.2, 0.3: mean 0.2, variance 0.01
    first = np.array([[0.3, 0.4, 0.5], [0.5, 0.6, 0.7]])
    second = np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]])
    got = compare_scores(first, second, test_ratio=0.25)
    assert got.difference == pytest.approx(0.2)
    assert got.plain_error == pytest.approx(0.1 / np.sqrt(3))
    assert got.standard_error == pytest.approx(0.1 * np.sqrt(1 / 3 + 0.25))
    assert (got.wins, got.tasks, got.splits) == (2, 2, 3)


def test_swapping_the_models_turns_the_sign():
    first, second = np.random.default_rng(0).random((2, 4, 5))
    there, back = (
        compare_scores(*pair, test_ratio=0.25)
        for pair in ((first, second), (second, first))
    )
    assert there.difference == -back.difference
    assert there.standard_error == back.standard_error
    assert there.wins + back.wins == 4


def test_what_both_models_find_hard_cancels():
    first, second = np.random.default_rng(0).random((2, 3, 5))
    hard = np.linspace(0, 9, 5)
    plain = compare_scores(first, second, 0.25)
    shifted = compare_scores(first + hard, second + hard, 0.25)
    assert shifted.standard_error == pytest.approx(plain.standard_error)


def test_more_overlap_means_less_certainty():
    first, second = np.random.default_rng(0).random((2, 3, 5))
    few, many = (compare_scores(first, second, ratio) for ratio in (0.1, 0.5))
    assert few.standard_error < many.standard_error
    assert few.plain_error == many.plain_error


def test_a_single_split_has_no_error():
    got = compare_scores(np.array([[0.5]]), np.array([[0.25]]), 0.25)
    assert got.difference == 0.25
    assert np.isnan(got.standard_error)


def test_equal_models_differ_by_nothing():
    scores = np.random.default_rng(0).random((2, 4))
    got = compare_scores(scores, scores, 0.25)
    assert (got.difference, got.standard_error, got.wins) == (0.0, 0.0, 0)


def test_tasks_are_compared_by_themselves():
    first = np.array([[0.3, 0.4, 0.5], [0.5, 0.6, 0.4]])
    second = np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]])
    got = task_differences(first, second, 0.25)
    assert got[0].difference == pytest.approx(0.3)
    assert got[0].standard_error == pytest.approx(0.1 * np.sqrt(1 / 3 + 0.25))
    assert [(d.wins, d.splits) for d in got] == [(3, 3), (1, 3)]


def test_one_task_alone_is_compared_as_all_are():
    first, second = np.random.default_rng(0).random((2, 1, 5))
    whole = compare_scores(first, second, 0.25)
    (alone,) = task_differences(first, second, 0.25)
    assert alone.difference == whole.difference
    assert alone.standard_error == whole.standard_error


def test_a_single_split_of_a_task_has_no_error():
    (got,) = task_differences(np.array([[0.5]]), np.array([[0.7]]), 0.25)
    assert got.wins == 0
    assert np.isnan(got.standard_error)
