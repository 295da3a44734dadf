import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles_trajectories import (
    plain_day_dtw,
    plain_day_geo_bleu,
    plain_mean_over_days,
    tie_heavy_user,
)

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.days import VARIANTS, pair_one_day
from mora.trajectories.humob.geobleu import daily_geo_bleu, day_geo_bleu, geo_bleu
from mora.trajectories.humob.scores import score_users

GOLDEN = Path(__file__).parent / "golden" / "geobleu_dtw.json"
OPTIONS = {
    "humob2024": {"longest_ngram": 3, "per_match": True},
    "giscup2025": {"longest_ngram": 5, "per_match": False},
}
# the example in the README of github.com/yahoojapan/geobleu, with its published figures
EXAMPLE = np.array(
    [
        [60, 12, 84, 88, 82, 93],
        [60, 15, 114, 78, 114, 78],
        [60, 21, 121, 96, 116, 96],
        [61, 12, 78, 86, 82, 84],
        [61, 13, 89, 67, 89, 67],
        [61, 17, 97, 70, 97, 70],
        [61, 20, 96, 70, 91, 67],
        [61, 24, 111, 80, 109, 82],
        [61, 25, 114, 78, 110, 78],
        [61, 26, 99, 70, 99, 70],
        [61, 38, 77, 86, 77, 86],
        [62, 12, 77, 86, 77, 86],
        [62, 14, 102, 129, 97, 125],
        [62, 15, 104, 131, 104, 131],
        [62, 17, 106, 131, 106, 131],
        [62, 18, 104, 110, 103, 111],
    ]
)
PUBLISHED = {"humob2024": 0.21733678721880598, "giscup2025": 0.07556369896234784}


def golden_users():
    for user in json.loads(GOLDEN.read_text()):
        yield user, np.array(user["generated"]), np.array(user["reference"])


def many_users(rng, users=5, cells=3, **options):
    """Draw users as arrays (uid, d, t, x, y), true and predicted."""
    sides = [], []
    for user in range(users):
        for side, rows in zip(
            sides, tie_heavy_user(rng, cells=cells, **options), strict=True
        ):
            side.append(np.column_stack([np.full(len(rows), 10 * user), rows]))
    return tuple(np.concatenate(side) for side in sides)


def as_events(rows, tokens=None):
    tokens = tokens or GridTokens.from_xy(rows[:, 3:])
    return build_events(*rows[:, :3].T, tokens.encode_xy(rows[:, 3:]), tokens)


def test_hand_worked_day():
    # cells 2 and 1 apart: unigrams e^-1 and e^-0.5 wait for nobody else
    got = day_geo_bleu(np.array([[1, 1], [9, 9]]), np.array([[3, 1], [9, 10]]))
    one, two = (math.exp(-1) + math.exp(-0.5)) / 2, math.exp(-1.5)
    assert got == pytest.approx(math.sqrt(one * two), abs=1e-15)


def test_nearest_pair_is_taken_first():
    # the second generated event takes the cell that the first one would like best
    got = day_geo_bleu(np.array([[2, 1], [1, 1]]), np.array([[1, 1], [5, 1]]))
    one = (1 + math.exp(-1.5)) / 2
    two = math.exp(-0.5) * math.exp(-2)
    assert got == pytest.approx(math.sqrt(one * two), abs=1e-15)


@pytest.mark.parametrize("variant", VARIANTS)
def test_agrees_with_the_official_code_on_golden_users(variant):
    for user, generated, reference in golden_users():
        expected = user[f"geobleu_{variant}"]
        assert geo_bleu(generated, reference, variant) == pytest.approx(
            expected, rel=0, abs=1e-12
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_agrees_with_the_published_example(variant):
    reference = EXAMPLE[:, [0, 1, 4, 5]]
    got = geo_bleu(EXAMPLE[:, :4], reference, variant)
    assert got == pytest.approx(PUBLISHED[variant], abs=1e-14)


@pytest.mark.parametrize("variant", VARIANTS)
@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_plain_way_where_ties_are_many(variant, seed, cells):
    user = tie_heavy_user(np.random.default_rng(seed), cells=cells)
    expected = plain_mean_over_days(plain_day_geo_bleu, *user, **OPTIONS[variant])
    assert geo_bleu(*user, variant) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_plain_way_on_days_of_unequal_length(variant, seed):
    rng = np.random.default_rng(seed)
    day = [rng.integers(1, 5, (rng.integers(1, 15), 2)) for _ in range(2)]
    expected = plain_day_geo_bleu(*(s.tolist() for s in day), **OPTIONS[variant])
    assert day_geo_bleu(*day, variant) == pytest.approx(expected, abs=1e-12)


def test_variants_divide_differently_where_lengths_differ():
    # three identical events, one true: the matches are 1, the generated unigrams 3
    day = np.array([[4, 4]] * 3), np.array([[4, 4]])
    assert day_geo_bleu(*day, "humob2024") == 1.0
    assert day_geo_bleu(*day, "giscup2025") == pytest.approx(1 / 3)


def test_moving_and_turning_the_plane_changes_nothing():
    generated, reference = tie_heavy_user(np.random.default_rng(1))
    moved = [s[:, [0, 1, 3, 2]] + [0, 0, 50, 7] for s in (generated, reference)]
    assert geo_bleu(*moved) == pytest.approx(geo_bleu(generated, reference), abs=1e-14)


def test_order_of_the_rows_changes_nothing():
    user = tie_heavy_user(np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(len(user[0]))
    assert geo_bleu(*(side[order] for side in user)) == geo_bleu(*user)


def test_many_days_at_once_are_as_one_by_one():
    rng = np.random.default_rng(4)
    days = [rng.integers(1, 9, (2, 48, 2)).astype(float) for _ in range(40)]
    bounds = np.arange(41) * 48  # 92,160 pairs: several blocks
    paired = pair_one_day(*np.concatenate(days, axis=1))
    object.__setattr__(paired, "generated_bounds", bounds)
    object.__setattr__(paired, "reference_bounds", bounds)
    alone = [daily_geo_bleu(pair_one_day(*day))[0] for day in days]
    np.testing.assert_array_equal(daily_geo_bleu(paired), alone)


def test_a_prediction_without_fault_scores_one():
    _, reference = tie_heavy_user(np.random.default_rng(5), cells=200)
    assert geo_bleu(reference, reference) == pytest.approx(1.0, abs=1e-15)


def test_a_prediction_out_of_reach_scores_zero_without_warning():
    assert day_geo_bleu(np.array([[1, 1]]), np.array([[9999, 1]])) == 0.0


def test_another_slot_is_refused():
    generated, reference = tie_heavy_user(np.random.default_rng(6))
    generated[0, 1] += 50
    with pytest.raises(MoraError, match=r"1 of \d+ generated events are at another"):
        geo_bleu(generated, reference)


def test_missing_events_are_refused():
    generated, reference = tie_heavy_user(np.random.default_rng(6))
    with pytest.raises(MoraError, match=r"expected as many of each"):
        geo_bleu(generated[1:], reference)
    with pytest.raises(MoraError, match=r"0 generated and 2 reference events"):
        day_geo_bleu(np.empty((0, 2), int), np.ones((2, 2), int))


def test_unknown_variant_is_refused():
    user = tie_heavy_user(np.random.default_rng(6))
    with pytest.raises(MoraError, match=r"no variant 'humob2023' of the metrics"):
        geo_bleu(*user, "humob2023")


@pytest.mark.parametrize("variant", VARIANTS)
def test_users_are_scored_as_one_by_one(variant):
    generated, reference = many_users(np.random.default_rng(7))
    got = score_users(as_events(generated), as_events(reference), variant)
    np.testing.assert_array_equal(got.users, [0, 10, 20, 30, 40])
    opened = VARIANTS[variant].open_beginning
    for place, user in enumerate(got.users):
        own = generated[generated[:, 0] == user], reference[reference[:, 0] == user]
        own = tuple(side[:, 1:] for side in own)
        expected = [
            plain_mean_over_days(plain_day_geo_bleu, *own, **OPTIONS[variant]),
            plain_mean_over_days(plain_day_dtw, *own, open_beginning=opened),
            (own[0] == own[1]).all(axis=1).mean(),
        ]
        found = got.geo_bleu[place], got.dtw_km[place], got.accuracy[place]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert got.means()["accuracy"] == pytest.approx(got.accuracy.mean())


def test_a_user_without_events_has_no_score_and_counts_in_no_mean():
    generated, reference = many_users(np.random.default_rng(8), users=3)
    keep = reference[:, 0] != 10
    sides = [as_events(rows) for rows in (generated, reference)]
    some = score_users(*(side.select(keep) for side in sides))
    assert np.isnan([some.geo_bleu[1], some.dtw_km[1], some.accuracy[1]]).all()
    without = score_users(*(side.take_users([0, 2]) for side in sides))
    assert some.means() == without.means()


def test_cells_of_another_size_change_only_the_kilometres():
    generated, reference = many_users(np.random.default_rng(9), users=2)
    tokens = [GridTokens.from_xy(reference[:, 3:], cell_km=km) for km in (0.5, 2.0)]
    small, large = (
        score_users(as_events(generated, t), as_events(reference, t)) for t in tokens
    )
    np.testing.assert_array_equal(small.geo_bleu, large.geo_bleu)
    np.testing.assert_allclose(4 * small.dtw_km, large.dtw_km)


def test_h3_cells_are_scored_in_units_of_their_size():
    h3 = pytest.importorskip("h3")
    from mora.tokens import H3Tokens

    centre = h3.latlng_to_cell(35.0, 136.0, 8)
    cells = np.array([h3.str_to_int(c) for c in h3.grid_disk(centre, 2)], np.uint64)
    tokens = H3Tokens.from_cells(cells)
    one, slot = np.zeros(4, int), np.arange(4)
    middle = tokens.find(np.array([h3.str_to_int(centre)], np.uint64))[0]
    ring = tokens.find([h3.str_to_int(c) for c in h3.grid_ring(centre, 1)])[:4]
    reference = build_events(one, one, slot, np.full(4, middle), tokens)
    same = score_users(reference, reference)
    assert same.geo_bleu[0] == pytest.approx(1.0)
    aside = score_users(reference.with_tokens(ring), reference)
    # middles of hexagons are 1.07 sides of an equally large square apart, and
    # p_1 p_2 p_3 = exp(-0.5 (1 + 2 + 3) 1.07)
    assert aside.geo_bleu[0] == pytest.approx(np.exp(-1.07), rel=0.1)
    assert aside.dtw_km[0] == pytest.approx(
        4 * tokens.distance_km(np.full(1, middle), ring[:1])[0], rel=0.05
    )


def test_missing_and_extra_user_days_are_refused_with_counts():
    generated, reference = many_users(np.random.default_rng(10), users=3)
    sides = as_events(generated), as_events(reference)
    with pytest.raises(MoraError, match=r"1 users of the reference are not gen.*10"):
        score_users(sides[0].take_users([0, 2]), sides[1])
    with pytest.raises(MoraError, match=r"1 generated users are not in the ref.*20"):
        score_users(sides[0], sides[1].take_users([0, 1]))
    with pytest.raises(MoraError, match=r"3 of \d+ user-days have missing .* 0 have"):
        score_users(sides[0].between(61, 75), sides[1])
    with pytest.raises(
        MoraError, match=r"3 have extra ones \(\d+ in all\); .*\(0, 60\)"
    ):
        score_users(sides[0], sides[1].between(61, 75))
    none = [side.between(70, 75) for side in sides]
    with pytest.raises(MoraError, match=r"no events to score"):
        score_users(*none)


def test_masked_events_and_other_places_are_refused():
    generated, reference = many_users(np.random.default_rng(11), users=2)
    true = as_events(reference)
    masked = true.with_tokens(np.full(len(true), MASKED))
    with pytest.raises(MoraError, match=r"\d+ of \d+ generated events are masked"):
        score_users(masked, true)
    with pytest.raises(MoraError, match=r"\d+ of \d+ reference events are masked"):
        score_users(true, masked)
    wide = as_events(generated, GridTokens.from_xy(reference[:, 3:], width=300))
    with pytest.raises(MoraError, match=r"grid of \(300, 200, 0.5\)"):
        score_users(wide, true)
