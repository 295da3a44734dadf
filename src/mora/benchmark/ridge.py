"""Ridge regressions: linear readouts with an L2 penalty."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mora.benchmark.fitting import Fit, Readout
from mora.benchmark.splits import block_folds

RIDGE_GRID = np.logspace(-6, 2, 17)  # alpha per training row, in units of a variance


@dataclass(frozen=True)
class RidgeReadout(Readout):
    """Linear regression with an L2 penalty, its strength chosen on the training rows.

    Columns are centred and divided by their common deviation, not each by its own:
    vectors ordered by a spectrum carry their noise in columns of small variance, and
    scaling those up would bury the signal. NaN becomes the training mean. The penalty
    has the least leave-one-out error on the training rows, among 17 from 1e-6 to 100
    times the number of rows. Neighbours of a row left out stay in, so the penalty
    leans towards the small side for blocked splits; the test rows are never seen.
    """

    @property
    def description(self) -> str:
        """Name the setting in a few words."""
        return "Ridge, penalty chosen on the training rows"

    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows."""
        mean = _known_mean(train_x)
        train, test = _centred(train_x, mean), _centred(test_x, mean)
        scale = np.sqrt(np.mean(train**2))
        if scale == 0:  # nothing to read from: the best guess is the mean
            return np.full(len(test), train_y.mean())
        offset = train_y.mean()
        alphas = RIDGE_GRID * len(train)
        weights = leave_one_out_ridge(train / scale, train_y - offset, alphas)
        return test / scale @ weights + offset


@dataclass(frozen=True)
class BlockedRidgeReadout(Readout):
    """As :class:`RidgeReadout`, but the penalty is chosen with whole blocks left out.

    The penalty has the least error over inner folds of the training rows; no block
    has rows on both sides of a fold. It suits blocked splits, where a row's
    neighbours are as unknown as the row.

    Attributes:
        folds: inner folds; fewer where there are fewer blocks.
    """

    folds: int = 5

    @property
    def description(self) -> str:
        """Name the setting in a few words."""
        return f"Ridge, penalty chosen over {self.folds} blocked folds of training rows"

    def bind(
        self, x: Shaped[np.ndarray, "rows dim"], blocks: Int[np.ndarray, " rows"]
    ) -> Fit:
        """Give a function that fits with the blocks of its training rows."""
        return lambda train, y, test: self.fit_predict(
            x[train], y, x[test], blocks[train]
        )

    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
        train_blocks: Int[np.ndarray, " train"] | None = None,
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows.

        Args:
            train_x: vectors; NaN where unknown.
            train_y: labels, finite.
            test_x: vectors of the same columns.
            train_blocks: block of each training row; by default each is its own.
        """
        blocks = np.arange(len(train_x)) if train_blocks is None else train_blocks
        if len(np.unique(blocks)) < 2:  # one block cannot be divided
            blocks = np.arange(len(train_x))
        error = np.zeros(len(RIDGE_GRID))
        for inner, held_out in block_folds(blocks, self.folds):
            path = _ridge_path(train_x[inner], train_y[inner], train_x[held_out])
            error += ((path - train_y[held_out, None]) ** 2).sum(axis=0)
        best = slice(error.argmin(), error.argmin() + 1)
        return _ridge_path(train_x, train_y, test_x, RIDGE_GRID[best])[:, 0]


@dataclass(frozen=True)
class FixedRidgeReadout(Readout):
    """Ridge with a given penalty on the columns as they are, NaN as training mean.

    Source: MoRA's city protocol, scikit-learn's Ridge with alpha 1. Columns are
    centred (the intercept is not penalised) and not scaled, so that the result depends
    on the scale of the vectors.

    Attributes:
        alpha: penalty, >= 0.
    """

    alpha: float = 1.0

    @property
    def description(self) -> str:
        """Name the setting in a few words."""
        return f"Ridge, alpha {self.alpha:g}, columns as they are"

    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows."""
        from sklearn.linear_model import Ridge

        mean = _known_mean(train_x)
        fitted = Ridge(alpha=self.alpha).fit(_centred(train_x, mean), train_y)
        return fitted.predict(_centred(test_x, mean))


def leave_one_out_ridge(
    x: Float[np.ndarray, "rows dim"],
    y: Float[np.ndarray, " rows"],
    alphas: Float[np.ndarray, " alphas"],
) -> Float[np.ndarray, " dim"]:
    """Give the ridge weights of the penalty with the least leave-one-out error.

    Source: Golub et al. 1979; the residual of a row left out is its residual divided
    by 1 - leverage, with 1/rows added to the leverage for the mean. One
    eigendecomposition of the (dim x dim) products serves all penalties, an order
    faster than scikit-learn's RidgeCV, which decomposes the rows.

    Args:
        x: columns centred.
        y: centred.
        alphas: penalties, > 0.
    """
    rotated, axes, shrunk = _decompose(x, alphas)
    weights = shrunk * (rotated.T @ y)[:, None]
    leverage = 1 / len(x) + rotated**2 @ shrunk
    left_out = (y[:, None] - rotated @ weights) / (1 - leverage)
    return axes @ weights[:, np.argmin((left_out**2).mean(axis=0))]


def _ridge_path(
    train_x: Shaped[np.ndarray, "train dim"],
    train_y: Float[np.ndarray, " train"],
    test_x: Shaped[np.ndarray, "test dim"],
    grid: Float[np.ndarray, " alphas"] = RIDGE_GRID,
) -> Float[np.ndarray, "test alphas"]:
    """Predict the test rows under each penalty, scaled as in RidgeReadout."""
    mean, offset = _known_mean(train_x), train_y.mean()
    train, test = _centred(train_x, mean), _centred(test_x, mean)
    scale = np.sqrt(np.mean(train**2))
    if scale == 0:  # nothing to read from: the best guess is the mean
        return np.full((len(test), len(grid)), offset)
    rotated, axes, shrunk = _decompose(train / scale, grid * len(train))
    weights = shrunk * (rotated.T @ (train_y - offset))[:, None]
    return (test / scale @ axes) @ weights + offset


def _decompose(
    x: Float[np.ndarray, "rows dim"], alphas: Float[np.ndarray, " alphas"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give rows on the axes of their products, the axes, and 1 / (value + alpha)."""
    values, axes = np.linalg.eigh(x.T @ x)
    return x @ axes, axes, 1 / (np.maximum(values, 0)[:, None] + alphas)


def _known_mean(x: Shaped[np.ndarray, "rows dim"]) -> Float[np.ndarray, " dim"]:
    """Average each column over its known values; 0 where none is known."""
    known = ~np.isnan(x)
    total = np.where(known, x, 0.0).sum(axis=0, dtype=np.float64)
    return total / np.maximum(known.sum(axis=0), 1)


def _centred(
    x: Shaped[np.ndarray, "rows dim"], mean: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, "rows dim"]:
    """Subtract the mean in float64; what is missing becomes 0."""
    return np.where(np.isnan(x), 0.0, x - mean)
