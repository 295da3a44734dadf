"""What a readout is: a regressor that is fitted anew on the rows of each split."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped

# From train rows, their labels, and test rows to predictions of the test rows.
Fit: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Readout(ABC):
    """A regressor that is fitted anew on each split."""

    @property
    @abstractmethod
    def description(self) -> str:
        """Name the regressor and its setting in a few words, for reports."""

    @abstractmethod
    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows.

        Args:
            train_x: vectors; NaN where unknown.
            train_y: labels, finite.
            test_x: vectors of the same columns.
        """

    def for_scale(self, scale: str) -> "Readout":  # noqa: ARG002
        """Give the readout for units of a scale; most do not depend on it.

        Args:
            scale: ``grid``, ``county`` or ``city``, see :class:`Task`.
        """
        return self

    def bind(
        self,
        x: Shaped[np.ndarray, "rows dim"],
        blocks: Int[np.ndarray, " rows"],  # noqa: ARG002
    ) -> Fit:
        """Give a function that fits on some rows of a matrix and predicts others.

        A readout that can prepare something once for all splits does it here.

        Args:
            x: vectors of all rows, without labels.
            blocks: block of each row.
        """
        return lambda train, y, test: self.fit_predict(x[train], y, x[test])
