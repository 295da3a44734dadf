"""Losses of the objectives on small batches: by hand, densely, and where they end."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from tests.small_run import one_thread  # noqa: F401 - a fixture for every test below

from mora.config.objectives import (
    BarlowConfig,
    ContrastiveConfig,
    FlowConfig,
    MaskedConfig,
    NeighboursConfig,
    ObjectivesConfig,
    VicregConfig,
)
from mora.encoder import contrastive
from mora.encoder.contrastive import Lookalikes, info_nce
from mora.encoder.objectives import (
    OBJECTIVES,
    Barlow,
    Contrastive,
    Flow,
    Masked,
    Material,
    ModalityBatch,
    Neighbours,
    Vicreg,
    Views,
    build_objectives,
)
from mora.encoder.objectives.flow import draw_edges, edge_weights
from mora.encoder.objectives.targets import make_targets, neighbour_mean, standardise
from mora.errors import ConfigError
from mora.graph.storage import MobilityGraph

TOKENS, DIM = 12, 4


def rows(count=TOKENS, columns=DIM, seed=0):
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed))


def batch_of(values, present=None):
    present = torch.ones(len(values), dtype=torch.bool) if present is None else present
    return ModalityBatch(values, present)


def views_of(mobility, heads, present=None, **others):
    everyone = torch.ones(len(mobility), dtype=torch.bool)
    present = dict.fromkeys(heads, everyone) | (present or {})
    return Views(torch.arange(len(mobility)), mobility, heads, present, **others)


def random_graph(tokens=TOKENS, seed=0):
    flows = np.random.default_rng(seed).poisson(0.8, (tokens, tokens))
    return MobilityGraph.from_matrix(sp.csr_array(np.triu(flows, 1).astype(float)))


def modalities():
    missing = torch.arange(TOKENS) % 4 == 1
    return {
        "poi": batch_of(rows(columns=5, seed=1)),
        "people": batch_of(rows(columns=3, seed=2), ~missing),
    }


def material(**changes):
    given = {
        "dim": DIM,
        "modalities": modalities(),
        "temperatures": {"poi": 0.5, "people": 0.2},
        "graph": random_graph(),
    }
    return Material(**given | changes)


def random_views(seed=3):
    present = {name: batch.present for name, batch in modalities().items()}
    heads = {
        name: rows(int(mask.sum()), seed=seed + number)
        for number, (name, mask) in enumerate(present.items(), start=1)
    }
    return views_of(rows(seed=seed), heads, present)


# -------------------------------------------------------------- all of them


SETTINGS = {
    "contrastive": ContrastiveConfig(),
    "masked": MaskedConfig(weight=1),
    "vicreg": VicregConfig(weight=1),
    "barlow": BarlowConfig(weight=1),
    "flow": FlowConfig(weight=1),
    "neighbours": NeighboursConfig(weight=1),
}


def test_every_setting_has_an_objective():
    assert set(OBJECTIVES) == set(ObjectivesConfig.model_fields)
    assert set(SETTINGS) == set(OBJECTIVES)


def test_those_with_a_weight_are_built():
    config = ObjectivesConfig(masked={"weight": 2}, contrastive={"weight": 0})
    built = build_objectives(config, material())
    assert {name: o.weight for name, o in built.items()} == {"masked": 2.0}
    assert [*build_objectives(ObjectivesConfig(), material())] == ["contrastive"]


def test_one_weight_at_least():
    with pytest.raises(ValueError, match=r"every weight is 0; expected one above 0"):
        ObjectivesConfig(contrastive={"weight": 0})


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_to_say_is_a_loss_of_zero(name):
    nobody = torch.zeros(TOKENS, dtype=torch.bool)
    empty = {n: batch_of(b.values, nobody) for n, b in modalities().items()}
    nowhere = MobilityGraph.from_matrix(sp.csr_array((TOKENS, TOKENS)))
    built = OBJECTIVES[name](SETTINGS[name], material(modalities=empty, graph=nowhere))
    heads, present = {n: rows(0) for n in empty}, dict.fromkeys(empty, nobody)
    mobility = rows().requires_grad_()
    loss = built(views_of(mobility, heads, present))
    assert loss.item() == 0
    loss.backward()
    assert not mobility.grad.any()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_in_every_validation_and_new_in_training(name):
    built, views = OBJECTIVES[name](SETTINGS[name], material()), random_views()
    for module in built.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.ones_(module.weight)
    assert built.eval()(views) == built(views)
    torch.manual_seed(0)
    losses = {built.train()(views).item() for _ in range(4)}
    assert (len(losses) > 1) == (name in ("masked", "flow"))
    torch.manual_seed(0)
    assert built(views).item() in losses


@pytest.mark.parametrize("name", ["flow", "neighbours"])
def test_a_graph_is_needed(name):
    with pytest.raises(
        ConfigError, match=rf"objectives\.{name}: got no mobility graph"
    ):
        OBJECTIVES[name](SETTINGS[name], material(graph=None))


def test_an_objective_needs_a_loss():
    with pytest.raises(TypeError, match="abstract"):
        Flow.__mro__[1](1.0)


# ---------------------------------------------------------------- contrastive


def dense_info_nce(a, b, temperature, left_out):
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    logits = logits.masked_fill(left_out, -torch.inf)
    own = torch.arange(len(a))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@pytest.mark.parametrize("temperature", [0.2, 0.01])
@pytest.mark.parametrize("tile", [5, 1024])
def test_lookalikes_agree_with_dense(temperature, tile, monkeypatch):
    monkeypatch.setattr(contrastive, "TILE", tile)
    given = [rows(seed=s).requires_grad_() for s in (0, 1)]
    likeness = F.normalize(rows(columns=2, seed=2), dim=1)
    left_out = (likeness @ likeness.T > 0.7) & ~torch.eye(TOKENS, dtype=torch.bool)
    assert 0 < left_out.sum() < TOKENS**2 - TOKENS
    alike = Lookalikes(likeness, 0.7)
    ours = info_nce(*given, temperature=temperature, lookalikes=alike)
    theirs = dense_info_nce(*given, temperature, left_out)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        torch.autograd.grad(ours, given),
        torch.autograd.grad(theirs, given),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_tokens_that_all_look_alike_have_nothing_to_be_told_from():
    alike = Lookalikes(torch.ones(TOKENS, 1), 0.95)
    given = (rows(), rows(seed=1))
    loss = info_nce(*given, temperature=0.2, lookalikes=alike)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 0.02])
def test_a_learned_temperature_has_the_gradient_of_the_dense_loss(temperature):
    given = (rows(), rows(seed=1))
    found = []
    for loss in (
        lambda t: info_nce(*given, temperature=t),
        lambda t: dense_info_nce(*given, t, torch.zeros(TOKENS, TOKENS).bool()),
    ):
        value = torch.tensor(temperature, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(value), value)
        found.append((loss(value).item(), slope.item()))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_learned_temperatures_begin_at_the_heads_and_stop_at_a_hundredth():
    views = random_views()
    learned = Contrastive(ContrastiveConfig(temperature="learned"), material())
    constant = Contrastive(ContrastiveConfig(), material())
    torch.testing.assert_close(learned(views), constant(views))
    assert not [*constant.parameters()]
    assert {*learned.state_dict()} == {"learned.poi", "learned.people"}
    torch.nn.init.constant_(learned.learned["poi"], -9.0)
    assert learned.temperature("poi").item() == pytest.approx(0.01)
    learned(views).backward()
    assert learned.learned["poi"].grad != 0


@pytest.mark.parametrize(
    ("threshold", "same"), [(None, True), (1.0, True), (0.3, False)]
)
def test_false_negatives_are_left_out_below_one(threshold, same):
    config, views = ContrastiveConfig(false_negatives=threshold), random_views()
    found = Contrastive(config, material())(views)
    every = Contrastive(ContrastiveConfig(), material())(views)
    assert (found == every) if same else (found < every)


# ------------------------------------------------------------ VICReg, Barlow


def test_vicreg_by_hand():
    # Column 1 has deviation sqrt(2), column 2 none: its root of 1e-4 is 0.01.
    a = torch.tensor([[1.0, 0], [-1, 0]])
    loss = Vicreg(VicregConfig(weight=1), Material())(views_of(a, {"poi": a.clone()}))
    assert loss.item() == pytest.approx(25 * 0.99 / 2)


def test_vicreg_agrees_with_sums_over_columns():
    a, b = 0.3 * rows(), rows(seed=1)
    variance, covariance = 0.0, 0.0
    for x in (a.numpy(), b.numpy()):
        matrix = np.cov(x.T)
        hinge = np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4))
        variance += hinge.mean() / 2
        covariance += (matrix**2)[~np.eye(DIM, dtype=bool)].sum() / DIM
    config = VicregConfig(weight=1, invariance=2, variance=3, covariance=5)
    expected = 2 * F.mse_loss(a, b).item() + 3 * variance + 5 * covariance
    loss = Vicreg(config, Material())(views_of(a, {"poi": b}))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_barlow_by_hand():
    one = torch.tensor([[1.0, 1], [-1, -1]])
    barlow = Barlow(BarlowConfig(weight=1), Material())
    assert barlow(views_of(one, {"poi": 7 * one})).item() == pytest.approx(
        2 * 0.005, rel=1e-3
    )
    # Both diagonal entries are -1, both others too.
    assert barlow(views_of(one, {"poi": -one})).item() == pytest.approx(
        2 * 4 + 2 * 0.005, rel=1e-3
    )


def test_barlow_does_not_see_size_or_shift():
    a, b = rows(), rows(seed=1)
    barlow = Barlow(BarlowConfig(weight=1), Material())
    moved = views_of(5 * a + 3, {"poi": 0.5 * b - 1})
    torch.testing.assert_close(
        barlow(moved), barlow(views_of(a, {"poi": b})), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("kind", "plain", "changes"),
    [
        (Vicreg, VicregConfig, {"invariance": 1}),
        (Vicreg, VicregConfig, {"variance": 1}),
        (Vicreg, VicregConfig, {"covariance": 25}),
        (Barlow, BarlowConfig, {"redundancy": 0.5}),
    ],
    ids=str,
)
def test_coefficients_change_the_loss(kind, plain, changes):
    given = views_of(0.3 * rows(), {"poi": 0.3 * rows(seed=1)})
    before, after = (kind(plain(**c), Material())(given) for c in ({}, changes))
    assert before != after


def test_with_a_modality_as_anchor_pairs_are_of_tokens_that_have_both():
    views = random_views()
    views = Views(views.tokens, views.mobility, views.heads, views.present, "people")
    pairs = {pair.name: pair for pair in views.pairs()}
    has = views.present["people"]
    assert pairs["poi"].tokens.tolist() == views.tokens[has].tolist()
    assert torch.equal(pairs["poi"].anchor, views.heads["people"])
    assert torch.equal(pairs["poi"].other, views.heads["poi"][has])
    assert torch.equal(pairs["people"].anchor, views.mobility[has])


# -------------------------------------------------------------------- targets


def test_targets_of_every_modality_have_a_mean_square_of_one():
    batch = modalities()["people"]
    for components in (None, 1, 2, 9):
        targets = make_targets(batch, components)
        has = targets.values[targets.present]
        assert has.square().mean().item() == pytest.approx(1, rel=1e-5)
        assert targets.values.shape[1] == min(components or 3, 3)
        assert not targets.values[~targets.present].any()


def test_components_are_those_of_a_singular_value_decomposition():
    batch = modalities()["poi"]
    values = standardise(batch).values.double()
    left, size, _ = torch.linalg.svd(values, full_matrices=False)
    expected = (left * size)[:, :2]
    expected = expected / expected.square().mean().sqrt()
    found = make_targets(batch, 2).values.double()
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=1e-4, atol=1e-4)


def test_constant_features_are_zero():
    assert not make_targets(batch_of(torch.ones(5, 2)), 1).values.any()


def test_neighbours_by_hand():
    # 0 - 1 with weight 1, 1 - 2 with weight 3; token 3 alone.
    flows = np.zeros((4, 4))
    flows[0, 1], flows[1, 2] = 1, 3
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    given = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    mean = neighbour_mean(graph, batch_of(given))
    assert mean.values[:3, 0].tolist() == [20, (10 + 3 * 30) / 4, 20]
    assert mean.present.tolist() == [True, True, True, False]
    without = neighbour_mean(graph, batch_of(given, torch.tensor([1, 1, 0, 1]) > 0))
    assert without.values[:3, 0].tolist() == [20, 10, 20]


def test_neighbours_agree_with_the_dense_matrix():
    graph, batch = random_graph(), modalities()["people"]
    weight = graph.symmetric().toarray() * batch.present.numpy()
    expected = weight @ batch.values.numpy() / weight.sum(axis=1)[:, None]
    found = neighbour_mean(graph, batch).values.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


# ------------------------------------------------------------- reconstruction


def test_reconstruction_begins_at_one_each_modality():
    for kind, config in ((Masked, MaskedConfig()), (Neighbours, NeighboursConfig())):
        loss = kind(config, material())(random_views())
        assert loss.item() == pytest.approx(1, rel=1e-5)


def test_masked_reads_what_dropout_leaves():
    views = random_views()
    for dropout in (0.0, 1.0):
        built = Masked(MaskedConfig(dropout=dropout), material())
        torch.nn.init.ones_(built.decoders["poi"].linear.weight)
        has = views.present["people"][:, None] if dropout == 0 else 0
        left = (views.mobility + has * views.spread("people")) / (1 + 1 * has)
        target = make_targets(modalities()["poi"]).values
        error = left.sum(dim=1, keepdim=True) - target
        expected = (error.square().mean() + 1) / 2
        torch.testing.assert_close(built(views), expected)


def test_a_modality_is_not_reconstructed_from_itself():
    views, built = random_views(), Masked(MaskedConfig(dropout=0), material())
    torch.nn.init.ones_(built.decoders["poi"].linear.weight)
    other = views.heads | {"poi": 9 * views.heads["poi"]}
    changed = Views(views.tokens, views.mobility, other, views.present)
    assert built(changed) == built(views)


def test_neighbours_read_mobility_alone():
    views, built = random_views(), Neighbours(NeighboursConfig(), material())
    targets = make_targets(
        neighbour_mean(random_graph(), standardise(modalities()["poi"]))
    )
    torch.nn.init.ones_(built.decoders["poi"].linear.weight)
    error = views.mobility.sum(dim=1, keepdim=True) - targets.values
    expected = (error[targets.present].square().mean() + 1) / 2
    torch.testing.assert_close(built(views), expected)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (Masked, MaskedConfig(components=1)),
        (Masked, MaskedConfig(dropout=0.9)),
        (Neighbours, NeighboursConfig(components=1)),
    ],
    ids=str,
)
def test_settings_of_reconstruction_change_the_loss(kind, changed):
    losses = []
    for config in (type(changed)(), changed):
        built = kind(config, material()).eval()
        for decoder in built.decoders.values():
            torch.nn.init.ones_(decoder.linear.weight)
        losses.append(built(random_views()))
    assert losses[0] != losses[1]


def test_targets_are_not_kept_with_the_weights():
    names = Masked(MaskedConfig(), material()).state_dict().keys()
    assert {name.split(".")[-1] for name in names} == {"weight", "bias"}


# ----------------------------------------------------------------------- flow


def test_flow_by_hand():
    graph = MobilityGraph.from_matrix(sp.csr_array(np.array([[0, 3.0], [0, 0]])))
    flow = Flow(FlowConfig(weight=1), Material(dim=2, graph=graph))
    mobility = torch.tensor([[1.0, 0], [2, 5]])
    loss = flow(views_of(mobility, {}))
    assert loss.item() == pytest.approx((2 - math.log(4)) ** 2, rel=1e-5)
    torch.nn.init.constant_(flow.mass.bias, 0.25)
    loss = flow(views_of(mobility, {}))
    assert loss.item() == pytest.approx((2.5 - math.log(4)) ** 2, rel=1e-5)


def test_weights_are_those_of_the_matrix():
    graph = random_graph()
    one, two = (a.ravel() for a in np.indices((TOKENS, TOKENS)))
    one, two = one[one != two], two[one != two]
    expected = graph.symmetric().toarray()[one, two]
    np.testing.assert_array_equal(edge_weights(graph, one, two), expected)
    assert 0 < (expected == 0).sum() < len(expected)


def test_every_edge_within_the_batch_is_drawn_about_as_often():
    graph, tokens = random_graph(), np.array([0, 2, 3, 5, 8, 9, 11])
    i, j = draw_edges(graph, tokens, 20_000, np.random.default_rng(0))
    drawn = np.zeros((TOKENS, TOKENS))
    np.add.at(drawn, (tokens[i], tokens[j]), 1)
    inside = np.zeros((TOKENS, TOKENS), bool)
    inside[np.ix_(tokens, tokens)] = True
    edges = (np.triu(graph.symmetric().toarray()) > 0) & inside
    assert ((drawn > 0) == edges).all()
    share = drawn[edges] / drawn.sum() * edges.sum()
    assert share.min() > 0.9
    assert share.max() < 1.1
    assert len(draw_edges(graph, tokens, 5, np.random.default_rng(0))[0]) <= 5


@pytest.mark.parametrize("changed", [{"pairs": 3}, {"mass": "volume"}])
def test_settings_of_flow_change_the_loss(changed):
    losses = []
    for changes in ({}, changed):
        flow = Flow(FlowConfig(**changes), material()).eval()
        torch.nn.init.ones_(flow.mass.weight)
        losses.append(flow(random_views()))
    assert losses[0] != losses[1]
