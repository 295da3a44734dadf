"""Places over time: flows by period, one space, noise, and what stands out."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import ortho_group

from mora.benchmark.drift import (
    Noise,
    Snapshot,
    align,
    compare,
    cosine_change,
    quiet_noise,
    rank_changes,
    times_noise,
    usual,
)
from mora.benchmark.period_vectors import (
    Anchor,
    bootstrap_noise,
    embed_periods,
    rank_periods,
)
from mora.errors import GraphError, MissingColumnError, MoraError, TableError
from mora.graph.periods import PeriodFlows, flows_by_period, volume_of
from mora.graph.storage import MobilityGraph
from mora.line.closed_form import closed_form
from mora.tokens import H3Tokens, ZoneTokens

SHARED = Path(os.environ.get("MORA_SHARED", Path(__file__).parents[2] / "shared"))
STATES = SHARED / "data" / "state_weekly_flows" / "flows.parquet"
PLACES, SHOCK, QUIETER = 40, 7, 9  # period 7 moves three places, 9 halves all movement
WHOLE = 24  # with 16 columns more the sketch spans all places, and is exact
MOVED = ("Z03", "Z11", "Z32")


def frame(*rows, columns=("time", "origin", "destination", "weight")):
    return pd.DataFrame(rows, columns=list(columns))


def planted(periods=12, seed=0, shock=True):
    """Two communities; three places change sides once, and once all move half."""
    rng = np.random.default_rng(seed)
    names = [f"Z{i:02d}" for i in range(PLACES)]
    side = np.arange(PLACES) % 2
    matrices = []
    for period in range(periods):
        now = side.copy()
        if shock and period == SHOCK:
            now[[names.index(name) for name in MOVED]] ^= 1
        rate = np.where(now[:, None] == now, 60.0, 6.0)
        if shock and period == QUIETER:
            rate /= 2
        matrices.append(sp.csr_array(rng.poisson(rate).astype(float)))
    months = tuple(f"2020-{m + 1:02d}" for m in range(periods))
    tokens = ZoneTokens.from_zones(names)
    return PeriodFlows(tokens, months, tuple(matrices), (1,) * periods)


def quiet_pairs(embedded, until=6):
    shots = [embedded.at(period) for period in embedded.periods[:until]]
    return list(pairwise(shots))


def snapshot(vectors, volume=None, names=None):
    vectors = np.asarray(vectors, np.float32)
    names = names or [f"Z{i:02d}" for i in range(len(vectors))]
    volume = np.zeros(len(vectors)) if volume is None else np.asarray(volume, float)
    return Snapshot(ZoneTokens.from_zones(names), vectors, volume)


def random_vectors(places=20, dim=4, seed=0):
    return np.random.default_rng(seed).normal(size=(places, dim)).astype(np.float32)


# --- flows by period ---------------------------------------------------------------


def test_flows_are_added_up_by_month_and_divided_by_dates():
    flows = flows_by_period(
        frame(
            ("2020-03-02", "a", "b", 3),
            ("2020-03-09", "a", "b", 5),
            ("2020-03-09", "b", "b", 2),
            ("2020-01-06", "b", "a", 7),
        )
    )
    assert flows.periods == ("2020-01", "2020-03")
    assert flows.dates == (1, 2)
    assert flows.flows("2020-03").toarray().tolist() == [[0, 8], [0, 2]]
    assert flows.volume().tolist() == [[7, 7], [4, 5]]
    assert flows.flows().sum() == 17
    assert flows.graph("2020-01").total_weight() == 7
    assert len(flows) == 2


def test_volume_by_hand():
    flows = sp.csr_array([[1.0, 2.0], [3.0, 0.0]])
    assert volume_of(flows).tolist() == [6, 5]
    assert volume_of(sp.csr_array((2, 2))).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("every", "periods"),
    [
        ("day", ("2020-02-29", "2020-03-01", "2020-03-02")),
        ("week", ("2020-02-24", "2020-03-02")),
        ("month", ("2020-02", "2020-03")),
    ],
)
def test_every_sets_the_length_of_a_period(every, periods):
    dates = ("2020-03-02T01:00:00+09:00", "2020-02-29", "2020-03-01 23:59")
    flows = flows_by_period(frame(*[(d, "a", "b", 1) for d in dates]), every=every)
    assert flows.periods == periods


@pytest.mark.parametrize(
    "times",
    [
        [20200301, 20200402],
        ["20200301", "20200402"],
        pd.to_datetime(["2020-03-01 23:00", "2020-04-02 00:00"]),
        pd.to_datetime(["2020-03-01 23:00", "2020-04-02 00:00"]).tz_localize(
            "Asia/Tokyo"
        ),
    ],
)
def test_dates_of_every_form_are_read_on_their_own_clock(times):
    given = frame(("", "a", "b", 1), ("", "b", "a", 1)).assign(time=times)
    assert flows_by_period(given).periods == ("2020-03", "2020-04")


def test_tokens_set_places_and_their_order():
    tokens = H3Tokens.from_cells(["8a1f05835b5ffff", "8a1f05835b4ffff"])
    names = tokens.names()
    flows = flows_by_period(frame(("2020-03-02", *names, 3)), tokens=tokens)
    assert flows.tokens is tokens
    assert flows.flows().toarray()[0, 1] == 3
    unknown = frame(("2020-03-02", "8a1f05835baffff", "8a1f05835baffff", 3))
    with pytest.raises(MoraError, match="1 of 1 places are not among the 2 known"):
        flows_by_period(unknown, tokens=tokens)


def test_bad_flows_are_refused_with_counts():
    good = ("2020-03-02", "a", "b", 3)
    with pytest.raises(MissingColumnError, match="no column 'time'"):
        flows_by_period(
            frame(good, columns=("week", "origin", "destination", "weight"))
        )
    with pytest.raises(TableError, match=r"2 of 3 weights .* \(first: -1.0, nan\)"):
        flows_by_period(frame(good, (*good[:3], -1), (*good[:3], np.nan)))
    with pytest.raises(TableError, match=r"1 of 2 times cannot be read .*first: soon"):
        flows_by_period(frame(good, ("soon", *good[1:])))
    with pytest.raises(TableError, match=r"1 of 1 times .*1583107200"):
        flows_by_period(frame((1583107200, *good[1:])))
    with pytest.raises(TableError, match="at least one row"):
        flows_by_period(frame(good).iloc[:0])
    with pytest.raises(TableError, match="every is 'year'; expected one of day, week"):
        flows_by_period(frame(good), every="year")


def test_periods_that_do_not_fit_are_refused():
    flows = planted(2, shock=False)
    with pytest.raises(GraphError, match="no period '2021-01' among 2; expected one"):
        flows.flows("2021-01")
    with pytest.raises(GraphError, match="1 periods, 2 matrices"):
        PeriodFlows(flows.tokens, ("2020-01",), flows.matrices, (1, 1))


# --- alignment and change ----------------------------------------------------------


def test_a_rotation_is_taken_away():
    vectors = random_vectors()
    turn = ortho_group.rvs(4, random_state=1).astype(np.float32)
    np.testing.assert_allclose(align(vectors @ turn, vectors), vectors, atol=1e-5)
    wider = np.pad(vectors, [(0, 0), (0, 2)])
    np.testing.assert_allclose(align(vectors @ turn, wider), wider, atol=1e-5)


def test_alignment_is_the_best_rotation():
    first, second = random_vectors(seed=1), random_vectors(seed=2)
    best = np.linalg.norm(align(first, second) - second)
    for seed in range(20):
        turn = ortho_group.rvs(4, random_state=seed)
        assert best <= np.linalg.norm(first @ turn - second)


def test_too_few_places_cannot_be_rotated():
    vectors = random_vectors(5, 4)
    vectors[:2] = 0
    with pytest.raises(MoraError, match=r"3 of 5 shared places .* for 4 dimensions"):
        align(vectors, vectors)


def test_cosine_change_by_hand():
    first = np.array([[1.0, 0], [1, 0], [1, 0], [0, 0]])
    second = np.array([[2.0, 0], [0, 3], [-1, 0], [1, 0]])
    found = cosine_change(first, second)
    np.testing.assert_allclose(found, [0, 1, 2, np.nan])


def test_compare_finds_the_places_in_both():
    vectors = random_vectors()
    before = snapshot(vectors, np.zeros(20))
    names = [f"Z{i:02d}" for i in range(2, 20)] + ["Z98", "Z99"]
    after = snapshot(np.roll(vectors, -2, axis=0), np.full(20, np.log(2)), names)
    change = compare(before, after, rotate=False)
    assert change.token.tolist() == list(range(2, 20))
    np.testing.assert_allclose(change.pattern, 0, atol=1e-6)
    np.testing.assert_allclose(change.volume, np.log(2))


def test_rotate_decides_whether_orientation_counts():
    vectors = random_vectors()
    turned = snapshot(vectors @ ortho_group.rvs(4, random_state=3))
    assert compare(snapshot(vectors), turned).pattern.max() < 1e-6
    assert compare(snapshot(vectors), turned, rotate=False).pattern.max() > 0.1


def test_snapshots_without_common_places_are_refused():
    other = snapshot(random_vectors(), names=[f"Y{i:02d}" for i in range(20)])
    with pytest.raises(MoraError, match="none of 20 zone places is among 20 zone"):
        compare(snapshot(random_vectors()), other)
    with pytest.raises(MoraError, match="2 tokens, 3 vectors and 3 volumes"):
        snapshot(random_vectors(3), names=["a", "b"])


def test_usual_change_by_hand():
    changes = np.array([[3.0, 0.0, np.nan], [4.0, 0.0, np.nan]])
    middle = np.sqrt(12.5) / 2  # of the two places whose change is known
    np.testing.assert_allclose(usual(changes), [np.sqrt(12.5), middle, middle])
    assert np.isnan(usual(np.full((2, 2), np.nan))).all()


def test_times_noise_takes_the_larger_change():
    two = np.array([2.0, 1.0, 0.0, np.nan])
    volume = np.array([-1.0, -6.0, 1.0, np.nan])
    noise = np.array([1.0, 2.0, 0.0, 1.0])
    assert times_noise(two, volume, noise, noise)[:3].tolist() == [2, 3, np.inf]
    assert np.isnan(times_noise(two, volume, noise, noise)[3])
    zero = np.zeros(1)
    assert times_noise(zero, zero, zero, zero).tolist() == [0]


def test_quiet_pairs_of_other_places_are_refused():
    one = snapshot(random_vectors())
    other = snapshot(random_vectors(), names=[f"Y{i:02d}" for i in range(20)])
    with pytest.raises(MoraError, match="1 pairs of quiet snapshots, 1 of them"):
        quiet_noise([(one, other)], rotate=True)
    with pytest.raises(MoraError, match="0 pairs"):
        quiet_noise([], rotate=True)


def test_quiet_noise_depends_on_rotation():
    vectors = random_vectors()
    turned = snapshot(vectors @ ortho_group.rvs(4, random_state=3))
    pairs = [(snapshot(vectors), turned)]
    still, moving = (quiet_noise(pairs, rotate=rotate) for rotate in (True, False))
    assert still.pattern.max() < 1e-6 < moving.pattern.min()


# --- vectors by period -------------------------------------------------------------


def test_the_anchor_gives_line_for_its_own_graph():
    graph = planted(1, shock=False).graph()
    anchor = Anchor.from_graph(graph, dim=WHOLE, shift=0.5, seed=1)
    expected = closed_form(graph, dim=WHOLE, shift=0.5, seed=1)
    np.testing.assert_allclose(anchor.embed(graph), expected, atol=1e-4)


def test_the_anchor_is_the_dense_projection():
    flows = planted(2, shock=False)
    first, second = (dense_pmi(flows.graph(p), 0.25) for p in flows.periods)
    _, value, right = np.linalg.svd(first)
    expected = second @ right[:WHOLE].T / np.sqrt(value[:WHOLE])
    anchor = Anchor.from_graph(flows.graph("2020-01"), dim=WHOLE)
    found = anchor.embed(flows.graph("2020-02"))
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)


def dense_pmi(graph, shift):
    weight = graph.symmetric().toarray()
    degree = weight.sum(axis=1)
    with np.errstate(divide="ignore"):
        pmi = np.log(degree.sum() * weight / np.outer(degree, degree) / shift)
    return np.maximum(pmi, 0)


def test_a_period_without_edges_has_zero_vectors():
    anchor = Anchor.from_graph(planted(1).graph(), dim=4)
    empty = MobilityGraph.from_matrix(sp.csr_array((PLACES, PLACES)))
    assert not anchor.embed(empty).any()


@pytest.mark.parametrize("method", ["anchored", "procrustes"])
def test_proportional_flows_give_equal_vectors_and_other_volumes(method):
    one = planted(1, shock=False)
    half = sp.csr_array(one.matrices[0] / 2)
    both = PeriodFlows(one.tokens, ("a", "b"), (one.matrices[0], half), (1, 1))
    embedded = embed_periods(both, dim=4, method=method)
    np.testing.assert_allclose(*embedded.vectors, atol=1e-4)
    fall = np.diff(embedded.log_volume, axis=0)
    np.testing.assert_allclose(fall, -np.log(2), atol=0.01)


def test_every_setting_of_the_vectors_counts():
    flows = planted(4)
    usual_one = embed_periods(flows, dim=4)
    assert embed_periods(flows, dim=3).vectors.shape == (4, PLACES, 3)
    for change in (
        {"shift": 1.0},
        {"reference": "2020-02"},
        {"method": "procrustes"},
        {"seed": 5, "dim": 4},
    ):
        other = embed_periods(flows, **{"dim": 4, **change}).vectors
        assert not np.array_equal(other, usual_one.vectors), change
    again = embed_periods(flows, dim=4)
    assert np.array_equal(again.vectors, usual_one.vectors)


def test_unknown_periods_are_refused():
    flows = planted(2)
    with pytest.raises(GraphError, match="no period 'x'"):
        embed_periods(flows, dim=2, reference="x")
    with pytest.raises(GraphError, match="no method 'x'; expected anchored or"):
        embed_periods(flows, dim=2, method="x")
    with pytest.raises(MoraError, match="no period 'x' among 2"):
        embed_periods(flows, dim=2).at("x")


@pytest.mark.parametrize("method", ["anchored", "procrustes"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_places_that_changed_sides_are_found(method, seed):
    embedded = embed_periods(planted(seed=seed), dim=4, method=method)
    noise = quiet_noise(quiet_pairs(embedded), rotate=False)
    before, after = embedded.at("2020-07"), embedded.at("2020-08")
    ranked = rank_changes(before, after, noise, rotate=False)
    assert set(ranked["place"][:3]) == set(MOVED)
    assert ranked["times_noise"][2] > 2 * ranked["times_noise"][3] > 0
    assert ranked["pattern"][2] > 3 * ranked["pattern"][3:].max()
    quiet = rank_changes(
        embedded.at("2020-06"), embedded.at("2020-07"), noise, rotate=False
    )
    assert quiet["times_noise"].median() < 2


def test_half_the_movement_stands_out_though_the_pattern_stays():
    ranked = rank_periods(embed_periods(planted(), dim=4), QUIET)
    assert set(ranked["period"][:2]) == {"2020-10", "2020-11"}  # down, and up again
    found = ranked.set_index("period")
    assert found.loc["2020-10", "volume"] == pytest.approx(-np.log(2), abs=0.1)
    shocks = {"2020-08", "2020-09", "2020-10", "2020-11"}  # to the shocks and back
    assert set(found.index[found["stands_out"]]) == shocks
    assert not found.loc[list(QUIET), "stands_out"].any()


QUIET = ("2020-02", "2020-03", "2020-04", "2020-05", "2020-06")


def test_a_period_without_movement_is_all_volume():
    flows = planted(8, shock=False)
    nothing = sp.csr_array((PLACES, PLACES))
    empty = PeriodFlows(
        flows.tokens, flows.periods, (*flows.matrices[:7], nothing), flows.dates
    )
    ranked = rank_periods(embed_periods(empty, dim=4), QUIET)
    assert ranked["period"][0] == "2020-08"
    assert np.isnan(ranked["pattern"][0])
    assert ranked["volume"][0] < -5


def test_threshold_and_quiet_decide_what_stands_out():
    embedded = embed_periods(planted(), dim=4)
    high = rank_periods(embedded, QUIET, threshold=1000)
    assert not high["stands_out"].any()
    noisy = rank_periods(embedded, (*QUIET, "2020-11"))
    assert noisy["times_noise"].iloc[0] < high["times_noise"].iloc[0]
    for quiet, threshold in ((QUIET[:2], 3), ((*QUIET, "x"), 3), (QUIET, 0)):
        with pytest.raises(MoraError, match="quiet periods with one before them"):
            rank_periods(embedded, quiet, threshold=threshold)


def test_without_noise_the_median_place_is_the_measure():
    names = [f"Z{i:03d}" for i in range(200)]
    vectors = random_vectors(200)
    moved = vectors.copy()
    moved[3] = -moved[3]
    before, after = snapshot(vectors, names=names), snapshot(moved, names=names)
    ranked = rank_changes(before, after)
    assert ranked["place"][0] == "Z003"
    unturned = rank_changes(before, after, rotate=False)
    assert unturned["times_noise"].tolist() == [np.inf] + [0.0] * 199
    assert ranked["noise_pattern"].nunique() == 1
    assert np.isfinite(ranked["noise_pattern"]).all()
    known = Noise(ZoneTokens.from_zones(["Z000"]), np.ones(1), np.ones(1))
    with pytest.raises(MoraError, match="199 of 200 places are not among the 1 "):
        rank_changes(before, after, known)


def test_bootstrap_noise_is_about_that_of_another_period_of_chance():
    flows = planted(6, shock=False)
    embedded = embed_periods(flows, dim=4)
    quiet = quiet_noise(quiet_pairs(embedded), rotate=False)
    drawn = bootstrap_noise(flows, "2020-03", draws=5, dim=4)
    # Two periods of chance differ by the root of two more than one from its mean.
    assert 0.4 < np.median(drawn.volume) / np.median(quiet.volume) < 2.0
    assert 0.3 < np.median(drawn.pattern) / np.median(quiet.pattern) < 3.0


def test_every_setting_of_the_bootstrap_counts():
    flows = planted(3)
    told = {"period": "2020-01", "draws": 2, "dim": 4}
    one = bootstrap_noise(flows, **told)
    for change in (
        {"period": "2020-02"},
        {"draws": 3},
        {"dim": 3},
        {"shift": 1.0},
        {"reference": "2020-02"},
        {"seed": 1},
    ):
        other = bootstrap_noise(flows, **{**told, **change})
        assert not np.array_equal(other.pattern, one.pattern), change
    with pytest.raises(GraphError, match="draws is 0; expected at least 1"):
        bootstrap_noise(flows, "2020-01", draws=0)


@pytest.mark.slow
@pytest.mark.skipif(not STATES.is_file(), reason=f"the real data is not at {STATES}")
def test_spring_2020_stands_out_among_156_weeks_of_us_states():
    names = {
        "week": "time",
        "geoid_o": "origin",
        "geoid_d": "destination",
        "visitor_flows": "weight",
    }
    flows = flows_by_period(pd.read_parquet(STATES).rename(columns=names))
    assert len(flows) == 36
    assert len(flows.tokens) == 52
    embedded = embed_periods(flows)
    quiet = [period for period in flows.periods if period.startswith("2019")]
    ranked = rank_periods(embedded, quiet)
    assert set(ranked["period"][:2]) == {"2020-03", "2020-04"}
    assert ranked["stands_out"][:2].all()
    assert not ranked[ranked["period"].isin(quiet)]["stands_out"].any()
