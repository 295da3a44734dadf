import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.linear_model import LogisticRegression

from mora.baselines import BASELINES, BaselineInput, MissingInputError
from mora.baselines import hrep as _module  # noqa: F401 - registers the baseline
from mora.baselines.hrep import (
    build_city,
    city_loss,
    default_epochs,
    draw_triplets,
    hrep,
)
from mora.baselines.hrep_network import (
    RELATIONS,
    RegionNetwork,
    likeness_loss,
    mobility_loss,
    neighbour_loss,
)
from mora.baselines.region_graphs import (
    choose_block,
    convolution,
    feature_profiles,
    joined,
    known_rows,
    nearest_graph,
    unit_rows,
)
from mora.errors import MoraError

TOKENS = 40
GROUP = np.arange(TOKENS) % 2  # strewn along the line of neighbours
FAST = {"dim": 8, "epochs": 15, "learning_rate": 0.01, "nearest": 5}


def planted(seed=0, **changes):
    """Two groups with POIs of their own and trips among themselves, on one line."""
    rng = np.random.default_rng(7)
    same = GROUP[:, None] == GROUP
    mix = np.where(GROUP[:, None] == np.arange(6) % 2, 8.0, 1.0)
    line = sp.diags_array([np.ones(TOKENS - 1)] * 2, offsets=[-1, 1])
    inputs = {
        "flows": sp.csr_array(rng.poisson(np.where(same, 20.0, 1.0)).astype(float)),
        "features": {"other": rng.random((TOKENS, 3)), "poi": 1.0 * rng.poisson(mix)},
        "neighbours": sp.csr_array(line),
        "seed": seed,
    }
    return BaselineInput(**{**inputs, **changes})


def dense(graph):
    return np.asarray(graph.toarray())


# ------------------------------------------------------------------- graphs


def test_unit_rows_have_cosines_as_products():
    profiles = unit_rows(np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0], [np.nan, 1.0]]))
    expected = [[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(dense(profiles @ profiles.T), expected, atol=1e-12)


def test_unit_rows_of_trips_and_of_their_shares_are_the_same():
    flows = planted().flows
    shares = sp.csr_array(sp.diags_array(1 / flows.sum(axis=1)) @ flows)
    np.testing.assert_allclose(dense(unit_rows(flows)), dense(unit_rows(shares)))


def test_known_rows_have_no_gap():
    values = np.array([[1.0, 2.0], [np.nan, 2.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(known_rows(values), [True, False, False])


def test_counts_are_weighted_by_tf_idf():
    counts = np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 0.0], [np.nan, np.nan]])
    rare = math.log(4 / 2) + 1  # of three known regions one has the second category
    first = dense(feature_profiles(counts))[0]
    np.testing.assert_allclose(first, np.array([1, rare]) / math.hypot(1, rare))


def test_other_numbers_and_unknown_blocks_are_taken_as_they_come():
    values = np.array([[-3.0, 4.0], [1.0, 0.0]])
    np.testing.assert_allclose(dense(feature_profiles(values))[0], [-0.6, 0.8])
    assert feature_profiles(np.full((3, 2), np.nan)).nnz == 0


def test_nearest_graph_agrees_with_sorting_each_row():
    rng = np.random.default_rng(0)
    values = rng.random((30, 4))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    expected = np.eye(30)
    for i, row in enumerate(unit @ unit.T):
        chosen = np.argsort(-row)[:4]
        expected[i, chosen] = expected[chosen, i] = 1
    np.testing.assert_array_equal(dense(nearest_graph(unit_rows(values), 4)), expected)


def test_nearest_graph_does_not_depend_on_the_block(monkeypatch):
    profiles = unit_rows(np.random.default_rng(0).random((30, 4)))
    whole = dense(nearest_graph(profiles, 4))
    monkeypatch.setattr("mora.baselines.region_graphs.ROWS_A_BLOCK", 7)
    np.testing.assert_array_equal(dense(nearest_graph(profiles, 4)), whole)


def test_nearest_graph_leaves_the_unknown_alone():
    values = np.array([[1.0, 0.0], [1.0, 0.1], [np.nan, 1.0]])
    got = dense(nearest_graph(unit_rows(values), 3))
    np.testing.assert_array_equal(got, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(dense(nearest_graph(unit_rows(values), 1)), np.eye(3))


def test_nearest_below_one_is_refused():
    with pytest.raises(MoraError, match="nearest is 0; expected 1 or more"):
        nearest_graph(unit_rows(np.eye(2)), 0)


def test_joined_is_mutual_and_holds_the_diagonal():
    got = joined(sp.csr_array(np.array([[0.0, 3.0], [0.0, 0.0]])))
    np.testing.assert_array_equal(dense(got), np.ones((2, 2)))


def test_convolution_scales_by_both_degrees():
    graph = sp.csr_array(np.array([[1.0, 1.0, 0], [1.0, 1.0, 0], [0, 0, 1.0]]))
    expected = [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]
    np.testing.assert_allclose(dense(convolution(graph)), expected)


def test_block_is_the_named_one_or_the_first():
    features = {"a": np.zeros((2, 1)), "b": np.ones((2, 1))}
    assert choose_block(features, "b") is features["b"]
    assert choose_block(features, "poi") is features["a"]


# ------------------------------------------------------------------- losses


def rows_of(count):
    return torch.arange(count)


def test_mobility_loss_by_hand():
    views = {
        "source": torch.tensor([[math.log(3.0)], [0.0]]),
        "destination": torch.tensor([[1.0], [0.0]]),
    }
    trips = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    # The first goes to itself by 3 : 1; it comes from itself by 3 : 1.
    got = mobility_loss(views, rows_of(2), trips, trips.T)
    assert got.item() == pytest.approx(-8 * math.log(0.75), rel=1e-5)


def test_mobility_loss_of_equal_vectors_is_the_log_of_the_tokens():
    views = dict.fromkeys(["source", "destination"], torch.zeros(5, 3))
    got = mobility_loss(views, rows_of(5), torch.ones(5, 5), torch.zeros(5, 5))
    assert got.item() == pytest.approx(25 * math.log(5))


def test_mobility_loss_adds_up_over_rows():
    generator = torch.Generator().manual_seed(0)
    source, destination = torch.randn(2, 6, 3, generator=generator)
    trips = torch.rand(6, 6, generator=generator)
    views = {"source": source, "destination": destination}
    whole = mobility_loss(views, rows_of(6), trips, trips.T)
    parts = [
        mobility_loss(views, rows, trips[rows], trips.T[rows])
        for rows in (torch.arange(4), torch.arange(4, 6))
    ]
    assert whole.item() == pytest.approx(sum(parts).item(), rel=1e-5)
    # Whether trips are seen from their start or their end, the other way round.
    turned = {"source": destination, "destination": source}
    other = mobility_loss(turned, rows_of(6), trips.T, trips)
    assert whole.item() == pytest.approx(other.item(), rel=1e-5)


def test_likeness_loss_by_hand_and_without_anything_known():
    view = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    rows = rows_of(2)
    assert likeness_loss(view, rows, rows, torch.eye(2)).item() == pytest.approx(9 / 4)
    assert likeness_loss(view, rows, rows, view @ view.T).item() == 0
    assert likeness_loss(view, rows[:0], rows[:0], torch.zeros(0, 0)).item() == 0


def test_neighbour_loss_by_hand_and_without_triplets():
    view = torch.tensor([[0.0], [2.0], [2.5]])
    first, second, third = (torch.tensor([i]) for i in range(3))
    got = neighbour_loss(view, first, second, third).item()
    assert got == pytest.approx(0.5, abs=1e-4)
    assert neighbour_loss(view, first[:0], second[:0], third[:0]).item() == 0


def test_triplets_are_neighbours_and_others():
    neighbours = planted().neighbours
    anchor, near, far = draw_triplets(neighbours, np.random.default_rng(0))
    touching = dense(neighbours) > 0
    assert len(anchor) > TOKENS / 2
    assert touching[anchor, near].all()
    assert not touching[anchor, far].any()
    assert (anchor != far).all()


def test_there_are_no_triplets_where_nothing_touches():
    assert draw_triplets(sp.csr_array((4, 4)), np.random.default_rng(0)).shape == (3, 0)


def test_loss_of_drawn_rows_is_that_of_all_on_average(monkeypatch):
    city = build_city(planted(), 5, "poi")
    generator = torch.Generator().manual_seed(0)
    views = {name: torch.randn(TOKENS, 4, generator=generator) for name in RELATIONS}
    rng = np.random.default_rng(0)
    whole = city_loss(city, views, rng).item()
    monkeypatch.setattr("mora.baselines.hrep.LOSS_ROWS", 10)
    drawn = np.mean([city_loss(city, views, rng).item() for _ in range(200)])
    assert drawn == pytest.approx(whole, rel=0.03)


# ------------------------------------------------------------------ network


def test_network_agrees_with_one_written_out_relation_by_relation():
    torch.manual_seed(0)
    tokens, dim = 6, 8
    network = RegionNetwork(tokens, dim, layers=2, dropout=0.5).eval()
    graphs = torch.rand(len(RELATIONS), tokens, tokens)
    region, views = network(torch.block_diag(*graphs))

    seen, relations = [], []
    for graph, start in zip(graphs, network.relations, strict=True):
        relation, vectors = start, network.start
        first, second = network.convolutions
        hidden = graph @ (vectors * relation @ first.weight.T) + first.bias
        hidden = network.norms[0](hidden)
        vectors = vectors + torch.where(hidden > 0, hidden, 0.01 * hidden)
        relation = network.transforms[0](relation)
        seen.append(graph @ (vectors * relation @ second.weight.T) + second.bias)
        relations.append(network.transforms[1](relation))
    seen = torch.stack(seen)
    attended, _ = network.attention(seen, seen, seen)
    mixed = network.kept * attended + (1 - network.kept) * seen
    scores = [
        (torch.nn.functional.leaky_relu(network.score(m)) @ network.query).mean()
        for m in mixed
    ]
    weights = torch.stack(scores).softmax(0)
    expected = sum(w * m for w, m in zip(weights, mixed, strict=True))
    torch.testing.assert_close(region, expected)
    for name, relation in zip(RELATIONS, relations, strict=True):
        torch.testing.assert_close(views[name], expected * relation)


def test_each_relation_has_its_own_graph():
    given = planted()
    city = build_city(given, 5, "poi")
    assert set(city.graphs) == set(RELATIONS)
    outgoing, incoming = unit_rows(given.flows), unit_rows(sp.csr_array(given.flows.T))
    expected = {
        "neighbour": joined(given.neighbours),
        "poi": nearest_graph(feature_profiles(given.features["poi"]), 5),
        "destination": nearest_graph(outgoing, 5),
        "source": nearest_graph(incoming, 5),
    }
    for name, graph in expected.items():
        np.testing.assert_array_equal(dense(city.graphs[name]), dense(graph))
    assert city.flows.sum() == pytest.approx(TOKENS**2)


# ----------------------------------------------------------------- baseline


@pytest.mark.parametrize("gap", [False, True], ids=["complete", "with gaps"])
def test_planted_groups_are_recovered(gap):
    given = planted()
    if gap:
        given.features["poi"][::5] = np.nan
    vectors = hrep(given, **FAST | {"epochs": 100})
    assert vectors.shape == (TOKENS, 8)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    train = np.arange(TOKENS) < TOKENS // 2
    probe = LogisticRegression().fit(vectors[train], GROUP[train])
    assert probe.score(vectors[~train], GROUP[~train]) > 0.9


def test_training_lowers_the_loss():
    city = build_city(planted(), 5, "poi")
    even = 2 * TOKENS**2 * math.log(TOKENS)
    vectors = [hrep(planted(), **FAST | {"epochs": n}) for n in (1, 80)]
    views = [dict.fromkeys(RELATIONS, torch.from_numpy(v)) for v in vectors]
    rng = np.random.default_rng(0)
    first, last = (city_loss(city, view, rng).item() for view in views)
    assert first < 2 * even
    assert last < first


def test_same_seed_same_vectors_whatever_was_drawn_before():
    first = hrep(planted(), **FAST)
    torch.randn(3)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(hrep(planted(), **FAST), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 16}, {"learning_rate": 0.02}, {"nearest": 6}, {"poi": "other"}],
    ids=str,
)
def test_options_change_the_vectors(changes):
    assert not np.array_equal(
        hrep(planted(), **FAST), hrep(planted(), **FAST | changes)
    )


def test_seed_and_dim_change_the_vectors():
    first = hrep(planted(), **FAST)
    assert not np.array_equal(hrep(planted(seed=1), **FAST), first)
    assert hrep(planted(), **FAST | {"dim": 12}).shape == (TOKENS, 12)


def test_every_input_matters():
    first = hrep(planted(), **FAST)
    given = planted()
    ring = sp.csr_array(given.neighbours[::-1])
    others = [
        planted(flows=sp.csr_array(given.flows.T)),
        planted(features={"poi": given.features["other"]}),
        planted(neighbours=sp.csr_array(ring + ring.T)),
    ]
    for other in others:
        assert not np.array_equal(hrep(other, **FAST), first)


def test_regions_without_neighbours_or_features_are_embedded():
    features = {"poi": np.full((TOKENS, 2), np.nan)}
    given = planted(features=features, neighbours=sp.csr_array((TOKENS, TOKENS)))
    assert np.isfinite(hrep(given, **FAST)).all()


def test_epochs_fall_in_proportion_to_the_tokens():
    sizes = {1: 2000, 180: 2000, 360: 1000, 3600: 100, 100_000: 100}
    assert {tokens: default_epochs(tokens) for tokens in sizes} == sizes


def test_default_epochs_are_taken(monkeypatch):
    monkeypatch.setattr("mora.baselines.hrep.default_epochs", lambda _: 15)
    got = hrep(planted(), **FAST | {"epochs": None})
    np.testing.assert_array_equal(got, hrep(planted(), **FAST))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"flows": None}, "no mobility graph. Run the stage `graph`"),
        ({"features": {}}, "no features. Name a modality"),
        ({"neighbours": None}, "no neighbours. Use H3 tokens"),
    ],
)
def test_missing_inputs_are_named(missing, message):
    with pytest.raises(MissingInputError, match=message):
        hrep(planted(**missing))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10}, "dim is 10; expected a multiple of 4"),
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected above 0"),
        ({"nearest": 0}, "nearest is 0; expected 1 or more"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(MoraError, match=message):
        hrep(planted(), **options)


def test_a_city_where_nobody_moves_is_refused():
    with pytest.raises(MoraError, match="flows of 40 tokens sum to 0"):
        hrep(planted(flows=sp.csr_array((TOKENS, TOKENS))))


def test_it_is_registered_with_what_it_needs():
    registered = BASELINES["hrep"]
    assert registered.needs == ("flows", "features", "neighbours")
    assert len(registered.settings) == 4
    assert registered.settings[0] == {}
    assert registered.description.startswith("Give HREP's vectors")
