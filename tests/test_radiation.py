import numpy as np
import pytest

from mora.errors import GraphError
from mora.geometry import great_circle_km
from mora.graph.radiation import radiation_flows

# Three places on the equator: b is 1 degree from a, c is 2 degrees from b.
LINE = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])


def random_places(n=30, seed=0):
    """Places with repeated populations, some empty, and some at equal distances."""
    rng = np.random.default_rng(seed)
    population = rng.choice([0.0, 500.0, 1000.0, 2500.0, 7000.0], n)
    lonlat = np.column_stack(
        [rng.integers(0, 6, n) * 0.1, rng.integers(-3, 4, n) * 0.1]
    )
    return population, lonlat + rng.integers(0, 2, (n, 1)) * 0.0333


def formula(population, lonlat, share):
    """Write eq. 2 of Simini et al. as three loops, ties to the metre."""
    n, total = len(population), population.sum()
    flows = np.zeros((n, n))

    def metres(i, j):
        km = great_circle_km(lonlat[[i]], lonlat[[j]])[0]
        half_angle = km / 2 / 6371.0088
        return round(2 * np.sin(half_angle) * 6371.0088 * 1000)

    distance = [[metres(i, j) for j in range(n)] for i in range(n)]
    for i in range(n):
        for j in range(n):
            if i == j or population[i] == 0:
                continue
            m, w = population[i], population[j]
            s = 0.0
            for k in range(n):
                if k not in (i, j) and distance[i][k] < distance[i][j]:
                    s += population[k]
            flow = share * m * m * w / ((m + s) * (m + w + s))
            flows[i, j] = flow / (1 - m / total)
    return flows


def test_three_places_by_hand():
    # M = 600; T_i = 0.5 m_i / (1 - m_i / 600).
    people = np.array([100.0, 200.0, 300.0])
    a, b, c = 50 / (5 / 6), 100 / (4 / 6), 150 / (3 / 6)
    expected = [
        [0, a * 100 * 200 / (100 * 300), a * 100 * 300 / (300 * 600)],
        [b * 200 * 100 / (200 * 300), 0, b * 200 * 300 / (300 * 600)],
        [c * 300 * 100 / (500 * 600), c * 300 * 200 / (300 * 500), 0],
    ]
    got = radiation_flows(people, LINE, commuters_per_resident=0.5, min_flow=0.0)
    np.testing.assert_allclose(got.toarray(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_three_loops_over_places_with_ties(seed):
    population, lonlat = random_places(seed=seed)
    got = radiation_flows(population, lonlat, min_flow=0.0).toarray()
    np.testing.assert_allclose(got, formula(population, lonlat, 0.11), rtol=1e-9)


@pytest.mark.parametrize("share", [0.11, 0.3])
def test_all_commuters_of_a_place_arrive_somewhere(share):
    # Without ties the chances telescope to 1 - m_i / M, which the finite-size factor
    # takes off again: the flows of a place sum to its commuters.
    rng = np.random.default_rng(0)
    population, lonlat = rng.gamma(1, 1000, 30), rng.uniform(-5, 5, (30, 2))
    flows = radiation_flows(
        population, lonlat, commuters_per_resident=share, min_flow=0.0
    )
    np.testing.assert_allclose(flows.sum(axis=1), share * population)


def test_finite_size_matters_where_one_place_holds_most_people():
    # Half of all people live in the first place: its flows are doubled.
    people = np.array([600.0, 250.0, 350.0])
    flow = radiation_flows(people, LINE, min_flow=0.0)[0, 1]
    infinite = 0.11 * 600 * 600 * 250 / (600 * 850)
    assert flow == pytest.approx(infinite / (1 - 600 / 1200))


def test_the_limit_of_an_unbounded_country():
    # With people far away without end, the factor is 1 and the rest goes there.
    people, far = np.array([100.0, 200.0, 1e12]), np.array([[90.0, 0.0]])
    flows = radiation_flows(people, np.concatenate([LINE[:2], far]), min_flow=0.0)
    assert flows[0, 1] == pytest.approx(11 * 200 / 300, rel=1e-6)
    assert flows.sum(axis=1)[:2] == pytest.approx([11, 22], rel=1e-6)


def test_share_of_commuters_scales_the_flows():
    population, lonlat = random_places()
    some = radiation_flows(population, lonlat, min_flow=0.0).toarray()
    more = radiation_flows(
        population, lonlat, commuters_per_resident=0.22, min_flow=0.0
    )
    np.testing.assert_allclose(more.toarray(), 2 * some)


def test_flows_below_the_least_are_left_out():
    population, lonlat = random_places()
    every = radiation_flows(population, lonlat, min_flow=0.0).toarray()
    usual = radiation_flows(population, lonlat)
    fewer = radiation_flows(population, lonlat, min_flow=20.0)
    assert (every > 0).sum() > usual.nnz > fewer.nnz > 0
    np.testing.assert_array_equal(usual.toarray(), np.where(every >= 1, every, 0))
    np.testing.assert_array_equal(fewer.toarray(), np.where(every >= 20, every, 0))


def test_people_and_places_change_the_flows():
    population, lonlat = random_places()
    usual = radiation_flows(population, lonlat, min_flow=0.0).toarray()
    moved = radiation_flows(population, lonlat[::-1].copy(), min_flow=0.0).toarray()
    grown = radiation_flows(population**1.1, lonlat, min_flow=0.0).toarray()
    assert not np.allclose(usual, moved)
    assert not np.allclose(usual, grown)


def test_order_and_longitude_do_not_matter():
    population, lonlat = random_places()
    usual = radiation_flows(population, lonlat, min_flow=0.0).toarray()
    order = np.random.default_rng(1).permutation(30)
    shuffled = radiation_flows(population[order], lonlat[order], min_flow=0.0)
    np.testing.assert_allclose(shuffled.toarray(), usual[np.ix_(order, order)])
    turned = radiation_flows(population, lonlat + np.array([120, 0]), min_flow=0.0)
    np.testing.assert_allclose(turned.toarray(), usual)


def test_nobody_moves_from_to_or_within_an_empty_place():
    people = np.array([100.0, 0.0, 300.0])
    flows = radiation_flows(people, LINE, min_flow=0.0).toarray()
    assert not flows[1].any()
    assert not flows[:, 1].any()
    assert not flows.diagonal().any()


@pytest.mark.parametrize("people", [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
def test_fewer_than_two_places_with_people_are_refused(people):
    count = int(np.count_nonzero(people))
    with pytest.raises(
        GraphError, match=f"{count} of 3 tokens have people.*at least 2"
    ):
        radiation_flows(np.array(people), LINE)
