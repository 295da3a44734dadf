"""What an experiment found: scores by variant, seed and split, as tables."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.benchmark import compare_scores
from mora.errors import RunError
from mora.experiments.variants import Experiment, Variant
from mora.pipeline.folder import read_json
from mora.pipeline.models import MODEL

Row = dict[str, Any]
UNITS = {"tokens": "cells", "zones": "zones"}


@dataclass(frozen=True)
class Outcome:
    """R2 of every variant, on the same tasks and splits.

    Attributes:
        experiment: what was run.
        variants: those that were scored, the reference first.
        reports: variant -> ``report.json`` of each seed.
        losses: variant -> best validation loss of each seed; NaN where nothing was
            trained.
        folder: where its runs are kept.
        quick: whether epochs and readouts were cut short.
    """

    experiment: Experiment
    variants: tuple[Variant, ...]
    reports: dict[str, list[dict[str, Any]]]
    losses: dict[str, list[float]]
    folder: Path
    quick: bool = False

    @property
    def seeds(self) -> int:
        """Count the seeds."""
        return len(next(iter(self.losses.values())))

    def units(self) -> list[str]:
        """Name the kinds of units that there are labels of."""
        first = next(iter(self.reports.values()))[0]
        return [unit for unit in UNITS if unit in first["units"]]

    def scores(
        self, variant: str, protocol: str, tasks: Sequence[str]
    ) -> Float[np.ndarray, "seeds tasks splits"]:
        """Give the R2 of the main readout.

        Args:
            variant: its name.
            protocol: ``blocked`` or ``random``.
            tasks: which.
        """
        return np.array(
            [
                [report["tasks"][t][MODEL][protocol]["scores"] for t in tasks]
                for report in self.reports[variant]
            ]
        )

    def fair_tasks(self, unit: str, domain: str | None = None) -> list[str]:
        """Name the tasks that no input gives away and that every variant has.

        Args:
            unit: ``tokens`` or ``zones``.
            domain: ``social`` or ``economic``; both by default.
        """
        first = self.reports[self.experiment.reference.name][0]
        about, leaky = first.get("about", {}), first["leaky"]
        return [
            task
            for task in first["units"].get(unit, {"tasks": []})["tasks"]
            if task not in leaky
            and (domain is None or about.get(task, {}).get("domain") == domain)
            and all(task in reports[0]["tasks"] for reports in self.reports.values())
        ]

    def rows(self, unit: str) -> list[Row]:
        """Give the table of one kind of unit, a row a variant.

        Means are over tasks, seeds and splits; ``std`` is the sample deviation over
        seeds of the mean over tasks and splits. ``difference`` is to the reference
        with the same seed on the same splits; its standard error is that of Nadeau
        and Bengio (2003) over splits, of differences averaged over seeds.

        Args:
            unit: ``tokens`` or ``zones``.
        """
        return [self._row(variant, unit) for variant in self.variants]

    def _row(self, variant: Variant, unit: str) -> Row:
        reference = self.experiment.reference
        tasks = self.fair_tasks(unit)
        row: Row = {"variant": variant.name, "seeds": self.seeds, "tasks": len(tasks)}
        for protocol in ("blocked", "random"):
            scores = self.scores(variant.name, protocol, tasks)
            by_seed = scores.mean(axis=(1, 2))
            row |= {
                protocol: float(by_seed.mean()),
                f"{protocol}_std": _deviation(by_seed),
            }
            before = self.scores(reference.name, protocol, tasks)
            if variant is not reference and scores.shape == before.shape:
                ratio = self._test_ratio(tasks, protocol)
                found = compare_scores(scores.mean(0), before.mean(0), ratio)
                row |= {
                    f"{protocol}_difference": found.difference,
                    f"{protocol}_error": found.standard_error,
                    f"{protocol}_percent": 100 * found.difference / before.mean(),
                    f"{protocol}_wins": found.wins,
                }
        for domain in ("social", "economic"):
            chosen = self.fair_tasks(unit, domain)
            if chosen:
                of_domain = self.scores(variant.name, "blocked", chosen)
                row[domain] = float(of_domain.mean())
        beside = {"paper": variant.paper, "size": variant.size}
        return row | beside | {"control": variant.control}

    def _test_ratio(self, tasks: Sequence[str], protocol: str) -> float:
        ratios = self.reports[self.experiment.reference.name][0]["test_ratio"]
        return float(np.mean([ratios[task][protocol] for task in tasks]))

    def task_rows(self) -> Iterator[Row]:
        """Give the mean of every task and variant, for a long table."""
        for unit in self.units():
            for task in self.fair_tasks(unit):
                for variant in self.variants:
                    for protocol in ("blocked", "random"):
                        scores = self.scores(variant.name, protocol, [task])
                        by_seed = scores.mean(axis=(1, 2))
                        yield {
                            "task": task,
                            "unit": unit,
                            "variant": variant.name,
                            "protocol": protocol,
                            "r2": float(by_seed.mean()),
                            "std_over_seeds": _deviation(by_seed),
                        }

    def to_json(self) -> dict[str, Any]:
        """Give tables, losses and notes as plain values."""
        first = next(iter(self.reports.values()))[0]
        return {
            "experiment": self.experiment.name,
            "title": self.experiment.title,
            "source": self.experiment.source,
            "paper_unit": self.experiment.paper_unit,
            "quick": self.quick,
            "seeds": self.seeds,
            "readout": next(iter(first["readouts"].values())),
            "notes": [*self.experiment.notes, *first["notes"]],
            "tables": {unit: self.rows(unit) for unit in self.units()},
            "tasks": list(self.task_rows()),
            "validation_loss": self.losses,
        }


def read_outcome(
    experiment: Experiment,
    variants: tuple[Variant, ...],
    home: Path,
    seeds: int,
    quick: bool,
) -> Outcome:
    """Read the reports that the runs of an experiment left.

    Raises:
        RunError: if a run has no scores.
    """
    reports, losses = {}, {}
    for variant in experiment.variants:
        folders = [home / variant.folder / f"seed{seed}" for seed in range(seeds)]
        losses[variant.name] = [_loss(folder) for folder in folders]
        if variant in variants:
            reports[variant.name] = [_report(folder) for folder in folders]
    return Outcome(experiment, variants, reports, losses, home, quick)


def _report(folder: Path) -> dict[str, Any]:
    report = read_json(folder / "report.json")
    if not report or not report.get("tasks"):
        raise RunError(
            f"{folder.parent.name}, {folder.name}: no scores; expected labels under "
            f"`evaluation:`. Add some, or take a configuration that has them."
        )
    return report


def _loss(folder: Path) -> float:
    facts = (read_json(folder / "train" / "manifest.json") or {}).get("facts", {})
    loss = facts.get("best_validation_loss")
    return float("nan") if loss is None else float(loss)


def to_csv(rows: Sequence[Row]) -> str:
    """Write rows as CSV; the columns are those of all rows, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _deviation(values: Float[np.ndarray, " seeds"]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
