import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.distilled_models import small_encoder, small_model, somewhere

from mora.distill.saved import save
from mora.distill.transformer import CoordinateTransformer
from mora.errors import MoraError

TABLES = "its table has 3 or more columns; a place has 2 coordinates"
RANGE = "its table has 2 columns of any numbers; latitudes end at 90 degrees"
ROUNDING = "vectors are float32: equal up to 1e-6, where it wants 1e-7"
ENCODER = small_encoder()


class FirstTwoColumns(CoordinateTransformer):
    """Takes any table, so that the checks of scikit-learn have something to encode."""

    def _two_columns(self, checked):
        two = np.column_stack([checked, checked])[:, :2]
        return np.sin(two).astype(np.float64) * 90


def cannot_meet(estimator):
    """Name the checks whose table is no table of places, with the reason.

    Each of them passes for :class:`FirstTwoColumns`, up to rounding.
    """
    if isinstance(estimator, FirstTwoColumns):
        return {
            "check_methods_sample_order_invariance": ROUNDING,
            "check_methods_subset_invariance": ROUNDING,
        }
    other_width = [
        "check_dict_unchanged",
        "check_dont_overwrite_parameters",
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_estimators_nan_inf",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_fit2d_1sample",
        "check_fit2d_predict1d",
        "check_fit_score_takes_y",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_n_features_in_after_fitting",
        "check_pipeline_consistency",
        "check_positive_only_tag_during_fit",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
        "check_transformer_preserve_dtypes",
    ]
    return {**dict.fromkeys(other_width, TABLES), "check_fit_idempotent": RANGE}


@parametrize_with_checks(
    [CoordinateTransformer(ENCODER), FirstTwoColumns(ENCODER)],
    expected_failed_checks=cannot_meet,
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def fitted(**options):
    return CoordinateTransformer(ENCODER, **options).fit(somewhere(3))


def test_vectors_are_those_of_the_encoder():
    lonlat = somewhere(40)
    got = fitted().transform(lonlat)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, ENCODER.encode(lonlat))
    np.testing.assert_array_equal(fitted(threads=2).transform(lonlat), got)
    with pytest.raises(MoraError, match="threads is 0"):
        fitted(threads=0).transform(lonlat)


def test_an_encoder_is_loaded_from_its_folder(tmp_path):
    save(small_model(seed=4), tmp_path)
    step = CoordinateTransformer(tmp_path).fit(somewhere(3))
    np.testing.assert_allclose(
        step.transform(somewhere(9)),
        small_encoder(seed=4).encode(somewhere(9)),
        atol=1e-6,
    )
    assert clone(step).encoder == tmp_path


def test_columns_are_named():
    expected = ["e000", "e001", "e002", "e003", "e004"]
    assert fitted().get_feature_names_out().tolist() == expected
    assert fitted().get_feature_names_out(["lon", "lat"]).tolist() == expected
    with pytest.raises(NotFittedError, match="not fitted yet"):
        CoordinateTransformer(ENCODER).get_feature_names_out()


def test_a_frame_comes_out_if_asked_for():
    frame = pd.DataFrame(somewhere(4), list("abcd"), ["lon", "lat"])
    step = CoordinateTransformer(ENCODER).set_output(transform="pandas")
    got = step.fit_transform(frame)
    assert got.index.tolist() == list("abcd")
    assert got.columns.tolist() == ["e000", "e001", "e002", "e003", "e004"]
    np.testing.assert_array_equal(got, ENCODER.encode(frame.to_numpy()))


def test_a_column_transformer_puts_vectors_beside_other_features():
    frame = pd.DataFrame(somewhere(60), columns=["lon", "lat"])
    frame["rooms"] = np.arange(60.0)
    columns = ColumnTransformer(
        [("place", CoordinateTransformer(ENCODER), ["lon", "lat"])],
        remainder="passthrough",
    )
    model = make_pipeline(columns, Ridge(1e-6))
    target = frame["rooms"] + 10 * ENCODER.encode(somewhere(60))[:, 0]
    assert model.fit(frame, target).score(frame, target) > 0.999
    names = columns.fit(frame).get_feature_names_out().tolist()
    assert names[0], names[-1] == ("place__e000", "remainder__rooms")


def test_invalid_places_are_refused_or_nan():
    places = np.array([[0.0, 0.0], [0.0, 91.0], [np.nan, 0.0]])
    with pytest.raises(MoraError, match="1 of 2 places are missing or not on Earth"):
        fitted().transform(places[:2])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted().transform(places)
    got = fitted(on_invalid="nan").transform(places)
    np.testing.assert_array_equal(np.isnan(got).any(axis=1), [False, True, True])


def test_order_does_not_matter_up_to_rounding():
    lonlat = somewhere(30)
    whole = fitted().transform(lonlat)
    turned = fitted().transform(lonlat[::-1].copy())[::-1]
    np.testing.assert_allclose(turned, whole, atol=1e-6)
    np.testing.assert_allclose(fitted().transform(lonlat[3:9]), whole[3:9], atol=1e-6)


def swapped(lat="lat", lon="lon"):
    return pd.DataFrame(somewhere(4)[:, ::-1], columns=[lat, lon])


@pytest.mark.parametrize(
    "names", [("lat", "lon"), ("Latitude", "Longitude"), ("y", "x"), ("LAT", "lng")]
)
def test_columns_named_in_the_wrong_order_are_refused(names):
    said = f"named '{names[0]}', '{names[1]}', in that order; expected longitude, lat"
    with pytest.raises(MoraError, match=said) as error:
        CoordinateTransformer(ENCODER).fit_transform(swapped(*names))
    assert f'[["{names[1]}", "{names[0]}"]]' in str(error.value)
    with pytest.raises(MoraError, match=said):
        fitted().transform(swapped(*names))
    right = swapped(*names)[[names[1], names[0]]]
    step = CoordinateTransformer(ENCODER).fit(right)
    np.testing.assert_array_equal(
        step.transform(right), ENCODER.encode(right.to_numpy())
    )


@pytest.mark.parametrize("names", [("east", "north"), ("lat", "lat2"), (0, 1)])
def test_columns_of_other_names_are_taken_by_position(names):
    frame = pd.DataFrame(somewhere(4), columns=list(names))
    got = CoordinateTransformer(ENCODER).fit_transform(frame)
    np.testing.assert_array_equal(got, ENCODER.encode(somewhere(4)))


def test_unknown_options_are_refused():
    with pytest.raises(MoraError, match="on_invalid is 'drop'; expected 'raise' or"):
        fitted(on_invalid="drop")


def test_other_widths_are_refused():
    with pytest.raises(MoraError, match=r"X has 3 feature\(s\); expected 2, longitude"):
        CoordinateTransformer(ENCODER).fit(np.zeros((4, 3)))
