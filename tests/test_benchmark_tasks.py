from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from mora.benchmark.tasks import Task, pooling_matrix
from mora.errors import MoraError

LABELS = np.array([1.0, np.nan, 3.0])
VECTORS = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0], [7.0, 70.0]], np.float32)


def counties(labels: np.ndarray = LABELS, **options) -> Task:
    """County 0 is tokens 0 and 1 (weights 3 and 1), county 1 token 2, county 2 none."""
    unit, token = np.array([0, 0, 1]), np.array([0, 1, 2])
    pooling = pooling_matrix(unit, token, np.array([3.0, 1.0, 2.0]), (3, 4))
    return Task("income", labels, np.arange(3), pooling, **options)


def test_pooling_is_the_weighted_mean():
    task = counties(labels=np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(task.units(), [0, 1])
    np.testing.assert_allclose(task.pool(VECTORS), [[1.5, 15.0], [5.0, 50.0]])


def test_units_need_a_label_and_a_token():
    np.testing.assert_array_equal(counties().units(), [0])
    np.testing.assert_array_equal(counties().targets(), [1.0])


def test_pooling_agrees_with_dense_averages():
    rng = np.random.default_rng(0)
    unit, token = rng.integers(0, 5, 40), rng.integers(0, 12, 40)
    weight, vectors = rng.random(40), rng.normal(size=(12, 3))
    task = Task(
        "x", np.arange(5.0), np.arange(5), pooling_matrix(unit, token, weight, (5, 12))
    )
    for row, got in enumerate(task.pool(vectors)):
        here = unit == row
        expected = np.average(vectors[token[here]], axis=0, weights=weight[here])
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_missing_tokens_leave_the_mean_to_the_others():
    vectors = VECTORS.copy()
    vectors[0, 0] = vectors[2, 1] = np.nan
    got = counties(labels=np.array([1.0, 2.0, 3.0])).pool(vectors)
    np.testing.assert_allclose(got, [[3.0, 15.0], [5.0, np.nan]])


def test_weights_matter_only_in_proportion():
    unit, token, weight = np.array([0, 0]), np.array([0, 1]), np.array([1.0, 2.0])
    first, second = (
        pooling_matrix(unit, token, weight * scale, (1, 2)).toarray()
        for scale in (1, 1e6)
    )
    np.testing.assert_allclose(first, second)
    np.testing.assert_allclose(first, [[1 / 3, 2 / 3]])


def test_empty_weights_leave_the_unit_empty():
    pooling = pooling_matrix(np.array([0]), np.array([0]), np.zeros(1), (2, 3))
    assert pooling.nnz == 0
    assert pooling.shape == (2, 3)


def test_without_pooling_units_are_tokens():
    task = Task("x", LABELS, np.zeros(3, int))
    np.testing.assert_array_equal(task.pool(VECTORS[:3]), VECTORS[[0, 2]])


def test_log1p_transforms_the_labels():
    labels = np.array([0.0, np.e - 1, np.nan])
    task = Task("x", labels, np.zeros(3, int), transform="log1p")
    np.testing.assert_allclose(task.targets(), [0.0, 1.0])


def test_a_sound_task_passes():
    Task("x", LABELS, np.zeros(3, int)).check(3)
    counties(labels=np.array([1.0, 2.0, 3.0])).check(4)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            counties(labels=np.array([np.nan, np.nan, 3.0])),
            r"none of 3 labels meets a token \(2 are missing\)",
        ),
        (counties(labels=np.array([7.0, 7.0, 1.0])), "all 2 labels are 7"),
        (
            counties(labels=np.array([np.inf, 1.0, 2.0])),
            r"1 of 2 labels cannot be used \(first: inf\)",
        ),
        (
            counties(labels=np.array([-1.0, 1.0, 2.0]), transform="log1p"),
            r"1 of 2 labels .* above -1 for log1p",
        ),
        (Task("income", LABELS, np.zeros(3, int)), "3 labels, 3 blocks"),
        (
            replace(counties(), pooling=sp.csr_array(2.0 * np.eye(3, 4))),
            r"weights of 3 units do not sum to 1 \(first: 2.0",
        ),
    ],
)
def test_an_unusable_task_is_refused(task, message):
    with pytest.raises(MoraError, match=message) as caught:
        task.check(4)
    assert "'income'" in str(caught.value)


@pytest.mark.parametrize(
    ("token", "weight", "message"),
    [
        (0, -1.0, "1 of 1 pooling weights are negative"),
        (0, np.nan, "1 of 1 pooling weights are negative or not finite"),
        (-1, 1.0, r"outside the 1 units and 2 tokens \(first: unit 0, token -1\)"),
    ],
)
def test_unusable_pairs_are_refused(token, weight, message):
    with pytest.raises(MoraError, match=message):
        pooling_matrix(np.array([0]), np.array([token]), np.array([weight]), (1, 2))


def test_what_stands_beside_the_labels_has_a_row_a_unit():
    task = Task("x", np.arange(4.0), np.arange(4), groups={"income": np.array(["Q1"])})
    with pytest.raises(MoraError, match=r"4 labels and \{'income': 1\} rows beside"):
        task.check(4)
