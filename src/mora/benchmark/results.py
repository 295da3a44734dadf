"""The outcome of an evaluation, and its form in JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.benchmark.compare import Comparison, compare_scores
from mora.errors import MoraError

Scores = dict[str, dict[str, dict[str, dict[str, list[float]]]]]


@dataclass(frozen=True)
class Report:
    """R2 of every model on every task; the same splits for all models.

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
        """Count the splits of each protocol."""
        main = next(iter(self.readouts))
        return self.table(self.models[0], main, self.protocols[0]).shape[1]

    def only(self, tasks: Sequence[str]) -> "Report":
        """Give the report on some of the tasks, with means over them alone."""
        return replace(
            self,
            scores={task: self.scores[task] for task in tasks},
            samples={task: self.samples[task] for task in tasks},
            test_ratio={task: self.test_ratio[task] for task in tasks},
            leaky={task: why for task, why in self.leaky.items() if task in tasks},
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

    def compare(
        self, first: str, second: str, readout: str, protocol: str
    ) -> Comparison:
        """Compare two models over the tasks that are not given away.

        Raises:
            MoraError: if a model is unknown or every task is given away.
        """
        unknown = [name for name in (first, second) if name not in self.models]
        if unknown or not self.fair_tasks:
            raise MoraError(
                f"cannot compare {first!r} and {second!r} on {len(self.fair_tasks)} "
                f"fair tasks; expected at least one task and models among "
                f"{', '.join(self.models)}. Correct the pair, or add a task."
            )
        ratios = [self.test_ratio[task][protocol] for task in self.fair_tasks]
        return compare_scores(
            self.table(first, readout, protocol, self.fair_tasks),
            self.table(second, readout, protocol, self.fair_tasks),
            float(np.mean(ratios)),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain dicts and lists.

        Each model has ``blocked`` and ``random`` scores of the main readout, and those
        of every other readout under its name. ``std`` is the sample deviation over
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
            "leaky": dict(self.leaky),
            "comparisons": self._comparisons(),
            "readouts": dict(self.readouts),
            "samples": dict(self.samples),
            "splits": self.splits,
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

    def _comparisons(self) -> list[dict[str, Any]]:
        """Compare each pair per readout and protocol."""
        rows = []
        for first, second in self.pairs if self.fair_tasks else ():
            for readout in self.readouts:
                for protocol in self.protocols:
                    found = asdict(self.compare(first, second, readout, protocol))
                    names = {"first": first, "second": second}
                    where = {"readout": readout, "protocol": protocol}
                    rows.append(names | where | _without_nan(found))
        return rows


def summarise(scores: Float[np.ndarray, " splits"]) -> dict[str, Any]:
    """Give mean, sample deviation (None for one split) and the scores themselves."""
    deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return {"mean": float(scores.mean()), "std": deviation, "scores": scores.tolist()}


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON does not have, by None."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
