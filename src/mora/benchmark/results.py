"""The outcome of an evaluation, and its form in JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.benchmark.compare import (
    Comparison,
    TaskDifference,
    compare_scores,
    task_differences,
)
from mora.benchmark.scores import FoldScore
from mora.errors import MoraError

Scores = dict[str, dict[str, dict[str, dict[str, list[float]]]]]
# Task -> model -> readout -> protocol -> per trial the score of each named fold.
FoldScores = dict[str, dict[str, dict[str, dict[str, list[dict[str, FoldScore]]]]]]
Chosen = dict[str, dict[str, dict[str, list[int]]]]  # model -> task -> protocol


@dataclass(frozen=True)
class Report:
    """R2 of every model on every task; the same splits for all models.

    A split is a trial: one division into training and test rows, or several folds
    whose predictions are pooled into one R2 around the mean of all pooled labels.

    Attributes:
        scores: task -> model -> readout -> protocol -> R2 of each split.
        readouts: description of each readout; the first is the main one.
        samples: number of labelled units of each task.
        test_ratio: task -> protocol -> test rows over training rows.
        leaky: why the inputs give a task away; such tasks are in no mean.
        left_out: models that could not be made, and why.
        warnings: what a reader must know, such as leaks that were found.
        notes: what the data are, such as "flows are simulated".
        pairs: models to compare, first against second.
        dims: number of columns of each model; the most of its candidates.
        domains: domain of each task that has one.
        chosen: for models with candidates, which was taken for each fold of each
            split: model -> task -> protocol -> positions.
        folds: R2 and error of each region by itself, where regions are left out.
    """

    scores: Scores
    readouts: dict[str, str]
    samples: dict[str, int]
    test_ratio: dict[str, dict[str, float]]
    leaky: dict[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    domains: Mapping[str, str] = field(default_factory=dict)
    chosen: Chosen = field(default_factory=dict)
    folds: FoldScores = field(default_factory=dict)

    @property
    def fair_tasks(self) -> list[str]:
        """Name the tasks that the inputs do not give away."""
        return [task for task in self.scores if task not in self.leaky]

    @property
    def models(self) -> list[str]:
        """Name the models."""
        return list(next(iter(self.scores.values())))

    @property
    def protocols(self) -> list[str]:
        """Name the protocols, the more telling one first."""
        return list(next(iter(self.test_ratio.values())))

    @property
    def splits(self) -> int:
        """Count the splits of the main protocol."""
        return self.trials(self.protocols[0])

    def trials(self, protocol: str) -> int:
        """Count the splits of a protocol."""
        main = next(iter(self.readouts))
        return self.table(self.models[0], main, protocol).shape[1]

    def only(self, tasks: Sequence[str]) -> "Report":
        """Give the report on some of the tasks, with means over them alone."""
        return replace(
            self,
            scores={task: self.scores[task] for task in tasks},
            samples={task: self.samples[task] for task in tasks},
            test_ratio={task: self.test_ratio[task] for task in tasks},
            leaky={task: why for task, why in self.leaky.items() if task in tasks},
            domains={t: name for t, name in self.domains.items() if t in tasks},
            chosen={
                model: {t: taken for t, taken in by_task.items() if t in tasks}
                for model, by_task in self.chosen.items()
            },
            folds={t: found for t, found in self.folds.items() if t in tasks},
        )

    def table(
        self, model: str, readout: str, protocol: str, tasks: list[str] | None = None
    ) -> Float[np.ndarray, "tasks splits"]:
        """Give a model's R2 per task and split.

        Args:
            model: its name.
            readout: one of ``readouts``.
            protocol: one of ``protocols``.
            tasks: which tasks; all by default.
        """
        chosen = list(self.scores) if tasks is None else tasks
        return np.array([self.scores[t][model][readout][protocol] for t in chosen])

    def fair_means(self) -> dict[str, list[str]]:
        """Name the means and the tasks they are over: each domain's, then all.

        Returns:
            A domain that holds every fair task is not told apart from ``mean``;
            nothing for fewer than two fair tasks.
        """
        fair = self.fair_tasks
        domains = {self.domains[task]: None for task in fair if task in self.domains}
        means = {
            f"mean {name}": [t for t in fair if self.domains.get(t) == name]
            for name in domains
        }
        parts = {name: tasks for name, tasks in means.items() if len(tasks) < len(fair)}
        return {**parts, "mean": fair} if len(fair) > 1 else {}

    def compare(
        self, first: str, second: str, readout: str, protocol: str
    ) -> Comparison:
        """Compare two models over the tasks that are not given away.

        Raises:
            MoraError: if a model is unknown or every task is given away.
        """
        return compare_scores(*self._paired(first, second, readout, protocol))

    def differences(
        self, first: str, second: str, readout: str, protocol: str
    ) -> dict[str, TaskDifference]:
        """Compare two models task by task, over those that are not given away.

        Raises:
            MoraError: if a model is unknown or every task is given away.
        """
        paired = self._paired(first, second, readout, protocol)
        return dict(zip(self.fair_tasks, task_differences(*paired), strict=True))

    def _paired(
        self, first: str, second: str, readout: str, protocol: str
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Give the scores of two models and the mean test ratio."""
        unknown = [name for name in (first, second) if name not in self.models]
        if unknown or not self.fair_tasks:
            raise MoraError(
                f"cannot compare {first!r} and {second!r} on {len(self.fair_tasks)} "
                f"fair tasks; expected at least one task and models among "
                f"{', '.join(self.models)}. Correct the pair, or add a task."
            )
        ratios = [self.test_ratio[task][protocol] for task in self.fair_tasks]
        return (
            self.table(first, readout, protocol, self.fair_tasks),
            self.table(second, readout, protocol, self.fair_tasks),
            float(np.mean(ratios)),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain dicts and lists.

        Each model has the scores of each protocol for the main readout, and those of
        every other readout under its name. ``std`` is the sample deviation over
        splits, null for a single split.
        """
        return {
            "tasks": {
                task: {model: self._nested(model, [task]) for model in self.models}
                for task in self.scores
            },
            "means": {
                model: self._nested(model, self.fair_tasks) for model in self.models
            }
            if self.fair_tasks
            else {},
            "domain_means": {
                name.removeprefix("mean "): {
                    model: self._nested(model, tasks) for model in self.models
                }
                for name, tasks in self.fair_means().items()
                if name != "mean"
            },
            "leaky": dict(self.leaky),
            "comparisons": self._comparisons(),
            "readouts": dict(self.readouts),
            "samples": dict(self.samples),
            "splits": self.splits,
            "trials": {name: self.trials(name) for name in self.protocols},
            "dims": dict(self.dims),
            "domains": dict(self.domains),
            "chosen": self.chosen,
            "regions": self._regions(),
            "test_ratio": self.test_ratio,
            "left_out": dict(self.left_out),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def _nested(self, model: str, tasks: list[str]) -> dict[str, Any]:
        """Summarise the mean over tasks per readout and protocol."""
        by_readout = {
            readout: {
                protocol: summarise(
                    self.table(model, readout, protocol, tasks).mean(axis=0)
                )
                for protocol in self.protocols
            }
            for readout in self.readouts
        }
        main = by_readout.pop(next(iter(by_readout)))
        return {**main, **by_readout}

    def _regions(self) -> dict[str, Any]:
        """Give the scores of named folds as plain dicts."""
        return {
            task: {
                model: {
                    readout: {
                        protocol: [
                            {name: fold._asdict() for name, fold in trial.items()}
                            for trial in trials
                        ]
                        for protocol, trials in by_protocol.items()
                    }
                    for readout, by_protocol in by_readout.items()
                }
                for model, by_readout in by_model.items()
            }
            for task, by_model in self.folds.items()
        }

    def _comparisons(self) -> list[dict[str, Any]]:
        """Compare each pair per readout and protocol."""
        rows = []
        for first, second in self.pairs if self.fair_tasks else ():
            for readout in self.readouts:
                for protocol in self.protocols:
                    pair = (first, second, readout, protocol)
                    found = without_nan(asdict(self.compare(*pair)))
                    by_task = {
                        task: without_nan(asdict(difference))
                        for task, difference in self.differences(*pair).items()
                    }
                    names = {"first": first, "second": second}
                    where = {"readout": readout, "protocol": protocol}
                    rows.append(names | where | found | {"by_task": by_task})
        return rows


def summarise(scores: Float[np.ndarray, " splits"]) -> dict[str, Any]:
    """Give mean, sample deviation (None for one split) and the scores themselves."""
    deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return {"mean": float(scores.mean()), "std": deviation, "scores": scores.tolist()}


def without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON does not have, by None."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
