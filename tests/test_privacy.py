import numpy as np
import pytest

from mora.graph.privacy import THRESHOLDS, ThresholdTable

PLACES = np.array([1, 1, 2, 5, 12])
WEIGHT = np.array([54, 10, 3, 7, 6], np.uint32)
USERS = np.array([1, 2, 4, 5, 30], np.uint32)


def filled(chosen=2, parts=1):
    table = ThresholdTable.empty(PLACES, chosen)
    for weight, users in zip(
        np.array_split(WEIGHT, parts), np.array_split(USERS, parts), strict=True
    ):
        table.add(weight, users)
    return table


def test_five_edges_by_hand():
    table = filled()
    assert table.thresholds == (1, 2, 5, 10)
    assert table.places == [5, 3, 2, 1]
    assert table.edges == [5, 4, 2, 1]
    assert table.weight == [80, 26, 13, 6]


def test_agrees_with_counting_one_by_one():
    rng = np.random.default_rng(0)
    users, weight = rng.integers(1, 20, (2, 500))
    table = ThresholdTable.empty(users[:50])
    table.add(weight, users)
    for position, least in enumerate(table.thresholds):
        kept = [w for w, u in zip(weight, users, strict=True) if u >= least]
        assert table.edges[position] == len(kept)
        assert table.weight[position] == sum(kept)
        assert table.places[position] == sum(u >= least for u in users[:50])


@pytest.mark.parametrize("parts", [2, 5, 9])
def test_blocks_add_up(parts):
    assert filled(parts=parts) == filled()


def test_large_weights_do_not_wrap_around():
    table = ThresholdTable.empty(PLACES)
    for _ in range(3):
        table.add(np.full(2, 2**32 - 1, np.uint32), np.ones(2, np.uint16))
    assert table.weight[0] == 6 * (2**32 - 1)


def test_chosen_threshold_is_compared_and_marked():
    table = filled(chosen=4)
    assert table.thresholds == (1, 2, 4, 5, 10)
    assert table.edges == [5, 4, 3, 2, 1]
    assert filled(chosen=5).thresholds == THRESHOLDS
    marked = [line for line in table.describe().splitlines() if "applied" in line]
    assert marked == [
        "at least  4 users: 2 places, 3 edges (40.0% lost), weight 16 "
        "(80.0% lost)  <- applied"
    ]


def test_description_has_a_line_for_each_threshold():
    first, *_, last = filled().describe().splitlines()
    assert first == (
        "at least  1 users: 5 places, 5 edges (0.0% lost), weight 80 (0.0% lost)"
    )
    assert last.startswith("at least 10 users: 1 places, 1 edges (80.0% lost)")


def test_plain_lists_for_json():
    assert filled().to_json() == {
        "min_users": 2,
        "thresholds": [1, 2, 5, 10],
        "places": [5, 3, 2, 1],
        "edges": [5, 4, 2, 1],
        "weight": [80, 26, 13, 6],
    }


def test_nothing_counted_loses_everything_without_an_error():
    table = ThresholdTable.empty(np.zeros(0, np.int64))
    table.add(np.zeros(0, np.uint32), np.zeros(0, np.uint32))
    assert table.edges == table.weight == table.places == [0, 0, 0, 0]
    assert table.describe().count("0 edges") == 4
