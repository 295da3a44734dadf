"""Are predictions better than the medoid's? Means, paired differences, wins."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isnan

import numpy as np
from jaxtyping import Float, Int

from mora.benchmark.compare import TaskDifference, task_differences
from mora.errors import MoraError, examples
from mora.trajectories.events import Events
from mora.trajectories.humob.scores import score_users

# Of each metric, how it is written and the sign by which more is better.
METRICS = {
    "geo_bleu": ("GEO-BLEU", 4, 1),
    "dtw_km": ("DTW (km)", 2, -1),
    "accuracy": ("accuracy", 4, 1),
}


@dataclass(frozen=True)
class PairedScore:
    """One metric of one model over all users, and against the reference model.

    Attributes:
        model: its name.
        metric: key of :data:`METRICS`.
        mean: over users.
        standard_error: of the mean; NaN for a single user.
        difference: mean over users of this model minus the reference.
        difference_error: standard error of that paired difference.
        wins: users on whom the model is strictly better than the reference.
        losses: users on whom it is strictly worse.
        users: number of users.
    """

    model: str
    metric: str
    mean: float
    standard_error: float
    difference: float
    difference_error: float
    wins: int
    losses: int
    users: int


@dataclass(frozen=True)
class PairedTable:
    """Models and metrics.

    Attributes:
        reference: the model that all are compared with.
        variant: of the metrics.
        scores: one for each model and metric, metrics of one model together.
    """

    reference: str
    variant: str
    scores: list[PairedScore]

    def find(self, model: str, metric: str) -> PairedScore:
        """Give one entry.

        Raises:
            MoraError: if there is none of that model and metric.
        """
        for score in self.scores:
            if (score.model, score.metric) == (model, metric):
                return score
        raise MoraError(
            f"no score of {model!r} in {metric!r}; expected a model of "
            f"{examples(list(self._models()))} and a metric of {', '.join(METRICS)}."
        )

    def to_markdown(self) -> str:
        """Write one row per model: each metric, then its difference and wins."""
        header = ["model"]
        for title, _, _ in METRICS.values():
            header += [title, f"against {self.reference}", "wins / losses"]
        rows = [header, ["---", *["---:"] * (len(header) - 1)]]
        for model in self._models():
            row = [model]
            for metric in METRICS:
                row += _cells(self.find(model, metric), model == self.reference)
            rows.append(row)
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        users = self.scores[0].users
        note = (
            f"Metrics of {self.variant}, mean ± standard error over {users:,} users; "
            f"differences are paired by user."
        )
        return "\n".join([*lines, "", note]) + "\n"

    def to_csv(self) -> str:
        """Write one row per model and metric, in full precision; no error is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [field.name for field in fields(PairedScore)]
        writer.writerow([*names, "reference", "variant"])
        for score in self.scores:
            values = [getattr(score, name) for name in names]
            told = ["" if isinstance(v, float) and isnan(v) else v for v in values]
            writer.writerow([*told, self.reference, self.variant])
        return text.getvalue()

    def _models(self) -> dict[str, None]:
        return dict.fromkeys(score.model for score in self.scores)


def compare(
    predictions: Mapping[str, Int[np.ndarray, " events"]],
    truth: Events,
    reference: str = "medoid",
    variant: str = "humob2024",
) -> PairedTable:
    """Score predictions by user and compare each model with one of them, paired.

    Args:
        predictions: by name of the model, a token for each event of ``truth``.
        truth: the true places of the wanted events; users without events count in
            nothing.
        reference: the model to compare with.
        variant: of the metrics, such as ``humob2024`` or ``giscup2025``.

    Returns:
        The table, in the order of ``predictions``; the reference differs by 0 from
        itself.

    Raises:
        MoraError: if the reference is not among the models, a model does not have one
            known place for every event, or a true place is unknown.
    """
    _check(predictions, truth, reference)
    present = truth.take_users(np.flatnonzero(truth.counts() > 0))
    by_model = {
        model: score_users(present.with_tokens(tokens), present, variant)
        for model, tokens in predictions.items()
    }
    scores = [
        paired_score(model, metric, getattr(found, metric), getattr(base, metric))
        for base in [by_model[reference]]
        for model, found in by_model.items()
        for metric in METRICS
    ]
    return PairedTable(reference, variant, scores)


def paired_score(
    model: str,
    metric: str,
    own: Float[np.ndarray, " users"],
    base: Float[np.ndarray, " users"],
) -> PairedScore:
    """Summarise the scores of users and their difference to those of the reference.

    Users are independent, so the standard error is the deviation over the root of
    their number.

    Args:
        model: name.
        metric: key of :data:`METRICS`; of DTW less is better.
        own: scores of the model.
        base: scores of the reference for the same users.

    Returns:
        Difference and its error are 0 where both are the same.
    """
    alone, paired = _against(own, np.zeros_like(own)), _against(own, base)
    gain = METRICS[metric][2] * (own - base)
    return PairedScore(
        *(model, metric),
        *(alone.difference, alone.standard_error),
        *(paired.difference, paired.standard_error),
        wins=int((gain > 0).sum()),
        losses=int((gain < 0).sum()),
        users=len(own),
    )


def _against(
    own: Float[np.ndarray, " users"], base: Float[np.ndarray, " users"]
) -> TaskDifference:
    """Compare user by user, as the benchmark does split by split: no overlap here."""
    return task_differences(own[None], base[None], test_ratio=0.0)[0]


def _cells(score: PairedScore, is_reference: bool) -> list[str]:
    """Write a metric, its difference and the wins over it."""
    _, digits, _ = METRICS[score.metric]
    cells = [_with_error(f"{score.mean:.{digits}f}", score.standard_error, digits)]
    if is_reference:
        return [*cells, "", ""]
    difference = f"{score.difference:+.{digits}f}"
    cells.append(_with_error(difference, score.difference_error, digits))
    return [*cells, f"{score.wins} / {score.losses}"]


def _with_error(figure: str, error: float, digits: int) -> str:
    return figure if isnan(error) else f"{figure} ± {error:.{digits}f}"


def _check(
    predictions: Mapping[str, Int[np.ndarray, " events"]],
    truth: Events,
    reference: str,
) -> None:
    if reference not in predictions:
        raise MoraError(
            f"the reference {reference!r} is not among the {len(predictions)} models "
            f"({examples(list(predictions))}); add its predictions or name another."
        )
    if len(truth) == 0 or truth.masked().any():
        raise MoraError(
            f"{int(truth.masked().sum())} of {len(truth)} true places are unknown; "
            f"expected at least one event and the true place of each."
        )
    for model, tokens in predictions.items():
        if len(tokens) != len(truth):
            raise MoraError(
                f"model {model!r} has {len(tokens)} predictions; expected "
                f"{len(truth)}, one for each event."
            )
        bad = (tokens < 0) | (tokens >= len(truth.tokens))
        if bad.any():
            raise MoraError(
                f"model {model!r}: {int(bad.sum())} of {len(tokens)} predictions are "
                f"no place (first: {tokens[bad][:3].tolist()}); expected tokens from 0 "
                f"to {len(truth.tokens) - 1}."
            )
