import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import roc_auc_score

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph
from mora.line import link_prediction
from mora.line.link_prediction import hold_out, link_auc


def ring(tokens=50) -> MobilityGraph:
    i = np.arange(tokens)
    flows = sp.csr_array((i + 1.0, (i, (i + 1) % tokens)), shape=(tokens, tokens))
    return MobilityGraph.from_matrix(flows)


def random_links(tokens=30, dim=4, links=40, seed=0):
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.permutation(tokens)[:2] for _ in range(links)])
    degree = rng.random(tokens)
    return rng.normal(size=(tokens, dim)), pairs, rng.random(links), degree


def test_held_out_and_training_edges_make_up_the_graph():
    graph = ring()
    train, pairs, weights = hold_out(graph, 0.2, seed=3)
    assert len(pairs) == 10
    assert train.edges == 40
    assert len(train) == len(graph)
    whole = train.symmetric().toarray()
    whole[pairs[:, 0], pairs[:, 1]] += weights
    whole[pairs[:, 1], pairs[:, 0]] += weights
    np.testing.assert_array_equal(whole, graph.symmetric().toarray())


def test_share_and_seed_choose_the_edges():
    graph = ring()
    chosen = hold_out(graph, 0.2, seed=3)[1]
    np.testing.assert_array_equal(hold_out(graph, 0.2, seed=3)[1], chosen)
    assert not np.array_equal(hold_out(graph, 0.2, seed=4)[1], chosen)
    assert len(hold_out(graph, 0.1, seed=3)[1]) == 5


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
def test_share_without_edges_on_both_sides_is_refused(share):
    with pytest.raises(GraphError, match=r"of 50 edges holds out .* at least one held"):
        hold_out(ring(), share)


def test_known_answer():
    # Chance pairs join tokens 0 and 2, cosine 0. Link 0-1 has cosine 1 and weight 3;
    # link 0-2 ties with the chance pairs and weighs 1: (3 * 1 + 1 * 0.5) / 4.
    embedding = np.array([[1.0, 0], [2, 0], [0, 1], [0, 5]])
    pairs, weights = np.array([[0, 1], [0, 2]]), np.array([3.0, 1.0])
    degree = np.array([1.0, 0, 1, 0])
    assert link_auc(embedding, pairs, weights, degree) == 0.875


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    links, chance = rng.integers(0, 9, 40) / 2, rng.integers(0, 7, 60) / 2
    weights = rng.random(40)
    expected = roc_auc_score(
        np.repeat([1, 0], [40, 60]),
        np.concatenate([links, chance]),
        sample_weight=np.concatenate([weights, np.ones(60)]),
    )
    got = link_prediction._weighted_auc(links, weights, chance)
    assert got == pytest.approx(expected, rel=1e-12)


def test_chance_pairs_are_drawn_by_degree():
    # Tokens 0 and 1 point the same way and have 3/4 of the degree; of the pairs of two
    # different tokens, 2 * 9/64 of 42/64 join them and tie with the link.
    embedding = np.array([[1.0, 0], [1, 0], [0, 1], [0, -1]])
    degree = np.array([3.0, 3, 1, 1])
    pairs, weights = np.array([[0, 1]]), np.ones(1)
    got = link_auc(embedding, pairs, weights, degree, negatives=200_000)
    assert got == pytest.approx(1 - 0.5 * 18 / 44, abs=0.005)


def test_length_of_the_vectors_changes_nothing():
    embedding, pairs, weights, degree = random_links()
    longer = embedding * 2.0 ** np.arange(30)[:, None]
    first = link_auc(embedding, pairs, weights, degree)
    assert link_auc(longer, pairs, weights, degree) == first


def test_scoring_in_blocks_changes_nothing(monkeypatch):
    links = random_links()
    whole = link_auc(*links)
    monkeypatch.setattr(link_prediction, "PAIRS_AT_ONCE", 7)
    assert link_auc(*links) == whole


def test_zero_vectors_say_nothing():
    _, pairs, weights, degree = random_links()
    auc = link_auc(np.zeros((30, 4)), pairs, weights, degree)
    assert auc == pytest.approx(0.5, rel=1e-12)


def test_every_argument_changes_the_result():
    embedding, pairs, weights, degree = random_links()
    auc = link_auc(embedding, pairs, weights, degree)
    assert link_auc(embedding**2, pairs, weights, degree) != auc
    assert link_auc(embedding, pairs[::-1], weights, degree) != auc
    assert link_auc(embedding, pairs, weights**2, degree) != auc
    assert link_auc(embedding, pairs, weights, degree**2) != auc
    assert link_auc(embedding, pairs, weights, degree, negatives=500) != auc
    assert link_auc(embedding, pairs, weights, degree, seed=1) != auc


def test_no_links_are_refused():
    embedding, _, _, degree = random_links()
    with pytest.raises(GraphError, match="0 held-out links and 30 tokens"):
        link_auc(embedding, np.zeros((0, 2), int), np.zeros(0), degree)


def test_degrees_of_one_token_are_refused():
    embedding, pairs, weights, degree = random_links()
    with pytest.raises(GraphError, match="1 tokens with a degree"):
        link_auc(embedding, pairs, weights, degree * (np.arange(30) == 4))


def test_no_chance_pair_is_refused():
    with pytest.raises(GraphError, match="none of 0 chance pairs"):
        link_auc(*random_links(), negatives=0)
