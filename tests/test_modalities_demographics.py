import numpy as np
import pandas as pd
import pytest

from mora.errors import MissingColumnError, TableError
from mora.modalities import build_demographics, build_table
from mora.modalities.demographics import histogram_shares, row_weights
from mora.tokens import ZoneTokens

ZONES = ZoneTokens.from_zones(["a", "b", "c"])


def census(**columns) -> pd.DataFrame:
    """Two rows in zone a, one in b, none in c, one in an unknown zone."""
    return pd.DataFrame(
        {
            "token": ["a", "a", "b", "z"],
            "weight": [1, 3, 2, 100],
            "age": [10.0, 20.0, 40.0, 1000.0],
            "income": [1.0, np.nan, np.nan, 9.0],
            **columns,
        }
    )


def test_weighted_mean_by_hand():
    # age: (1 * 10 + 3 * 20) / 4; b has no income and gets the mean over tokens, a's.
    features = build_demographics(ZONES, census())
    assert features.columns == ("age", "income")
    np.testing.assert_array_equal(features.values, [[17.5, 1], [40, 1], [0, 0]])
    np.testing.assert_array_equal(features.present, [True, True, False])
    assert features.notes == {
        "rows": 4,
        "dropped": 1,
        "without_weight": 0,
        "filled_values": 1,
    }


def test_share_multiplies_the_weight():
    whole = build_demographics(ZONES, census(), columns=["age"])
    shares = census(share=[1.0, 1 / 3, 1.0, 1.0])
    parts = build_demographics(ZONES, shares, columns=["age"])
    assert whole.values[0, 0] == 17.5
    assert parts.values[0, 0] == 15
    assert parts.columns == ("age",)


def test_an_area_split_between_tokens_by_share_keeps_its_mean():
    one = census(share=1.0)
    split = pd.concat([one.assign(share=0.25), one.assign(share=0.75)])
    np.testing.assert_allclose(
        build_demographics(ZONES, split, log_total=True).values,
        build_demographics(ZONES, one, log_total=True).values,
    )


def test_columns_are_exactly_those_named():
    features = build_demographics(ZONES, census(), columns=["income", "age"])
    assert features.columns == ("income", "age")
    np.testing.assert_array_equal(features.values[1], [1, 40])


def test_weight_column_by_name_or_none():
    frame = census(households=[1, 1, 1, 1])
    equal = build_demographics(ZONES, frame, columns=["age"], weight="households")
    assert equal.values[0, 0] == 15
    unweighted = build_demographics(ZONES, census(), columns=["age"], weight=None)
    np.testing.assert_array_equal(unweighted.values, equal.values)
    assert "weight" in build_demographics(ZONES, census(), weight=None).columns


def test_rows_without_weight_count_nothing():
    frame = census(weight=pd.array([1, None, 0, 5], dtype="Int64"))
    features = build_demographics(ZONES, frame, columns=["age"])
    np.testing.assert_array_equal(features.values[:, 0], [10, 0, 0])
    np.testing.assert_array_equal(features.present, [True, False, False])
    assert features.notes["without_weight"] == 2


def test_log_total_of_the_weights():
    features = build_demographics(ZONES, census(), columns=["age"], log_total=True)
    assert features.columns == ("age", "log_total")
    np.testing.assert_allclose(features.values[:2, 1], np.log1p([4, 2]), rtol=1e-6)


def test_histogram_of_all_columns():
    frame = census(age=[3.0, 5.0, 0.0, 1.0], income=[1.0, 5.0, 9.0, 1.0])
    features = build_demographics(ZONES, frame, histogram=True)
    # a: shares (3/4, 1/4) with weight 1 and (1/2, 1/2) with weight 3.
    np.testing.assert_allclose(
        features.values, [[0.5625, 0.4375], [0, 1], [0, 0]], rtol=1e-6
    )


def test_histograms_by_group():
    frame = census(m_old=[1.0, 2, 3, 4], f_old=[1.0, 2, 3, 4], f_young=[3.0, 2, 1, 0])
    features = build_demographics(
        ZONES,
        frame,
        columns=["m_old", "f_old", "f_young"],
        histogram=[["f_old", "f_young"]],
        weight=None,
    )
    np.testing.assert_allclose(
        features.values[:2], [[1.5, 0.375, 0.625], [3, 0.75, 0.25]], rtol=1e-6
    )
    with pytest.raises(MissingColumnError, match="no column 'm_young'"):
        build_demographics(ZONES, frame, histogram=[["m_young"]])


def test_histogram_shares_sum_to_one_or_are_unknown():
    counts = np.array([[1.0, 3.0], [0.0, 0.0], [2.0, np.nan]])
    shares = histogram_shares(counts)
    np.testing.assert_array_equal(
        shares, [[0.25, 0.75], [np.nan, np.nan], [np.nan, np.nan]]
    )
    np.testing.assert_array_equal(histogram_shares(counts * 8), shares)
    with pytest.raises(TableError, match=r"1 histogram counts are negative .*-1"):
        histogram_shares(np.array([[-1.0, 2.0]]))


@pytest.mark.parametrize("column", ["weight", "share"])
@pytest.mark.parametrize("bad", [-1.0, np.inf])
def test_bad_weights_are_refused(column, bad):
    frame = census(share=1.0).astype({"weight": float})
    frame.loc[0, column] = bad
    with pytest.raises(TableError, match=f"column '{column}': 1 of 4 weights"):
        row_weights(frame, "weight")


def test_unknown_weight_is_refused():
    with pytest.raises(MissingColumnError, match="no column 'people'"):
        build_demographics(ZONES, census(), weight="people")


def test_table_averages_all_rows_alike():
    features = build_table(ZONES, census())
    assert features.columns == ("weight", "age", "income")
    np.testing.assert_array_equal(features.values, [[2, 15, 1], [2, 40, 1], [0, 0, 0]])
    assert features.notes == {"rows": 4, "dropped": 1, "filled_values": 1}


def test_table_columns():
    features = build_table(ZONES, census(), columns=["age"])
    assert features.columns == ("age",)
    np.testing.assert_array_equal(features.values, [[15], [40], [0]])


def test_table_standardised():
    features = build_table(ZONES, census(), columns=["age"], standardise=True)
    np.testing.assert_array_equal(features.values, [[-1], [1], [0]])


def test_table_gaps_weigh_tokens_by_rows():
    frame = pd.DataFrame(
        {"token": ["a", "a", "a", "b", "c"], "x": [1.0, 1, 1, 5, np.nan], "y": 1.0}
    )
    features = build_table(ZONES, frame)
    np.testing.assert_array_equal(features.values[:, 0], [1, 5, 2])


def test_table_outside_all_tokens_is_refused():
    with pytest.raises(TableError, match="1 of 1 rows lie outside all 3 zone tokens"):
        build_table(ZONES, pd.DataFrame({"token": ["z"], "x": [1.0]}))
