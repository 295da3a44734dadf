import numpy as np
import pytest

from mora.errors import GraphError
from mora.graph import covisits
from mora.graph.covisits import UserWeekBuilder, build_covisit_graph


def group(folder, records):
    """Group (user, week, place) triples."""
    user, week, place = np.array(records).T
    builder = UserWeekBuilder(folder / "records")
    builder.add(user.astype(np.uint64), week, place.astype(np.uint64))
    return builder.group()


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


def random_records(seed=0, visits=600):
    rng = np.random.default_rng(seed)
    columns = rng.integers([0, 10, 0], [25, 14, 12], size=(visits, 3))
    return [tuple(map(int, row)) for row in columns]


def test_one_user_over_54_weeks_weighs_54_but_is_one_user(tmp_path):
    lonely = [(7, week, place) for week in range(54) for place in (1, 2)]
    graph, _, table = build_covisit_graph(
        group(tmp_path, lonely), tmp_path / "graph", min_users=1
    )
    assert graph.weight.tolist() == [54]
    assert graph.users.tolist() == [1]
    assert table.edges == [1, 0, 0, 0]
    with pytest.raises(GraphError, match=r"none of 2 places has 2 distinct users"):
        build_covisit_graph(group(tmp_path, lonely), tmp_path / "graph", min_users=2)


@pytest.mark.parametrize("min_users", [1, 2, 3])
def test_agrees_with_counting_pair_by_pair(tmp_path, min_users, monkeypatch):
    monkeypatch.setattr(covisits, "PAIRS_A_BLOCK", 20)  # several row blocks
    records = random_records()
    weight, people = dense_counts(records, 12)
    visits = group(tmp_path, records)
    graph, kept, table = build_covisit_graph(
        visits, tmp_path / "graph", min_users=min_users
    )
    weight[people < min_users] = 0
    expected = weight[np.ix_(kept, kept)]
    upper = np.triu(graph.symmetric().toarray(), 1)
    np.testing.assert_array_equal(upper, expected)
    row = graph.rows()
    np.testing.assert_array_equal(
        graph.users, people[np.ix_(kept, kept)][row, graph.neighbour]
    )
    assert table.weight[0] == visits.pairs()
    np.testing.assert_allclose(graph.outflow, expected.sum(0) + expected.sum(1))


def test_min_users_changes_the_graph(tmp_path):
    visits = group(tmp_path, random_records())
    edges = {
        k: build_covisit_graph(visits, tmp_path / f"g{k}", min_users=k)[0].edges
        for k in (1, 8, 12)
    }
    assert edges[1] > edges[8] > edges[12]


def test_repeats_and_batches_change_nothing(tmp_path):
    records = random_records(visits=200)
    once = group(tmp_path / "a", records)
    builder = UserWeekBuilder(tmp_path / "b" / "records")
    for part in (records[:90], records[60:], records[:30]):
        user, week, place = np.array(part).T
        builder.add(user.astype(np.uint64), week, place.astype(np.uint64))
    twice = builder.group()
    np.testing.assert_array_equal(once.place, twice.place)
    np.testing.assert_array_equal(once.visitors, twice.visitors)
    assert not list((tmp_path / "b" / "records").glob("*.bin"))


def test_names_of_users_do_not_matter(tmp_path):
    records = random_records()
    renamed = [(u * 7919 + 3, w, p) for u, w, p in records]
    graphs = [
        build_covisit_graph(group(tmp_path / n, r), tmp_path / n, min_users=2)[0]
        for n, r in (("a", records), ("b", renamed))
    ]
    for name in ("indptr", "neighbour", "weight", "users"):
        first, second = (getattr(graph, name) for graph in graphs)
        np.testing.assert_array_equal(first, second)


def test_a_place_that_one_user_visits_is_hidden(tmp_path):
    records = [(1, 0, 5), (2, 0, 5), (1, 0, 6), (2, 0, 6), (1, 0, 9)]
    graph, kept, table = build_covisit_graph(
        group(tmp_path, records), tmp_path / "graph", min_users=2
    )
    assert kept.tolist() == [True, True, False]
    assert (len(graph), graph.edges) == (2, 1)
    assert "at least  2 users: 2 places, 1 edges (66.7% lost)" in table.describe()


def test_nothing_to_build_from(tmp_path):
    with pytest.raises(GraphError, match="no visits"):
        UserWeekBuilder(tmp_path).group()


def test_progress_reaches_the_last_row(tmp_path):
    seen = []
    visits = group(tmp_path, random_records())
    build_covisit_graph(
        visits, tmp_path / "g", min_users=1, progress=lambda *x: seen.append(x)
    )
    assert seen[-1] == (12, 12)
