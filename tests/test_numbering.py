import numpy as np
import pandas as pd
import pytest

from mora.graph.numbering import Numbering


def ids(*values):
    return np.array(values, np.uint64)


def test_numbers_follow_the_order_of_coming():
    numbering = Numbering()
    assert numbering.number(ids(7, 3, 7, 2**64 - 1)).tolist() == [0, 1, 0, 2]
    assert numbering.number(ids(0, 3)).tolist() == [3, 1]
    assert numbering.ids.tolist() == [7, 3, 2**64 - 1, 0]


@pytest.mark.parametrize("distinct", [1, 511, 512, 513, 30_000])
def test_agrees_with_factorize(distinct):
    rng = np.random.default_rng(distinct)
    values = rng.integers(0, 2**64, distinct, dtype=np.uint64)
    drawn = values[rng.integers(0, distinct, 60_000)]
    codes, known = pd.factorize(drawn)
    numbering = Numbering()
    np.testing.assert_array_equal(numbering.number(drawn), codes)
    np.testing.assert_array_equal(numbering.ids, known)


def test_batches_change_nothing():
    drawn = np.random.default_rng(0).integers(0, 5_000, 20_000).astype(np.uint64)
    whole, parts = Numbering(), Numbering()
    expected = whole.number(drawn)
    got = np.concatenate([parts.number(part) for part in np.split(drawn, 8)])
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(parts.ids, whole.ids)


def test_ids_that_hash_alike_are_told_apart():
    # The hash keeps the upper bits of a product; these products differ in the lower.
    inverse = pow(0x9E3779B97F4A7C15, -1, 2**64)
    alike = ids(*((k * inverse) % 2**64 for k in range(1, 400)))
    numbering = Numbering()
    assert numbering.number(alike).tolist() == list(range(399))
    assert numbering.number(alike[::-1]).tolist() == list(range(399))[::-1]


def test_nothing_has_no_number():
    numbering = Numbering()
    assert numbering.number(ids()).tolist() == []
    assert numbering.ids.tolist() == []
