import h3
import numpy as np
import pytest
import shapely

from mora.embeddings import read_embeddings
from mora.errors import MoraError, NoGeometryError
from mora.tokens import GridTokens, H3Tokens, ZoneTokens
from mora.trajectories.raw.regions import find_users, pool_regions
from mora.trajectories.traces import build_traces

# Two zones share the strip 1..2 of longitudes; nobody comes to the third.
ZONES = ZoneTokens.from_zones(
    ["east", "far", "west"],
    np.array(
        [shapely.box(1, 0, 3, 1), shapely.box(8, 0, 9, 1), shapely.box(0, 0, 2, 1)]
    ),
)
EAST, FAR, WEST = ZONES.encode(["east", "far", "west"])
# User 0 in both zones, twice in the west; 1 in the west; 2 in the east; 3 nowhere.
POINTS = [(0, 0.5), (0, 0.6), (0, 1.5), (1, 0.5), (2, 2.5), (3, 5.0)]
VECTORS = np.array([[1, 0], [10, 1], [100, 2], [1000, 3]], np.float32)


def traces_of(points=POINTS):
    user, lon = (np.array(column) for column in zip(*points, strict=True))
    lonlat = np.column_stack([lon, np.full(len(lon), 0.5)])
    return build_traces(user, np.arange(len(user)), lonlat)


def random_presence(users=40, seed=0, **options):
    rng = np.random.default_rng(seed)
    tokens = H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(48.86, 2.35, 8), 3))
    middle = tokens.centroids()
    lonlat = middle[rng.integers(0, len(tokens), 6 * users)]
    traces = build_traces(
        rng.integers(0, users, len(lonlat)), rng.random(len(lonlat)), lonlat
    )
    return traces, find_users(traces, tokens, **options)


def vectors_of(embeddings, names):
    return embeddings.at(names).tolist()


def test_each_region_has_its_distinct_users_once():
    presence = find_users(traces_of(), ZONES)
    seen = np.split(presence.user, presence.offsets[1:-1])
    assert seen[WEST].tolist() == [0, 1]
    assert seen[EAST].tolist() == [0, 2]
    assert seen[FAR].tolist() == []
    assert presence.counts()[[WEST, EAST, FAR]].tolist() == [2, 2, 0]
    assert presence.users.tolist() == [0, 1, 2, 3]


def test_sum_is_right_for_regions_that_share_their_first_user():
    given = VECTORS.copy()
    pooled = pool_regions(find_users(traces_of(), ZONES), given)
    assert vectors_of(pooled, ["west", "east"]) == [[11, 1], [101, 2]]
    np.testing.assert_array_equal(given, VECTORS)  # the released code adds into them


def test_mean_does_not_grow_with_the_number_of_users():
    presence = find_users(traces_of(), ZONES)
    assert vectors_of(pool_regions(presence, VECTORS, "mean"), ["west"]) == [[5.5, 0.5]]
    same = np.ones((4, 3), np.float32)
    assert np.ptp(pool_regions(presence, same, "mean").vectors) == 0


def test_agrees_with_sets_and_loops():
    traces, presence = random_presence()
    vectors = np.random.default_rng(1).normal(size=(len(traces.users), 5))
    pooled = pool_regions(presence, vectors, min_users=1)
    token = presence.tokens.locate(traces.lonlat)
    for row, name in enumerate(pooled.tokens.ids):
        here = set(traces.user_rows()[token == presence.tokens.find([name])[0]])
        expected = sum(vectors[user] for user in sorted(here))
        np.testing.assert_allclose(pooled.vectors[row], expected, rtol=1e-5, atol=1e-6)


def test_batches_of_users_change_nothing():
    traces, presence = random_presence()
    _, small = random_presence(batch_users=3)
    np.testing.assert_array_equal(small.user, presence.user)
    np.testing.assert_array_equal(small.offsets, presence.offsets)
    vectors = np.random.default_rng(1).normal(size=(len(traces.users), 5))
    whole = pool_regions(presence, vectors).vectors
    blocks = iter(np.array_split(vectors, 7))
    np.testing.assert_allclose(pool_regions(presence, blocks).vectors, whole, rtol=1e-6)
    with pytest.raises(MoraError, match="batch_users is 0; expected at least 1"):
        random_presence(batch_users=0)


def test_a_region_of_one_user_is_hidden():
    presence = find_users(traces_of([*POINTS, (1, 8.5)]), ZONES)
    assert "far" not in pool_regions(presence, VECTORS).tokens.names()
    everything = pool_regions(presence, VECTORS, min_users=1)
    assert vectors_of(everything, ["far"]) == [[10, 1]]  # which is user 1's own vector
    with pytest.raises(
        MoraError, match=r"none of 3 regions has min_users = 5 .*most 2"
    ):
        pool_regions(presence, VECTORS, min_users=5)
    with pytest.raises(MoraError, match="min_users = 0"):
        pool_regions(presence, VECTORS, min_users=0)


def test_the_file_is_that_of_other_embeddings_and_says_how_it_was_pooled(tmp_path):
    presence = find_users(traces_of(), ZONES)
    pool_regions(presence, VECTORS, "mean").write(tmp_path / "regions.parquet")
    again = read_embeddings(tmp_path / "regions.parquet")
    assert again.tokens.names() == [n for n in ZONES.names() if n != "far"]
    assert again.provenance == {
        "model": "raw",
        "pooling": "mean",
        "users": 4,
        "min_users": 2,
        "regions_hidden": 1,
    }


def test_vectors_that_do_not_fit_are_refused():
    presence = find_users(traces_of(), ZONES)
    with pytest.raises(MoraError, match="3 vectors for 4 users"):
        pool_regions(presence, VECTORS[:3])
    with pytest.raises(MoraError, match="8 vectors for 4 users"):
        pool_regions(presence, [VECTORS, VECTORS])
    with pytest.raises(MoraError, match="1 of 4 user vectors are not finite"):
        pool_regions(presence, np.where(VECTORS == 10, np.nan, VECTORS))


def test_points_outside_all_regions_are_refused():
    with pytest.raises(MoraError, match="none of 1 points lies in one of 3 regions"):
        find_users(traces_of([(0, 5.0)]), ZONES)
    grid = GridTokens.from_xy(np.array([[1, 1]]))
    with pytest.raises(NoGeometryError, match="grid tokens have no known place"):
        find_users(traces_of(), grid)
