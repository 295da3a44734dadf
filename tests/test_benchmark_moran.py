import numpy as np
import pytest

from mora.benchmark.moran import morans_i, neighbour_weights
from mora.errors import MoraError
from mora.geometry import great_circle_km

RNG = np.random.default_rng(0)
POINTS = np.column_stack([RNG.uniform(-10, 10, 60), RNG.uniform(30, 60, 60)])
VALUES = RNG.normal(size=60)


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a square grid at the equator, and their row plus column."""
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    lonlat = np.column_stack([column.ravel(), row.ravel()]) * 0.1
    return lonlat, (column + row).ravel()


def dense_weights(lonlat: np.ndarray, neighbours: int) -> np.ndarray:
    """Oracle: every distance, sorted."""
    n = len(lonlat)
    start, end = np.repeat(lonlat, n, axis=0), np.tile(lonlat, (n, 1))
    km = great_circle_km(start, end).reshape(n, n)
    np.fill_diagonal(km, np.inf)
    weights = np.zeros((n, n))
    for place, nearest in enumerate(np.argsort(km, axis=1)[:, :neighbours]):
        weights[place, nearest] = 1 / neighbours
    return weights


def test_four_places_by_hand():
    # neighbours 0-1, 1-0, 2-3, 3-2; deviations -1, -1, 1, 1: I is 1
    lonlat = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0]])
    got = morans_i(np.array([1.0, 1.0, 3.0, 3.0]), lonlat, 1)
    assert got.i == pytest.approx(1)
    assert got.expected == -1 / 3
    # of the 3 ways to pair the values, one gives 1 and two give -1
    assert got.z == pytest.approx((1 + 1 / 3) / np.sqrt(8 / 9))


@pytest.mark.parametrize("neighbours", [1, 5, 59])
def test_a_dense_sum_gives_the_same(neighbours):
    weights, z = dense_weights(POINTS, neighbours), VALUES - VALUES.mean()
    np.testing.assert_allclose(neighbour_weights(POINTS, neighbours).toarray(), weights)
    expected = 60 / weights.sum() * (weights * np.outer(z, z)).sum() / (z @ z)
    assert morans_i(VALUES, POINTS, neighbours).i == pytest.approx(expected)


def test_the_variance_is_that_of_shuffled_values():
    weights = dense_weights(POINTS, 4)
    values = VALUES**3  # long tails, where the normal variance would be off
    z = values - values.mean()
    rng = np.random.default_rng(1)
    shuffled = np.array([rng.permutation(z) for _ in range(20_000)])
    drawn = ((shuffled @ weights.T) * shuffled).sum(axis=1) / (z @ z)
    got = morans_i(values, POINTS, 4)
    assert drawn.mean() == pytest.approx(got.expected, abs=0.002)
    assert (got.i - got.expected) / got.z == pytest.approx(drawn.std(), rel=0.03)


def test_a_checkerboard_is_negative_and_a_gradient_positive():
    lonlat, step = grid(12)
    board = morans_i((step % 2).astype(float), lonlat, 4)
    slope = morans_i(step.astype(float), lonlat, 4)
    assert board.i < -0.8
    assert slope.i > 0.8
    assert board.z < -10
    assert slope.z > 10
    assert max(board.p, slope.p) < 1e-10


def test_noise_has_no_order():
    got = [morans_i(RNG.normal(size=60), POINTS) for _ in range(40)]
    assert abs(np.mean([found.z for found in got])) < 0.6
    assert sum(found.p < 0.05 for found in got) < 8


def test_scale_shift_and_order_do_not_matter():
    order = RNG.permutation(60)
    first = morans_i(VALUES, POINTS)
    second = morans_i(VALUES[order] * -7 + 3, POINTS[order])
    assert second.i == pytest.approx(first.i)
    assert second.z == pytest.approx(first.z)


def test_neighbours_are_found_across_the_date_line():
    lonlat = np.array([[179.9, 0.0], [-179.9, 0.0], [170.0, 0.0], [-170.0, 0.0]])
    assert neighbour_weights(lonlat, 1).toarray()[0].tolist() == [0, 1, 0, 0]


def test_places_at_one_point_are_not_their_own_neighbours():
    weights = neighbour_weights(np.zeros((6, 2)), 2).toarray()
    assert not weights.diagonal().any()
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_equal_values_have_no_order():
    got = morans_i(np.ones(60), POINTS)
    assert np.isnan([got.i, got.z, got.p]).all()


def test_the_number_of_neighbours_matters():
    assert morans_i(VALUES, POINTS, 3).i != morans_i(VALUES, POINTS, 8).i
    assert morans_i(VALUES, POINTS).neighbours == 8


@pytest.mark.parametrize(
    ("lonlat", "neighbours", "message"),
    [
        (POINTS, 60, "60 neighbours among 60 places, 0 of them without"),
        (POINTS, 0, "0 neighbours among 60 places"),
        (POINTS[:3], 1, "1 neighbours among 3 places"),
        (POINTS * np.nan, 4, "60 of them without coordinates"),
    ],
)
def test_too_few_places_are_refused(lonlat, neighbours, message):
    with pytest.raises(MoraError, match=message):
        neighbour_weights(lonlat, neighbours)
