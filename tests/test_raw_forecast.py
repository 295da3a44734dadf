from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.periodic_users import DAY, MINUTES, make_steps, periodic_users

from mora.config import TrainingConfig
from mora.errors import MoraError
from mora.geometry import great_circle_km
from mora.trajectories.raw.forecast import (
    ForecastErrors,
    evaluate_forecast,
    forecast,
)
from mora.trajectories.raw.inputs import make_inputs, scale_from_box
from mora.trajectories.raw.naive_forecasts import (
    day_before,
    next_place,
    own_mean,
    own_medoid,
    persistence,
)
from mora.trajectories.raw.network import make_network
from mora.trajectories.raw.outputs import point_forecast
from mora.trajectories.raw.presets import raw_preset
from mora.trajectories.raw.pretraining import pretrain_raw

BOX = (139.6, 35.6, 139.9, 35.9)
HOME, WORK, SHOP = [139.7, 35.7], [139.8, 35.8], [139.75, 35.62]


def network(seed=0, **changes):
    given = {"minutes": MINUTES, "box": BOX, "dropout": 0.5}
    return make_network(raw_preset("test", **given | changes), seed)


def walk(*places, known=None):
    known = None if known is None else [known]
    return make_steps([places], known, minutes=MINUTES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    settings = TrainingConfig(
        learning_rate=5e-3, batch_size=32, epochs=28, patience=28, accelerator="cpu"
    )
    config = raw_preset("test", minutes=MINUTES, layers=1)
    folder = tmp_path_factory.mktemp("raw")
    return pretrain_raw(periodic_users(), config, settings, folder)


def test_pretraining_beats_persistence_on_users_held_out(trained):
    assert trained.signs == []
    errors = evaluate_forecast(trained.network, periodic_users(40, seed=9), 3)
    gain = errors.compare("RAW")
    assert (gain["gain_km"] > 4 * gain["standard_error_km"]).all()
    means = errors.to_pandas()
    assert (means["RAW"] < 0.5 * means[["persistence", "own mean"]].min(axis=1)).all()


@pytest.mark.parametrize(
    "options", [{}, {"output": "mixture", "time_features": True, "gap_mask": True}]
)
def test_each_step_follows_from_the_one_before(options):
    made, steps = network(**options), periodic_users(3, days=2)
    got = forecast(made, steps, 3)
    for step in range(3):
        inputs = make_inputs(steps, made.config)
        with torch.no_grad():
            point = point_forecast(made(*inputs)[:, -1], made.config).numpy()
        lonlat = scale_from_box(point, BOX)
        np.testing.assert_allclose(got[:, step], lonlat, atol=1e-4)
        points = np.concatenate([steps.lonlat, lonlat[:, None]], axis=1)
        steps = make_steps(points, minutes=MINUTES)


def test_beyond_its_length_the_network_sees_the_latest_steps():
    short, steps = network(length=8), periodic_users(2, days=2)
    got = forecast(short, steps, 2)
    after_one = np.concatenate([steps.lonlat[:, 1:], got[:, :1]], axis=1)
    again = forecast(short, make_steps(after_one, minutes=MINUTES), 1)
    np.testing.assert_allclose(got[:, 1:], again, atol=1e-4)


def test_size_of_the_pieces_changes_nothing():
    made, steps = network(), periodic_users(5, days=1)
    pieces = forecast(made, steps, 2, batch_users=2)
    np.testing.assert_allclose(pieces, forecast(made, steps, 2), atol=1e-4)


def test_the_clock_goes_on_while_forecasting():
    made, steps = network(time_features=True), periodic_users(2, days=1)
    later = replace(steps, start_seconds=steps.start_seconds + 3600)
    assert (forecast(made, steps, 2) != forecast(made, later, 2)).all()


def test_the_point_of_a_mixture_changes_the_forecast():
    steps = periodic_users(2, days=1)
    mean, heaviest = (
        forecast(network(output="mixture", point=point), steps, 1)
        for point in ("mean", "heaviest")
    )
    assert (mean != heaviest).all()


@pytest.mark.parametrize(("horizon", "batch_users"), [(0, 1), (1, 0)])
def test_a_forecast_of_nothing_is_refused(horizon, batch_users):
    with pytest.raises(MoraError, match="expected at least 1"):
        forecast(network(), periodic_users(2), horizon, batch_users=batch_users)


def test_persistence_stays_at_the_last_known_step():
    history = walk(HOME, WORK, SHOP, known=[True, True, False])
    np.testing.assert_allclose(persistence(history, 2), [[WORK, WORK]], rtol=1e-6)
    nowhere = walk(HOME, WORK, known=[False, False])
    np.testing.assert_allclose(persistence(nowhere, 1), [[WORK]], rtol=1e-6)


def test_own_mean_is_over_known_steps():
    history = walk([139.0, 35.0], [140.0, 36.0], SHOP, known=[True, True, False])
    np.testing.assert_allclose(own_mean(history, 2), [[[139.5, 35.5]] * 2])
    nowhere = walk([139.0, 35.0], [140.0, 36.0], known=[False, False])
    np.testing.assert_allclose(own_mean(nowhere, 1), [[[139.5, 35.5]]])


def test_day_before_repeats_the_last_day():
    day = [HOME, WORK, SHOP, WORK]
    history = walk(*day)
    expected = np.array([[*day, HOME]], np.float32)
    np.testing.assert_allclose(day_before(history, DAY + 1), expected)
    short = walk(HOME, WORK)
    np.testing.assert_allclose(
        day_before(short, 3), np.array([[WORK, WORK, HOME]], np.float32)
    )


def test_next_place_is_the_most_frequent_one():
    # From home: to the shop twice, to work once; then two steps on, home twice.
    history = walk(HOME, SHOP, HOME, WORK, HOME, SHOP, HOME)
    got = next_place(history, 2)
    np.testing.assert_allclose(got, np.array([[SHOP, HOME]], np.float32), rtol=1e-6)


def test_next_place_counts_from_the_last_known_step():
    seen = walk(HOME, SHOP, WORK, HOME, SHOP, WORK, HOME, HOME)
    hidden = replace(seen, known=np.array([[True] * 7 + [False]]))
    expected = np.array([[WORK]], np.float32)
    np.testing.assert_allclose(next_place(hidden, 1), [expected[0]], rtol=1e-6)
    assert not np.allclose(next_place(seen, 1), [expected[0]])


def test_next_place_of_a_new_place_is_to_stay():
    got = next_place(walk(HOME, SHOP, WORK), 1)
    np.testing.assert_allclose(got, np.array([[WORK]], np.float32), rtol=1e-6)


def test_larger_places_give_other_forecasts():
    history = walk(HOME, SHOP, [139.701, 35.701])
    fine, coarse = (next_place(history, 1, resolution=r) for r in (12, 5))
    assert not np.allclose(fine, coarse)


def test_errors_are_great_circles_in_km():
    steps = walk(HOME, HOME, WORK)
    errors = evaluate_forecast(network(), steps, 1, starts=[2])
    start, end = steps.lonlat[:, 0], steps.lonlat[:, 2]
    km = great_circle_km(start.astype(np.float64), end.astype(np.float64))
    assert errors.km["persistence"][0, 0] == pytest.approx(km[0])
    assert errors.minutes.tolist() == [MINUTES]
    assert list(errors.km) == [
        *["RAW", "persistence", "own mean", "own medoid", "day before", "next place"]
    ]


def test_errors_are_the_mean_over_the_starts():
    steps, made = periodic_users(3), network()
    first, second, both = (
        evaluate_forecast(made, steps, 2, starts=starts).km["RAW"]
        for starts in ([5], [9], [5, 9])
    )
    np.testing.assert_allclose(both, (first + second) / 2)
    default = evaluate_forecast(made, steps, 2).km["RAW"]
    assert not np.allclose(default, both)
    spread = evaluate_forecast(made, steps, 2, starts=[15, 16, 17, 18]).km["RAW"]
    np.testing.assert_allclose(default, spread, rtol=1e-3)


def test_steps_without_a_fix_are_not_scored():
    steps = walk(HOME, HOME, WORK, SHOP, known=[True, True, False, True])
    errors = evaluate_forecast(network(), steps, 2, starts=[2])
    assert np.isnan(errors.km["RAW"][0, 0])
    assert np.isfinite(errors.km["RAW"][0, 1])
    assert errors.compare("RAW")["users"].tolist() == [0, 1]


def test_users_not_seen_before_are_not_scored():
    # What fills their history is where they were seen later.
    steps = walk(WORK, WORK, WORK, known=[False, False, True])
    errors = evaluate_forecast(network(), steps, 1, starts=[2])
    assert np.isnan(errors.km["persistence"]).all()


def test_filling_along_lines_tells_nothing_of_the_future():
    known = [True, True, False, True]
    straight = walk(HOME, HOME, [139.75, 35.75], WORK, known=known)
    stayed = walk(HOME, HOME, HOME, WORK, known=known)
    first, second = (
        evaluate_forecast(network(), steps, 1, starts=[3]).km
        for steps in (straight, stayed)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_resolution_and_pieces_reach_the_methods():
    # 130 m from home: the same place among large ones only.
    steps = walk(HOME, SHOP, [139.701, 35.701], HOME)
    fine, coarse = (
        evaluate_forecast(network(), steps, 1, starts=[3], resolution=r).km
        for r in (12, 5)
    )
    assert fine["next place"] != coarse["next place"]
    with pytest.raises(MoraError, match="batch_users 0"):
        evaluate_forecast(network(), steps, 1, starts=[3], batch_users=0)


def test_comparison_by_hand():
    km = {"RAW": np.array([[1.0], [2.0], [np.nan]])}
    km["other"] = np.array([[2.0], [5.0], [7.0]])
    table = ForecastErrors(np.array([15.0]), km).compare("RAW", "other")
    # Gains of 1 and 3 have a standard deviation of sqrt(2).
    assert table.iloc[0].tolist() == pytest.approx([2.0, 1.0, 2.0])


@pytest.mark.parametrize("starts", [[], [0], [19]])
def test_starts_without_history_or_future_are_refused(starts):
    with pytest.raises(MoraError, match="expected starts of 1 to 18"):
        evaluate_forecast(network(), periodic_users(2), 2, starts=starts)


def test_steps_of_a_day_are_forecast_from_several_days():
    lonlat = periodic_users(6, days=6).lonlat  # 24 steps, taken for days
    own = make_network(raw_preset("test", minutes=1440.0, box=BOX), 0)
    every = evaluate_forecast(own, make_steps(lonlat, minutes=1440.0), 2)
    starts = evaluate_forecast(
        own, make_steps(lonlat, minutes=1440.0), 2, starts=range(15, 23)
    )
    np.testing.assert_allclose(every.km["RAW"], starts.km["RAW"])


def test_the_medoid_is_the_middle_of_what_was_seen():
    steps = walk(HOME, HOME, WORK, SHOP, known=[True, True, True, False])
    np.testing.assert_allclose(own_medoid(steps, 2), [[HOME, HOME]], atol=1e-4)
    nowhere = walk(HOME, WORK, known=[False, False])
    np.testing.assert_allclose(own_medoid(nowhere, 1), persistence(nowhere, 1))
    moved = walk(*(np.add(p, 0.1) for p in (HOME, HOME, WORK)))
    np.testing.assert_allclose(own_medoid(moved, 1)[0, 0], np.add(HOME, 0.1), atol=1e-4)
