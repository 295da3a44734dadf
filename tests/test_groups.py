import numpy as np
from sklearn.metrics import adjusted_rand_score

from mora.explore.groups import describe_groups, group_colours, vector_groups


def planted(sizes=(30, 20, 10), dim=6, seed=0):
    """Places around one direction each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(range(len(sizes)), sizes)
    return np.eye(dim)[group] + rng.normal(0, 0.05, (len(group), dim)), group


def test_planted_groups_are_found_the_largest_first():
    vectors, group = planted()
    np.testing.assert_array_equal(vector_groups(vectors, 3), group)


def test_lengths_of_vectors_do_not_matter():
    vectors, group = planted()
    lengths = np.random.default_rng(1).uniform(0.1, 9, (len(vectors), 1))
    np.testing.assert_array_equal(vector_groups(vectors * lengths, 3), group)


def test_count_changes_the_groups():
    vectors, _ = planted()
    assert len(np.unique(vector_groups(vectors, 2))) == 2
    assert len(np.unique(vector_groups(vectors, 5))) == 5


def test_seed_changes_the_groups():
    vectors = np.random.default_rng(2).normal(size=(200, 8))
    first, again, other = (vector_groups(vectors, 8, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert adjusted_rand_score(first, other) < 0.9


def test_fewer_places_than_groups_and_zero_vectors():
    assert sorted(vector_groups(np.eye(3), 8).tolist()) == [0, 1, 2]
    assert vector_groups(np.zeros((4, 3)), 2).tolist() == [0] * 4


def test_colours_of_groups_differ():
    for count in (1, 2, 8, 12):
        colours = group_colours(count).astype(int)
        assert len(np.unique(colours, axis=0)) == count
    steps = np.abs(np.diff(group_colours(8).astype(int), axis=0)).sum(axis=1)
    assert steps.min() > 80


def test_descriptions_name_what_stands_out():
    group = np.array([0, 0, 0, 1, 1, 1])
    columns = {
        "Income": np.array([9.0, 9, np.nan, 1, 1, 1]),
        "Age": np.array([3.0, 3, 4, 4, 4, 4]),
        "Noise": np.array([1.0, 2, 3, 1, 2, 3]),
        "Constant": np.ones(6),
    }
    texts = describe_groups(group, columns)
    assert texts == ["high Income, low Age", "low Income, high Age"]
    assert describe_groups(group, columns, words=1) == ["high Income", "low Income"]


def test_descriptions_without_anything_to_say():
    group = np.array([0, 1, 0, 1])
    assert describe_groups(group, {}) == ["near the average"] * 2
    nothing = {"Unknown": np.full(4, np.nan)}
    assert describe_groups(group, nothing) == ["near the average"] * 2
