import numpy as np
import pandas as pd
import pytest

from mora.errors import TableError
from mora.tables import (
    check_flows,
    check_known,
    check_labels,
    check_places,
    check_rows,
)

POINT_ENDS = ["origin_lon", "origin_lat", "destination_lon", "destination_lat"]
PARIS = (2.0, 48.0, 3.0, 49.0)


def flows(*rows):
    return pd.DataFrame(rows, columns=["origin", "destination", "weight"])


def points(**changes):
    """Ten points in Paris."""
    frame = pd.DataFrame({"lon": np.linspace(2.1, 2.9, 10), "lat": 48.5})
    for column, values in changes.items():
        frame[column] = [*values, *frame[column][len(values) :]]
    return frame


def point_flows(**changes):
    frame = points(**changes).set_axis(POINT_ENDS[:2], axis=1)
    return frame.assign(destination_lon=2.5, destination_lat=48.9, weight=1)


def places(**changes):
    return points(**changes).assign(name="cafe", category="food")


def labels(**changes):
    return points(**changes).assign(income=np.arange(10.0))


CHECKS = [
    (check_flows, point_flows),
    (check_places, places),
    (check_labels, labels),
    (check_rows, labels),
]
every_check = pytest.mark.parametrize(("check", "table"), CHECKS)


def found(report):
    return {p.name: (p.count, p.action) for p in report.problems}


@every_check
def test_good_tables_pass(check, table):
    frame, report = check(table())
    assert len(frame) == report.rows_read == report.rows_kept == 10
    assert report.problems == ()


@every_check
def test_points_out_of_range_are_dropped(check, table):
    frame, report = check(table(lon=[999.0]))
    assert found(report) == {"coordinates out of range": (1, "dropped")}
    assert len(frame) == 9
    assert frame.index.tolist() == list(range(9))


@every_check
def test_share_of_bad_rows_is_limited(check, table):
    bad = table(lon=[999.0] * 4)
    check(bad, max_bad_share=0.4)
    with pytest.raises(TableError, match=r"4 of 10 .* accepted share of 0.3\."):
        check(bad, max_bad_share=0.3)


@every_check
def test_swapped_share_is_limited(check, table):
    bad = table(lon=[48.5, 999.0], lat=[102.5, 48.5])  # swapping repairs one of two
    check(bad)
    with pytest.raises(TableError, match=r"1 of 10 .* refused: .*lat look swapped"):
        check(bad, swapped_share=0.4)


@every_check
def test_bounds_are_compared(check, table):
    away = table(lon=[4.0])
    assert check(away)[1].problems == ()
    _, report = check(away, bounds=PARIS)
    assert found(report) == {"outside the expected bounds": (1, "kept")}


@every_check
def test_source_is_named(check, table):
    assert check(table(), source="a.csv")[1].source == "a.csv"
    assert check(table())[1].source == check(table())[1].kind


def test_flows_between_the_same_ends_are_added_up():
    rows = [("b", "a", 2), ("a", "b", 1), ("b", "a", 0.5), ("a", "a", 4), ("b", "a", 1)]
    frame, report = check_flows(flows(*rows))
    expected = flows(("b", "a", 3.5), ("a", "b", 1.0), ("a", "a", 4.0))
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)
    assert found(report) == {
        "origin is the destination": (1, "kept"),
        "pair of ends repeated, weights summed": (2, "kept"),
    }
    assert report.problems[1].examples[0] == "row 3: origin b, destination a"
    assert report.rows_kept == 3


def test_summing_agrees_with_a_dense_matrix():
    rows = np.random.default_rng(0).integers(1, 5, (40, 3)).tolist()
    dense = np.zeros((5, 5))
    for origin, destination, weight in rows:
        dense[origin, destination] += weight
    frame, report = check_flows(flows(*rows))
    got = np.zeros((5, 5))
    ends = frame[["origin", "destination"]].astype(int).to_numpy()
    got[tuple(ends.T)] = frame["weight"]
    np.testing.assert_array_equal(got, dense)
    assert report.rows_kept == (dense > 0).sum()


def test_order_of_flows_does_not_matter():
    rows = [("b", "a", 2), ("a", "b", 1), ("b", "a", 3)]
    one, other = (
        check_flows(flows(*order))[0].sort_values(["origin"], ignore_index=True)
        for order in (rows, rows[::-1])
    )
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("weight", [-1, None, float("nan"), float("inf"), "many"])
def test_bad_weights_are_refused(weight):
    with pytest.raises(
        TableError, match=r"1 of 2 flows refused: weight is .*\(first: r"
    ):
        check_flows(flows(("a", "b", 1), ("b", "a", weight)))


def test_a_row_of_negative_weight_is_refused_and_one_without_counts_nothing():
    weight = pd.Series([-1.0] + [1.0] * 9)
    with pytest.raises(TableError, match=r"1 of 10 rows refused: weight is"):
        check_rows(labels().assign(weight=weight))
    frame, report = check_rows(labels().assign(weight=weight.replace(-1.0, np.nan)))
    assert frame["weight"].tolist() == [0.0] + [1.0] * 9
    assert found(report)["no weight, the row counts nothing"] == (1, "kept")


def test_zero_weights_are_dropped_without_being_bad():
    frame, report = check_flows(flows(("a", "b", 1), *[("b", "a", 0)] * 9))
    assert len(frame) == 1
    assert found(report) == {"weight is 0": (9, "dropped")}


def test_flows_without_weights_count_rows():
    frame, report = check_flows(flows(*[("a", "b", 1)] * 3).drop(columns="weight"))
    assert frame["weight"].tolist() == [3.0]
    assert found(report)["no column of weights, each row counts 1"] == (3, "kept")


def test_flows_without_an_end_are_dropped():
    rows = [("a", "b", 1), ("", "b", 1), ("b", None, 1), ("b", "a", 1)]
    frame, report = check_flows(flows(*rows))
    assert len(frame) == 2
    assert found(report) == {
        "no origin": (1, "dropped"),
        "no destination": (1, "dropped"),
    }


def test_flows_between_points_are_added_up():
    twice = pd.concat([point_flows(), point_flows()], ignore_index=True)
    frame, _ = check_flows(twice)
    assert frame["weight"].tolist() == [2.0] * 10
    assert [*frame] == [*POINT_ENDS, "weight"]


def test_places_need_a_name_or_a_category():
    frame = places()
    frame.loc[0, "name"] = None
    frame.loc[1, "category"] = " "
    frame.loc[2, ["name", "category"]] = None
    kept, report = check_places(frame)
    assert found(report) == {"no name and no category": (1, "dropped")}
    assert kept["name"].tolist()[:2] == ["", "cafe"]


def test_repeated_places_are_dropped():
    twice = pd.concat([places(), places()[:2]], ignore_index=True)
    frame, report = check_places(twice)
    assert found(report) == {"repeats an earlier row": (2, "dropped")}
    assert len(frame) == 10


def test_places_may_have_ids():
    frame, report = check_places(places().assign(id=[*range(9), None]))
    assert frame["id"].tolist()[:2] == ["0", "1"]
    assert found(report) == {"no id": (1, "dropped")}


def test_missing_labels_are_kept_and_counted():
    income = pd.Series([np.nan, "NA", "", 3, "4.5", *range(5)], dtype=object)
    frame, report = check_labels(points().assign(income=income))
    np.testing.assert_array_equal(frame["income"], [*[np.nan] * 3, 3, 4.5, *range(5)])
    assert found(report) == {"no income": (3, "kept")}


@pytest.mark.parametrize("value", ["high", np.inf, "1,5", pd.Timestamp("2024-01-01")])
def test_values_that_are_no_numbers_are_refused(value):
    income = pd.Series([value, *range(9)], dtype=object)
    message = (
        rf"1 of 10 labels refused: income is not a number \(first: row 1: .*{value}"
    )
    with pytest.raises(TableError, match=message):
        check_labels(labels().assign(income=income))


def test_repeated_labels_are_refused_unless_accepted():
    by_id = pd.DataFrame({"id": ["a", "b", "a"], "v": [1, 2, 3]})
    by_point = pd.concat([labels(), labels()[:1]], ignore_index=True)
    for frame, key in [(by_id, "id"), (by_point, "lon and lat")]:
        name = f"{key} repeated"
        with pytest.raises(TableError, match=rf"refused: {name} .*one row a place"):
            check_labels(frame)
        kept, report = check_labels(frame, repeats=True)
        assert len(kept) == len(frame)
        assert found(report) == {name: (1, "kept")}
        assert check_rows(frame)[1].problems == report.problems
        with pytest.raises(TableError, match=name):
            check_rows(frame, repeats=False)


def test_ids_come_before_points_as_keys():
    frame, _ = check_labels(labels().assign(id=list("abcdefghij")))
    assert [*frame] == ["lon", "lat", "income", "id"]
    same_point = labels().assign(id=list("abcdefghij"), lon=2.5)
    assert check_labels(same_point)[1].problems == ()


def test_weight_of_a_label_is_a_value_and_of_a_row_a_weight():
    frame = labels().assign(weight=-1)
    assert check_labels(frame)[1].problems == ()
    with pytest.raises(TableError, match=r"weight is negative or missing"):
        check_rows(frame)


@pytest.mark.parametrize("check", [check_labels, check_rows])
def test_values_are_needed(check):
    with pytest.raises(TableError, match=r"no column of values; expected at least one"):
        check(points())


def test_unknown_ends_are_dropped_and_named():
    table = flows(
        ("a", "b", 1), ("a", "z", 1), ("y", "z", 1), ("b", "a", 1), (1, "a", 1)
    )
    keep, report = check_known(table[["origin", "destination"]], ["a", "b", 1], "flows")
    assert keep.tolist() == [True, False, False, True, True]
    assert report.describe() == (
        "flows: 3 of 5 flows kept\n  2 of 5 flows dropped: not among the known places "
        "(first: z; y)"
    )


def test_mostly_unknown_places_are_refused():
    ids, known = pd.Series(["1001", "1003"]), np.array(["01001", "1003"])
    message = r"1 of 2 labels name places .* 2 known .*first: 1001; known: 01001, 1003"
    with pytest.raises(TableError, match=message):
        check_known(ids, known, "labels")
    keep, _ = check_known(ids, known, "labels", max_unknown_share=0.6)
    assert keep.tolist() == [False, True]


def test_known_places_leave_no_problem():
    keep, report = check_known(np.array(["a", "b"]), ["b", "a"], "labels")
    assert keep.all()
    assert report.problems == ()


# ------------------------------------------------------------------ swapped rows


def new_york(rows=200):
    rng = np.random.default_rng(0)
    lon, lat = rng.normal(-74, 0.1, rows), rng.normal(40.7, 0.1, rows)
    return pd.DataFrame({"name": "cafe", "lon": lon, "lat": lat})


def test_a_table_in_antarctica_is_refused_as_swapped():
    swapped = new_york().rename(columns={"lon": "lat", "lat": "lon"})
    with pytest.raises(TableError, match="lon and lat look swapped"):
        check_places(swapped, source="cafes.csv")


def test_rows_that_are_swapped_are_dropped():
    frame = new_york()
    frame.loc[[5, 60], ["lon", "lat"]] = frame.loc[[5, 60], ["lat", "lon"]].to_numpy()
    frame.loc[7, ["lon", "lat"]] = [-120.0, 35.0]  # far, and no better once swapped
    kept, report = check_places(frame, source="cafes.csv")
    (found,) = report.problems
    assert (found.count, found.action) == (2, "dropped")
    assert "look swapped in these rows" in found.name
    rest = frame.drop([5, 60])
    np.testing.assert_array_equal(kept[["lon", "lat"]], rest[["lon", "lat"]])


def test_near_the_diagonal_nothing_is_taken_for_swapped():
    rng = np.random.default_rng(0)
    lon, lat = rng.normal(40, 0.1, 200), rng.normal(40.7, 0.1, 200)
    frame = pd.DataFrame({"name": "cafe", "lon": lon, "lat": lat})
    frame.loc[3, ["lon", "lat"]] = [44.0, 39.9]
    assert check_places(frame, source="cafes.csv")[1].problems == ()


def test_in_a_wide_table_nothing_is_taken_for_swapped():
    frame = new_york()
    frame["lon"] = np.linspace(-120, 5, len(frame))
    frame.loc[3, ["lon", "lat"]] = [36.8, -1.3]  # Nairobi; swapped, off Algeria
    frame.loc[4, "lat"] = 36.0
    assert check_places(frame, source="bases.csv")[1].problems == ()
