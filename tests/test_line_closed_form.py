import math

import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import ConfigError, GraphError
from mora.graph.storage import MobilityGraph, read_graph
from mora.line import embed
from mora.line.closed_form import (
    closed_form,
    orthonormalise,
    truncated_svd,
)
from mora.line.link_prediction import hold_out, link_auc
from mora.line.pmi import ShiftedPmi
from mora.line.sampled import sampled
from mora.memory import MemoryLimitError


def planted_graph(communities=2, size=60, inside=4.0, across=0.4, seed=0):
    """Poisson flows, many within a community and few across."""
    block = np.repeat(np.arange(communities), size)
    rate = np.where(block[:, None] == block, inside, across)
    flows = np.triu(np.random.default_rng(seed).poisson(rate), 1)
    return MobilityGraph.from_matrix(sp.csr_array(flows.astype(np.float64))), block


def random_graph(tokens=40, density=0.3, seed=0) -> MobilityGraph:
    rng = np.random.default_rng(seed)
    flows = rng.random((tokens, tokens)) * (rng.random((tokens, tokens)) < density)
    return MobilityGraph.from_matrix(sp.csr_array(flows))


def dense_pmi(graph, shift):
    weight = graph.symmetric().toarray()
    degree = weight.sum(axis=1)
    pmi = np.zeros_like(weight)
    for i, j in zip(*weight.nonzero(), strict=True):
        ratio = degree.sum() * weight[i, j] / (degree[i] * degree[j])
        pmi[i, j] = max(0, math.log(ratio) - math.log(shift))
    return pmi


class Dense:
    """A matrix in the form that the factorisation takes."""

    def __init__(self, values):
        self.values = values.astype(np.float32)

    def __len__(self):
        return len(self.values)

    def multiply(self, x, progress):
        progress(1, 1)
        return self.values @ x


def spatial_values(tokens=300):
    """Symmetric, with singular values that fall off quickly."""
    place = np.linspace(0, 1, tokens)
    return np.exp(-(((place[:, None] - place) / 0.1) ** 2))


def test_known_embedding():
    # Triangle: each entry m = log(6 / 4); the largest eigenvalue is 2 m, and its
    # vector is (1, 1, 1) / sqrt(3).
    graph = MobilityGraph.from_matrix(sp.csr_array(np.triu(np.ones((3, 3)), 1)))
    got = closed_form(graph, dim=1, shift=1.0)
    expected = math.sqrt(2 * math.log(1.5) / 3)
    np.testing.assert_allclose(got, np.full((3, 1), expected), rtol=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_embedding_agrees_with_dense_svd(exponent):
    graph = random_graph()
    u, s, _ = np.linalg.svd(dense_pmi(graph, 0.25))
    expected = u[:, :9] * s[:9] ** exponent
    expected *= np.sign(expected[np.abs(expected).argmax(axis=0), np.arange(9)])
    got = closed_form(graph, dim=9, oversample=40, exponent=exponent)
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("weighting", [0.5, 1.0])
def test_weighted_error_is_as_small_as_it_can_be(weighting):
    graph = random_graph()
    values, degree = dense_pmi(graph, 0.25), graph.degree()
    matrix = ShiftedPmi(graph, weighting=weighting)
    left, singular = truncated_svd(matrix, 5, oversample=35)
    vertex = closed_form(graph, dim=5, oversample=35, weighting=weighting)
    found = left * np.sqrt(singular) / matrix.scale[:, None]
    np.testing.assert_allclose(vertex, found, rtol=1e-5)

    def error(context):
        weight = np.outer(degree, degree) ** weighting
        return (weight * (values - vertex @ context.T) ** 2).sum()

    # The best context vectors for these vertex vectors, column by column.
    root = degree ** (weighting / 2)
    best = np.linalg.lstsq(root[:, None] * vertex, root[:, None] * values)[0].T
    exact = np.linalg.svd(root[:, None] * values * root, compute_uv=False)
    assert error(best) == pytest.approx((exact[5:] ** 2).sum(), rel=1e-4)


def test_sketch_finds_the_leading_singular_values():
    exact = np.linalg.svd(spatial_values(), compute_uv=False)
    left, singular = truncated_svd(Dense(spatial_values()), 8, oversample=8)
    np.testing.assert_allclose(singular, exact[:8], rtol=1e-5)
    np.testing.assert_allclose(left.T @ left, np.eye(8), atol=1e-5)


def test_power_iterations_sharpen_the_sketch():
    values = dense_pmi(random_graph(tokens=200), 0.25)
    exact = np.linalg.svd(values, compute_uv=False)[:8]
    errors = [
        np.abs(truncated_svd(Dense(values), 8, power_iterations=n)[1] - exact).max()
        for n in (0, 2, 6)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_orthonormalise_agrees_with_householder():
    x = np.random.default_rng(0).normal(size=(50, 6)) * 10.0 ** np.arange(6)
    columns, triangle = orthonormalise(x)
    np.testing.assert_allclose(columns.T @ columns, np.eye(6), atol=1e-6)
    np.testing.assert_allclose(columns @ triangle, x, rtol=1e-5)
    np.testing.assert_allclose(np.abs(triangle), np.abs(np.linalg.qr(x)[1]), rtol=1e-6)


def test_orthonormalise_falls_back_on_dependent_columns():
    x = np.ones((20, 3))
    columns, triangle = orthonormalise(x)
    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(columns @ triangle, x, atol=1e-6)


def test_planted_communities_are_recovered():
    graph, block = planted_graph()
    embedding = closed_form(graph, dim=4)
    middles = np.stack([embedding[block == b].mean(axis=0) for b in (0, 1)])
    distance = np.linalg.norm(embedding[:, None] - middles, axis=2)
    np.testing.assert_array_equal(distance.argmin(axis=1), block)


def test_links_are_told_as_well_as_by_the_sampled_method():
    graph, _ = planted_graph(communities=8, size=40, across=0.05)
    train, pairs, weights = hold_out(graph, 0.1)
    links = (pairs, weights, train.degree())
    closed = link_auc(closed_form(train, dim=8, weighting=1.0), *links)
    assert closed > 0.8
    assert closed >= link_auc(sampled(train, dim=8), *links)


def test_scaling_all_weights_changes_nothing():
    graph = random_graph()
    heavier = MobilityGraph.from_matrix(graph.symmetric() * 27)
    np.testing.assert_allclose(
        closed_form(heavier, dim=8), closed_form(graph, dim=8), atol=1e-4
    )


def test_same_seed_gives_the_same_bits():
    graph, _ = planted_graph()
    first, second = (closed_form(graph, dim=8, seed=5) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"shift": 1.0},
        {"power_iterations": 0},
        {"oversample": 0},
        {"exponent": 1.0},
        {"weighting": 1.0},
        {"seed": 1},
    ],
)
def test_every_setting_changes_the_result(change):
    graph, _ = planted_graph()
    usual = closed_form(graph, dim=8)
    assert not np.array_equal(closed_form(graph, dim=8, **change), usual)


def test_smaller_dim_gives_the_leading_columns():
    graph = random_graph()
    assert closed_form(graph, dim=5).shape == (40, 5)
    np.testing.assert_allclose(
        closed_form(graph, dim=5, oversample=35),
        closed_form(graph, dim=9, oversample=31)[:, :5],
        atol=1e-4,
    )


def test_isolated_tokens_are_zero():
    flows = random_graph(tokens=30).symmetric().toarray()
    flows[[3, 17]] = flows[:, [3, 17]] = 0
    embedding = closed_form(MobilityGraph.from_matrix(sp.csr_array(flows)), dim=40)
    zero = ~embedding.any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(zero), [3, 17])


def test_columns_beyond_the_tokens_are_zero():
    graph = random_graph(tokens=6, density=0.9)
    embedding = closed_form(graph, dim=10)
    assert embedding[:, :6].any(axis=0).all()
    assert not embedding[:, 6:].any()


def test_columns_beyond_the_rank_are_zero():
    # A star has rank 2, whatever the number of its leaves.
    flows = np.zeros((20, 20))
    flows[0, 1:] = np.arange(1, 20)
    embedding = closed_form(MobilityGraph.from_matrix(sp.csr_array(flows)), dim=5)
    assert embedding[:, :2].any(axis=0).all()
    assert not embedding[:, 2:].any()


def test_graph_is_left_as_it_was(tmp_path):
    graph = random_graph()
    graph.write(tmp_path)
    closed_form(graph, dim=4, shift=2.0)
    before = read_graph(tmp_path)
    np.testing.assert_array_equal(graph.indptr, before.indptr)
    np.testing.assert_array_equal(graph.neighbour, before.neighbour)
    np.testing.assert_array_equal(graph.weight, before.weight)
    np.testing.assert_array_equal(closed_form(before, dim=4), closed_form(graph, dim=4))


def test_too_little_memory_is_refused_before_the_work(monkeypatch):
    graph, _ = planted_graph()
    monkeypatch.setattr(ShiftedPmi, "multiply", None)  # no work may begin
    message = r"LINE of 120 tokens x 128 needs about 0\.08 GB; 0\.01 GB is allowed by"
    with pytest.raises(MemoryLimitError, match=message):
        closed_form(graph, memory_gb=0.01)


def test_killed_work_goes_on_after_its_last_pass(tmp_path, monkeypatch):
    graph, _ = planted_graph()
    whole = closed_form(graph, dim=8)
    passes, multiply = [], ShiftedPmi.multiply

    def stop_in_the_third_pass(self, x, progress):
        passes.append(1)
        if len(passes) == 3:
            raise KeyboardInterrupt
        return multiply(self, x, progress)

    monkeypatch.setattr(ShiftedPmi, "multiply", stop_in_the_third_pass)
    with pytest.raises(KeyboardInterrupt):
        closed_form(graph, dim=8, folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["sketch-002.npy"]
    again = closed_form(graph, dim=8, folder=tmp_path)
    assert len(passes) == 3 + 3  # of five, two were done
    assert again.tobytes() == whole.tobytes()


def test_progress_counts_the_edges_of_all_passes():
    graph, _ = planted_graph()
    seen = []
    closed_form(graph, dim=4, progress=lambda *step: seen.append(step))
    total = 5 * graph.edges
    assert seen == [
        (done, total) for done in range(graph.edges, total + 1, graph.edges)
    ]


def test_graph_without_edges_is_refused():
    empty = MobilityGraph.from_matrix(sp.csr_array((4, 4)))
    with pytest.raises(GraphError, match="graph of 0 edges"):
        closed_form(empty)


def test_shift_above_every_edge_is_refused():
    graph, _ = planted_graph()
    with pytest.raises(GraphError, match=r"above log\(1000.*Choose a smaller shift"):
        closed_form(graph, shift=1000.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": 0.0}, r"shift 0\.0 on a graph of \d+ edges; expected a shift"),
        ({"dim": 0}, "dim 0, power iterations 3"),
        ({"power_iterations": -1}, "power iterations -1"),
        ({"oversample": -1}, "oversample -1"),
        ({"exponent": -0.5}, r"exponent is -0\.5 and weighting 0\.0; expected"),
        ({"weighting": -1.0}, r"weighting -1\.0; expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(GraphError, match=message):
        closed_form(random_graph(), **change)


def test_embed_calls_the_method_by_name():
    graph, _ = planted_graph()
    np.testing.assert_array_equal(
        embed(graph, dim=4, seed=2, shift=1.0),
        closed_form(graph, dim=4, seed=2, shift=1.0),
    )
    np.testing.assert_array_equal(
        embed(graph, "sampled", dim=4, seed=2, samples=999),
        sampled(graph, dim=4, seed=2, samples=999),
    )


def test_unknown_method_is_refused():
    with pytest.raises(
        ConfigError, match=r"'node2vec'; expected one of closed_form, s"
    ):
        embed(random_graph(), "node2vec")
