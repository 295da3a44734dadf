"""Attacks: what memorises is caught, what knows nothing is not."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import roc_auc_score
from tests.published_run import country, memory_of, smooth

from mora.benchmark.bootstrap import Interval
from mora.errors import GraphError, MoraError
from mora.geometry import great_circle_km
from mora.graph.storage import MobilityGraph
from mora.harmonics import spherical_harmonics
from mora.publish import attack_run, membership_of_edges, membership_of_users
from mora.publish.attack_report import AttackReport, match_attacks, run_attacks
from mora.publish.attacks import (
    ALL_SCORES,
    SCORES,
    AttackResult,
    attack_pairs,
    matched_auc,
)
from mora.publish.learned_attack import learned_scores
from mora.publish.matching import MatchedPairs, edges_at, match_edges, match_members

TOKENS, GRAPH = country()
LONLAT = TOKENS.centroids()
MATCHED = match_edges(GRAPH, LONLAT, pairs=1_500, caliper=0.5)
ONE = np.array([0])


def noise(seed=0, dim=16):
    drawn = np.random.default_rng(seed).normal(size=(len(GRAPH), dim))
    return drawn.astype(np.float32)


def attack(vectors, matched=MATCHED, **options):
    found = attack_pairs(vectors, matched, attack="a", subject="s", **options)
    return {result.score: result for result in found}


# Scores


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cosine", 0.6), ("dot product", 30.0), ("distance", -(45**0.5))],
)
def test_scores_of_two_vectors_by_hand(name, expected):
    vectors = np.array([[5.0, 0.0], [6.0, 8.0]])
    vectors = vectors if name != "distance" else np.array([[0.0, 2.0], [6.0, 5.0]])
    assert SCORES[name](vectors, ONE, ONE + 1) == pytest.approx([expected])


def test_a_zero_vector_has_cosine_zero():
    assert SCORES["cosine"](np.zeros((2, 3)), ONE, ONE + 1) == [0.0]


# Area under the curve


def test_matched_auc_by_hand():
    # Two wins, one tie, one loss.
    found = matched_auc(
        np.array([2.0, 3, 1, 0]), np.array([1.0, 1, 1, 1]), np.arange(4)
    )
    assert found.value == 0.625
    assert found.blocks == 4


def test_matched_auc_against_one_shared_control_is_the_usual_one():
    rng = np.random.default_rng(0)
    case, control = rng.normal(0.5, 1, 40), rng.normal(0, 1, 30)
    pairs = np.repeat(case, 30), np.tile(control, 40), np.repeat(np.arange(40), 30)
    usual = roc_auc_score(np.repeat([1, 0], [40, 30]), np.append(case, control))
    assert matched_auc(*pairs).value == pytest.approx(usual)


def test_auc_does_not_change_with_the_units_of_the_score():
    rng = np.random.default_rng(1)
    case, control, cluster = *rng.normal(size=(2, 50)), np.arange(50)
    assert matched_auc(case, control, cluster) == matched_auc(
        np.exp(case), np.exp(control), cluster
    )


def test_level_draws_seed_and_clusters_shape_the_interval():
    rng = np.random.default_rng(1)
    case, control = rng.normal(0.3, 1, 200), rng.normal(size=200)
    alone = matched_auc(case, control, np.arange(200))
    assert alone.low < alone.value < alone.high
    narrow = matched_auc(case, control, np.arange(200), level=0.5)
    assert narrow.high - narrow.low < alone.high - alone.low
    for change in ({"draws": 50}, {"seed": 1}):
        other = matched_auc(case, control, np.arange(200), **change)
        assert (other.low, other.high) != (alone.low, alone.high)
    # What repeats itself is no further evidence.
    twice = matched_auc(
        np.tile(case, 4), np.tile(control, 4), np.tile(np.arange(200), 4)
    )
    assert (twice.low, twice.high) == (alone.low, alone.high)


def test_all_ties_give_half_and_no_width():
    found = matched_auc(np.ones(5), np.ones(5), np.arange(5))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"draws": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(MoraError, match="expected at least 2, a level between"):
        matched_auc(np.ones(3), np.ones(3), np.arange(3), **wrong)


def test_one_cluster_is_refused():
    with pytest.raises(MoraError, match="1 places or users"):
        matched_auc(np.ones(3), np.ones(3), np.zeros(3, int))


# Matching


def test_edges_at_agrees_with_the_dense_matrix():
    places = np.array([3, 0, 3, 50])
    dense = GRAPH.symmetric().toarray() > 0
    np.testing.assert_array_equal(edges_at(GRAPH, places).toarray() > 0, dense[places])


def test_cases_are_edges_and_controls_are_not():
    dense = GRAPH.symmetric().toarray() > 0
    assert dense[MATCHED.anchor, MATCHED.case].all()
    assert not dense[MATCHED.anchor, MATCHED.control].any()
    assert (MATCHED.anchor != MATCHED.control).all()
    assert len(MATCHED) + MATCHED.unmatched == 1_500


@pytest.mark.parametrize("caliper", [0.1, 0.5])
def test_controls_are_as_far_and_as_busy(caliper):
    found = match_edges(GRAPH, LONLAT, pairs=200, caliper=caliper)
    weight = GRAPH.degree()
    busy = np.abs(np.log(weight[found.case] / weight[found.control]))
    far = [
        great_circle_km(LONLAT[found.anchor], LONLAT[end])
        for end in (found.case, found.control)
    ]
    assert np.abs(np.log(far[0] / far[1])).max() <= caliper
    assert caliper / 2 < busy.max() <= caliper  # it is not closer than asked


def test_edges_that_only_follow_distance_give_nothing_away():
    # Drawn from a band around the edge's distance, controls would lie farther off, and
    # coordinates alone would pass for a memory of the edges.
    first, second = np.triu_indices(len(LONLAT), 1)
    km = great_circle_km(LONLAT[first], LONLAT[second])
    rng = np.random.default_rng(0)
    joined = rng.random(len(km)) < np.exp(-km / 50)
    ends = first[joined], second[joined]
    shape = (len(LONLAT), len(LONLAT))
    graph = MobilityGraph.from_matrix(
        sp.csr_array((np.ones(len(ends[0])), ends), shape)
    )
    matched = match_edges(graph, LONLAT, caliper=0.3)
    place = spherical_harmonics(LONLAT, 16)
    for result in attack(place, matched, scores=list(SCORES)).values():
        assert abs(result.auc.value - 0.5) < 0.05


def test_match_pairs_seed_and_places_choose():
    first = match_edges(GRAPH, LONLAT, pairs=100, caliper=0.5)
    assert len(first) + first.unmatched == 100
    again = match_edges(GRAPH, LONLAT, pairs=100, caliper=0.5)
    np.testing.assert_array_equal(first.control, again.control)
    other = match_edges(GRAPH, LONLAT, pairs=100, caliper=0.5, seed=1)
    assert not np.array_equal(first.case[:20], other.case[:20])
    among = np.arange(len(GRAPH)) < 120
    inside = match_edges(GRAPH, LONLAT, pairs=100, caliper=0.5, among=among)
    ends = np.concatenate([inside.anchor, inside.case, inside.control])
    assert ends.max() < 120


def test_few_users_choose_the_edges():
    found = match_edges(GRAPH, LONLAT, pairs=100, caliper=0.5, most_users=2)
    assert (np.minimum(found.anchor, found.case) == 0).all()  # all of them are there


def test_a_complete_graph_has_no_pair_without_an_edge():
    full = MobilityGraph.from_matrix(sp.csr_array(np.triu(np.ones((9, 9)), 1)))
    with pytest.raises(GraphError, match="none of 36 edges has a pair of places like"):
        match_edges(full, LONLAT[:9])


def test_no_edge_among_the_places_is_refused():
    nowhere = np.zeros(len(GRAPH), bool)
    with pytest.raises(GraphError, match="edges joins two of the 0 places"):
        match_edges(GRAPH, LONLAT, among=nowhere)


def test_members_are_kept_edges_and_the_others_are_held_out():
    dense = GRAPH.symmetric().toarray() > 0
    kept = GRAPH.select(np.arange(GRAPH.edges) % 5 > 0)
    inside = kept.symmetric().toarray() > 0
    out = np.argwhere(np.triu(dense & ~inside))[::8]
    found = match_members(GRAPH, kept, out, LONLAT, caliper=0.5)
    assert inside[found.anchor, found.case].all()
    outside = dense & ~inside
    assert outside[found.anchor, found.control].all()
    tight = match_members(GRAPH, kept, out, LONLAT, caliper=0.05)
    assert len(tight) < len(found)
    other = match_members(GRAPH, kept, out, LONLAT, caliper=0.5, seed=1)
    assert not np.array_equal(found.case[:20], other.case[:20])


# Edge reconstruction


def test_vectors_that_memorise_edges_are_caught():
    found = attack(memory_of(GRAPH))
    for score in SCORES:
        assert found[score].auc.value > 0.9
    assert found["learned"].auc.value > 0.7  # from few pairs for so many columns


@pytest.mark.parametrize("seed", range(3))
def test_random_vectors_give_nothing_away(seed):
    for result in attack(noise(seed)).values():
        assert abs(result.auc.value - 0.5) < 0.05


def test_knowing_only_where_places_are_gives_nothing_away():
    # Against pairs drawn at random, nearness would pass for a memory of the edges.
    for result in attack(smooth(TOKENS)).values():
        assert abs(result.auc.value - 0.5) < 0.05


def test_what_only_a_learned_rule_sees():
    hidden = memory_of(GRAPH)
    loud = 30 * noise(1, 64)
    vectors = np.hstack([hidden, loud])
    found = attack(vectors)
    assert abs(found["cosine"].auc.value - 0.5) < 0.05
    assert found["learned"].auc.value > found["cosine"].auc.value + 0.05


def test_turning_all_vectors_changes_no_score_but_the_learned():
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))
    plain, turned = attack(noise()), attack(noise() @ turn)
    for score in SCORES:
        assert plain[score].auc.value == pytest.approx(
            turned[score].auc.value, abs=2e-3
        )


def test_learned_scores_need_two_places_and_depend_on_the_seed():
    one = MatchedPairs(ONE, ONE + 1, ONE + 2, 0)
    with pytest.raises(MoraError, match="1 places to learn an attack from"):
        learned_scores(noise(), one)
    first, control = learned_scores(noise(), MATCHED)
    assert (control == 0).all()
    assert not np.array_equal(first, learned_scores(noise(), MATCHED, seed=1)[0])


def test_the_same_vectors_for_all_places_tie():
    found = attack(np.ones((len(GRAPH), 4), np.float32))
    assert [result.auc.value for result in found.values()] == [0.5] * 4


def test_result_names_and_options():
    (result,) = attack_pairs(
        noise(), MATCHED, attack="which", subject="whose", scores=["cosine"], draws=50
    )
    assert (result.attack, result.subject, result.score) == ("which", "whose", "cosine")
    assert (result.pairs, result.unmatched) == (len(MATCHED), MATCHED.unmatched)
    wide = attack(noise(), scores=["cosine"])["cosine"]
    narrow = attack(noise(), scores=["cosine"], level=0.5)["cosine"]
    other = attack(noise(), scores=["cosine"], seed=4)["cosine"]
    few = attack(noise(), scores=["cosine"], draws=20)["cosine"]
    assert narrow.auc.high < wide.auc.high
    assert other.auc.high != wide.auc.high
    assert few.auc.high != wide.auc.high


def test_unknown_scores_and_broken_vectors_are_refused():
    with pytest.raises(MoraError, match="scores are luck; expected some of cosine"):
        attack(noise(), scores=["luck"])
    broken = noise()
    broken[:] = np.nan
    with pytest.raises(MoraError, match="are not finite; expected numbers"):
        attack(broken)


# Membership of edges


def members(embed=memory_of, **changes):
    usual = {"share": 0.2, "pairs": 200, "caliper": 0.5, "scores": ["dot product"]}
    options = usual | changes
    return membership_of_edges(GRAPH, LONLAT, embed, **options)


def test_an_encoder_that_memorises_tells_its_training_edges():
    (result,) = members()
    assert result.auc.value > 0.9
    assert (result.attack, result.subject) == (
        "edge membership",
        "vectors learned again",
    )


def test_an_encoder_that_learns_nothing_tells_none():
    for result in members(lambda _: noise(), pairs=900, scores=ALL_SCORES):
        assert abs(result.auc.value - 0.5) < 0.06


def test_an_encoder_of_the_whole_map_tells_none():
    # It knows every edge, and cannot know which were held out.
    (result,) = members(lambda _: memory_of(GRAPH), pairs=900)
    assert abs(result.auc.value - 0.5) < 0.05


def test_each_option_of_membership_matters():
    (usual,) = members()
    for change in ({"share": 0.1}, {"pairs": 50}, {"caliper": 0.1}, {"seed": 1}):
        (other,) = members(**change)
        assert other != usual, change
    (few,) = members(draws=10)
    assert few.auc.low != usual.auc.low
    (named,) = members(subject="LINE")
    assert named.subject == "LINE"


def test_vectors_of_other_places_are_refused():
    with pytest.raises(GraphError, match=r"embed gave 2 vectors for 217 tokens"):
        members(lambda _: np.zeros((2, 3)))


# Membership of users


def visits(users=60, weeks=3, places=40, seed=0):
    """Make four visits a user and week, in a few places of the user's own."""
    rng = np.random.default_rng(seed)
    own = rng.integers(places, size=(users, 6))
    user, week, slot = np.indices((users, weeks, 4)).reshape(3, -1)
    place = own[user, rng.integers(6, size=len(slot))]
    return user.astype(np.uint64), week, place.astype(np.uint64)


def weights_of(graph):
    return graph.symmetric().toarray() + 3 * np.eye(len(graph))


def people(embed=weights_of, **changes):
    options = {"targets": 12, "runs": 2, "min_users": 1, "scores": ["dot product"]}
    return membership_of_users(*visits(), embed, **(options | changes))


def test_an_encoder_that_memorises_gives_people_away():
    (result,) = people(scores=["dot product"])
    assert result.auc.value > 0.9
    assert result.attack == "user membership"
    assert result.pairs == 12 * 1 * 1
    assert result.auc.blocks == 12  # people are drawn whole


def test_an_encoder_that_learns_nothing_gives_nobody_away():
    def chance(graph):
        rng = np.random.default_rng(graph.edges)
        return rng.normal(size=(len(graph), 8))

    for result in people(chance, targets=50, runs=4, scores=tuple(SCORES)):
        assert abs(result.auc.value - 0.5) < 0.06


def test_an_encoder_that_never_changes_gives_nobody_away():
    (result,) = people(lambda graph: np.ones((len(graph), 2)))
    assert result.auc.value == 0.5


def test_each_option_of_user_membership_matters():
    done = []
    (usual,) = people(min_users=3, progress=lambda d, t: done.append((d, t)))
    assert done == [(1, 2), (2, 2)]
    for change in ({"targets": 20}, {"runs": 4}, {"min_users": 1}, {"seed": 1}):
        (other,) = people(**({"min_users": 3} | change))
        assert other != usual, change
    (few,) = people(min_users=3, draws=5, subject="LINE")
    assert few.auc.low != usual.auc.low
    assert few.subject == "LINE"


@pytest.mark.parametrize("runs", [0, 3])
def test_runs_that_are_not_even_are_refused(runs):
    with pytest.raises(MoraError, match=f"runs is {runs}; expected an even number"):
        people(runs=runs)


@pytest.mark.parametrize("targets", [1, 60])
def test_too_few_or_too_many_targets_are_refused(targets):
    with pytest.raises(MoraError, match=f"{targets} targets of 60 people"):
        people(targets=targets)


def test_the_learned_score_is_not_for_people():
    with pytest.raises(MoraError, match="scores are learned; expected some of cosine"):
        people(scores=["learned"])


# Report


def result(value, low=None, high=None, subject="embeddings"):
    low, high = low or value - 0.01, high or value + 0.01
    return AttackResult(
        "reading", subject, "cosine", Interval(value, low, high, 0.95, 9), 9
    )


def test_verdict_above_the_threshold_says_what_to_do():
    report = AttackReport([result(0.8), result(0.5, subject="distilled encoder")])
    text = report.to_markdown()
    assert "Not safe to share" in text
    assert "AUC 0.800 (0.790 to 0.810), on 9 pairs; above 0.55 or below 0.45" in text
    assert "share it alone" in text
    assert "min_users" in text
    assert "| reading | embeddings | cosine | 0.800 | 0.790 to 0.810 | 9 | 0 |" in text
    assert report.to_json()["unsafe"] == ["embeddings"]


def test_an_encoder_that_may_give_away_is_not_said_to_hold():
    encoder = result(0.53, high=0.57, subject="distilled encoder")
    text = AttackReport([result(0.8), encoder]).to_markdown()
    assert "encoder is not shown to be safe either" in text
    assert "share it alone" not in text


def test_attacks_that_were_not_tried_are_told_with_their_reason():
    report = AttackReport([result(0.51)], skipped=["Nobody was there."])
    assert report.to_markdown().endswith("Nobody was there.")
    assert report.to_json()["skipped"] == ["Nobody was there."]


def test_verdict_when_the_encoder_is_no_better():
    report = AttackReport([result(0.8), result(0.7, subject="distilled encoder")])
    assert "share it alone" not in report.to_markdown()


def test_verdict_below_the_threshold_is_no_proof():
    (said,) = AttackReport([result(0.51)]).verdict()
    assert "no proof" in said


def test_a_wide_interval_is_not_shown_to_be_safe():
    (said,) = AttackReport([result(0.52, high=0.6)]).verdict()
    assert "Not shown to be safe" in said


def test_a_score_that_is_always_lower_is_as_telling():
    assert "Not safe" in AttackReport([result(0.3)]).verdict()[0]
    assert "Not shown" in AttackReport([result(0.48, low=0.4)]).verdict()[0]


def test_an_auc_below_half_is_said_as_what_it_is_worth():
    floor = [result(0.4, subject="coordinates alone")]
    worst, beside, *_ = AttackReport([result(0.138)], floor=floor).verdict()
    assert worst.endswith(
        "AUC 0.138 (0.128 to 0.148), as telling as 0.862, on 9 pairs; above 0.55 or "
        "below 0.45 counts as given away."
    )
    assert "reaches 0.400 (0.390 to 0.410), as telling as 0.600: only" in beside
    (said,) = AttackReport([result(0.48, low=0.4)], threshold=0.58).verdict()
    assert "may be above 0.58 or below 0.42" in said
    (said,) = AttackReport([result(0.51)]).verdict()
    assert "is above 0.55 or below 0.45" in said


def test_threshold_and_what_is_kept_back_decide():
    assert "Not safe" not in AttackReport([result(0.8)], threshold=0.9).verdict()[0]
    kept = AttackReport([result(0.8)], kept_back=["embeddings"])
    assert "Not safe" not in kept.verdict()[0]
    assert "embeddings (kept back)" in kept.to_markdown()


def test_attack_run_tries_all_edges_and_those_of_few_users():
    subjects = {"embeddings": memory_of(GRAPH), "distilled encoder": noise()}
    further = [result(0.5, subject="LINE")]
    report = attack_run(
        GRAPH, LONLAT, subjects, pairs=100, caliper=0.5, further=further
    )
    found = {(r.attack, r.subject) for r in report.results}
    names = {"edge reconstruction", "edges of at most 4 users"}
    assert found == {(a, s) for a in names for s in subjects} | {("reading", "LINE")}
    assert {r.subject for r in report.unsafe()} >= {"embeddings"}


def test_coordinates_alone_stand_beside_and_are_not_judged():
    report = attack_run(GRAPH, LONLAT, {"v": noise()}, pairs=100, caliper=0.5)
    assert {r.subject for r in report.floor} == {"coordinates alone"}
    assert len(report.floor) == len(report.results)
    floor = [result(0.7, subject="coordinates alone")]
    judged = AttackReport([result(0.8)], floor=floor)
    assert judged.unsafe() == [result(0.8)]
    text = judged.to_markdown()
    assert "reaches 0.700 (0.690 to 0.710): only what is above" in text
    assert "| reading | coordinates alone |" in text
    assert judged.to_json()["floor"] == [floor[0].to_json()]
    assert "Not safe" not in AttackReport([result(0.5)], floor=floor).verdict()[0]


def test_each_option_of_attack_run_matters():
    subjects = {"embeddings": noise()}
    options = {"pairs": 60, "caliper": 0.5}
    usual = attack_run(GRAPH, LONLAT, subjects, **options).results
    among = np.arange(len(GRAPH)) < 150
    for change in ({"pairs": 40}, {"caliper": 0.2}, {"among": among}, {"seed": 1}):
        assert (
            attack_run(GRAPH, LONLAT, subjects, **(options | change)).results != usual
        )


def test_a_graph_without_users_has_no_edges_of_few():
    flows = MobilityGraph.from_matrix(sp.triu(GRAPH.symmetric()))
    matched = match_attacks(flows, LONLAT, pairs=100, caliper=0.5)
    assert list(matched) == ["edge reconstruction"]
    report = run_attacks(matched, LONLAT, {"v": noise()}, kept_back=["v"])
    assert report.published() == []
