import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.visit_records import files_of_at_most, group, random_records

from mora.errors import GraphError
from mora.graph import covisit_rows, covisits
from mora.graph.covisits import build_covisit_graph
from mora.graph.storage import read_graph
from mora.memory import MemoryLimitError

FILES = ("indptr", "neighbour", "weight", "users", "within", "outflow", "inflow")


def dense_counts(records, places):
    """Count weight and distinct users pair by pair, in the plain way."""
    weight, users = np.zeros((places, places), int), {}
    for user, week in {(u, w) for u, w, _ in records}:
        here = sorted({p for u, w, p in records if (u, w) == (user, week)})
        for a in range(len(here)):
            for b in range(a + 1, len(here)):
                weight[here[a], here[b]] += 1
                users.setdefault((here[a], here[b]), set()).add(user)
    people = np.zeros_like(weight)
    for pair, who in users.items():
        people[pair] = len(who)
    return weight, people


def upper(graph, values):
    """Give a dense matrix of a value of each edge."""
    dense = np.zeros((len(graph), len(graph)), int)
    dense[graph.rows(), graph.neighbour] = np.asarray(values)
    return dense


def contents(folder):
    return {name: (folder / f"{name}.npy").read_bytes() for name in FILES}


def random_visits(folder, places=300, seed=0):
    """Group visits to so many places that a block of rows is a small part of them."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers([0, 0, 0], [40, 6, places], size=(5000, 3))
    return group(folder, drawn)


def test_three_people_by_hand(tmp_path):
    ann = [(1, 1, 10), (1, 1, 20), (1, 1, 30), (1, 2, 10), (1, 2, 20)]
    bob = [(2, 1, 20), (2, 1, 10), (2, 1, 20), (2, 2, 30)]
    cat = [(3, 7, 30), (3, 7, 20), (3, 8, 20), (3, 8, 30)]
    visits = group(tmp_path, ann + bob + cat)
    graph, kept, table = build_covisit_graph(visits, tmp_path / "graph", min_users=1)
    # 10-20: Ann twice, Bob once; 10-30: Ann once; 20-30: Ann once, Cat twice.
    assert kept.all()
    assert graph.indptr.tolist() == [0, 2, 3, 3]
    assert graph.neighbour.tolist() == [1, 2, 2]
    assert np.asarray(graph.weight).tolist() == [3, 1, 3]
    assert graph.users.tolist() == [2, 1, 2]
    assert graph.outflow.tolist() == graph.inflow.tolist() == [4, 6, 4]
    assert graph.within.tolist() == [0, 0, 0]
    assert (table.edges, table.weight) == ([3, 2, 0, 0], [7, 6, 0, 0])


def test_one_user_over_54_weeks_weighs_54_but_is_one_user(tmp_path):
    lonely = [(7, week, place) for week in range(54) for place in (1, 2)]
    visits = group(tmp_path, lonely)
    graph, _, table = build_covisit_graph(visits, tmp_path / "graph", min_users=1)
    assert np.asarray(graph.weight).tolist() == [54]
    assert graph.users.tolist() == [1]
    assert table.edges == [1, 0, 0, 0]
    with pytest.raises(GraphError, match=r"none of 2 places has 2 distinct users"):
        build_covisit_graph(visits, tmp_path / "graph", min_users=2)


@pytest.mark.parametrize("min_users", [1, 2, 3, 30])
def test_agrees_with_counting_pair_by_pair(tmp_path, min_users, monkeypatch):
    monkeypatch.setattr(covisits, "PAIRS_A_BLOCK", 20)  # several row blocks
    crowd = [(user, 10, 4 + user % 2) for user in range(25, 95)]
    records = random_records() + crowd
    weight, people = dense_counts(records, 12)
    visits = group(tmp_path, records)
    graph, kept, table = build_covisit_graph(
        visits, tmp_path / "graph", min_users=min_users
    )
    for threshold, edges, heavy in zip(
        table.thresholds, table.edges, table.weight, strict=True
    ):
        assert edges == (people >= threshold).sum()
        assert heavy == weight[people >= threshold].sum()
    assert table.weight[0] == visits.pairs()
    weight[people < min_users] = people[people < min_users] = 0
    expected = weight[np.ix_(kept, kept)]
    np.testing.assert_array_equal(upper(graph, graph.weight), expected)
    np.testing.assert_array_equal(upper(graph, graph.users), people[np.ix_(kept, kept)])
    np.testing.assert_array_equal(graph.outflow, expected.sum(0) + expected.sum(1))


triples = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 6))


@settings(max_examples=25, deadline=None)
@given(st.lists(triples, min_size=1, max_size=60), st.integers(1, 3))
def test_any_visits_agree_with_counting(tmp_path_factory, records, min_users):
    folder = tmp_path_factory.mktemp("visits")
    visits = group(folder, records)
    weight, people = dense_counts(records, 7)
    weight[people < min_users] = 0
    if visits.visitors.max() < min_users:
        return
    graph, kept, _ = build_covisit_graph(visits, folder / "g", min_users=min_users)
    places = visits.places[kept].astype(int)
    expected = weight[np.ix_(places, places)]
    np.testing.assert_array_equal(upper(graph, graph.weight), expected)


@pytest.mark.parametrize("places", [64, 4096, 4097, 9000])
def test_places_far_apart_meet(tmp_path, places):
    # 64 places share a word of marks, 4,096 words a block.
    ends = [(user, 1, place) for user in (1, 2) for place in (0, places - 1)]
    others = [(user, 2 + place, place) for user in (3, 4) for place in range(places)]
    visits = group(tmp_path, ends + others)
    graph, _, _ = build_covisit_graph(visits, tmp_path / "graph")
    assert graph.rows().tolist() == [0]
    assert graph.neighbour.tolist() == [places - 1]
    assert np.asarray(graph.weight).tolist() == [2]


def test_the_lowest_of_all_bits_is_found():
    for bit in range(64):
        lowest = np.uint64(1 << bit)
        assert covisit_rows._lowest_bit(lowest) == bit
        assert covisit_rows._lowest_bit(lowest | np.uint64(1 << 63)) == bit


def test_more_user_weeks_than_are_looked_up_at_once(tmp_path):
    records = [(user, 1, place) for user in range(200) for place in (1, 2, 3)]
    graph, _, _ = build_covisit_graph(group(tmp_path, records), tmp_path / "graph")
    assert np.asarray(graph.weight).tolist() == [200] * 3
    assert graph.users.tolist() == [200] * 3


def test_min_users_changes_the_graph(tmp_path):
    visits = group(tmp_path, random_records())
    edges = {
        k: build_covisit_graph(visits, tmp_path / f"g{k}", min_users=k)[0].edges
        for k in (1, 8, 12)
    }
    assert edges[1] > edges[8] > edges[12]


@pytest.mark.parametrize("min_users", [1, 2])
def test_threads_change_nothing(tmp_path, monkeypatch, min_users):
    monkeypatch.setattr(covisits, "PAIRS_A_BLOCK", 2000)
    visits = random_visits(tmp_path)
    for threads in (1, 2, 5):
        monkeypatch.setattr(covisits.numba, "get_num_threads", lambda n=threads: n)
        folder = tmp_path / str(threads)
        build_covisit_graph(visits, folder, min_users=min_users)
    one, two, five = (contents(tmp_path / name) for name in "125")
    assert one == two == five


def test_memory_changes_the_blocks_and_not_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(covisits.numba, "get_num_threads", lambda: 2)
    visits, blocks = random_visits(tmp_path), {}
    for memory_gb in (0.00015, 0.0002, 2.0):
        seen = []
        build_covisit_graph(
            visits,
            tmp_path / str(memory_gb),
            memory_gb=memory_gb,
            progress=lambda *x, s=seen: s.append(x),
        )
        blocks[memory_gb] = len(seen)
    assert blocks[0.00015] > blocks[0.0002] > blocks[2.0] == 1
    least, little, much = (contents(tmp_path / str(memory_gb)) for memory_gb in blocks)
    assert least == little == much


def test_too_little_memory_is_refused_before_a_file_is_written(tmp_path):
    visits = random_visits(tmp_path, places=4000)
    message = r"Counting co-visits needs about 0.00 GB; 0.00 GB is allowed by memory_gb"
    with pytest.raises(MemoryLimitError, match=message):
        build_covisit_graph(visits, tmp_path / "graph", memory_gb=1e-4)
    assert not (tmp_path / "graph").exists()


def test_weight_that_a_kernel_loses_is_noticed(tmp_path, monkeypatch):
    def lose_one(first_row, incidence, number, min_users, edges):
        covisit_rows.count_rows(first_row, incidence, number, min_users, edges)
        edges.by_users[1, 1] -= 1

    monkeypatch.setattr(covisits, "count_rows", lose_one)
    visits = group(tmp_path, random_records())
    lost = rf"the edges weigh {visits.pairs() - 1}, but .* {visits.pairs()} pairs"
    with pytest.raises(GraphError, match=lost):
        build_covisit_graph(visits, tmp_path / "graph", min_users=1)
    with pytest.raises(GraphError, match="cannot be read"):
        read_graph(tmp_path / "graph")


def test_a_full_disk_surfaces_and_no_file_looks_whole(tmp_path):
    visits = random_visits(tmp_path)
    build_covisit_graph(visits, tmp_path / "earlier", min_users=1)
    before = contents(tmp_path / "earlier")
    with files_of_at_most(20_000), pytest.raises(OSError, match=r"too large|space"):
        build_covisit_graph(visits, tmp_path / "graph", min_users=1)
    for name in ("neighbour", "weight", "users"):
        with pytest.raises((ValueError, OSError)):
            np.load(tmp_path / "graph" / f"{name}.npy")
    assert contents(tmp_path / "earlier") == before
    build_covisit_graph(visits, tmp_path / "graph", min_users=1)
    assert contents(tmp_path / "graph") == before


def test_names_of_users_do_not_matter(tmp_path):
    records = random_records()
    renamed = [(u * 7919 + 3, w, p) for u, w, p in records]
    for name, given_records in (("a", records), ("b", renamed)):
        build_covisit_graph(group(tmp_path / name, given_records), tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_place_that_one_user_visits_is_hidden(tmp_path):
    records = [(1, 0, 5), (2, 0, 5), (1, 0, 6), (2, 0, 6), (1, 0, 9)]
    graph, kept, table = build_covisit_graph(
        group(tmp_path, records), tmp_path / "graph", min_users=2
    )
    assert kept.tolist() == [True, True, False]
    assert (len(graph), graph.edges) == (2, 1)
    assert "at least  2 users: 2 places, 1 edges (66.7% lost)" in table.describe()


def test_places_that_nobody_joins_have_no_edges(tmp_path):
    visits = group(tmp_path, [(1, 0, 5), (2, 0, 5), (1, 1, 6), (2, 1, 6)])
    graph, kept, table = build_covisit_graph(visits, tmp_path / "graph")
    assert (len(graph), graph.edges) == (2, 0)
    assert kept.all()
    assert table.weight == [0, 0, 0, 0]


def test_min_users_below_one_is_refused(tmp_path):
    visits = group(tmp_path, random_records())
    with pytest.raises(GraphError, match="min_users is 0; expected 1"):
        build_covisit_graph(visits, tmp_path / "graph", min_users=0)


def test_progress_reaches_the_last_row(tmp_path, monkeypatch):
    monkeypatch.setattr(covisits, "PAIRS_A_BLOCK", 20)
    seen = []
    visits = group(tmp_path, random_records())
    build_covisit_graph(visits, tmp_path / "g", progress=lambda *x: seen.append(x))
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)
    assert len(seen) > 1
