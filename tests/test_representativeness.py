import json
import math

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from mora.benchmark.representativeness import (
    QUARTERS,
    UNKNOWN,
    quarters,
    representativeness,
)
from mora.errors import MoraError

HOMES = np.array([30, 10, 60, 0])
PEOPLE = np.array([100.0, 100.0, 200.0, 0.0])
STATE = np.array(["NY", "NY", "NJ", "NJ"])


def by_name(found, grouping="state"):
    return {row.group: row for row in found.groups if row.grouping == grouping}


def test_known_answer():
    found = representativeness(HOMES, PEOPLE, {"state": STATE})
    rows = by_name(found)
    assert list(rows) == ["NJ", "NY"]
    assert (rows["NY"].homes, rows["NY"].people) == (40, 200)
    shares = rows["NY"].share_of_homes, rows["NY"].share_of_people, rows["NY"].ratio
    assert shares == pytest.approx((0.4, 0.5, 0.8))
    assert rows["NJ"].ratio == pytest.approx(1.2)
    # half of |0.3 - 0.25| + |0.1 - 0.25| + |0.6 - 0.5|
    assert found.dissimilarity == pytest.approx(0.15)
    assert (found.places, found.homes, found.people) == (4, 100, 400)


def test_correlations_agree_with_scipy():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 20, 60).astype(float)  # with ties
    homes = rng.poisson(people / 4)
    found = representativeness(homes, people, {})
    assert found.pearson == pytest.approx(pearsonr(homes, people).statistic)
    assert found.spearman == pytest.approx(spearmanr(homes, people).statistic)


def test_homes_proportional_to_people_are_fair():
    people = np.array([10.0, 20.0, 70.0])
    found = representativeness(people * 0.03, people, {"state": STATE[:3]})
    assert (found.pearson, found.spearman) == pytest.approx((1, 1))
    assert found.dissimilarity == pytest.approx(0)
    assert [row.ratio for row in found.groups] == pytest.approx([1, 1])


def test_homes_where_nobody_lives_are_fully_dissimilar():
    found = representativeness(np.array([5, 0]), np.array([0.0, 9.0]), {})
    assert found.dissimilarity == 1


def test_counting_users_twice_changes_no_share():
    once = representativeness(HOMES, PEOPLE, {"state": STATE})
    twice = representativeness(2 * HOMES, PEOPLE, {"state": STATE})
    assert [row.ratio for row in twice.groups] == [row.ratio for row in once.groups]
    assert twice.dissimilarity == once.dissimilarity


def test_places_of_unknown_population_are_left_out_and_counted():
    people = np.array([100.0, 100.0, np.nan, 0.0])
    found = representativeness(HOMES, people, {"state": STATE})
    assert (found.places, found.homes, found.homes_elsewhere) == (3, 40, 60)
    assert by_name(found)["NY"].share_of_homes == 1
    assert math.isnan(by_name(found)["NJ"].ratio)


def test_an_unknown_group_comes_last():
    group = np.array(["b", "", "zz", "b"])
    found = representativeness(HOMES, PEOPLE, {"state": group})
    assert list(by_name(found)) == ["b", "zz", UNKNOWN]
    assert sum(row.share_of_people for row in found.groups) == pytest.approx(1)


def test_quarters_are_listed_from_low_to_high():
    group = np.array([QUARTERS[3], QUARTERS[0], QUARTERS[1], ""])
    found = representativeness(HOMES, PEOPLE, {"income": group, "state": STATE})
    listed = list(by_name(found, "income"))
    assert listed == [QUARTERS[0], QUARTERS[1], QUARTERS[3], UNKNOWN]
    assert [row.grouping for row in found.groups] == ["income"] * 4 + ["state"] * 2


def test_constant_homes_have_no_correlation():
    found = representativeness(np.array([2, 2]), np.array([1.0, 3.0]), {})
    assert math.isnan(found.pearson)
    assert math.isnan(found.spearman)


def test_json_has_no_nan():
    found = representativeness(
        np.array([2, 2]), np.array([0.0, 3.0]), {"state": STATE[1:3]}
    )
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["groups"][1]["ratio"] is None
    assert json.loads(text)["pearson"] is None


def test_quarters_hold_equal_shares_of_the_people():
    values = np.arange(8.0)
    even = quarters(values, np.ones(8))
    assert even.tolist() == [name for name in QUARTERS for _ in range(2)]
    crowded = quarters(values, np.array([7.0, *[1.0] * 7]))
    # Half of the first place's 7 of 14 people: a quarter lies below its middle.
    expected = [QUARTERS[1], *[QUARTERS[2]] * 3, *[QUARTERS[3]] * 4]
    assert crowded.tolist() == expected


def test_unknown_values_have_no_quarter():
    named = quarters(np.array([np.nan, 1.0, 2.0]), np.array([5.0, 1.0, np.nan]))
    assert named[0] == ""
    assert set(named[1:]) <= set(QUARTERS)
    assert quarters(np.full(2, np.nan), np.ones(2)).tolist() == ["", ""]


def test_equal_values_share_a_quarter():
    assert len(set(quarters(np.full(6, 3.0), np.ones(6)))) == 1


@pytest.mark.parametrize(
    ("homes", "people", "message"),
    [
        ([1, 2, 3], [1.0, 2.0], r"3 homes beside \{'population': 2, 'g': 2\}"),
        ([-1, 2], [1.0, 2.0], r"1 of 2 homes are not counts \(first: -1\)"),
        ([1, 2], [1.0, -2.0], r"1 of 2 populations are not counts \(first: -2.0\)"),
        ([0, 0], [1.0, 2.0], "0 homes and 3 people at 2 places"),
        ([0, 4], [1.0, np.nan], "0 homes and 1 people at 1 places"),
    ],
)
def test_bad_counts_are_refused(homes, people, message):
    with pytest.raises(MoraError, match=message):
        representativeness(np.array(homes), np.array(people), {"g": np.array(["", ""])})
