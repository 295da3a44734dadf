import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from mora.baselines import BASELINES, BaselineInput, MissingInputError, graphs
from mora.errors import MissingExtraError, MoraError

GROUPS, EACH = 3, 15
GROUP = np.repeat(np.arange(GROUPS), EACH)
needs_ensmallen = pytest.mark.skipif(
    find_spec("ensmallen") is None, reason="extra `bench` is not installed"
)
SHORT = {"dim": 8, "walk_length": 10, "walks": 4, "window": 3}


def planted(seed=0, directed=False):
    """Everyone goes everywhere, but far more often within the own group."""
    rng = np.random.default_rng(seed)
    rate = np.where(GROUP[:, None] == GROUP, 60.0, 2.0)
    flows = rng.poisson(rate).astype(float)
    if not directed:
        flows = np.triu(flows) + np.triu(flows, 1).T
    return sp.csr_array(flows)


def probe(vectors):
    return cross_val_score(LogisticRegression(max_iter=500), vectors, GROUP, cv=5)


@needs_ensmallen
def test_walks_recover_groups_that_only_weights_tell_apart():
    flows = planted()
    assert flows.nnz > 0.8 * flows.shape[0] ** 2  # nearly all pairs have an edge
    vectors = graphs.random_walk(BaselineInput(flows=flows), dim=16, walks=10)
    assert vectors.shape == (len(GROUP), 16)
    assert vectors.dtype == np.float32
    assert probe(vectors).mean() == 1


@needs_ensmallen
def test_walks_are_the_same_for_a_seed_and_others_for_another():
    def walk(seed):
        return graphs.random_walk(BaselineInput(flows=planted(), seed=seed), **SHORT)

    np.testing.assert_array_equal(walk(3), walk(3))
    assert not np.allclose(walk(3), walk(4), atol=1e-3)


@pytest.mark.parametrize(
    "change", [{"walk_length": 20}, {"walks": 8}, {"window": 1}, {"epochs": 3}]
)
@needs_ensmallen
def test_every_option_of_the_walks_changes_them(change):
    given = BaselineInput(flows=planted())
    usual, changed = (
        graphs.random_walk(given, **{**SHORT, **more}) for more in ({}, change)
    )
    assert not np.allclose(usual, changed, atol=1e-3)


@needs_ensmallen
def test_walks_have_as_many_columns_as_asked_for():
    got = graphs.random_walk(BaselineInput(flows=planted()), **{**SHORT, "dim": 5})
    assert got.shape == (len(GROUP), 5)


@needs_ensmallen
def test_walks_do_not_depend_on_direction_or_on_what_stays():
    flows = planted(directed=True)
    staying = flows + sp.diags_array(np.full(len(GROUP), 500.0)).tocsr()
    results = [
        graphs.random_walk(BaselineInput(flows=sp.csr_array(f)), **SHORT)
        for f in (flows, flows.T, staying)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@needs_ensmallen
def test_a_token_without_movement_has_no_walks():
    flows = planted().tolil()
    flows[4, :] = flows[:, 4] = 0
    got = graphs.random_walk(BaselineInput(flows=sp.csr_array(flows)), **SHORT)
    np.testing.assert_array_equal(np.flatnonzero(~got.any(axis=1)), [4])


@needs_ensmallen
def test_walks_leave_the_environment_as_it_was(monkeypatch):
    for before in (None, "7"):
        if before is None:
            monkeypatch.delenv(graphs.THREADS, raising=False)
        else:
            monkeypatch.setenv(graphs.THREADS, before)
        graphs.random_walk(BaselineInput(flows=planted()), **SHORT)
        assert os.environ.get(graphs.THREADS) == before


def test_walks_need_ensmallen(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensmallen", None)
    with pytest.raises(MissingExtraError, match=r"'ensmallen'.*mora\[bench\]"):
        graphs.random_walk(BaselineInput(flows=planted()))


def test_walks_need_movement_between_tokens():
    stay = sp.csr_array(np.diag([3.0, 4.0]))
    with pytest.raises(MoraError, match="got 2 tokens without movement between any"):
        graphs.random_walk(BaselineInput(flows=stay))


@pytest.mark.parametrize(
    ("name", "value"),
    [("dim", 0), ("walk_length", 1), ("walks", 0), ("window", 0), ("epochs", 0)],
)
def test_walks_refuse_options_that_are_too_small(name, value):
    given = BaselineInput(flows=planted())
    with pytest.raises(MoraError, match=f"{name} is {value}; expected at least"):
        graphs.random_walk(given, **{name: value})


def test_factors_by_hand():
    # log(1 + flow) is [[0, 2], [2, 0]]: both singular values are 2.
    flow = np.e**2 - 1
    flows = sp.csr_array(np.array([[0.0, flow], [flow, 0.0]]))
    got = graphs.flow_svd(BaselineInput(flows=flows), dim=2)
    np.testing.assert_allclose(got @ got.T, 2 * np.eye(2), atol=1e-5)


def test_factors_multiply_to_the_nearest_matrix_of_their_rank():
    flows = planted(directed=True)
    got = graphs.flow_svd(BaselineInput(flows=flows), dim=6)
    left, values, right = np.linalg.svd(np.log1p(flows.toarray()))
    nearest = (left[:, :3] * values[:3]) @ right[:3]
    np.testing.assert_allclose(got[:, :3] @ got[:, 3:].T, nearest, atol=1e-4)


def test_factors_of_undirected_flows_have_one_side():
    flows = planted()
    got = graphs.flow_svd(BaselineInput(flows=flows), dim=4)
    values = np.linalg.svd(np.log1p(flows.toarray()), compute_uv=False)
    lengths = (got.astype(float) ** 2).sum(axis=0)
    np.testing.assert_allclose(lengths, values[:4], rtol=1e-4)


def test_factors_recover_the_groups():
    for directed in (False, True):
        vectors = graphs.flow_svd(BaselineInput(flows=planted(directed=directed)))
        assert vectors.shape == (len(GROUP), len(GROUP) * (1 + directed))
        assert probe(vectors[:, :8]).mean() == 1


def test_power_scales_the_columns():
    given = BaselineInput(flows=planted())
    flat, half, full = (
        graphs.flow_svd(given, dim=3, power=power) for power in (0, 0.5, 1)
    )
    np.testing.assert_allclose((flat.astype(float) ** 2).sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(half**2, np.abs(flat * full), atol=1e-5)
    assert not np.allclose(half, full)


def test_factors_of_two_scales_share_the_columns_at_one_size():
    given = BaselineInput(flows=planted())
    got = graphs.flow_svd(given, dim=6, power=1, scales=["log", "sqrt"])
    log = graphs.flow_svd(given, dim=3, power=1)
    np.testing.assert_allclose(got[:, :3], log / np.sqrt((log**2).mean()), rtol=1e-4)
    for part in (got[:, :3], got[:, 3:]):
        assert (part**2).mean() == pytest.approx(1, rel=1e-5)
    left, values, _ = np.linalg.svd(np.sqrt(planted().toarray()))
    wanted = left[:, :3] * values[:3]
    similar = np.abs(np.corrcoef(got[:, 3:].T, wanted.T)[:3, 3:]).diagonal()
    np.testing.assert_allclose(similar, 1, atol=1e-3)


def test_factors_refuse_unknown_scales():
    for scales in (["cube"], []):
        with pytest.raises(MoraError, match="expected some of log, sqrt"):
            graphs.flow_svd(BaselineInput(flows=planted()), dim=2, scales=scales)


def test_factors_keep_volume():
    flows = planted()
    short, long = (
        np.linalg.norm(graphs.flow_svd(BaselineInput(flows=f), dim=4), axis=1)
        for f in (flows, flows * 10)
    )
    assert (long > short).all()


def test_factors_are_the_same_for_a_seed():
    one, again = (
        graphs.flow_svd(BaselineInput(flows=planted(), seed=5), dim=4) for _ in "ab"
    )
    np.testing.assert_array_equal(one, again)


def test_factors_without_any_movement_are_zero():
    got = graphs.flow_svd(BaselineInput(flows=sp.csr_array((4, 4))), dim=2)
    np.testing.assert_array_equal(got, np.zeros((4, 2)))


def test_factors_refuse_odd_and_empty_widths():
    given = BaselineInput(flows=planted(directed=True))
    with pytest.raises(MoraError, match="dim=5 for directed flows; expected an even"):
        graphs.flow_svd(given, dim=5)
    with pytest.raises(MoraError, match="dim is 0; expected at least 1"):
        graphs.flow_svd(given, dim=0)


@pytest.mark.parametrize("name", ["random_walk", "flow_svd"])
def test_a_mobility_graph_is_needed(name):
    with pytest.raises(MissingInputError, match="no mobility graph"):
        BASELINES[name](BaselineInput())
