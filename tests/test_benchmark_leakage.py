import numpy as np
import pytest

from mora.benchmark.leakage import FEWEST_SAMPLES, Leak, bin_mean_r2, find_leaks
from mora.errors import MoraError

N = 500
RNG = np.random.default_rng(0)
LABEL = RNG.normal(size=N)


def leaks_of(column: np.ndarray, label: np.ndarray = LABEL, **options) -> list[Leak]:
    return find_leaks({"table": (column[:, None], ["c"])}, {"y": label}, **options)


def test_known_answer_for_two_bins():
    # bins {0, 2} and {4, 6}, ten times each: means 1 and 5, errors 1, spread 5
    values = np.tile([0.0, 2.0, 4.0, 6.0], 10)
    bins = np.tile([0, 0, 1, 1], 10)
    expected = 1 - (20 / 19) ** 2 * 1 / 5
    assert bin_mean_r2(bins, values) == pytest.approx(expected)


def test_agrees_with_leaving_out_one_by_one():
    bins, label = RNG.integers(0, 5, 60), RNG.permutation(60.0 + np.arange(60))
    bins[7] = 99  # alone in its bin
    predicted = np.full(60, label.mean())
    for i in range(60):
        others = (bins == bins[i]) & (np.arange(60) != i)
        if others.any():
            predicted[i] = label[others].mean()
    spread = np.sum((label - label.mean()) ** 2)
    expected = 1 - np.sum((label - predicted) ** 2) / spread
    assert bin_mean_r2(bins, label) == pytest.approx(expected)


@pytest.mark.parametrize(
    "column",
    [LABEL, -LABEL, np.exp(3 * LABEL), LABEL**3, np.round(LABEL, 1)],
    ids=["same", "negative", "exp", "cube", "rounded"],
)
def test_monotone_copies_of_the_label_are_found(column):
    (leak,) = leaks_of(column)
    assert (leak.label, leak.source, leak.column) == ("y", "table", "c")
    assert leak.r2 > 0.98


def test_long_tailed_labels_are_found_through_ranks():
    assert leaks_of(LABEL, np.exp(4 * LABEL))[0].r2 > 0.98


def test_u_shaped_relations_are_found():
    assert leaks_of(LABEL, LABEL**2)[0].r2 > 0.95


def test_noise_is_no_leak():
    assert leaks_of(RNG.normal(size=N), threshold=0.1) == []


def test_ties_do_not_borrow_from_the_row_order():
    """Labels that drift along the rows, and a column that is zero almost everywhere."""
    column = np.zeros(N)
    column[RNG.choice(N, 5, replace=False)] = 1.0
    assert leaks_of(column, np.arange(N) * 1.0, threshold=0.1) == []


def test_threshold_decides():
    blurred = LABEL + 0.5 * RNG.normal(size=N)
    assert leaks_of(blurred) == []
    assert len(leaks_of(blurred, threshold=0.6)) == 1


def test_missing_values_are_left_out():
    column, label = LABEL.copy(), LABEL.copy()
    column[::4], label[1::4] = np.nan, np.nan
    assert leaks_of(column, label)[0].r2 > 0.95


@pytest.mark.parametrize(
    "label",
    [np.full(N, 3.0), np.where(np.arange(N) < FEWEST_SAMPLES - 1, LABEL, np.nan)],
)
def test_constant_and_rare_labels_have_no_leaks(label):
    assert leaks_of(LABEL, label) == []


def test_order_is_by_label_and_strength():
    features = {
        "a": (np.column_stack([LABEL + 0.2 * RNG.normal(size=N), -LABEL]), ["x", "y"]),
        "b": (np.full((N, 1), np.nan), ["empty"]),
    }
    found = find_leaks(features, {"second": LABEL, "first": LABEL}, threshold=0.8)
    got = [(leak.label, leak.column) for leak in found]
    expected = [("second", "y"), ("second", "x"), ("first", "y"), ("first", "x")]
    assert got == expected


def test_message_names_label_column_and_r2():
    text = str(Leak("income", "census", "median", 0.973))
    assert "'income'" in text
    assert "'median' of 'census' (R2 0.97)" in text
    assert "under `given_away:`" in text


def test_wrong_shapes_are_refused():
    with pytest.raises(MoraError, match=r"shape \(500, 1\) and 2 column names"):
        find_leaks({"table": (LABEL[:, None], ["a", "b"])}, {"y": LABEL})
