"""One table of what RAW reaches, beside its baselines and the published figures."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Real

from mora.errors import MoraError, examples
from mora.trajectories.raw.tasks import TaskScore

HIGHER_IS_BETTER = ("accuracy", "balanced accuracy", "pearson", "r2")
LOWEST_ACCURACY = 0.6  # of two classes a coin has 0.5; less is a sign of failure
FORECAST = "forecast"  # task of the errors by horizon
HORIZONS = (15, 30, 60, 150)  # minutes; the paper's figure is for 2.5 hours


@dataclass(frozen=True)
class Published:
    """A figure of a paper, measured on data of its own.

    Attributes:
        task: name of the task.
        metric: what was measured.
        value: the least, or for errors the most, that was reported.
    """

    task: str
    metric: str
    value: float

    def describe(self) -> str:
        """Write the figure as a bound."""
        return f"{'>=' if self.metric in HIGHER_IS_BETTER else '<='} {self.value:g}"

    def verdict(self, measured: float) -> str:
        """Say whether a measured figure is at least as good."""
        as_good = _goodness(self.metric, measured) >= _goodness(self.metric, self.value)
        return "reached" if as_good else "not reproduced"


# Regions are Who Walk Them (arXiv 2311.10471): accuracy above 85 %, a correlation of
# 0.7 and errors below 2.5 km at 2.5 hours.
PAPER = (
    Published("commuter", "accuracy", 0.85),
    Published("transit use", "pearson", 0.7),
    Published(FORECAST, "km at 150 min", 2.5),
)


@dataclass(frozen=True)
class Evaluation:
    """Scores of all models, ready to be shown.

    Attributes:
        scores: of tasks and forecasts, for at least one model.
        ours: the model that is held against the published figures.
        signs: of failure in pretraining, in words.
        published: figures to stand beside the scores.

    Raises:
        MoraError: if ``ours`` has no score.
    """

    scores: Sequence[TaskScore]
    ours: str
    signs: Sequence[str] = ()
    published: Sequence[Published] = PAPER

    def __post_init__(self) -> None:
        if self.ours not in self.models():
            raise MoraError(
                f"no score of the model {self.ours!r}; expected one of "
                f"{', '.join(self.models()) or 'no models'}."
            )

    def models(self) -> list[str]:
        """Give the names of the models, in the order of their first scores."""
        return list(dict.fromkeys(score.model for score in self.scores))

    def warnings(self) -> list[str]:
        """Say what speaks against our model, one sentence each.

        An accuracy below :data:`LOWEST_ACCURACY`, a model that is as good or better, a
        published figure that is not reached, and the signs of pretraining.
        """
        found = [*self.signs]
        for (_, metric), by_model in self._rows().items():
            mine = by_model.pop(self.ours, None)
            if mine is not None and not math.isnan(mine.mean):
                rival = _best(metric, by_model)
                found += self._speaking_against(mine, by_model.get(rival or ""))
        return found

    def to_markdown(self) -> str:
        """Draw the table, a row for each task and metric, and the warnings below it."""
        models = self.models()
        lines = [
            _row(["task", "metric", *models, "published", "verdict"]),
            _row(["---", "---", *["---:"] * len(models), "---:", "---"]),
        ]
        for (task, metric), by_model in self._rows().items():
            best = _best(metric, by_model)
            cells = [_cell(by_model.get(name), name == best) for name in models]
            figure, mine = self._published(task, metric), by_model.get(self.ours)
            shown = figure.describe() if figure else ""
            verdict = figure.verdict(mine.mean) if figure and mine else ""
            lines.append(_row([task, metric, *cells, shown, verdict]))
        lines += [
            "",
            "Mean ± standard deviation over splits and seeds; the best of each row is "
            f"bold. Published figures are of other data; the verdict is on "
            f"{self.ours}.",
        ]
        lines += [f"- Warning: {text}" for text in self.warnings()]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Write a line for each task, metric and model."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        header = "task metric model mean std values published verdict"
        writer.writerow(header.split())
        for score in self.scores:
            figure = self._published(score.task, score.metric)
            verdict = figure.verdict(score.mean) if figure else ""
            writer.writerow(
                [
                    *(score.task, score.metric, score.model),
                    *("" if math.isnan(v) else v for v in (score.mean, score.std)),
                    len(score.values),
                    figure.value if figure else "",
                    verdict if score.model == self.ours else "",
                ]
            )
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """Write ``evaluation.md`` and ``evaluation.csv``; the folder is made."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.md").write_text(self.to_markdown(), encoding="utf-8")
        (folder / "evaluation.csv").write_text(self.to_csv(), encoding="utf-8")

    def _speaking_against(self, mine: TaskScore, rival: TaskScore | None) -> list[str]:
        """Say what speaks against one score of ours."""
        task, metric, found = mine.task, mine.metric, []
        if metric == "accuracy" and mine.mean < LOWEST_ACCURACY:
            found.append(
                f"{task}: accuracy {mine.mean:.3f} is below {LOWEST_ACCURACY:g}, a "
                f"sign of failure."
            )
        if rival and _goodness(metric, rival.mean) >= _goodness(metric, mine.mean):
            found.append(
                f"{task}: {metric} {mine.mean:.3f} is not better than that of "
                f"{rival.model} ({rival.mean:.3f})."
            )
        figure = self._published(task, metric)
        if figure and figure.verdict(mine.mean) != "reached":
            found.append(
                f"{task}: the published {metric} ({figure.describe()}) is not "
                f"reproduced; measured {mine.mean:.3f}."
            )
        return found

    def _rows(self) -> dict[tuple[str, str], dict[str, TaskScore]]:
        """Give the scores by task and metric, then by model."""
        rows: dict[tuple[str, str], dict[str, TaskScore]] = {}
        for score in self.scores:
            rows.setdefault((score.task, score.metric), {})[score.model] = score
        return rows

    def _published(self, task: str, metric: str) -> Published | None:
        same = (p for p in self.published if (p.task, p.metric) == (task, metric))
        return next(same, None)


def forecast_scores(
    minutes: Real[np.ndarray, " horizon"],
    runs: Sequence[Mapping[str, Float[np.ndarray, "_ horizon"]]],
    horizons: Sequence[int] = HORIZONS,
) -> list[TaskScore]:
    """Turn forecast errors into scores by horizon.

    Args:
        minutes: how far ahead each step is, as in
            :class:`~mora.trajectories.raw.forecast.ForecastErrors`.
        runs: for each seed or split, method -> error in km of each user and step, NaN
            where unknown.
        horizons: minutes that are shown.

    Returns:
        For each method and horizon, the mean over the users of each run.

    Raises:
        MoraError: if no run is given, or a horizon is not among ``minutes``.
    """
    missing = [horizon for horizon in horizons if horizon not in minutes]
    if missing or len(runs) == 0:
        raise MoraError(
            f"{len(runs)} runs with errors at {examples(minutes.tolist())} minutes; "
            f"expected at least one run, and {', '.join(map(str, horizons))} minutes. "
            f"Forecast further, or show other horizons."
        )
    column = {int(m): i for i, m in enumerate(minutes) if m in horizons}
    return [
        TaskScore(
            FORECAST,
            method,
            f"km at {horizon} min",
            tuple(_mean_of_known(run[method][:, column[horizon]]) for run in runs),
        )
        for horizon in horizons
        for method in runs[0]
    ]


def _mean_of_known(values: Float[np.ndarray, " n"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _goodness(metric: str, value: float) -> float:
    return value if metric in HIGHER_IS_BETTER else -value


def _best(metric: str, by_model: Mapping[str, TaskScore]) -> str | None:
    """Give the best model, the first among equals; None where none is known."""
    known = {
        name: _goodness(metric, score.mean)
        for name, score in by_model.items()
        if not math.isnan(score.mean)
    }
    return max(known, key=known.__getitem__) if known else None


def _cell(score: TaskScore | None, best: bool) -> str:
    if score is None or math.isnan(score.mean):
        return "-"
    spread = "" if math.isnan(score.std) else f" ± {score.std:.3f}"
    text = f"{score.mean:.3f}{spread}"
    return f"**{text}**" if best else text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
