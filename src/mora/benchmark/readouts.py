"""Readouts: how much a standard regressor reads about a label from place vectors."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from mora.errors import MoraError

RIDGE_GRID = np.logspace(-6, 2, 17)  # alpha per training row, in units of a variance


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


@dataclass(frozen=True)
class LightGBMReadout(Readout):
    """Gradient-boosted trees; NaN is a value of its own, scale does not matter.

    Bins are built from the training rows of each split alone. Sharing them between
    splits would save a tenth of the time and let the bins see the test rows.

    Attributes:
        trees: boosting rounds.
        learning_rate: shrinkage of each tree.
        depth: most levels of a tree.
        leaves: most leaves of a tree.
        leaf_samples: fewest training rows in a leaf. Lowered to a tenth of the
            training rows where they are few: with 76 counties and 50 rows a leaf no
            split would be possible, and every model would predict the mean.
        feature_share: part of the columns each tree may use.
        bins: most distinct values kept of a column.
        threads: number of threads; the result does not depend on it. More than one
            pays off from about 100,000 rows; on busy cores they wait for each other
            and a fit of one second takes ten.
        seed: seed of the column draws.
    """

    trees: int = 200
    learning_rate: float = 0.05
    depth: int = 7
    leaves: int = 63
    leaf_samples: int = 30
    feature_share: float = 0.3
    bins: int = 63
    threads: int = 1
    seed: int = 0

    @property
    def description(self) -> str:
        """Name the setting in a few words."""
        return (
            f"LightGBM, {self.trees} trees, {self.leaves} leaves, depth {self.depth}, "
            f"{self.leaf_samples} samples a leaf, feature share {self.feature_share:g}"
        )

    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows."""
        import lightgbm

        settings = {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "max_depth": self.depth,
            "num_leaves": self.leaves,
            "min_child_samples": min(self.leaf_samples, max(1, len(train_x) // 10)),
            "feature_fraction": self.feature_share,
            "max_bin": self.bins,
            "num_threads": self.threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        rows = lightgbm.Dataset(train_x, train_y, params={"verbose": -1})
        booster = lightgbm.train(settings, rows, self.trees)
        return np.asarray(booster.predict(test_x, num_threads=self.threads))


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
    values, axes = np.linalg.eigh(x.T @ x)
    rotated = x @ axes
    shrunk = 1 / (np.maximum(values, 0)[:, None] + alphas)
    weights = shrunk * (rotated.T @ y)[:, None]
    leverage = 1 / len(x) + rotated**2 @ shrunk
    left_out = (y[:, None] - rotated @ weights) / (1 - leverage)
    return axes @ weights[:, np.argmin((left_out**2).mean(axis=0))]


def make_readout(name: str, *, threads: int = 1, seed: int = 0) -> Readout:
    """Make a readout by its name.

    Args:
        name: ``lightgbm`` (quick: 200 trees), ``lightgbm-paper`` and
            ``lightgbm-paper-county`` (MoRA's settings), or ``ridge``.
        threads: threads of LightGBM.
        seed: seed of LightGBM.

    Raises:
        MoraError: if no readout has the name.
    """
    if name not in READOUTS:
        raise MoraError(f"no readout {name!r}; expected one of {', '.join(READOUTS)}.")
    return READOUTS[name](threads, seed)


def _paper(threads: int, seed: int, leaves: int, leaf_samples: int) -> LightGBMReadout:
    """Give MoRA's setting: five times the trees, all columns, 255 bins."""
    return LightGBMReadout(
        trees=1000,
        leaves=leaves,
        leaf_samples=leaf_samples,
        feature_share=1.0,
        bins=255,
        threads=threads,
        seed=seed,
    )


READOUTS: dict[str, Callable[[int, int], Readout]] = {
    "lightgbm": lambda threads, seed: LightGBMReadout(threads=threads, seed=seed),
    "lightgbm-paper": lambda threads, seed: _paper(threads, seed, 63, 30),
    "lightgbm-paper-county": lambda threads, seed: _paper(threads, seed, 31, 50),
    "ridge": lambda threads, seed: RidgeReadout(),  # noqa: ARG005
}


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
