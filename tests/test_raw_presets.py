import pytest

from mora.errors import ConfigError
from mora.trajectories.raw.network import count_parameters
from mora.trajectories.raw.presets import (
    PRESETS,
    RAW_TRAINING,
    RawConfig,
    raw_preset,
)


def test_base_has_the_92_million_parameters_of_the_paper():
    assert count_parameters(PRESETS["base"]) == pytest.approx(92e6, rel=0.02)


def test_large_has_about_a_billion_parameters():
    assert count_parameters(PRESETS["large"]) == pytest.approx(1e9, rel=0.05)


def test_parameters_counted_by_hand():
    config = RawConfig(length=3, width=2, layers=1, heads=1, ffn_factor=1)
    point = (2 * 4 + 4) + (4 * 2 + 2)
    block = 2 * (2 + 2) + (2 * 6 + 6) + (2 * 2 + 2) + 2 * (2 * 2 + 2)
    head = (2 + 2) + (2 * 8 + 8) + (8 * 2 + 2) + (2 * 2 + 2)
    assert count_parameters(config) == point + 3 * 2 + block + head


@pytest.mark.parametrize(
    "change",
    [
        {"length": 33},
        {"width": 36},
        {"layers": 3},
        {"ffn_factor": 2},
        {"time_features": True},
        {"gap_mask": True},
        {"output": "mixture"},
        {"output": "mixture", "components": 2},
        {"output": "mixture", "covariance": "full"},
    ],
)
def test_sizes_and_options_change_the_number_of_parameters(change):
    plain = {"output": "mixture"} if len(change) == 2 else {}
    first, second = raw_preset("test", **plain), raw_preset("test", **change)
    assert count_parameters(first) != count_parameters(second)


def test_as_they_stand_the_presets_are_the_papers_model():
    assert {c.output for c in PRESETS.values()} == {"mse"}
    assert not any(c.time_features or c.gap_mask for c in PRESETS.values())
    assert (RAW_TRAINING.optimizer, RAW_TRAINING.learning_rate) == ("adamw", 1e-4)
    assert RAW_TRAINING.schedule == "linear"


def test_changes_of_a_preset_are_made():
    assert raw_preset("small", minutes=5, layers=2).minutes == 5.0
    assert raw_preset("small", layers=2).layers == 2
    assert raw_preset("small").width == PRESETS["small"].width


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match=r"no preset 'huge' .* test, small, base"):
        raw_preset("huge")


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 32 and 5 heads"):
        RawConfig(width=32, heads=5)


def test_box_must_have_sides():
    with pytest.raises(ValueError, match="west < east"):
        RawConfig(box=(140.0, 35.0, 139.0, 36.0))
