import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import GraphError
from mora.geometry import great_circle_km
from mora.graph import gravity
from mora.graph.gravity import (
    DISC_DISTANCE,
    Crosswalk,
    internal_flow,
    spread_flows,
)

# Zone 0 holds cells 0 and 1, zone 1 cells 2 and 3: the corners of a rectangle.
CORNERS = np.array([[0.0, -0.1], [0.0, 0.1], [0.05, -0.1], [0.05, 0.1]])
NEAR_KM, FAR_KM = great_circle_km(CORNERS[[0, 0]], CORNERS[[2, 3]])
AREAS = np.full(4, 30.0)


def pieces(zone, population, token=None):
    token = np.arange(len(zone)) if token is None else np.array(token)
    return Crosswalk(np.array(zone), token, np.array(population, dtype=float))


RECTANGLE = pieces([0, 0, 1, 1], [1, 1, 1, 1])
THERE = sp.csr_array(np.array([[0.0, 4.0], [0.0, 0.0]]))


def random_case(zones=6, tokens=24, seed=0):
    """Zones of several cells each, flows between most and within all."""
    rng = np.random.default_rng(seed)
    zone = np.sort(np.append(np.arange(zones), rng.integers(0, zones, tokens - zones)))
    flows = rng.gamma(1, 100, (zones, zones)) * (rng.random((zones, zones)) < 0.8)
    people = pieces(zone, rng.gamma(1, 1000, tokens))
    centroids = rng.normal([10, 50], 0.2, (tokens, 2))
    return sp.csr_array(flows), people, centroids, rng.gamma(5, 5, tokens)


def between_zones(flows, people, zones):
    """Add the flows of tokens up to those of zones."""
    members = sp.csr_array((np.ones(len(people.zone)), (people.zone, people.token)))
    assert members.shape[0] == zones
    return (members @ flows @ members.T).toarray()


def share(people):
    return people.population / np.bincount(people.zone, people.population)[people.zone]


def dense_fit(zone_flows, people, friction, rounds=3000):
    """Balance a dense matrix by the plain three-way rule, factor by factor."""
    flow = friction * np.outer(people.population, people.population)
    zone_flows, zone, part = zone_flows.toarray(), people.zone, share(people)
    out = part * zone_flows.sum(axis=1)[zone]
    into = part * zone_flows.sum(axis=0)[zone]
    same = np.eye(len(zone_flows))[zone]

    def ratio(target, total):
        return np.divide(target, total, where=total > 0, out=np.zeros_like(total))

    for _ in range(rounds):
        flow *= ratio(out, flow.sum(axis=1))[:, None]
        flow *= ratio(into, flow.sum(axis=0))
        flow *= same @ ratio(zone_flows, same.T @ flow @ same) @ same.T
    return flow


def test_all_flow_to_one_cell_is_shared_by_population():
    people = pieces([0, 0, 1], [1, 3, 5])
    fit = spread_flows(THERE * 2, people, CORNERS[:3], AREAS[:3])
    expected = [[0, 0, 2], [0, 0, 6], [0, 0, 0]]
    np.testing.assert_allclose(fit.flows.toarray(), expected)
    assert (fit.margin_error, fit.iterations) == (pytest.approx(0, abs=1e-12), 1)


def test_two_zones_by_hand():
    # By symmetry each cell sends 2, to the near and the far cell as exp(-d / 20).
    near, far = np.exp(-NEAR_KM / 20), np.exp(-FAR_KM / 20)
    expected = np.zeros((4, 4))
    expected[0, 2] = expected[1, 3] = 2 * near / (near + far)
    expected[0, 3] = expected[1, 2] = 2 * far / (near + far)
    fit = spread_flows(THERE, RECTANGLE, CORNERS, AREAS)
    np.testing.assert_allclose(fit.flows.toarray(), expected)


def test_power_decay_by_hand():
    near, far = (1 + NEAR_KM / 5) ** -2, (1 + FAR_KM / 5) ** -2
    fit = spread_flows(THERE, RECTANGLE, CORNERS, AREAS, decay="power", decay_km=5.0)
    assert fit.flows[0, 2] == pytest.approx(2 * near / (near + far))
    assert fit.flows[0, 3] == pytest.approx(2 * far / (near + far))


def test_flow_inside_a_cell_takes_the_distance_of_its_disc():
    # Mean distance of two points in a disc of 30 km2 against that of the two cells.
    people, inside = pieces([0, 0], [1, 1]), sp.csr_array(np.array([[10.0]]))
    own_km = 128 / (45 * np.pi) * np.sqrt(30 / np.pi)
    apart_km = great_circle_km(CORNERS[:1], CORNERS[1:2])[0]
    own, apart = np.exp(-own_km / 20), np.exp(-apart_km / 20)
    flows = spread_flows(inside, people, CORNERS[:2], AREAS[:2]).flows
    assert flows[0, 0] == pytest.approx(5 * own / (own + apart))
    assert flows[0, 1] == pytest.approx(5 * apart / (own + apart))


def test_disc_distance_is_the_mean_over_random_points():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 400_000), rng.random(400_000) ** 0.5
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    distance = np.hypot(x[::2] - x[1::2], y[::2] - y[1::2])
    assert distance.mean() == pytest.approx(DISC_DISTANCE, abs=0.003)


@pytest.mark.parametrize("seed", range(3))
def test_totals_between_zones_are_exact_and_margins_within_the_tolerance(seed):
    zone_flows, people, centroids, areas = random_case(seed=seed)
    fit = spread_flows(zone_flows, people, centroids, areas, tolerance=1e-3)
    kept = between_zones(fit.flows, people, 6)
    np.testing.assert_allclose(kept, zone_flows.toarray(), rtol=1e-12)
    errors = []
    for axis in (0, 1):
        wanted = share(people) * zone_flows.toarray().sum(axis=axis)[people.zone]
        errors.append(np.abs(fit.flows.sum(axis=axis) / wanted - 1).max())
    assert fit.margin_error == pytest.approx(max(errors), abs=1e-12)
    assert fit.margin_error <= 1e-3


@pytest.mark.parametrize("decay", ["exponential", "power"])
def test_agrees_with_balancing_a_dense_matrix(decay):
    zone_flows, people, centroids, areas = random_case()
    a, b = np.meshgrid(np.arange(24), np.arange(24), indexing="ij")
    km = great_circle_km(centroids[a.ravel()], centroids[b.ravel()]).reshape(24, 24)
    np.fill_diagonal(km, DISC_DISTANCE * np.sqrt(areas / np.pi))
    friction = np.exp(-km / 15) if decay == "exponential" else (1 + km / 15) ** -2
    fit = spread_flows(
        *(zone_flows, people, centroids, areas),
        **{"decay": decay, "decay_km": 15.0, "tolerance": 1e-12},
        max_iterations=3000,
    )
    expected = dense_fit(zone_flows, people, friction)
    np.testing.assert_allclose(fit.flows.toarray(), expected, rtol=1e-8)


def test_two_cells_of_one_county_differ():
    zone_flows, people, centroids, areas = random_case()
    flows = spread_flows(zone_flows, people, centroids, areas).flows.toarray()
    proportional = share(people)[:, None] * zone_flows.toarray()[people.zone]
    proportional = proportional[:, people.zone] * share(people)
    first, second = np.flatnonzero(people.zone == 0)[:2]

    def cosine(matrix):
        a, b = matrix[first], matrix[second]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(proportional) == pytest.approx(1.0, abs=1e-12)
    assert cosine(flows) < 0.99
    np.testing.assert_allclose(flows.sum(), proportional.sum())


def test_a_cell_on_a_border_adds_up_its_pieces():
    # Token 1 holds a piece of each zone; cells of no area are at distance 0 to itself.
    four, three = CORNERS[[0, 1, 1, 3]], CORNERS[[0, 1, 3]]
    apart = spread_flows(THERE, RECTANGLE, four, np.zeros(4)).flows.toarray()
    border = pieces([0, 0, 1, 1], [1, 1, 1, 1], token=[0, 1, 1, 2])
    merged = spread_flows(THERE, border, three, np.zeros(3)).flows.toarray()
    expected = [
        [0, apart[0, 2], apart[0, 3]],
        [0, apart[1, 2], apart[1, 3]],
        [0, 0, 0],
    ]
    np.testing.assert_allclose(merged, expected)


@pytest.mark.parametrize("scale", [1e-3, 7.0])
def test_scaling_flows_scales_the_result_and_scaling_people_does_not(scale):
    zone_flows, people, centroids, areas = random_case()
    plain = spread_flows(zone_flows, people, centroids, areas).flows.toarray()
    more = spread_flows(zone_flows * scale, people, centroids, areas).flows.toarray()
    np.testing.assert_allclose(more, plain * scale, rtol=1e-9)
    crowd = Crosswalk(people.zone, people.token, people.population * scale)
    again = spread_flows(zone_flows, crowd, centroids, areas).flows.toarray()
    np.testing.assert_allclose(again, plain, rtol=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"decay": "power"},
        {"decay_km": 5.0},
        {"tolerance": 1e-8},
        {"max_iterations": 1},
    ],
)
def test_every_setting_changes_the_flows(change):
    case = random_case()
    usual, other = spread_flows(*case), spread_flows(*case, **change)
    assert not np.allclose(usual.flows.toarray(), other.flows.toarray(), rtol=1e-6)


def test_every_table_changes_the_flows():
    zone_flows, people, centroids, areas = random_case()
    usual = spread_flows(zone_flows, people, centroids, areas).flows.toarray()
    changed = Crosswalk(people.zone, people.token, people.population**0.5)
    for case in (
        (zone_flows.T.tocsr(), people, centroids, areas),
        (zone_flows, changed, centroids, areas),
        (zone_flows, people, centroids * 1.1, areas),
        (zone_flows, people, centroids, areas * 2),
    ):
        assert not np.allclose(spread_flows(*case).flows.toarray(), usual, rtol=1e-4)


def test_rounds_stop_at_the_tolerance_or_the_most():
    case = random_case()
    loose = spread_flows(*case, tolerance=0.1)
    tight = spread_flows(*case, tolerance=1e-6, max_iterations=1000)
    short = spread_flows(*case, tolerance=1e-6, max_iterations=2)
    assert loose.iterations < tight.iterations < 1000
    assert short.iterations == 2
    assert short.margin_error > 1e-6 >= tight.margin_error


def test_flow_between_zones_far_apart_does_not_vanish():
    # exp(-4448 km / 5 km) is 0 in double precision.
    places = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 0.1]])
    people = pieces([0, 1, 1], [1, 2, 3])
    zone_flows = sp.csr_array(np.array([[0.0, 5.0], [3.0, 0.0]]))
    fit = spread_flows(zone_flows, people, places, AREAS[:3], decay_km=5.0)
    expected = [[0, 2, 3], [1.2, 0, 0], [1.8, 0, 0]]
    np.testing.assert_allclose(fit.flows.toarray(), expected)


def test_the_input_is_left_as_it_was():
    zone_flows, people, centroids, areas = random_case()
    before = zone_flows.toarray()
    spread_flows(zone_flows, people, centroids, areas)
    np.testing.assert_array_equal(zone_flows.toarray(), before)


def test_no_flow_gives_no_flow():
    fit = spread_flows(sp.csr_array((2, 2)), RECTANGLE, CORNERS, AREAS)
    assert fit.flows.shape == (4, 4)
    assert fit.flows.nnz == 0


def test_a_zone_with_flow_and_no_people_is_refused():
    people = pieces([0, 0, 2, 2], [1, 1, 1, 1])
    zone_flows = np.zeros((4, 4))
    zone_flows[0, 2] = zone_flows[3, 1] = 1.0
    message = r"2 of 4 zones have flow but no people .*first zone rows: \[1, 3\]"
    with pytest.raises(GraphError, match=message):
        spread_flows(sp.csr_array(zone_flows), people, CORNERS, AREAS)
    zone_flows[3, 1] = 0.0
    fit = spread_flows(sp.csr_array(zone_flows), people, CORNERS, AREAS)
    assert fit.flows.sum() == pytest.approx(1)


def test_too_many_pairs_are_refused(monkeypatch):
    case = (THERE, RECTANGLE, CORNERS, AREAS)
    monkeypatch.setattr(gravity, "MAX_PAIRS", 4)
    assert spread_flows(*case).flows.nnz == 4
    monkeypatch.setattr(gravity, "MAX_PAIRS", 3)
    message = r"join 4 pairs of cells; expected at most 3\. Use a coarser"
    with pytest.raises(GraphError, match=message):
        spread_flows(*case)


@pytest.mark.parametrize("decay_km", [0.0, -3.0])
def test_decay_must_be_positive(decay_km):
    with pytest.raises(GraphError, match=rf"must be positive, got {decay_km} km"):
        spread_flows(THERE, RECTANGLE, CORNERS, AREAS, decay_km=decay_km)


# Flow within zones: given, modelled from workers, or none


def test_flow_within_zones_is_spread_as_given_or_left_out():
    zone_flows, people, centroids, areas = random_case()
    given = spread_flows(zone_flows, people, centroids, areas)
    inside = between_zones(given.flows, people, 6).diagonal()
    np.testing.assert_allclose(inside, zone_flows.diagonal())
    bare = sp.csr_array(zone_flows - sp.diags_array(zone_flows.diagonal()))
    none = spread_flows(bare, people, centroids, areas)
    assert not between_zones(none.flows, people, 6).diagonal().any()
    assert not none.flows.diagonal().any()


def test_workers_who_do_not_leave_stay_by_hand():
    # Half of 10, 100 and 20 residents work; 3 + 4, 10 and 30 of them leave.
    zone_flows = np.array([[99.0, 3.0, 4.0], [10.0, 7.0, 0.0], [0.0, 30.0, 0.0]])
    people = np.array([10.0, 100.0, 20.0])
    filled = internal_flow(sp.csr_array(zone_flows), people, 0.5).toarray()
    expected = [[0, 3, 4], [10, 40, 0], [0, 30, 0]]
    assert filled.tolist() == expected


def test_share_of_workers_changes_only_the_flow_within():
    zone_flows, people, *_ = random_case()
    residents = 10 * np.bincount(people.zone, people.population)
    few, many = (internal_flow(zone_flows, residents, w).toarray() for w in (0.4, 0.5))
    np.testing.assert_allclose((many - few).diagonal(), residents * 0.1)
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_array_equal(few[off], zone_flows.toarray()[off])
    np.testing.assert_array_equal(many[off], few[off])


# Crosswalk


def test_rows_of_one_zone_and_token_are_added_and_empty_ones_left_out():
    zone, token = np.array([2, 0, 2, 0, 1]), np.array([3, 5, 3, 1, 1])
    rows = Crosswalk.from_rows(zone, token, np.array([1.0, 2.0, 4.0, 8.0, 0.0]))
    assert rows.zone.tolist() == [0, 0, 2]
    assert rows.token.tolist() == [1, 5, 3]
    assert rows.population.tolist() == [8, 2, 5]


def test_main_zone_is_where_most_people_of_a_token_live():
    people = pieces([0, 1, 1, 2], [5, 9, 1, 2], token=[0, 0, 3, 3])
    assert people.main_zone(5).tolist() == [1, -1, -1, 2, -1]
    assert people.main_zone(4).tolist() == [1, -1, -1, 2]
