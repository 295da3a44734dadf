"""The preset ``improved`` brings settings of learning and prediction with it."""

import pytest

from mora.config import load_section
from mora.pipeline.humob_config import HumobConfig
from mora.trajectories.bert.improved import IMPROVED, improved_settings
from mora.trajectories.bert.prediction import PredictionConfig
from mora.trajectories.bert.task import LearningConfig


def settings(**changes):
    city = {"generated": {"users": 9}}
    return load_section({"name": "x", "cities": {"A": city}} | changes, HumobConfig)


def test_improved_is_the_default_and_brings_its_settings():
    told = settings()
    assert told.prediction == PredictionConfig(**IMPROVED["prediction"])
    assert told.learning == LearningConfig(**IMPROVED["learning"])
    assert told.learning.keep_untrained


@pytest.mark.parametrize("preset", ["faithful", "faithful_script", "tiny"])
def test_other_presets_learn_and_answer_as_released(preset):
    assert improved_settings(preset) == {}
    told = settings(preset=preset)
    assert told.prediction == PredictionConfig()
    assert told.learning == LearningConfig()


def test_what_is_given_goes_over_the_preset():
    told = settings(
        prediction={"choose_days": False},
        learning=LearningConfig(windows={"gap_events": 30, "window_stride": 9}),
    )
    assert not told.prediction.choose_days
    assert told.prediction.decoding == "proximity"
    assert told.learning.windows.gap_events == 30
    assert told.learning.windows.window_stride == 9
    assert told.learning.candidates.prior_floor == 1e-4
