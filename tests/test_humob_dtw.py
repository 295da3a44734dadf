import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles_trajectories import (
    plain_day_dtw,
    plain_mean_over_days,
    tie_heavy_user,
)

from mora.errors import MoraError
from mora.trajectories.humob.days import VARIANTS
from mora.trajectories.humob.dtw import day_dtw_km, dtw_km

GOLDEN = Path(__file__).parent / "golden" / "geobleu_dtw.json"
VARIANT_NAMES = list(VARIANTS)


def line(*columns):
    return np.array([[x, 1] for x in columns])


def test_hand_worked_day():
    # 1-1, 3-3 (0 km), then 3-4 (half a kilometre): the path waits at 3
    assert day_dtw_km(line(1, 3, 3), line(1, 3, 4), "giscup2025") == 0.5
    # Pythagoras: 3 and 4 cells apart are 5 cells, 2.5 km
    assert day_dtw_km(np.array([[1, 1]]), np.array([[4, 5]])) == 2.5


def test_open_beginning_passes_over_the_start_for_nothing():
    assert day_dtw_km(line(9, 9), line(1, 5, 9), "humob2024") == 0.0
    assert day_dtw_km(line(9, 9), line(1, 5, 9), "giscup2025") == 4.0 + 2.0


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_agrees_with_the_official_code_on_golden_users(variant):
    for user in json.loads(GOLDEN.read_text()):
        sides = np.array(user["generated"]), np.array(user["reference"])
        expected = user[f"dtw_{variant}"]
        assert dtw_km(*sides, variant) == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANT_NAMES)
@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_plain_way(variant, seed, cells):
    rng = np.random.default_rng(seed)
    opened = VARIANTS[variant].open_beginning
    user = tie_heavy_user(rng, cells=cells)
    expected = plain_mean_over_days(plain_day_dtw, *user, open_beginning=opened)
    assert dtw_km(*user, variant) == pytest.approx(expected, abs=1e-12)
    day = [rng.integers(1, cells + 1, (rng.integers(1, 15), 2)) for _ in range(2)]
    expected = plain_day_dtw(*(side.tolist() for side in day), opened)
    assert day_dtw_km(*day, variant) == pytest.approx(expected, abs=1e-12)


def test_open_beginning_rewards_a_constant_prediction():
    """The 2024 metric puts someone who never moves before one who is nearly right."""
    days = np.repeat(np.arange(60, 75), 3)
    times = np.column_stack([days, np.tile([8, 20, 40], 15)])
    place = lambda *xs: np.column_stack(  # noqa: E731
        [times, np.tile(xs, 15), np.ones(45, int)]
    )
    truth, home_all_day = place(60, 20, 3), place(3, 3, 3)
    nearly_right = place(61, 21, 4)
    scores = {
        variant: [dtw_km(p, truth, variant) for p in (home_all_day, nearly_right)]
        for variant in VARIANT_NAMES
    }
    assert scores["humob2024"] == [0.0, 1.5]
    assert scores["giscup2025"] == [0.5 * (57 + 17), 1.5]


def test_moving_and_mirroring_the_plane_changes_nothing():
    generated, reference = tie_heavy_user(np.random.default_rng(0))
    moved = [side * [1, 1, 1, -1] + [0, 0, 9, 99] for side in (generated, reference)]
    assert dtw_km(*moved) == dtw_km(generated, reference)


def test_the_standard_distance_is_the_same_both_ways():
    day = line(1, 4, 4, 9), line(2, 2, 7)
    there, back = (day_dtw_km(*d, "giscup2025") for d in (day, day[::-1]))
    assert there == back


def test_a_prediction_without_fault_is_at_distance_zero():
    _, reference = tie_heavy_user(np.random.default_rng(1), cells=200)
    for variant in VARIANT_NAMES:
        assert dtw_km(reference, reference, variant) == 0.0


def test_kilometres_grow_with_the_cell():
    user = tie_heavy_user(np.random.default_rng(2))
    assert dtw_km(*user, cell_km=2) == pytest.approx(4 * dtw_km(*user))
    assert day_dtw_km(line(1), line(2), cell_km=3.0) == 3.0


def test_wrong_input_is_refused():
    generated, reference = tie_heavy_user(np.random.default_rng(3))
    with pytest.raises(MoraError, match=r"expected one of \['humob2024', 'gis"):
        dtw_km(generated, reference, "humob2025")
    generated[0, 0] = 59
    with pytest.raises(MoraError, match=r"at another day and slot .*\[\[59, "):
        dtw_km(generated, reference)
