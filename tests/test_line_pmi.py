import math

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import GraphError
from mora.graph import storage
from mora.graph.storage import MobilityGraph, read_graph
from mora.line.pmi import ShiftedPmi


def random_graph(tokens=40, density=0.3, seed=0) -> MobilityGraph:
    rng = np.random.default_rng(seed)
    flows = rng.poisson(50, (tokens, tokens)) * (rng.random((tokens, tokens)) < density)
    return MobilityGraph.from_matrix(sp.csr_array(flows.astype(float)))


def dense_pmi(graph, shift):
    weight = graph.symmetric().toarray()
    degree = weight.sum(axis=1)
    pmi = np.zeros_like(weight)
    for i, j in zip(*weight.nonzero(), strict=True):
        ratio = degree.sum() * weight[i, j] / (degree[i] * degree[j])
        pmi[i, j] = max(0, math.log(ratio) - math.log(shift))
    return pmi


def as_dense(matrix):
    return matrix.multiply(np.eye(len(matrix), dtype=np.float32))


def test_known_pmi():
    # Path 0 - 1 - 2: degrees 1, 2, 1 and volume 4; both edges log(4 * 1 / (1 * 2)).
    flows = np.array([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    expected = (math.log(2) + math.log(2)) * np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(as_dense(ShiftedPmi(graph, 0.5)), expected, rtol=1e-6)


@pytest.mark.parametrize("shift", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("columns", [1, 48, 49, 130])
def test_product_agrees_with_dense(shift, columns):
    graph = random_graph()
    x = np.random.default_rng(1).standard_normal((40, columns), np.float32)
    got = ShiftedPmi(graph, shift).multiply(x)
    np.testing.assert_allclose(got, dense_pmi(graph, shift) @ x, atol=1e-5)


@pytest.mark.parametrize("weighting", [0.5, 1.0])
def test_weighting_scales_rows_and_columns_by_degree(weighting):
    graph = random_graph()
    degree = graph.degree()
    root = (degree / degree.mean()) ** (weighting / 2)
    expected = root[:, None] * dense_pmi(graph, 0.25) * root
    got = as_dense(ShiftedPmi(graph, weighting=weighting))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_shift_changes_the_product():
    graph = random_graph()
    assert not np.array_equal(
        as_dense(ShiftedPmi(graph)), as_dense(ShiftedPmi(graph, 1.0))
    )


def test_blocks_of_rows_change_no_bit(monkeypatch):
    graph = random_graph()
    whole = as_dense(ShiftedPmi(graph))
    monkeypatch.setattr(storage, "EDGES_A_BLOCK", 7)
    assert len(list(graph.row_blocks())) > 10
    seen = []
    blocks = ShiftedPmi(graph).multiply(
        np.eye(40, dtype=np.float32), lambda *step: seen.append(step)
    )
    assert blocks.tobytes() == whole.tobytes()
    assert seen[-1] == (graph.edges, graph.edges)
    assert len(seen) > 10


def test_threads_change_no_bit():
    matrix = ShiftedPmi(random_graph())
    x = np.random.default_rng(1).standard_normal((40, 144), np.float32)
    before, products = numba.get_num_threads(), set()
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        products.add(matrix.multiply(x).tobytes())
    numba.set_num_threads(before)
    assert len(products) == 1


def test_file_and_memory_give_the_same_bits(tmp_path):
    graph = random_graph()
    graph.write(tmp_path)
    packed = as_dense(ShiftedPmi(read_graph(tmp_path)))
    assert packed.tobytes() == as_dense(ShiftedPmi(graph)).tobytes()


def test_scaling_all_weights_changes_nothing():
    graph = random_graph()
    heavier = MobilityGraph.from_matrix(graph.symmetric() * 100_000)
    got = as_dense(ShiftedPmi(heavier))
    np.testing.assert_allclose(got, as_dense(ShiftedPmi(graph)), atol=1e-6)


def test_token_without_edges_is_zero():
    flows = random_graph().symmetric().toarray()
    flows[[3, 17]] = flows[:, [3, 17]] = 0
    dense = as_dense(ShiftedPmi(MobilityGraph.from_matrix(sp.csr_array(flows))))
    assert not dense[[3, 17]].any()
    assert np.isfinite(dense).all()


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_shift_out_of_range_is_refused(shift):
    with pytest.raises(GraphError, match=r"on a graph of \d+ edges; expected a shift"):
        ShiftedPmi(random_graph(), shift)


def test_graph_without_edges_is_refused():
    with pytest.raises(GraphError, match="graph of 0 edges"):
        ShiftedPmi(MobilityGraph.from_matrix(sp.csr_array((4, 4))))
