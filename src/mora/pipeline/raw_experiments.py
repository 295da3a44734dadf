"""Studies of RAW: variants of a run, several seeds each, compared in pairs."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mora.config.loading import merge
from mora.errors import ConfigError
from mora.pipeline.display import Display
from mora.pipeline.raw import RawRun
from mora.pipeline.raw_config import RawRunConfig
from mora.pipeline.raw_scores import OURS
from mora.trajectories.generator.trace_config import TRACE_SETTINGS

Changes = Mapping[str, Any]
GAPS_MINUTES = (10, 20, 60, 120, 240)


@dataclass(frozen=True)
class Study:
    """Variants of a run.

    Attributes:
        title: what is asked.
        variants: changes of the configuration by name; the first is compared with.
    """

    title: str
    variants: Mapping[str, Changes]


@dataclass(frozen=True)
class Outcome:
    """What the variants reach.

    Attributes:
        study: the variants.
        values: of (task, metric) and then variant, one figure for each seed; NaN where
            a seed has none.
        seeds: of the figures.
    """

    study: Study
    values: Mapping[tuple[str, str], Mapping[str, Sequence[float]]]
    seeds: Sequence[int]

    def to_markdown(self) -> str:
        """Draw a row for each task and metric, a column for each variant."""
        names = list(self.study.variants)
        lines = [
            f"{self.study.title}",
            "",
            "| task | metric | " + " | ".join(names) + " |",
            "| --- | --- | " + " | ".join("---:" for _ in names) + " |",
        ]
        for (task, metric), found in self.values.items():
            base = found.get(names[0], ())
            cells = [
                _cell(found.get(name, ()), base, name == names[0]) for name in names
            ]
            lines.append(f"| {task} | {metric} | " + " | ".join(cells) + " |")
        lines += [
            "",
            f"Mean over {len(self.seeds)} seeds of data, split and weights; in "
            f"brackets the paired difference to {names[0]} and its standard error.",
        ]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Write a line for each task, metric, variant and seed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["task", "metric", "variant", "seed", "value"])
        for (task, metric), found in self.values.items():
            for name, values in found.items():
                for seed, value in zip(self.seeds, values, strict=True):
                    writer.writerow([task, metric, name, seed, value])
        return text.getvalue()


def _pretraining(config: RawRunConfig) -> Study:
    """The network pretrained by forecasting, by contrast, and not at all."""
    del config
    return Study(
        "Pretraining at equal numbers of steps",
        {
            "forecast": {"pretraining": "forecast"},
            "contrastive": {"pretraining": "contrastive"},
            "none": {"pretraining": "none"},
        },
    )


def _options(config: RawRunConfig) -> Study:
    """What is better than the paper, each part alone."""
    del config
    parts: dict[str, Changes] = {
        "paper": {},
        "move": {"target": "move"},
        "time": {"time_features": True},
        "gaps": {"gap_mask": True},
        "mixture": {"output": "mixture"},
        "all": {
            "target": "move",
            "time_features": True,
            "gap_mask": True,
            "output": "mixture",
        },
        "visited": {
            "target": "visited",
            "point": "median",
            "time_features": True,
            "gap_mask": True,
            "hidden": 0.2,
            "ahead": "gaps",
        },
    }
    plain = {
        "target": "point",
        "point": "mean",
        "time_features": False,
        "gap_mask": False,
        "output": "mse",
        "hidden": 0.0,
        "ahead": "points",
    }
    return Study(
        "Options beside the paper's model",
        {name: {"network": plain | dict(own)} for name, own in parts.items()},
    )


def _transfer(config: RawRunConfig) -> Study:
    """Trained on one made-up source, tested on it and on another."""
    people = {"users": _made_up(config).users, "days": _made_up(config).days}
    sources = {
        name: {"generated": source.model_dump() | people}
        for name, source in TRACE_SETTINGS.items()
    }
    return Study(
        "Trained on one source, tested on another",
        {
            f"{trained} to {tested}": {
                "traces": sources[tested],
                "pretrained": None if trained == tested else sources[trained],
            }
            for tested in sources
            for trained in [tested, *(s for s in sources if s != tested)]
        },
    )


def _sparsity(config: RawRunConfig) -> Study:
    """Fewer and fewer points a user."""
    _made_up(config)
    return Study(
        "Mean minutes between two points of a user",
        {
            f"{gap} min": {"traces": {"generated": {"gap_minutes": float(gap)}}}
            for gap in GAPS_MINUTES
        },
    )


STUDIES: dict[str, Callable[[RawRunConfig], Study]] = {
    "pretraining": _pretraining,
    "options": _options,
    "transfer": _transfer,
    "sparsity": _sparsity,
}


def run_study(
    name: str,
    config: RawRunConfig,
    home: Path,
    seeds: Sequence[int],
    display: Display | None = None,
) -> Outcome:
    """Run every variant with every seed; what is done is not done again.

    Args:
        name: of :data:`STUDIES`.
        config: of the run that is varied.
        home: folder of that run; the study has one of its own in it.
        seeds: of data, split and weights.
        display: told what is run.

    Returns:
        Figures of our model. ``NAME.md`` and ``NAME.csv`` are written.

    Raises:
        ConfigError: if there is no such study, or it needs generated traces.
    """
    if name not in STUDIES:
        raise ConfigError(f"no study {name!r}; expected one of {', '.join(STUDIES)}.")
    display = display or Display()
    study, folder = STUDIES[name](config), home / "experiments" / name
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for variant, changes in study.variants.items():
        for place, seed in enumerate(seeds):
            display.say(f"{name}: {variant}, seed {seed}")
            own = merge(config.model_dump(), {**changes, "seed": seed})
            run = RawRun(
                RawRunConfig.model_validate(own),
                folder / variant.replace(" ", "-") / f"seed-{seed}",
                display,
            )
            for score in run.evaluate().scores:
                if score.model == OURS:
                    row = values.setdefault((score.task, score.metric), {})
                    # A seed in which the task cannot be scored keeps its place.
                    row.setdefault(variant, [math.nan] * len(seeds))
                    row[variant][place] = score.mean
    outcome = Outcome(study, values, list(seeds))
    (folder / f"{name}.md").write_text(outcome.to_markdown())
    (folder / f"{name}.csv").write_text(outcome.to_csv())
    return outcome


def _made_up(config: RawRunConfig) -> Any:
    if config.traces.generated is None:
        raise ConfigError(
            "this study varies generated traces, and the configuration has a table; "
            "expected traces: {generated: ...}."
        )
    return config.traces.generated


def _cell(values: Sequence[float], base: Sequence[float], first: bool) -> str:
    """Write a mean and, from the seeds that both have, how far it is from the base."""
    known = np.array(values, float)
    known = known[np.isfinite(known)]
    if len(known) == 0:
        return "-"
    text = f"{known.mean():.3f}"
    if first or len(base) == 0:
        return text
    apart = np.subtract(values, base)
    apart = apart[np.isfinite(apart)]
    if len(apart) < 2:
        return text
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    return f"{text} ({apart.mean():+.3f} ± {error:.3f})"
