"""LightGBM readouts: gradient-boosted trees, quick or as the paper sets them."""

from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from mora.benchmark.fitting import Fit, Readout
from mora.benchmark.ridge import FixedRidgeReadout

FEW = 500  # training rows


@dataclass(frozen=True, repr=False)
class LightGBMReadout(Readout):
    """Gradient-boosted trees; NaN is a value of its own, scale does not matter.

    Bins are built from the training rows of each split alone, unless
    ``shared_bins``.

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
        shared_bins: whether the bins are built once from the rows of all splits,
            without their labels: a fifth to a third less time for a quick fit, a
            hundredth for a paper one. Below ``FEW`` training rows a fit has bins of
            its own: those of all rows are too wide for them.
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
    shared_bins: bool = False

    def __repr__(self) -> str:
        # An option that is off is not named: scores finished before it existed count.
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        if not self.shared_bins:
            del settings["shared_bins"]
        told = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"LightGBMReadout({told})"

    @property
    def description(self) -> str:
        """Name the setting in a few words."""
        shared = ", bins shared between splits" if self.shared_bins else ""
        return (
            f"LightGBM, {self.trees} trees, {self.leaves} leaves, depth {self.depth}, "
            f"{self.leaf_samples} samples a leaf, feature share "
            f"{self.feature_share:g}{shared}"
        )

    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows."""
        import lightgbm

        rows = lightgbm.Dataset(train_x, train_y, params={"verbose": -1})
        booster = lightgbm.train(self._settings(len(train_x)), rows, self.trees)
        return np.asarray(booster.predict(test_x, num_threads=self.threads))

    def bind(
        self, x: Shaped[np.ndarray, "rows dim"], blocks: Int[np.ndarray, " rows"]
    ) -> Fit:
        """Give a function that fits on some rows; it holds the bins if shared."""
        return _SharedBins(self, x) if self.shared_bins else super().bind(x, blocks)

    def _settings(self, train_rows: int) -> dict[str, Any]:
        """Give LightGBM's settings for a number of training rows."""
        return {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "max_depth": self.depth,
            "num_leaves": self.leaves,
            "min_child_samples": min(self.leaf_samples, max(1, train_rows // 10)),
            "feature_fraction": self.feature_share,
            "max_bin": self.bins,
            "num_threads": self.threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


class _SharedBins:
    """Fits on rows of one matrix whose bins are built at the first fit."""

    def __init__(self, readout: LightGBMReadout, x: Shaped[np.ndarray, "rows dim"]):
        self.readout, self.x = readout, x
        self._dataset, self._lock = None, Lock()

    def __call__(
        self,
        train: Int[np.ndarray, " train"],
        y: Float[np.ndarray, " train"],
        test: Int[np.ndarray, " test"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the rows ``train`` and predict the rows ``test``."""
        import lightgbm

        # Which columns can be split depends on the training rows of a fit.
        if len(train) < FEW:
            return self.readout.fit_predict(self.x[train], y, self.x[test])
        settings = {**self.readout._settings(len(train)), "feature_pre_filter": False}
        rows = self._binned().subset(train).construct()
        rows.set_label(y)
        booster = lightgbm.train(settings, rows, self.readout.trees)
        predicted = booster.predict(self.x[test], num_threads=self.readout.threads)
        return np.asarray(predicted)

    def _binned(self) -> Any:
        """Give the dataset of all rows, built once by whichever thread comes first."""
        import lightgbm

        with self._lock:
            if self._dataset is None:
                settings = {
                    "max_bin": self.readout.bins,
                    "num_threads": self.readout.threads,
                    "feature_pre_filter": False,
                    "verbose": -1,
                }
                self._dataset = lightgbm.Dataset(self.x, params=settings).construct()
        return self._dataset


@dataclass(frozen=True)
class PaperReadout(Readout):
    """MoRA's readout: LightGBM for grid cells and counties, Ridge for cities.

    Source: MoRA's settings; five times the trees of the quick setting, all columns,
    255 bins. Grid: 63 leaves, 30 samples a leaf. County: 31 leaves, 50 samples.
    City: Ridge with alpha 1, as there are few.

    Attributes:
        threads: threads of LightGBM.
        seed: seed of LightGBM.
    """

    threads: int = 1
    seed: int = 0

    @property
    def description(self) -> str:
        """Name the settings of the three scales in a few words."""
        return (
            "LightGBM, 1000 trees, 63 leaves and 30 samples a leaf (cells) or 31 and "
            "50 (counties); Ridge, alpha 1 (cities)"
        )

    def for_scale(self, scale: str) -> Readout:
        """Give the readout for units of a scale."""
        if scale == "city":
            return FixedRidgeReadout()
        leaves, leaf_samples = (31, 50) if scale == "county" else (63, 30)
        return LightGBMReadout(
            trees=1000,
            leaves=leaves,
            leaf_samples=leaf_samples,
            feature_share=1.0,
            bins=255,
            threads=self.threads,
            seed=self.seed,
        )

    def fit_predict(
        self,
        train_x: Shaped[np.ndarray, "train dim"],
        train_y: Float[np.ndarray, " train"],
        test_x: Shaped[np.ndarray, "test dim"],
    ) -> Float[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows, as for grid cells."""
        return self.for_scale("grid").fit_predict(train_x, train_y, test_x)
