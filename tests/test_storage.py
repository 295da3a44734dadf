import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.errors import GraphError
from mora.graph import storage
from mora.graph.array_file import ArrayFile
from mora.graph.storage import MobilityGraph, read_graph, read_matrix
from mora.graph.weights import ESCAPE, PackedWeights, compact_weights

ARRAYS = ("indptr", "neighbour", "weight", "users", "within", "outflow", "inflow")


def random_flows(tokens=20, seed=0):
    """Directed whole flows with a diagonal and without some of the pairs."""
    rng = np.random.default_rng(seed)
    return rng.poisson(3, (tokens, tokens)) * (rng.random((tokens, tokens)) < 0.3)


def random_graph(seed=0, *, users=True):
    flows = sp.csr_array(random_flows(seed=seed).astype(float))
    people = flows + flows.T
    people.data = np.arange(1.0, people.nnz + 1) % 17
    people = sp.csr_array(people + people.T)
    return MobilityGraph.from_matrix(flows, people if users else None)


def people_of(graph, first, second):
    """Look up the users of the edges between two rows of ends."""
    ends = zip(graph.rows().tolist(), graph.neighbour.tolist(), strict=True)
    users = dict(zip(map(frozenset, ends), graph.users.tolist(), strict=True))
    return [users[frozenset(pair)] for pair in np.stack([first, second], 1).tolist()]


def dense(graph):
    return graph.symmetric().toarray()


def assert_same(first, second):
    for name in ARRAYS:
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)


# MobilityGraph


def test_three_places_by_hand():
    flows = np.array([[5.0, 2.0, 0.0], [1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    assert (len(graph), graph.edges, graph.total_weight()) == (3, 2, 6.0)
    assert graph.indptr.tolist() == [0, 1, 2, 2]
    assert graph.neighbour.tolist() == [1, 2]
    assert graph.rows().tolist() == [0, 1]
    assert graph.weight.tolist() == [3, 3]
    assert graph.weight.dtype == np.uint32
    assert graph.within.tolist() == [5, 0, 0]
    assert graph.outflow.tolist() == [2, 4, 0]
    assert graph.inflow.tolist() == [1, 2, 3]
    assert graph.degree().tolist() == [3, 6, 3]
    assert len(graph.users) == 0


@pytest.mark.parametrize("seed", range(3))
def test_graph_agrees_with_the_dense_sum_of_both_directions(seed):
    flows = random_flows(seed=seed)
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    both = flows + flows.T - 2 * np.diag(flows.diagonal())
    np.testing.assert_array_equal(dense(graph), both)
    np.testing.assert_array_equal(graph.degree(), both.sum(axis=0))
    np.testing.assert_array_equal(graph.within, flows.diagonal())
    np.testing.assert_array_equal(graph.outflow, flows.sum(1) - flows.diagonal())
    np.testing.assert_array_equal(graph.inflow, flows.sum(0) - flows.diagonal())
    assert graph.total_weight() == both.sum() / 2
    assert (graph.rows() < graph.neighbour).all()


def test_direction_does_not_matter_to_edges_but_to_the_totals():
    flows = sp.csr_array(random_flows())
    there, back = MobilityGraph.from_matrix(flows), MobilityGraph.from_matrix(flows.T)
    np.testing.assert_array_equal(dense(there), dense(back))
    np.testing.assert_array_equal(there.outflow, back.inflow)
    assert not np.array_equal(there.outflow, back.outflow)


def test_users_belong_to_their_edges():
    graph = random_graph()
    expected = np.zeros((20, 20), np.uint32)
    expected[graph.rows(), graph.neighbour] = graph.users
    flows = sp.csr_array(random_flows().astype(float))
    people = flows + flows.T
    people.data = np.arange(1.0, people.nnz + 1) % 17
    people = (people + people.T).toarray()
    np.testing.assert_array_equal(expected, np.triu(people, 1) * (dense(graph) > 0))
    assert graph.users.dtype == np.uint32
    assert len(random_graph(users=False).users) == 0


def test_repeated_pairs_are_added_and_stored_zeros_left_out():
    ends = (np.array([0, 0, 1, 1]), np.array([1, 1, 0, 2]))
    flows = sp.coo_array((np.array([1.0, 2.0, 4.0, 0.0]), ends), shape=(3, 3))
    graph = MobilityGraph.from_matrix(flows)
    assert (graph.neighbour.tolist(), graph.weight.tolist()) == ([1], [7])


def test_a_graph_without_edges():
    graph = MobilityGraph.from_matrix(sp.csr_array((4, 4)))
    assert (len(graph), graph.edges, graph.total_weight()) == (4, 0, 0.0)
    assert dense(graph).shape == (4, 4)
    assert graph.degree().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_that_are_none_are_refused(weight):
    flows = np.array([[0.0, weight], [2.0, 0.0]])
    with pytest.raises(GraphError, match=r"1 of 2 weights are negative or not finite"):
        MobilityGraph.from_matrix(sp.csr_array(flows))


def test_the_matrix_is_left_as_it_was():
    flows = sp.csr_array(random_flows().astype(float))
    before = flows.toarray()
    MobilityGraph.from_matrix(flows)
    np.testing.assert_array_equal(flows.toarray(), before)


# compact_weights


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
@settings(deadline=None, max_examples=50)
def test_whole_weights_up_to_a_billion_are_exact(weights):
    stored = compact_weights(np.array(weights, dtype=np.float64))
    assert (stored.dtype, stored.tolist()) == (np.uint32, weights)


def test_a_graph_keeps_a_billion_exactly():
    flows = np.array([[0.0, 10**9 - 1], [2.0, 0.0]])
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    assert graph.weight.tolist() == [1_000_000_001]
    assert graph.symmetric()[1, 0] == 1_000_000_001


def test_largest_whole_weight_is_exact_and_the_next_is_refused():
    largest = 2**32 - 1
    assert compact_weights(np.array([float(largest)])).tolist() == [largest]
    message = r"largest weight is 4294967296; expected at most 4294967295. Divide"
    with pytest.raises(GraphError, match=message):
        compact_weights(np.array([1.0, 2.0**32]))
    with pytest.raises(GraphError, match=message):
        MobilityGraph.from_matrix(sp.csr_array(np.array([[0, 2.0**31], [2.0**31, 0]])))


def test_other_weights_are_float32():
    weights = np.array([0.1, 3.0, 1e12])
    stored = compact_weights(weights)
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, weights, rtol=6e-8)


def test_no_weights():
    assert compact_weights(np.zeros(0)).dtype == np.uint32


# Packed weights


def heavy_graph():
    """Weights around 65,535, where two bytes end, and far above."""
    weights = [1, ESCAPE - 1, ESCAPE, ESCAPE + 1, 2**32 - 1, 7, 10**6, 0, 3, 65_535]
    flows = np.zeros((5, 5))
    flows[np.triu_indices(5, 1)] = weights
    return MobilityGraph.from_matrix(sp.csr_array(flows))


def test_weights_above_two_bytes_keep_their_total(tmp_path):
    graph = heavy_graph()
    graph.write(tmp_path)
    again = read_graph(tmp_path)
    assert isinstance(again.weight, PackedWeights)
    assert again.weight.code.dtype == np.uint16
    assert len(again.weight.large_edge) == 5
    assert again.total_weight() == graph.total_weight() == graph.weight.sum()
    assert again.weight.tolist() == graph.weight.tolist()
    np.testing.assert_array_equal(again.degree(), graph.degree())
    np.testing.assert_array_equal(dense(again), dense(graph))


@given(
    st.lists(st.integers(1, 2**32 - 1) | st.integers(65_530, 65_540), max_size=30),
    st.data(),
)
@settings(deadline=None, max_examples=60)
def test_packed_weights_answer_like_the_array(tmp_path_factory, weights, data):
    folder = tmp_path_factory.mktemp("weights")
    array = np.array(weights, np.uint32)
    flows = sp.csr_array(
        (array.astype(float), (np.zeros(len(array), int), 1 + np.arange(len(array)))),
        shape=(32, 32),
    )
    MobilityGraph.from_matrix(flows).write(folder)
    packed = read_graph(folder).weight
    assert (len(packed), packed.dtype) == (len(array), array.dtype)
    start, stop = data.draw(st.integers(-35, 35)), data.draw(st.integers(-35, 35))
    step = data.draw(st.sampled_from([None, 1, 2, 3]))
    chosen = [slice(start, stop, step), array % 2 == 0, np.arange(len(array))[::-1]]
    for some in chosen:
        np.testing.assert_array_equal(packed[some], array[some])
        assert packed[some].dtype == np.uint32
    np.testing.assert_array_equal(np.asarray(packed, dtype=np.float64), array)


def test_packed_weights_are_never_seen_without_a_copy(tmp_path):
    heavy_graph().write(tmp_path)
    packed = read_graph(tmp_path).weight
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(packed, copy=False)
    assert np.asarray(packed, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("kept", [0, 3])
def test_a_large_weight_that_is_not_listed_is_refused(tmp_path, kept):
    heavy_graph().write(tmp_path)
    for name in ("large_edge", "large_weight"):
        whole = np.load(tmp_path / f"{name}.npy")
        np.save(tmp_path / f"{name}.npy", whole[:kept])
    message = rf"{5 - kept} of 5 weights of 65,535 or more are not in large_edge.npy"
    with pytest.raises(GraphError, match=message):
        read_graph(tmp_path).total_weight()


def test_fractions_stay_float32(tmp_path):
    graph = MobilityGraph.from_matrix(sp.csr_array([[0.0, 0.5], [70_000.25, 0.0]]))
    graph.write(tmp_path)
    again = read_graph(tmp_path)
    assert (again.weight.dtype, again.weight.tolist()) == (np.float32, [70_000.75])


@pytest.mark.parametrize("edges", [1, 5, 1000])
def test_blocks_of_rows_hold_every_edge_once(monkeypatch, edges):
    graph = random_graph()
    monkeypatch.setattr(storage, "EDGES_A_BLOCK", edges)
    rows = list(graph.row_blocks())
    assert rows[0][0] == 0
    assert rows[-1][1] == len(graph)
    assert [last for _, last in rows[:-1]] == [first for first, _ in rows[1:]]
    blocks = [graph.block(*span) for span in rows]
    neighbours = np.concatenate([neighbour for _, neighbour, _ in blocks])
    np.testing.assert_array_equal(neighbours, graph.neighbour)
    np.testing.assert_array_equal(np.concatenate([b[2] for b in blocks]), graph.weight)
    assert all(indptr[0] == 0 and indptr[-1] == len(n) for indptr, n, _ in blocks)
    assert sum(dense(graph).sum(axis=0)) == graph.degree().sum()


# select and reorder


def test_selected_edges_stay_and_totals_stay_as_observed():
    graph = random_graph()
    keep = np.arange(graph.edges) % 3 == 0
    some = graph.select(keep)
    expected = np.zeros((20, 20))
    expected[graph.rows()[keep], graph.neighbour[keep]] = graph.weight[keep]
    np.testing.assert_array_equal(dense(some), expected + expected.T)
    np.testing.assert_array_equal(some.users, graph.users[keep])
    for name in ("within", "outflow", "inflow"):
        np.testing.assert_array_equal(getattr(some, name), getattr(graph, name))


def test_selecting_all_changes_nothing_and_none_leaves_no_edge():
    graph = random_graph()
    assert_same(graph.select(np.ones(graph.edges, bool)), graph)
    none = graph.select(np.zeros(graph.edges, bool))
    assert (len(none), none.edges, len(none.users)) == (20, 0, 0)


@pytest.mark.parametrize("users", [True, False])
def test_reordered_graph_is_the_permuted_matrix(users):
    graph = random_graph(users=users)
    token = np.random.default_rng(1).permutation(20)
    moved = graph.reorder(token)
    np.testing.assert_array_equal(dense(moved)[np.ix_(token, token)], dense(graph))
    for name in ("within", "outflow", "inflow"):
        np.testing.assert_array_equal(getattr(moved, name)[token], getattr(graph, name))
    if users:
        assert people_of(moved, token[graph.rows()], token[graph.neighbour]) == (
            graph.users.tolist()
        )
    assert (moved.rows() < moved.neighbour).all()
    assert_same(moved.reorder(np.argsort(token)), graph)


def test_the_same_order_gives_the_same_graph():
    graph = random_graph()
    assert graph.reorder(np.arange(20)) is graph


# Files


@pytest.mark.parametrize("users", [True, False])
def test_what_is_written_is_read_back_memory_mapped(tmp_path, users):
    graph = random_graph(users=users)
    graph.write(tmp_path / "new" / "folder")
    again = read_graph(tmp_path / "new" / "folder")
    assert_same(again, graph)
    mapped = [again.weight.code, *(getattr(again, n) for n in ARRAYS if n != "weight")]
    assert all(isinstance(array, np.memmap) for array in mapped)
    np.testing.assert_array_equal(dense(again), dense(graph))


def test_a_graph_without_edges_is_read_back(tmp_path):
    graph = MobilityGraph.from_matrix(sp.csr_array((4, 4)))
    graph.write(tmp_path)
    assert_same(read_graph(tmp_path), graph)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_files_cut_short_are_refused(tmp_path, name, kept):
    random_graph().write(tmp_path)
    path = tmp_path / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(GraphError, match=rf"{name}.npy cannot be read .*whole .npy"):
        read_graph(tmp_path)


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_files_are_named(tmp_path, name):
    random_graph().write(tmp_path)
    (tmp_path / f"{name}.npy").unlink()
    with pytest.raises(GraphError, match=rf"{name}.npy cannot be read .*No such file"):
        read_graph(tmp_path)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", [-1, 1])
def test_arrays_of_other_lengths_are_refused(tmp_path, name, change):
    graph = random_graph()
    graph.write(tmp_path)
    array = getattr(graph, name)
    other = array[:-1] if change < 0 else np.append(array, array[-1:])
    np.save(tmp_path / f"{name}.npy", other)
    with pytest.raises(GraphError, match=r"other lengths than expected .* instead of"):
        read_graph(tmp_path)


def test_rows_that_are_empty_are_refused(tmp_path):
    random_graph().write(tmp_path)
    np.save(tmp_path / "indptr.npy", np.zeros(0, np.int64))
    with pytest.raises(GraphError, match="indptr 0 instead of 1"):
        read_graph(tmp_path)


def test_pickled_arrays_are_refused(tmp_path):
    random_graph().write(tmp_path)
    objects = np.array([{}], dtype=object)
    np.save(tmp_path / "weight.npy", objects, allow_pickle=True)
    with pytest.raises(GraphError, match=r"weight.npy cannot be read"):
        read_graph(tmp_path)


def test_a_growing_file_holds_all_that_was_appended(tmp_path):
    parts = [np.arange(5), np.zeros(0, int), np.arange(100, 107)[::2]]
    with ArrayFile(tmp_path / "a.npy", np.uint16) as file:
        for part in parts:
            file.append(part)
        assert file.length == 9
    again = np.load(tmp_path / "a.npy", mmap_mode="r", allow_pickle=False)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, np.concatenate(parts))


def test_a_growing_file_may_stay_empty(tmp_path):
    with ArrayFile(tmp_path / "a.npy", np.float32):
        pass
    assert np.load(tmp_path / "a.npy").shape == (0,)


def test_a_growing_file_is_not_valid_before_its_end(tmp_path):
    with ArrayFile(tmp_path / "a.npy", np.int64) as file:
        file.append(np.arange(4))
        file.file.flush()
        with pytest.raises(ValueError, match="allow_pickle"):
            np.load(tmp_path / "a.npy")


# read_matrix


@pytest.mark.parametrize("form", [sp.csr_array, sp.coo_array, sp.csc_matrix])
def test_matrices_of_scipy_are_read(tmp_path, form):
    flows = random_flows()
    sp.save_npz(tmp_path / "a.npz", form(flows))
    np.testing.assert_array_equal(read_matrix(tmp_path / "a.npz").toarray(), flows)


def test_row_col_and_weight_are_read(tmp_path):
    edges = {"row": [0, 2], "col": [1, 0], "weight": [1.5, 2.0]}
    np.savez(tmp_path / "a.npz", **edges)
    expected = [[0, 1.5, 0], [0, 0, 0], [2, 0, 0]]
    assert read_matrix(tmp_path / "a.npz").toarray().tolist() == expected
    np.savez(tmp_path / "a.npz", **edges, n=4)
    assert read_matrix(tmp_path / "a.npz").shape == (4, 4)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": [1]},
        {"row": [0], "col": [1]},
        {"row": [0], "col": [5], "weight": [1.0], "n": 3},
        {"row": [0, 1], "col": [1], "weight": [1.0]},
        {"row": [-1], "col": [1], "weight": [1.0]},
        {"row": [], "col": [], "weight": []},
    ],
)
def test_files_without_a_matrix_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(
        GraphError, match=r"a.npz holds no sparse matrix .* row, col, w"
    ):
        read_matrix(tmp_path / "a.npz")


@pytest.mark.parametrize("kept", [0, 10, 200, -30, -1])
def test_matrices_cut_short_are_refused(tmp_path, kept):
    path = tmp_path / "a.npz"
    sp.save_npz(path, sp.csr_array(random_flows()))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(GraphError, match=r"a.npz holds no sparse matrix"):
        read_matrix(path)


def test_damaged_matrices_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    sp.save_npz(path, sp.csr_array(random_flows()))
    data = bytearray(path.read_bytes())
    middle = data.index(b"indices.npy") + 80
    data[middle : middle + 20] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(GraphError, match=r"a.npz holds no sparse matrix"):
        read_matrix(path)


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    (tmp_path / "b.npz").write_text("row col weight")
    for name in ("a.npy", "b.npz", "missing.npz"):
        with pytest.raises(GraphError, match=rf"{name} holds no sparse matrix"):
            read_matrix(tmp_path / name)


def test_a_matrix_that_is_not_square_is_refused(tmp_path):
    sp.save_npz(tmp_path / "a.npz", sp.csr_array((3, 4)))
    with pytest.raises(GraphError, match=r"of shape \(3, 4\) .*expected a square"):
        read_matrix(tmp_path / "a.npz")
