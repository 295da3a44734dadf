"""The distilled encoder as a step of scikit-learn."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from mora.distill.coordinate_encoder import (
    CoordinateEncoder,
    check_option,
    check_order,
)
from mora.distill.frames import vector_columns
from mora.errors import MoraError


class CoordinateTransformer(TransformerMixin, BaseEstimator):
    """Turn two columns, longitude and latitude, into the vectors of places.

    Nothing is learned: ``fit`` loads the encoder.

    Args:
        encoder: folder or file of a distilled encoder, or one that is loaded.
        on_invalid: ``raise``, or ``nan`` for NaN at places that are missing or not on
            Earth.
        threads: that share the places, >= 1.

    Attributes:
        encoder_: the encoder.
        n_features_in_: 2.
        feature_names_in_: names of the two columns, if a frame was given.
    """

    # scikit-learn wants any value to be taken here, and looked at in ``fit``.
    def __init__(
        self, encoder: Any, *, on_invalid: Any = "raise", threads: Any = 1
    ) -> None:
        self.encoder = encoder
        self.on_invalid = on_invalid
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> "CoordinateTransformer":  # noqa: ARG002
        """Load the encoder, and check that there are two columns.

        Args:
            X: longitude and latitude in degrees, in that order.
            y: not used.

        Raises:
            MoraError: if there are not two columns, they are named latitude and
                longitude, ``on_invalid`` is unknown or the encoder cannot be loaded.
        """
        check_option(self.on_invalid)
        self._to_lonlat(X, reset=True)
        given = self.encoder
        loaded = isinstance(given, CoordinateEncoder)
        self.encoder_ = given if loaded else CoordinateEncoder.load(given)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Give the vectors of places.

        Args:
            X: longitude and latitude in degrees, in that order.

        Returns:
            One row a place, float32; a frame after ``set_output``.

        Raises:
            MoraError: if the columns are named latitude and longitude, or a place is
                invalid, unless ``on_invalid`` is ``nan``.
        """
        check_is_fitted(self)
        lonlat = self._to_lonlat(X, reset=False)
        return self.encoder_.encode(
            lonlat, on_invalid=self.on_invalid, threads=self.threads
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002
        """Give the names of the columns: e000, e001, ..

        Args:
            input_features: not used; the names do not depend on it.
        """
        check_is_fitted(self)
        return np.array(vector_columns(self.encoder_.dim), dtype=object)

    def _to_lonlat(self, X: Any, *, reset: bool) -> np.ndarray:
        """Check a table as scikit-learn does; text and other widths are refused.

        So are columns that are named in the wrong order.
        """
        check_order(X)
        finite = "allow-nan" if self.on_invalid == "nan" else True
        types = [np.float64, np.float32]
        checked = validate_data(
            self, X, reset=reset, dtype=types, ensure_all_finite=finite
        )
        return self._two_columns(checked)

    def _two_columns(self, checked: np.ndarray) -> np.ndarray:
        if checked.shape[1] != 2:
            raise MoraError(
                f"X has {checked.shape[1]} feature(s); expected 2, longitude and "
                f"latitude in degrees. Choose them with a ColumnTransformer."
            )
        return checked

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.on_invalid == "nan"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
