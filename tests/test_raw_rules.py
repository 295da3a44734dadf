import h3
import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from mora.errors import MoraError
from mora.geometry import great_circle_km
from mora.tokens import H3Tokens
from mora.trajectories.raw.regions import find_users, pool_regions
from mora.trajectories.raw.rules import (
    DistanceRule,
    MajorityClass,
    TrainingMean,
    count_users,
    describe_traces,
    fit_threshold,
    night_and_noon,
    random_users,
)
from mora.trajectories.raw.tasks import LabelTask, VectorHead, evaluate_task
from mora.trajectories.traces import build_traces

NOWHERE = np.empty(0, np.int64)


def planted_users(users=60, days=7, seed=0, step_hours=1.0):
    """Hourly points of users: the even ones are commuters and work 5 to 15 km away.

    Returns traces, homes, works (the home of those who do not commute), commuter.
    """
    rng = np.random.default_rng(seed)
    homes = np.array([2.35, 48.86]) + rng.normal(0, 0.05, (users, 2))
    commuter = np.arange(users) % 2 == 0
    away = rng.uniform(0.07, 0.14, users) * np.exp(2j * np.pi * rng.random(users))
    works = homes + commuter[:, None] * np.column_stack([1.5 * away.real, away.imag])
    hours = np.arange(0, 24 * days, step_hours)
    at_work = (hours % 24 >= 9) & (hours % 24 < 18)
    places = np.where(at_work[None, :, None], works[:, None], homes[:, None])
    places = places + rng.normal(0, 0.002, places.shape)
    user = np.repeat(np.arange(users), len(hours))
    seconds = np.tile(hours * 3600.0, users)
    return build_traces(user, seconds, places.reshape(-1, 2)), homes, works, commuter


def commuters(labels):
    return LabelTask("commuter", labels, "classes")


def test_night_and_noon_are_home_and_work():
    traces, homes, works, _ = planted_users()
    found = night_and_noon(traces)
    assert great_circle_km(found.night, homes).max() < 0.3
    assert great_circle_km(found.noon, works).max() < 0.3
    np.testing.assert_array_equal(
        found.distance_km(), great_circle_km(found.night, found.noon)
    )


def test_hours_change_the_places():
    traces, homes, works, _ = planted_users()
    swapped = night_and_noon(traces, night=(12, 13), noon=(22, 4))
    assert great_circle_km(swapped.night, works).max() < 0.8
    assert great_circle_km(swapped.noon, homes).max() < 0.3
    with pytest.raises(MoraError, match=r"hours are \(0, 24\); expected two different"):
        night_and_noon(traces, night=(0, 24))
    with pytest.raises(MoraError, match=r"hours are \(10, 25\)"):
        night_and_noon(traces, noon=(10, 25))


def test_a_user_who_is_not_seen_at_night_has_no_distance():
    seconds = np.array([43_200.0, 43_200.0, 0.0])
    traces = build_traces(np.array([0, 1, 1]), seconds, np.zeros((3, 2)))
    found = night_and_noon(traces)
    assert np.isnan(found.night).all(axis=1).tolist() == [True, False]
    assert np.isnan(found.distance_km()).tolist() == [True, False]


def test_the_threshold_lies_between_the_classes():
    distance = np.array([1.0, 4.0, 2.0, 8.0])
    commuter = np.array([False, True, False, True])
    assert fit_threshold(distance, commuter) == 3.0
    assert fit_threshold(distance, np.ones(4, bool)) == -np.inf
    assert fit_threshold(distance, np.zeros(4, bool)) == np.inf


def test_the_threshold_agrees_with_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(30):
        distance = rng.integers(0, 8, 25).astype(float)
        commuter = rng.random(25) < 0.5
        got = ((distance > fit_threshold(distance, commuter)) == commuter).sum()
        tried = [((distance > t) == commuter).sum() for t in np.arange(-1, 9) + 0.5]
        assert got == max(tried)


def test_the_rule_finds_planted_commuters():
    traces, _, _, commuter = planted_users()
    rule = DistanceRule(night_and_noon(traces).distance_km())
    models = {"rule": rule, "majority": MajorityClass()}
    scores = {s.model: s.mean for s in evaluate_task(commuters(commuter), models)[::2]}
    assert scores["rule"] == 1.0
    assert scores["majority"] < 0.7


def test_the_rule_and_a_stump_of_a_tree_agree():
    rng = np.random.default_rng(0)
    label = rng.random(100) < 0.5
    distance = np.where(label, 3.0, 2.0) + rng.normal(size=100)
    train, test = np.arange(70), np.arange(70, 100)
    got = DistanceRule(distance).fit_predict(commuters(label), train, test, 0)
    tree = DecisionTreeClassifier(max_depth=1).fit(distance[train, None], label[train])
    right = (tree.predict(distance[train, None]) == label[train]).sum()
    threshold = fit_threshold(distance[train], label[train])
    assert ((distance[train] > threshold) == label[train]).sum() >= right
    assert (got == (distance[test] > threshold)).all()


def test_users_without_distance_get_the_usual_answer():
    label = np.array([False] * 12 + [True] * 11)
    distance = np.where(label, 9.0, 1.0)
    distance[[0, 22]] = np.nan
    rule, train = DistanceRule(distance), np.arange(1, 22)
    test = np.array([0, 22])
    assert rule.fit_predict(commuters(label), train, test, 0).tolist() == [False, False]
    nobody = DistanceRule(np.full(23, np.nan))
    assert nobody.fit_predict(commuters(label), train, test, 0).tolist() == [False] * 2


def test_the_rule_needs_two_classes():
    three = commuters(np.repeat(["a", "b", "c"], 10))
    with pytest.raises(
        MoraError, match="has 3 different classes; the rule expected two"
    ):
        DistanceRule(np.zeros(30)).fit_predict(three, np.arange(30), NOWHERE, 0)


def test_constants_are_of_the_training_rows():
    trips = LabelTask("trips", np.array([1, 3, 100]), "numbers")
    got = TrainingMean().fit_predict(trips, np.array([0, 1]), np.array([2]), 0)
    assert got.tolist() == [2.0]
    label = np.array(["a"] * 10 + ["b"] * 12)
    train = np.concatenate([np.arange(10), [10]])
    got = MajorityClass().fit_predict(commuters(label), train, np.array([20, 21]), 0)
    assert got.tolist() == ["a", "a"]


def presence_of_planted_users():
    traces, *_ = planted_users()
    cells = h3.grid_disk(h3.latlng_to_cell(48.86, 2.35, 7), 6)
    return find_users(traces, H3Tokens.from_cells(cells))


def test_random_users_keep_the_sizes():
    presence = presence_of_planted_users()
    drawn = random_users(presence, seed=1)
    np.testing.assert_array_equal(drawn.counts(), presence.counts())
    for users in np.split(drawn.user, drawn.offsets[1:-1]):
        assert len(np.unique(users)) == len(users)
    assert (drawn.user != presence.user).any()
    assert (random_users(presence, seed=2).user != drawn.user).any()
    np.testing.assert_array_equal(random_users(presence, seed=1).user, drawn.user)


def test_counts_stand_for_the_same_regions_as_the_vectors():
    presence = presence_of_planted_users()
    pooled = pool_regions(presence, np.ones((60, 3)), min_users=3)
    counted = count_users(presence, min_users=3)
    np.testing.assert_array_equal(counted.tokens.ids, pooled.tokens.ids)
    users = presence.counts()[presence.counts() >= 3]
    np.testing.assert_array_equal(counted.vectors[:, 0], users)
    np.testing.assert_allclose(counted.vectors[:, 1], np.log1p(users), rtol=1e-6)
    assert counted.provenance["model"] == "user count"
    assert len(count_users(presence)) > len(counted)


def test_a_count_is_what_a_sum_mostly_knows():
    """POI follow the number of users: sums know it, counts too, and means do not."""
    presence = presence_of_planted_users()
    rng = np.random.default_rng(0)
    vectors = rng.normal(1.0, 1.0, (60, 8))
    label = presence.counts()[presence.counts() >= 2] + 0.01 * rng.random(1)
    task = LabelTask("poi", label, "numbers")
    models = {
        "sum": VectorHead(pool_regions(presence, vectors).vectors, "linear"),
        "random sum": VectorHead(
            pool_regions(random_users(presence), vectors).vectors, "linear"
        ),
        "mean": VectorHead(pool_regions(presence, vectors, "mean").vectors, "linear"),
        "count": VectorHead(count_users(presence).vectors, "linear"),
    }
    mae = {s.model: s.mean for s in evaluate_task(task, models) if s.metric == "mae"}
    assert mae["count"] < mae["sum"] < mae["mean"]
    assert mae["random sum"] < mae["mean"]


def test_a_user_is_described_by_hand():
    """One stays; the other goes one degree north and back, and has no night."""
    seconds = np.array([0.0, 43_200, 36_000, 39_600, 43_200])
    lat = np.array([5.0, 5, 0, 1, 0])
    traces = build_traces(
        np.array([0, 0, 1, 1, 1]), seconds, np.column_stack([np.zeros(5), lat])
    )
    stays, goes = describe_traces(traces)
    np.testing.assert_allclose(stays, [np.log(3), 0, 0, 0, 1], atol=1e-9)
    # Off the middle by 1/3, 2/3 and 1/3 of a degree: the root mean square is sqrt(2)/3.
    km = np.array([2, np.sqrt(2) / 3]) * 111.195
    np.testing.assert_allclose(goes[:3], [np.log(4), *np.log1p(km)], rtol=1e-5)
    assert goes[3:].tolist() == [0, 0]
