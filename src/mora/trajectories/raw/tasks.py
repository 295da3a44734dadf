"""What vectors of users or regions know: labels, heads that read them, and scores."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from mora.benchmark.readouts import RidgeReadout
from mora.benchmark.splits import Split, blocked_splits, random_splits
from mora.errors import MoraError, examples

FEWEST_OF_CLASS = 10  # rows; of fewer, a split could leave none to train on
LONGEST_TRAINING = 200  # steps of L-BFGS

Kind: TypeAlias = Literal["classes", "numbers"]
Rows: TypeAlias = Int[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class LabelTask:
    """Labels of users or regions that are to be predicted.

    Attributes:
        name: of the task, such as ``commuter``.
        labels: of each row; NaN or None where unknown.
        kind: ``classes`` (commuter or not) or ``numbers`` (trips, POI counts).
        groups: rows of one group are never on both sides of a split, such as several
            windows of one user, or near regions
            (:func:`mora.benchmark.splits.degree_blocks`); by default each row is its
            own.

    Raises:
        MoraError: if too few labels are known, or there is nothing to tell apart.
    """

    name: str
    labels: Shaped[np.ndarray, " rows"]
    kind: Kind
    groups: Int[np.ndarray, " rows"] | None = None

    def __post_init__(self) -> None:
        known = self.labels[self.known()]
        values, counts = np.unique(known, return_counts=True)
        if len(values) < 2:
            raise MoraError(
                f"task {self.name!r}: {len(known)} of {len(self.labels)} labels are "
                f"known, with {len(values)} different values; expected at least 2."
            )
        if self.kind == "classes" and counts.min() < FEWEST_OF_CLASS:
            rare = values[counts < FEWEST_OF_CLASS].tolist()
            raise MoraError(
                f"task {self.name!r}: {len(rare)} of {len(values)} classes have fewer "
                f"than {FEWEST_OF_CLASS} rows (first: {examples(rare)}). Join or leave "
                f"out rare classes."
            )

    def known(self) -> Bool[np.ndarray, " rows"]:
        """Say of which rows the label is known."""
        return ~pd.isna(self.labels)

    def splits(
        self, test_share: float = 0.2, repeats: int = 5, seed: int = 0
    ) -> list[Split]:
        """Divide the labelled rows, several times over.

        Args:
            test_share: part of the rows that tests, in (0, 1).
            repeats: number of splits.
            seed: the same seed gives the same splits.

        Returns:
            Train and test rows of each; no row or group is in both.
        """
        rows = np.flatnonzero(self.known())
        if self.groups is None:
            splits = random_splits(len(rows), test_share, repeats, seed)
        else:
            splits = blocked_splits(self.groups[rows], test_share, repeats, seed)
        return [(rows[train], rows[test]) for train, test in splits]


class Predictor(ABC):
    """Something that predicts labels, fitted anew on each split."""

    @abstractmethod
    def fit_predict(
        self, task: LabelTask, train: Rows, test: Int[np.ndarray, " test"], seed: int
    ) -> Shaped[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows.

        Args:
            task: only labels of training rows may be looked at.
            train: rows.
            test: rows.
            seed: of whatever is drawn.
        """


@dataclass(frozen=True, eq=False)
class VectorHead(Predictor):
    """A linear model or an MLP that reads vectors.

    The linear head is a ridge regression, with a penalty that it chooses itself on the
    training rows, or a logistic regression. The MLP has one hidden layer. Columns are
    standardised on the training rows.

    Source: RAW reads its vectors with an MLP; its size is not given.

    Attributes:
        vectors: of all rows of the task, finite.
        head: ``mlp`` or ``linear``.
        hidden: units of the MLP, >= 1.
        penalty: on the squared weights of the MLP or of the logistic regression, > 0,
            against the sum of the losses of the training rows.
    """

    vectors: Float[np.ndarray, "rows dim"]
    head: Literal["mlp", "linear"] = "mlp"
    hidden: int = 64
    penalty: float | int = 1

    def fit_predict(
        self, task: LabelTask, train: Rows, test: Int[np.ndarray, " test"], seed: int
    ) -> Shaped[np.ndarray, " test"]:
        """Fit on the training rows and predict the test rows.

        Raises:
            MoraError: if vectors are missing or not one for each label.
        """
        labels = task.labels[train]
        self._check(task)
        if task.kind == "numbers":
            labels = labels.astype(np.float64)
        if task.kind == "numbers" and self.head == "linear":
            return RidgeReadout().fit_predict(
                self.vectors[train], labels, self.vectors[test]
            )
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            # Training that is cut off holds the weights back, as the penalty does.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = self._model(task.kind, seed).fit(self.vectors[train], labels)
        return model.predict(self.vectors[test])

    def _check(self, task: LabelTask) -> None:
        whole = np.isfinite(self.vectors).all(axis=1)
        if len(self.vectors) != len(task.labels) or not whole.all():
            raise MoraError(
                f"task {task.name!r}: {len(self.vectors)} vectors, {(~whole).sum()} of "
                f"them not finite, for {len(task.labels)} labels; expected a finite "
                f"vector each, in the same order."
            )

    def _model(self, kind: Kind, seed: int) -> Any:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if self.head == "linear":
            linear = LogisticRegression(C=1 / self.penalty)
            return make_pipeline(StandardScaler(), linear)
        mlp = MLPClassifier if kind == "classes" else MLPRegressor
        network = mlp(
            hidden_layer_sizes=(self.hidden,),
            solver="lbfgs",  # better than Adam on the few rows that have labels
            alpha=self.penalty,
            max_iter=LONGEST_TRAINING,
            random_state=seed,
        )
        scaled = make_pipeline(StandardScaler(), network)
        if kind == "classes":
            return scaled
        return TransformedTargetRegressor(scaled, transformer=StandardScaler())


@dataclass(frozen=True)
class TaskScore:
    """How well one model does on one task, over several splits and seeds.

    Attributes:
        task: name of the task.
        model: name of the model.
        metric: what is measured.
        values: one for each split; NaN where it is not defined.
    """

    task: str
    model: str
    metric: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Give the mean over the splits."""
        return float(np.mean(self.values))

    @property
    def std(self) -> float:
        """Give the standard deviation over the splits; NaN of a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else np.nan


def evaluate_task(
    task: LabelTask,
    predictors: Mapping[str, Predictor],
    *,
    test_share: float = 0.2,
    repeats: int = 5,
    seed: int = 0,
    tested: Rows | None = None,
) -> list[TaskScore]:
    """Score predictors on the same splits.

    Args:
        task: the labels.
        predictors: by the name they have in the table.
        test_share: part of the rows that tests, in (0, 1).
        repeats: splits, each with its own seed of the heads, >= 1.
        seed: of the splits and heads.
        tested: rows that may be on the test side; all others with a label are fitted
            on in every split. By default all may.

    Returns:
        A score for each predictor and metric: accuracy and balanced accuracy of
        classes; Pearson correlation, MAE and RMSE of numbers.
    """
    splits = _splits(task, tested, test_share, repeats, seed)
    scores = []
    for model, predictor in predictors.items():
        measured = [
            measure(
                task.kind,
                task.labels[test],
                predictor.fit_predict(task, train, test, seed + repeat),
            )
            for repeat, (train, test) in enumerate(splits)
        ]
        scores += [
            TaskScore(task.name, model, metric, tuple(row[metric] for row in measured))
            for metric in measured[0]
        ]
    return scores


def _splits(
    task: LabelTask, tested: Rows | None, test_share: float, repeats: int, seed: int
) -> list[Split]:
    """Divide the rows that may be tested; the others are always fitted on."""
    if tested is None:
        return task.splits(test_share, repeats, seed)
    shown = np.isin(np.arange(len(task.labels)), tested)
    known = task.known()
    labels = np.where(shown, task.labels, None)
    always = np.flatnonzero(known & ~shown)
    own = LabelTask(task.name, labels, task.kind, task.groups)
    return [
        (np.sort(np.concatenate([always, train])), test)
        for train, test in own.splits(test_share, repeats, seed)
    ]


def measure(
    kind: Kind,
    truth: Shaped[np.ndarray, " n"],
    predicted: Shaped[np.ndarray, " n"],
) -> dict[str, float]:
    """Measure predictions.

    Args:
        kind: of the labels.
        truth: labels, all known.
        predicted: in the same order.

    Returns:
        For classes, the share that is right (``accuracy``) and its mean over the
        classes of ``truth`` (``balanced accuracy``: 1 / classes for any constant). For
        numbers, ``pearson`` (NaN if either side is constant), ``mae`` and ``rmse``.
    """
    if kind == "classes":
        right = predicted == truth
        by_class = [right[truth == value].mean() for value in np.unique(truth)]
        return {
            "accuracy": float(right.mean()),
            "balanced accuracy": float(np.mean(by_class)),
        }
    known, guess = truth.astype(np.float64), predicted.astype(np.float64)
    constant = np.ptp(known) == 0 or np.ptp(guess) == 0
    return {
        "pearson": np.nan if constant else float(np.corrcoef(known, guess)[0, 1]),
        "mae": float(np.abs(known - guess).mean()),
        "rmse": float(np.sqrt(((known - guess) ** 2).mean())),
    }
