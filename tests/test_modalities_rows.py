import numpy as np
import pandas as pd
import pytest
import shapely

from mora.errors import MissingColumnError, MoraError, NoGeometryError, TableError
from mora.modalities.rows import (
    fill_gaps,
    read_numbers,
    rows_inside,
    rows_to_tokens,
    weighted_group_means,
)
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

CELLS = ["85283473fffffff", "85283447fffffff", "8528347bfffffff"]


@pytest.fixture
def cells() -> H3Tokens:
    return H3Tokens.from_cells(CELLS)


@pytest.fixture
def zones() -> ZoneTokens:
    """Two squares side by side on the equator: west (0..1) and east (1..2)."""
    boxes = np.array([shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)])
    return ZoneTokens.from_zones(["01", "02"], boxes)


def test_h3_ids_as_text_and_as_numbers(cells):
    stranger = "85283443fffffff"
    text = pd.DataFrame({"token": [CELLS[1], None, stranger, CELLS[0], CELLS[1]]})
    expected = [*cells.find([CELLS[1]]), -1, -1, *cells.find([CELLS[0], CELLS[1]])]
    np.testing.assert_array_equal(rows_to_tokens(cells, text), expected)
    numbers = pd.DataFrame({"token": [int(cell, 16) for cell in CELLS]})
    np.testing.assert_array_equal(rows_to_tokens(cells, numbers), cells.encode(CELLS))


def test_nullable_integers_and_categories(cells):
    numbers = pd.array([int(CELLS[0], 16), None], dtype="UInt64")
    found = rows_to_tokens(cells, pd.DataFrame({"token": numbers}))
    np.testing.assert_array_equal(found, [*cells.find(CELLS[:1]), -1])
    texts = pd.Categorical([CELLS[0], None])
    found = rows_to_tokens(cells, pd.DataFrame({"token": texts}))
    np.testing.assert_array_equal(found, [*cells.find(CELLS[:1]), -1])


def test_zone_codes_and_grid_ids(zones):
    frame = pd.DataFrame({"token": ["02", "01", "03"]})
    np.testing.assert_array_equal(
        rows_to_tokens(zones, frame), [*zones.encode(["02", "01"]), -1]
    )
    grid = GridTokens.from_xy(np.array([[1, 1], [2, 1]]), width=2, height=2)
    np.testing.assert_array_equal(
        rows_to_tokens(grid, pd.DataFrame({"token": [2, 0, 9]})),
        [*grid.encode([2, 0]), -1],
    )


def test_points_in_zones(zones):
    frame = pd.DataFrame({"lon": [0.5, 1.5, 5.0, np.nan], "lat": [0.5, 0.5, 0.5, 0.5]})
    np.testing.assert_array_equal(
        rows_to_tokens(zones, frame), [*zones.encode(["01", "02"]), -1, -1]
    )


def test_ids_go_before_coordinates(zones):
    frame = pd.DataFrame({"token": ["02"], "lon": [0.5], "lat": [0.5]})
    np.testing.assert_array_equal(rows_to_tokens(zones, frame), zones.encode(["02"]))


def test_all_ids_empty(cells):
    frame = pd.DataFrame({"token": [None, None]})
    np.testing.assert_array_equal(rows_to_tokens(cells, frame), [-1, -1])


def test_no_place_at_all(cells):
    with pytest.raises(MissingColumnError, match="no column 'lat'"):
        rows_to_tokens(cells, pd.DataFrame({"lon": [1.0], "name": ["a"]}))


def test_swapped_coordinates_are_noticed(cells):
    frame = pd.DataFrame({"lon": [37.0, 37.5], "lat": [-122.0, -122.5]})
    with pytest.raises(TableError, match=r"2 of 2 rows .* swapped or projected"):
        rows_to_tokens(cells, frame)


def test_float_ids_are_refused(cells):
    with pytest.raises(TableError, match="holds float64 numbers; expected ids as text"):
        rows_to_tokens(cells, pd.DataFrame({"token": [1.0, np.nan]}))


def test_ids_of_another_kind_are_refused(cells):
    grid = GridTokens.from_xy(np.array([[1, 1]]))
    with pytest.raises(TableError, match="cannot be read as grid ids"):
        rows_to_tokens(grid, pd.DataFrame({"token": ["Berlin"]}))
    with pytest.raises(MoraError, match="are not H3 cells"):
        rows_to_tokens(cells, pd.DataFrame({"token": ["Berlin"]}))
    with pytest.raises(NoGeometryError, match="grid tokens have no known place"):
        rows_to_tokens(grid, pd.DataFrame({"lon": [1.0], "lat": [1.0]}))


def test_rows_inside_counts_the_others(zones):
    frame = pd.DataFrame({"lon": [0.5, 5.0, 1.5], "lat": [0.5, 0.5, 0.5]})
    token, dropped = rows_inside(zones, frame, "rows")
    np.testing.assert_array_equal(token >= 0, [True, False, True])
    assert dropped == 1


@pytest.mark.parametrize("rows", [0, 5])
def test_all_rows_outside_are_refused(zones, rows):
    frame = pd.DataFrame({"lon": [50.0] * rows, "lat": [0.0] * rows})
    with pytest.raises(TableError, match=f"{rows} of {rows} shops lie outside all 2"):
        rows_inside(zones, frame, "shops")


def test_read_numbers_takes_numeric_columns_in_order():
    frame = pd.DataFrame(
        {
            "token": [1, 2],
            "rooms": pd.array([3, None], dtype="Int64"),
            "name": ["a", "b"],
            "urban": [True, False],
        }
    )
    names, values = read_numbers(frame, None, ["token"])
    assert names == ["rooms", "urban"]
    np.testing.assert_array_equal(values, [[3, 1], [np.nan, 0]])
    names, values = read_numbers(frame, ["urban", "token"], ["token"])
    assert names == ["urban", "token"]
    np.testing.assert_array_equal(values, [[1, 1], [0, 2]])


def test_read_numbers_refuses_what_it_cannot_use():
    frame = pd.DataFrame({"name": ["a"], "size": [np.inf], "age": [1.0]})
    with pytest.raises(MissingColumnError, match="no column 'agee'"):
        read_numbers(frame, ["agee"], [])
    with pytest.raises(TableError, match=r"1 of 2 columns are not numeric .*name"):
        read_numbers(frame, ["name", "age"], [])
    with pytest.raises(TableError, match="expected at least one column"):
        read_numbers(frame, None, ["size", "age"])
    with pytest.raises(TableError, match=r"1 values are infinite \(columns: size\)"):
        read_numbers(frame, None, [])


def test_weighted_means_by_hand():
    # token 0: (1 * 10 + 3 * 20) / 4; token 1: the NaN leaves only 7; token 2: nothing.
    means = weighted_group_means(
        np.array([0, 0, 1, 1, -1]),
        np.array([[10.0], [20.0], [np.nan], [7.0], [1000.0]]),
        np.array([1.0, 3.0, 5.0, 2.0, 9.0]),
        3,
    )
    np.testing.assert_array_equal(means, [[17.5], [7.0], [np.nan]])


def random_rows(seed: int):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(60, 3))
    values[rng.random(values.shape) < 0.3] = np.nan
    return rng.integers(-1, 8, 60), values, rng.integers(0, 4, 60).astype(float)


def test_weighted_means_agree_with_a_loop():
    group, values, weight = random_rows(0)
    means = weighted_group_means(group, values, weight, 8)
    for g in range(8):
        for column in range(3):
            rows = (group == g) & ~np.isnan(values[:, column]) & (weight > 0)
            if rows.any():
                expected = np.average(values[rows, column], weights=weight[rows])
                assert means[g, column] == pytest.approx(expected)
            else:
                assert np.isnan(means[g, column])


def test_scaling_the_weights_or_shuffling_rows_changes_nothing():
    group, values, weight = random_rows(1)
    means = weighted_group_means(group, values, weight, 8)
    order = np.random.default_rng(2).permutation(60)
    again = weighted_group_means(group[order], values[order], weight[order] * 54, 8)
    np.testing.assert_allclose(again, means)


def test_gaps_get_the_weighted_mean_of_their_column():
    values = np.array([[1.0, 5.0], [4.0, np.nan], [np.nan, np.nan], [7.0, 8.0]])
    filled, present, gaps = fill_gaps(values, np.array([2.0, 9, 9, 1]), ["a", "b"])
    np.testing.assert_array_equal(present, [True, True, False, True])
    np.testing.assert_array_equal(filled, [[1, 5], [4, 6], [0, 0], [7, 8]])
    assert gaps == 1


def test_a_column_without_any_value_is_named():
    values = np.array([[1.0, np.nan], [2.0, np.nan]])
    with pytest.raises(TableError, match=r"1 of 2 columns .* \(first: income\)"):
        fill_gaps(values, np.ones(2), ["age", "income"])
