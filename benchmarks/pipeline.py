"""Seconds and memory of each stage of a run as places, visits and labels grow.

``python -m benchmarks.pipeline [--quick]``
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pandas as pd

from benchmarks.measure import print_ratio, quick_mode
from mora.pipeline import STAGES, run
from mora.pipeline.display import Display
from mora.pipeline.folder import MANIFEST, read_json
from mora.tokens import H3Tokens

RESOLUTION = 8
MIDDLE = (52.5, 13.4)  # lat, lon
WEEKS = 4
VISITS_A_WEEK = 15  # of a person; there are as many people as cells
REACH = 300  # cells that people go to, to each side of where they live
POIS_A_CELL = 10
WORST_EXPONENT = 1.3  # beyond it, growth needs a reason
COUNTED_SECONDS = 1.0  # a stage that takes less at the largest size is mostly overhead
REASONS = {
    "graph": "pairs of cells within a week grow faster than visits",
    "line": "neighbours of a cell, and so edges, still grow with the number of cells",
    "train": "cells of a batch are contrasted with each other: quadratic up to "
    "batch_size cells, linear beyond",
    "evaluate": "the depth that trees reach still grows with the number of labels",
}


@dataclass(frozen=True)
class StageCost:
    """What a stage took in one run.

    Attributes:
        cpu: processor seconds of all threads.
        seconds: on the clock, from the manifest.
        peak_mb: most memory in use by the process, in MB, from the manifest.
    """

    cpu: float
    seconds: float
    peak_mb: float


class StageClock(Display):
    """Shows nothing; takes the processor time from a stage's first line to its last.

    Attributes:
        cpu: seconds by the stage's name.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self._names = {stage.title: stage.name for stage in STAGES}
        self._stage, self._begun = "", 0.0

    def say(self, text: str) -> None:
        """Begin at a stage's title, end at its "done"."""
        if text in self._names:
            self._stage, self._begun = self._names[text], time.process_time()
        elif text.strip().startswith("done in"):
            self.cpu[self._stage] = time.process_time() - self._begun


def town(cells: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Make a town in which everything is in proportion to its number of cells.

    People go to cells near their own (near in the order of cells, on a log scale); what
    a cell has decides its label.

    Returns:
        Tables by their place in the configuration.
    """
    rng = np.random.default_rng(seed)
    rings = int(np.ceil(np.sqrt(cells / 3)))
    disk = h3.grid_disk(h3.latlng_to_cell(*MIDDLE, RESOLUTION), rings)
    tokens = H3Tokens.from_cells(sorted(disk)[:cells])
    lonlat, names = tokens.centroids(), tokens.names()
    person, week, _ = np.indices((cells, WEEKS, VISITS_A_WEEK)).reshape(3, -1)
    far = REACH ** rng.random(len(person)) * rng.choice([-1, 1], len(person))
    visited = (person + far.astype(int)) % cells
    hours = 168 * week + rng.integers(0, 168, len(person))
    kind = np.sin(np.arange(cells) / 150)  # of a cell, alike in a neighbourhood
    cell = np.repeat(np.arange(cells), POIS_A_CELL)
    word = (kind[cell] * 2 + rng.normal(size=len(cell))).astype(int)
    at = {"lon": lonlat[:, 0], "lat": lonlat[:, 1]}
    people = rng.poisson(np.exp(2 + kind)[:, None], (cells, 6)).astype(float)
    groups = {f"group {i}": people[:, i] for i in range(6)}
    return {
        "mobility.table": pd.DataFrame(
            {
                "user": person.astype(str),
                "time": pd.Timestamp("2024-01-01", tz="UTC")
                + pd.to_timedelta(hours, "h"),
                **{name: values[visited] for name, values in at.items()},
            }
        ),
        "modalities.poi.inputs.0": pd.DataFrame(
            {
                "name": [f"shop {w} of {i % (2 * cells)}" for i, w in enumerate(word)],
                **{name: values[cell] for name, values in at.items()},
            }
        ),
        "modalities.people.inputs.0": pd.DataFrame(
            {"id": names, "weight": people.sum(axis=1), **groups}
        ),
        "evaluation.labels.0.table": pd.DataFrame(
            {"id": names, "wealth": kind + rng.normal(0, 0.3, cells)}
        ),
    }


def settings(epochs: int) -> dict[str, Any]:
    """Give the configuration: the defaults, with few epochs and few splits."""
    return {
        "name": "town",
        "tokens": {"kind": "h3", "resolution": RESOLUTION},
        "mobility": {"kind": "visits"},
        "modalities": {
            "poi": {"kind": "poi", "inputs": [{}], "options": {"encoder": "hashing"}},
            "people": {
                "kind": "demographics",
                "inputs": [{}],
                "options": {"columns": [f"group {i}" for i in range(6)]},
            },
        },
        "training": {"epochs": epochs, "accelerator": "cpu"},
        "evaluation": {
            "labels": [
                {"table": {"columns": {"id": "id"}}, "values": {"wealth": "wealth"}}
            ],
            "degrees": 0.05,
            "splits": 2,
            "baselines": ["lonlat"],
        },
    }


def measured_run(cells: int, epochs: int) -> dict[str, StageCost]:
    """Do a run on a town of so many cells; give what each stage took."""
    tables, clock = town(cells), StageClock()
    with tempfile.TemporaryDirectory() as folder:
        run(settings(epochs), tables=tables, folder=folder, display=clock)
        costs = {}
        for stage in STAGES:
            manifest = read_json(Path(folder) / stage.name / MANIFEST)
            peak = manifest.get("peak_mb") or float("nan")
            costs[stage.name] = StageCost(
                clock.cpu[stage.name], manifest["seconds"], peak
            )
    return costs


def exponents(runs: dict[int, dict[str, StageCost]]) -> dict[str, float]:
    """Give the slope of log CPU seconds against log size, by stage."""
    sizes = np.log(list(runs))
    found = {}
    for stage in STAGES:
        seconds = np.log([costs[stage.name].cpu for costs in runs.values()])
        found[stage.name] = float(np.polyfit(sizes, seconds, 1)[0])
    return found


def print_growth(
    runs: dict[int, dict[str, StageCost]], growth: dict[str, float]
) -> None:
    """Print CPU seconds, seconds and peak memory by stage and size, and the growth."""
    print(f"| stage | {' | '.join(f'{s:,} cells' for s in runs)} | exponent |")
    print(f"|---|{'---|' * len(runs)}---|")
    for name, exponent in growth.items():
        cells = [
            f"{cost.cpu:.2f} / {cost.seconds:.2f} / {cost.peak_mb:.0f}"
            for cost in (costs[name] for costs in runs.values())
        ]
        print(f"| {name} | {' | '.join(cells)} | {exponent:.2f} |")
    print("\nEach entry: CPU s / seconds / peak MB of the process.\n")


def main() -> None:
    """Run at growing sizes; flag stages that grow too fast."""
    quick = quick_mode(__doc__)
    base, factors, epochs = (600, (1, 2), 1) if quick else (2000, (1, 2, 4, 8), 5)
    measured_run(base // 2, epochs)  # compiles, imports and fills caches
    runs = {base * factor: measured_run(base * factor, epochs) for factor in factors}
    growth = exponents(runs)
    print_growth(runs, growth)
    largest = runs[base * factors[-1]]
    counted = {n: e for n, e in growth.items() if largest[n].cpu > COUNTED_SECONDS}
    for name, exponent in counted.items():
        if exponent > WORST_EXPONENT:
            reason = REASONS.get(name, "no reason is known: look into it")
            print(f"{name} grows with exponent {exponent:.2f}: {reason}")
    worst = max(counted.values(), default=1.0)
    print_ratio("pipeline", WORST_EXPONENT / max(worst, 0.1), 1)


if __name__ == "__main__":
    main()
