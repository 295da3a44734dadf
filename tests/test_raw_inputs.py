import numpy as np
import pytest
import torch
from tests.periodic_users import make_steps

from mora.errors import MoraError
from mora.trajectories.raw.inputs import (
    LEAST_SIDE,
    make_inputs,
    required_box,
    scale_from_box,
    scale_to_box,
    study_box,
    time_features,
)
from mora.trajectories.raw.presets import raw_preset

BOX = (139.0, 35.0, 140.0, 37.0)


def config(**changes):
    return raw_preset("test", **{"box": BOX} | changes)


def test_the_box_becomes_minus_one_to_one():
    corners = np.array([[139.0, 35.0], [140.0, 37.0], [139.5, 36.5]])
    expected = [[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]]
    assert scale_to_box(corners, BOX).tolist() == expected


def test_scaling_back_undoes_scaling():
    lonlat = np.random.default_rng(0).uniform([138, 34], [141, 38], (5, 3, 2))
    back = scale_from_box(scale_to_box(lonlat, BOX), BOX)
    np.testing.assert_allclose(back, lonlat, atol=1e-6)


def test_another_box_scales_otherwise():
    point = np.array([[139.5, 36.0]])
    assert not np.array_equal(
        scale_to_box(point, BOX), scale_to_box(point, (139.0, 35.0, 141.0, 36.0))
    )


def test_study_box_reaches_from_the_lowest_to_the_highest():
    lonlat = np.array([[139.25, 36.0], [140.0, 35.5], [139.5, 35.75]], np.float32)
    assert study_box(lonlat) == (139.25, 35.5, 140.0, 36.0)


def test_study_box_of_one_place_has_sides():
    west, south, east, north = study_box(np.array([[139.0, 35.0]]))
    assert east - west == pytest.approx(LEAST_SIDE)
    assert north - south == pytest.approx(LEAST_SIDE)


def test_study_box_of_nothing_is_refused():
    with pytest.raises(MoraError, match="no known steps"):
        study_box(np.zeros((0, 2)))


def test_a_network_without_box_is_refused():
    with pytest.raises(MoraError, match="has no study box"):
        required_box(raw_preset("test"))


def test_times_at_midnight_and_six_hours_later():
    features = time_features(np.array([0.0]), 2, 360)
    week = 2 * np.pi / 28
    expected = [[0, 1, 0, 1], [1, 0, np.sin(week), np.cos(week)]]
    np.testing.assert_allclose(features[0], expected, atol=1e-6)


def test_times_a_week_apart_are_equal():
    start = np.array([1.7e9])
    first = time_features(start, 3, 15)
    np.testing.assert_allclose(first, time_features(start + 7 * 86_400, 3, 15))
    assert not np.allclose(first, time_features(start + 86_400, 3, 15))
    assert not np.allclose(first, time_features(start, 3, 30))


def test_inputs_hold_scaled_points_times_and_what_is_known():
    known = np.array([[True, False]])
    steps = make_steps([[[139.5, 36.0], [140.0, 37.0]]], known, start=21_600.0)
    points, times, seen = make_inputs(steps, config())
    assert points.tolist() == [[[0.0, 0.0], [1.0, 1.0]]]
    torch.testing.assert_close(times[0, 0, :2], torch.tensor([1.0, 0.0]))
    assert seen.tolist() == known.tolist()


def test_parts_of_inputs():
    steps = make_steps(np.full((3, 5, 2), 139.0))
    inputs = make_inputs(steps, config())
    assert inputs.between(1, 4).points.shape == (3, 3, 2)
    double = inputs.to(torch.device("cpu"), torch.float64)
    assert {double.points.dtype, double.times.dtype} == {torch.float64}
    assert double.known.dtype == torch.bool


def test_longer_steps_than_the_networks_are_refused():
    with pytest.raises(MoraError, match=r"2 users with 33 steps each; .* 1 to 32"):
        make_inputs(make_steps(np.full((2, 33, 2), 139.0)), config())


def test_steps_of_another_duration_are_refused():
    steps = make_steps(np.full((2, 3, 2), 139.0), minutes=5.0)
    with pytest.raises(MoraError, match="steps of 5 minutes; expected 15"):
        make_inputs(steps, config())
