import numba
import numpy as np
import pytest

from mora.errors import GraphError
from mora.graph import synthetic
from mora.graph.synthetic import build_gravity_graph, make_country

ARRAYS = ("indptr", "neighbour", "outflow", "inflow")


def same(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ARRAYS
    ) and np.array_equal(first.weight[:], second.weight[:])


def test_country_is_in_hilbert_order_and_heavy_tailed():
    country = make_country(3_000)
    step = np.linalg.norm(np.diff(country.xy_km, axis=0), axis=1)
    anywhere = np.linalg.norm(country.xy_km[1:] - country.xy_km[:-1][::-1], axis=1)
    assert np.median(step) < np.median(anywhere) / 20
    assert country.population.min() > 0
    assert country.population.max() > 10 * np.median(country.population)
    assert not np.array_equal(make_country(3_000, seed=1).xy_km, country.xy_km)


@pytest.mark.parametrize("edges", [5_000, 40_000])
def test_graph_has_about_the_edges_asked_for(tmp_path, edges):
    graph = build_gravity_graph(make_country(800), edges, tmp_path)
    assert graph.edges == pytest.approx(edges, rel=0.1)
    assert (graph.rows() < graph.neighbour).all()
    assert min(graph.weight.tolist()) >= 1
    np.testing.assert_allclose(graph.degree(), graph.outflow)


def test_mean_weight_follows_the_gravity_law(tmp_path):
    # Two places 5 km apart have half of the flow of two at the same point.
    xy = np.array([[0.0, 0], [0, 0], [5, 0], [5_000, 0]])
    country = synthetic.Country(xy, np.array([100.0, 100, 100, 1e-3]))
    drawn = [
        build_gravity_graph(country, 3, tmp_path / str(s), seed=s).symmetric().toarray()
        for s in range(300)
    ]
    mean = np.mean(drawn, axis=0)
    assert mean[0, 2] == pytest.approx(mean[0, 1] / 2, rel=0.1)
    assert mean[1, 2] == pytest.approx(mean[0, 1] / 2, rel=0.1)
    assert mean[0, 3] < mean[0, 1] / 1_000


def test_weights_have_the_mean_of_a_poisson():
    uniform = (np.arange(20_000) + 0.5) / 20_000
    for mean in (0.1, 3.0, 29.0, 31.0, 1_000.0):
        drawn = np.array([synthetic._poisson(mean, u) for u in uniform])
        assert drawn.mean() == pytest.approx(mean, rel=0.02)
        assert drawn.std() == pytest.approx(np.sqrt(mean), rel=0.1)


def test_seed_changes_the_draws_and_threads_do_not(tmp_path):
    country, before = make_country(300), numba.get_num_threads()
    numba.set_num_threads(1)
    first = build_gravity_graph(country, 3_000, tmp_path / "a")
    numba.set_num_threads(before)
    assert same(build_gravity_graph(country, 3_000, tmp_path / "b"), first)
    assert not same(build_gravity_graph(country, 3_000, tmp_path / "c", seed=1), first)


def test_blocks_change_nothing(tmp_path, monkeypatch):
    country, seen = make_country(300), []
    whole = build_gravity_graph(country, 3_000, tmp_path / "a")
    monkeypatch.setattr(synthetic, "PAIRS_A_BLOCK", 2_000)
    blocks = build_gravity_graph(
        country, 3_000, tmp_path / "b", progress=lambda *step: seen.append(step)
    )
    assert same(blocks, whole)
    assert len(seen) == 50
    assert seen[-1] == (300, 300)


@pytest.mark.parametrize("edges", [0, 2_300])
def test_more_edges_than_pairs_are_refused(tmp_path, edges):
    with pytest.raises(GraphError, match=r"edges between 60 places; expected 1 to hal"):
        build_gravity_graph(make_country(60), edges, tmp_path)
