"""The outcome of an experiment as Markdown, CSV, JSON and a figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.benchmark.scaling import ScalingFit, fit_scaling
from mora.experiments.outcome import UNITS, Outcome, Row, to_csv
from mora.explore.drawing import save_figure
from mora.explore.figures import ablation_bars, curve


def write_outcome(outcome: Outcome, folder: Path) -> list[Path]:
    """Write tables and figures of an experiment.

    Args:
        outcome: what was found.
        folder: where ``table.md``, ``UNIT.csv``, ``tasks.csv``, ``result.json`` and
            ``UNIT.png`` and ``.svg`` go.

    Returns:
        The files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "table.md": to_markdown(outcome),
        "tasks.csv": to_csv(list(outcome.task_rows())),
        "result.json": json.dumps(outcome.to_json(), indent=1) + "\n",
    }
    for unit in outcome.units():
        texts[f"{unit}.csv"] = to_csv(outcome.rows(unit))
    for name, text in texts.items():
        (folder / name).write_text(text)
    figures = [
        path for unit in outcome.units() for path in _draw(outcome, unit, folder)
    ]
    return [folder / name for name in texts] + figures


def to_markdown(outcome: Outcome) -> str:
    """Write one table for each kind of unit, with what must be known to read them."""
    experiment = outcome.experiment
    said = outcome.to_json()
    source = experiment.source[0].upper() + experiment.source[1:]
    parts = [f"### {experiment.title}", f"{source}. {_how(outcome)}"]
    for unit in outcome.units():
        parts += [f"**Labels of {UNITS[unit]}**, R2", _table(outcome, unit)]
    if experiment.by_validation:
        parts += ["**Validation loss**, the least is chosen", _losses(outcome)]
    fits = _fits(outcome) if experiment.figure == "curve" else []
    parts.append("\n".join(f"- {note}" for note in [*fits, *said["notes"]]))
    return "\n\n".join(parts) + "\n"


def _fits(outcome: Outcome) -> list[str]:
    found = {unit: fit_of(outcome, unit) for unit in outcome.units()}
    return [f"Labels of {UNITS[u]}: {fit}." for u, fit in found.items() if fit]


def _how(outcome: Outcome) -> str:
    readout = outcome.to_json()["readout"]
    seeds = f"{outcome.seeds} seed{'s' if outcome.seeds > 1 else ''}"
    quick = " QUICK: ten epochs, for a first look only." if outcome.quick else ""
    single = " A single seed is no result." if outcome.seeds == 1 else ""
    return (
        f"{readout}; {seeds}, mean ± standard deviation over seeds; differences are "
        f"paired by seed and split, ± the standard error of Nadeau and Bengio (2003)."
        f"{quick}{single}"
    )


def _table(outcome: Outcome, unit: str) -> str:
    rows = outcome.rows(unit)
    domains = [name for name in ("social", "economic") if name in rows[0]]
    paper = outcome.experiment.paper_unit
    header = ["variant", "blocked", "random", "difference, blocked", "%", "wins"]
    header += [*domains, f"paper, {paper}"]
    lines = [_line(header), "|---|" + "---:|" * (len(header) - 1)]
    for row in rows:
        cells = [
            row["variant"],
            _with_spread(row["blocked"], row["blocked_std"]),
            _with_spread(row["random"], row["random_std"]),
            *_difference(row),
            *(f"{row[domain]:.3f}" for domain in domains),
            "" if row["paper"] is None else f"{row['paper']:g}",
        ]
        lines.append(_line(cells))
    return "\n".join(lines)


def _difference(row: Row) -> list[str]:
    if "blocked_difference" not in row:
        return ["", "", ""]
    error = row["blocked_error"]
    return [
        f"{row['blocked_difference']:+.3f} ± {error:.3f}",
        f"{row['blocked_percent']:+.1f}",
        f"{row['blocked_wins']} of {row['tasks']}",
    ]


def _losses(outcome: Outcome) -> str:
    lines = [_line(["variant", "validation loss"]), "|---|---:|"]
    mean = {name: sum(v) / len(v) for name, v in outcome.losses.items()}
    for name in sorted(mean, key=lambda name: mean[name]):
        lines.append(_line([name, f"{mean[name]:.4f}"]))
    return "\n".join(lines)


def _with_spread(mean: float, deviation: float | None) -> str:
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _draw(outcome: Outcome, unit: str, folder: Path) -> list[Path]:
    """Draw bars, or a curve over the variants' sizes."""
    figure = _curve if outcome.experiment.figure == "curve" else _bars
    return list(save_figure(figure(outcome, unit), folder / unit))


def _bars(outcome: Outcome, unit: str) -> Any:
    rows = outcome.rows(unit)
    column = "blocked"
    published = [row["paper"] for row in rows]
    known = outcome.experiment.paper_unit == "R2" and any(
        v is not None for v in published
    )
    return ablation_bars(
        [row["variant"] for row in rows],
        np.array([row[column] for row in rows]),
        _numbers([row[f"{column}_std"] for row in rows]),
        _numbers(published) if known else None,
        title=f"{outcome.experiment.title} (labels of {UNITS[unit]})",
        xlabel="mean R² on blocked splits ± deviation over seeds",
    )


def _curve(outcome: Outcome, unit: str) -> Any:
    """Draw scores over size; the line is fitted to the scores of every seed."""
    rows = [row for row in outcome.rows(unit) if not row["control"]]
    sizes = np.array([float(row["size"]) for row in rows])
    order = np.argsort(sizes)
    found = fit_of(outcome, unit)
    return curve(
        sizes[order],
        np.array([rows[i]["blocked"] for i in order]),
        _numbers([rows[i]["blocked_std"] for i in order]),
        title=f"{outcome.experiment.title} (labels of {UNITS[unit]})",
        xlabel=outcome.experiment.axis,
        ylabel="mean R² on blocked splits",
        fitted=found,
    )


def fit_of(outcome: Outcome, unit: str) -> ScalingFit | None:
    """Fit a line to the scores of all seeds over the logarithm of the size.

    Returns:
        The fit without controls; None for fewer than three sizes.
    """
    tasks = outcome.fair_tasks(unit)
    variants = [v for v in outcome.variants if v.size is not None and not v.control]
    if len(variants) < 3:
        return None
    scores = [outcome.scores(v.name, "blocked", tasks).mean((1, 2)) for v in variants]
    sizes = [
        np.full(len(s), float(v.size)) for v, s in zip(variants, scores, strict=True)
    ]
    return fit_scaling(np.concatenate(sizes), np.concatenate(scores))


def _numbers(values: list[float | None]) -> Float[np.ndarray, " n"]:
    return np.array([np.nan if value is None else value for value in values], float)
