"""The whole study of docs/results.md: `python -m benchmarks.study`, resumable.

Each step keeps its runs and scores below `runs/`; stop it at any time and start the
same command again. Tables and figures go to `docs/study/`. It needs the data sets that
docs/results.md names and, for GeoCLIP, its package (`pip install --no-deps geoclip`).
"""

import argparse
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.fused_study import HOME
from benchmarks.fused_study import STEPS as PARTS
from benchmarks.labels import own_labels
from benchmarks.measure import shared_data
from mora.config import load_config
from mora.experiments import make_experiment, run_experiment
from mora.experiments.tables import write_outcome
from mora.pipeline import run
from mora.pipeline.benchmarking import benchmark_run
from mora.pipeline.display import Terminal

LEVEL5, LEVEL4 = "configs/us_commute.yaml", "configs/us_commute_level4.yaml"
COUNTIES = "configs/us_counties.yaml"
JOBS = 2
# What is trained on flows and features takes minutes; what reads coordinates, seconds.
COORDINATES = ["lonlat", "harmonics", "space2vec", "sphere2vec", "nerf", "siren"]
MOVEMENT = ["line", "volume", "line+volume", "flow_svd", "random_walk"]
TRAINED = ["hrep", "recp", "refound"]
# An economic and a social label for what takes up to a minute a fit.
TWO_LABELS = ("home_value", "bachelors")
LARGEST = ["w/o CLIP", "demographics as anchor", "imagery as anchor", "poi as anchor"]

Step = Callable[[Path], None]
STEPS: dict[str, Step] = {}


def step(name: str) -> Callable[[Step], Step]:
    """Add a step under a name, in the order of this file."""

    def register(work: Step) -> Step:
        STEPS[name] = work
        return work

    return register


def main() -> None:
    """Do all steps, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--output", type=Path, default=Path("docs/study"))
    given = parser.parse_args()
    unknown = [name for name in given.steps if name not in STEPS]
    if unknown:
        parser.error(f"no step {', '.join(unknown)}; expected {', '.join(STEPS)}")
    if shared_data("us_commute") is None:
        raise SystemExit("The study needs data that is not here; see docs/results.md.")
    given.output.mkdir(parents=True, exist_ok=True)
    for name in given.steps or STEPS:
        begun = time.monotonic()
        print(f"== {name}", flush=True)
        STEPS[name](given.output)
        print(f"== {name}: {time.monotonic() - begun:.0f} s", flush=True)


def experiment(
    name: str,
    config: str,
    output: Path,
    *,
    seeds: int,
    variants: list[str] | None = None,
    called: str = "",
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Run an experiment and copy its table and figures."""
    settings = load_config(config, changes)
    home = Path("runs") / settings.name
    display = Terminal()
    run(settings, folder=home, until="features", display=display)
    study = make_experiment(name, settings, home)
    if variants is not None:
        study = study.only(variants)
    outcome = run_experiment(
        study, settings, home, seeds=seeds, jobs=JOBS, display=display
    )
    write_outcome(outcome, outcome.folder)
    called = called or name
    shutil.copyfile(outcome.folder / "table.md", output / f"{called}.md")
    for unit in outcome.units():
        for kind in ("png", "csv"):
            source = outcome.folder / f"{unit}.{kind}"
            shutil.copyfile(source, output / f"{called}-{unit}.{kind}")


def comparison(config: str, output: Path, called: str, **changes: Any) -> None:
    """Score a run's aligned vectors, the fused ones, and baselines; copy the report."""
    paper = load_config(config, {"export": {"kind": "anchor"}})
    fused = HOME / f"{paper.name}-seed0" / "embeddings.parquet"  # of the step "fused"
    beside = {"mora, fused": fused} if fused.exists() else {}
    found = benchmark_run(paper, vectors=beside, changes=changes, display=Terminal())
    _, report, scores = found.write()
    shutil.copyfile(report, output / f"{called}.md")
    shutil.copyfile(scores, output / f"{called}.csv")


@step("fused")
def _fused(output: Path) -> None:
    for part in PARTS.values():
        part(5, output)


@step("ablation")
def _ablation(output: Path) -> None:
    experiment("ablation", LEVEL4, output, seeds=5)


@step("counties")
def _counties(output: Path) -> None:
    names = [*COORDINATES, "geoclip", *MOVEMENT, *TRAINED, "raw"]
    comparison(COUNTIES, output, "counties", baselines=names)


@step("comparison")
def _comparison(output: Path) -> None:
    names = [*COORDINATES, "geoclip", *MOVEMENT, "raw"]
    comparison(LEVEL5, output, "comparison", baselines=names)


@step("comparison-level4")
def _comparison_level4(output: Path) -> None:
    names = [*COORDINATES, "geoclip", *MOVEMENT, *TRAINED, "raw"]
    comparison(LEVEL4, output, "comparison-level4", baselines=names)


@step("scaling")
def _scaling(output: Path) -> None:
    own = {"evaluation": {"labels": [own_labels(LEVEL4)]}}
    experiment("scaling", LEVEL5, output, seeds=3, changes=own)


@step("manhattan")
def _manhattan(output: Path) -> None:
    from benchmarks.manhattan180 import run_study

    home = Path("runs/manhattan180")
    run_study(home, seeds=3)
    for kind in ("md", "csv"):
        shutil.copyfile(home / f"results.{kind}", output / f"manhattan.{kind}")


@step("largest")
def _largest(output: Path) -> None:
    own = {"evaluation": {"labels": [own_labels(LEVEL4)]}}
    name = "ablation-level5"
    experiment(
        "ablation", LEVEL5, output, seeds=3, variants=LARGEST, called=name, changes=own
    )


@step("sampling")
def _sampling(output: Path) -> None:
    experiment("sampling", LEVEL4, output, seeds=3)


@step("resolution")
def _resolution(output: Path) -> None:
    experiment("resolution", LEVEL4, output, seeds=3)


@step("width")
def _width(output: Path) -> None:
    experiment("width", LEVEL4, output, seeds=3)


@step("temperature")
def _temperature(output: Path) -> None:
    experiment("temperature", LEVEL4, output, seeds=3)


@step("grid")
def _grid(output: Path) -> None:
    experiment("grid", LEVEL4, output, seeds=1)


@step("few-labels")
def _few_labels(output: Path) -> None:
    shares = [f"{base}@{p}" for base in ("blocked", "random") for p in (1, 5, 10, 50)]
    comparison(
        LEVEL4,
        output,
        "few-labels",
        baselines=["line", "line+volume", "harmonics", "raw"],
        protocols=["blocked", "random", *shares],
        readouts="ridge",
    )


@step("regions")
def _regions(output: Path) -> None:
    comparison(
        LEVEL4,
        output,
        "regions",
        baselines=["line", "line+volume", "harmonics", "raw"],
        protocols=["region"],
        readouts="ridge",
    )


@step("tuned")
def _tuned(output: Path) -> None:
    """Four settings of each baseline that is quick to make, chosen on training rows."""
    names = [*COORDINATES, *MOVEMENT]
    comparison(LEVEL4, output, "tuned", baselines=names, tune=True, readouts="ridge")


@step("paper-protocol")
def _paper_protocol(output: Path) -> None:
    """Last, for it takes longest: 1000 trees, all columns, 255 bins, ten splits."""
    comparison(
        LEVEL4,
        output,
        "paper-protocol",
        labels=[own_labels(LEVEL4, TWO_LABELS)],
        baselines=["line", "raw", "geoclip"],
        protocols=["random"],
        splits=10,
        setting="paper",
    )


if __name__ == "__main__":
    main()
