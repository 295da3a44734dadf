from dataclasses import replace

import numpy as np
import pytest

from mora.baselines import (
    BASELINES,
    BaselineInput,
    Reproduction,
    Volume,
    baseline,
    embed_baselines,
)
from mora.errors import MoraError
from mora.harmonics import spherical_harmonics

TOKENS = 6


@pytest.fixture
def given() -> BaselineInput:
    rng = np.random.default_rng(0)
    counts = rng.poisson(50, (3, TOKENS)).astype(float)
    shares = rng.random((TOKENS, 2))
    shares[1] = np.nan
    return BaselineInput(
        lonlat=rng.uniform(-50, 50, (TOKENS, 2)),
        line=rng.normal(size=(TOKENS, 4)).astype(np.float32),
        volume=Volume(outflow=counts[0], inflow=counts[1], within=counts[2]),
        features={"people": counts[:1].T * 1e6, "shares": shares},
    )


def test_each_input_gives_a_float32_row_for_each_token(given):
    names = ["lonlat", "harmonics", "line", "volume", "line+volume", "raw"]
    vectors, left_out = embed_baselines(names, given)
    assert left_out == {}
    widths = {name: matrix.shape[1] for name, matrix in vectors.items()}
    assert widths == {
        "lonlat": 2,
        "harmonics": 256,
        "line": 4,
        "volume": 2,
        "line+volume": 5,
        "raw": 3,
    }
    assert all(matrix.dtype == np.float32 for matrix in vectors.values())


def test_coordinates_are_the_degrees(given):
    np.testing.assert_allclose(BASELINES["lonlat"](given), given.lonlat, rtol=1e-6)


def test_harmonics_follow_the_degree(given):
    got = BASELINES["harmonics"](given, degree=5)
    np.testing.assert_allclose(got, spherical_harmonics(given.lonlat, 5), atol=1e-6)


def test_volume_is_the_log_of_one_more():
    flows = Volume(np.array([0.0, np.e - 1]), np.array([np.e**2 - 1, 0.0]), np.ones(2))
    got = BASELINES["volume"](BaselineInput(volume=flows))
    np.testing.assert_allclose(got, [[0, 2], [1, 0]], atol=1e-6)


def test_line_and_volume_adds_one_column_only(given):
    got = BASELINES["line+volume"](given)
    np.testing.assert_array_equal(got[:, :-1], given.line)
    total = np.log1p(given.volume.outflow + given.volume.inflow)
    np.testing.assert_allclose(got[:, -1], total, rtol=1e-6)


def test_line_ignores_everything_else(given):
    bare = BaselineInput(line=given.line)
    np.testing.assert_array_equal(BASELINES["line"](given), BASELINES["line"](bare))


def test_raw_columns_are_comparable_and_missing_rows_stay_missing(given):
    got = BASELINES["raw"](given)
    np.testing.assert_allclose(np.nanmean(got, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(got, axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(np.isnan(got[1]), [False, True, True])


def test_raw_does_not_depend_on_units(given):
    per_thousand = {"people": given.features["people"] / 1000}
    changed = replace(given, features={**given.features, **per_thousand})
    np.testing.assert_allclose(
        BASELINES["raw"](changed), BASELINES["raw"](given), rtol=1e-5
    )


def test_raw_constant_and_unknown_columns_are_harmless():
    columns = np.column_stack([np.full(4, 7.0), np.full(4, np.nan)])
    got = BASELINES["raw"](BaselineInput(features={"odd": columns}))
    np.testing.assert_array_equal(got[:, 0], np.zeros(4))
    assert np.isnan(got[:, 1]).all()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lonlat", "no lon/lat. Use H3 tokens"),
        ("harmonics", "no lon/lat. Use H3 tokens"),
        ("line", "no LINE vectors. Run the stage `line`"),
        ("volume", "no mobility graph. Run the stage `graph`"),
        ("line+volume", "no mobility graph. Run the stage `graph`"),
        ("raw", "no features. Name a modality"),
    ],
)
def test_a_baseline_without_its_input_is_left_out_with_the_reason(name, reason):
    vectors, left_out = embed_baselines([name], BaselineInput())
    assert vectors == {}
    assert reason in left_out[name]


def test_options_reach_their_baseline(given):
    options = {"harmonics": {"degree": 3}}
    vectors, _ = embed_baselines(["harmonics", "lonlat"], given, options)
    assert vectors["harmonics"].shape == (TOKENS, 9)


def test_unknown_baseline_is_refused(given):
    with pytest.raises(
        MoraError, match=r"no baseline 'magic'; expected one of .*lonlat"
    ):
        embed_baselines(["magic"], given)


CHECKED = Reproduction("nothing", 0.0, 0.5, 1.0)


def test_a_name_is_given_once():
    again = baseline("line", group="input", source="", needs=(), reproduction=CHECKED)
    with pytest.raises(MoraError, match="baseline 'line' exists already"):
        again(lambda given: given.line)


def test_all_are_tuned_alike():
    unfair = baseline(
        "tuned",
        group="input",
        source="",
        needs=(),
        reproduction=CHECKED,
        settings=({"a": 1}, {"a": 2}),
    )
    with pytest.raises(MoraError, match="has 2 settings; expected 1 or 4"):
        unfair(lambda given: given.line)


def test_reproduction_says_whether_the_value_was_reached():
    assert str(CHECKED).startswith("reproduced: nothing: 0.5, expected 0 ± 1")
    assert not replace(CHECKED, tolerance=0.1).reached
    exact = replace(CHECKED, expected=0.5, tolerance=0.0)
    assert str(exact) == "reproduced: nothing: 0.5, exactly as expected"
    assert str(replace(CHECKED, measured=None)) == "not reproduced: nothing"
