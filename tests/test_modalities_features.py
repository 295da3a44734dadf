import json

import numpy as np
import pytest

from mora.modalities import MODALITIES, Features, modality, read_features
from mora.modalities.features import FeatureError

PRESENT = np.array([True, False, True])


def small_features(**changes) -> Features:
    """Two columns for three tokens, of which the second has none."""
    options = {
        "values": np.array([[1.0, 5.0], [9.0, 9.0], [3.0, 5.0]]),
        "present": PRESENT,
        "columns": ["age", "rooms"],
        "notes": {"rows": 7, "encoder": "hashing"},
    }
    return Features.from_values(**{**options, **changes})


def test_rows_of_missing_tokens_become_zero():
    features = small_features()
    assert features.values.dtype == np.float32
    np.testing.assert_array_equal(features.values, [[1, 5], [0, 0], [3, 5]])
    assert features.columns == ("age", "rooms")
    assert len(features) == 3


def test_nan_is_allowed_only_in_missing_rows():
    values = np.array([[1.0, 5.0], [np.nan, np.inf], [3.0, 5.0]])
    assert np.isfinite(small_features(values=values).values).all()
    with pytest.raises(FeatureError, match=r"1 feature values .* token 1, 'age'"):
        small_features(
            values=values[:, :1], present=np.array([True] * 3), columns=["age"]
        )


def test_numbers_too_large_for_float32_are_refused():
    with pytest.raises(FeatureError, match=r"token 2, 'rooms'"):
        small_features(values=np.array([[1.0, 5.0], [9.0, 9.0], [3.0, 1e300]]))


@pytest.mark.parametrize("columns", [["age"], ["age", "age"]])
def test_columns_must_be_unique_and_complete(columns):
    with pytest.raises(FeatureError, match="for 2 columns; expected one unique name"):
        small_features(columns=columns)


def test_standardised_by_hand():
    # ages 1 and 3: mean 2, standard deviation 1; rooms are constant.
    features = small_features().standardised()
    np.testing.assert_array_equal(features.values, [[-1, 0], [0, 0], [1, 0]])
    assert features.notes == {"rows": 7, "encoder": "hashing"}


def test_standardised_agrees_with_numpy_and_ignores_units():
    rng = np.random.default_rng(0)
    values, present = rng.normal(5, 3, (50, 4)), rng.random(50) < 0.7
    z = Features.from_values(values, present, list("abcd")).standardised().values
    rows = values[present].astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(
        z[present], (rows - rows.mean(0)) / rows.std(0), atol=1e-6
    )
    scaled = Features.from_values(values * 1024, present, list("abcd")).standardised()
    np.testing.assert_allclose(scaled.values, z, atol=1e-6)


def test_constant_column_of_awkward_numbers_is_zero():
    # The mean of many 0.1 is not exactly 0.1; dividing by that spread would give +-1.
    features = Features.from_values(
        np.full((1001, 1), 0.1), np.ones(1001, dtype=bool), ["x"]
    )
    assert not features.standardised().values.any()


def test_nothing_present_stays_zero():
    features = small_features(present=np.zeros(3, dtype=bool)).standardised()
    assert not features.values.any()


def test_reading_gives_what_was_written(tmp_path):
    written = small_features()
    written.write(tmp_path / "run", "poi")
    features = read_features(tmp_path / "run", "poi")
    assert isinstance(features.values, np.memmap)
    np.testing.assert_array_equal(features.values, written.values)
    np.testing.assert_array_equal(features.present, written.present)
    assert features.columns == written.columns
    assert features.notes == written.notes


def test_files_are_named_after_the_modality(tmp_path):
    small_features().write(tmp_path, "a")
    small_features(columns=["x", "y"]).write(tmp_path, "b")
    assert read_features(tmp_path, "a").columns == ("age", "rooms")
    assert read_features(tmp_path, "b").columns == ("x", "y")


def test_missing_features_are_reported(tmp_path):
    with pytest.raises(FeatureError, match=r"features 'poi' .* Build the features"):
        read_features(tmp_path, "poi")


@pytest.mark.parametrize("file", ["poi.values.npy", "poi.present.npy", "poi.json"])
@pytest.mark.parametrize("keep", [0, 20])
def test_files_cut_short_are_reported(tmp_path, file, keep):
    small_features().write(tmp_path, "poi")
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FeatureError, match="cannot be read"):
        read_features(tmp_path, "poi")


def test_files_that_do_not_fit_together_are_reported(tmp_path):
    small_features().write(tmp_path, "poi")
    (tmp_path / "poi.json").write_text(json.dumps({"columns": ["a"], "notes": {}}))
    with pytest.raises(FeatureError, match="do not fit together"):
        read_features(tmp_path, "poi")


def test_pickled_objects_are_refused(tmp_path):
    small_features().write(tmp_path, "poi")
    objects = np.array([{}], dtype=object)
    np.save(tmp_path / "poi.values.npy", objects, allow_pickle=True)
    with pytest.raises(FeatureError, match="cannot be read"):
        read_features(tmp_path, "poi")


def test_registry_holds_the_modalities():
    assert set(MODALITIES) == {
        *("alphaearth", "demographics", "demographics40", "imagery", "poi"),
        *("remote_clip", "table", "vectors"),
    }


def test_registering_a_modality(monkeypatch):
    monkeypatch.setattr("mora.modalities.features.MODALITIES", {})
    from mora.modalities import features

    @modality("noise")
    def build_noise(_tokens, _frame):
        return small_features()

    assert features.MODALITIES["noise"] is build_noise
    with pytest.raises(FeatureError, match="'noise' is registered twice"):
        modality("noise")(build_noise)
