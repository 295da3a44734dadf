"""Run the variants of an experiment: resumable, stages shared, several at a time."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mora.config import RunConfig, load_config
from mora.config.loading import merge
from mora.experiments.outcome import Outcome, read_outcome
from mora.experiments.variants import Experiment, Variant
from mora.pipeline import run
from mora.pipeline.display import Display
from mora.pipeline.folder import read_json

# Each process of several works with one thread: two that share two cores lose time.
ONE_THREAD = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")
QUICK = {
    "training": {"epochs": 10},
    "evaluation": {"readouts": "ridge"},
}


@dataclass(frozen=True)
class RunOfVariant:
    """One variant with one seed.

    Attributes:
        variant: what is changed.
        seed: of the run; the splits that it is scored on do not depend on it.
        config: the whole configuration.
        folder: where it is kept.
        reuse: other runs that may have done some of its stages.
        until: the last stage to do.
    """

    variant: Variant
    seed: int
    config: RunConfig
    folder: Path
    reuse: tuple[Path, ...]
    until: str = "evaluate"


def run_experiment(
    experiment: Experiment,
    base: RunConfig,
    folder: Path,
    *,
    seeds: int = 5,
    quick: bool = False,
    jobs: int = 1,
    display: Display | None = None,
) -> Outcome:
    """Run every variant with every seed, or go on with what was stopped.

    Args:
        experiment: the variants.
        base: configuration of the run that is varied.
        folder: of that run; the experiment is kept in ``experiments/NAME`` within.
        seeds: runs of each variant, >= 1; one alone is no result and is marked.
        quick: ten epochs and the linear readout alone, for a first look.
        jobs: runs at a time, one thread each; 1 works in this process with all
            threads.
        display: what shows progress; nothing by default.

    Returns:
        The scores of all variants.
    """
    display = display or Display()
    home = (
        folder
        / "experiments"
        / (f"{experiment.name}-quick" if quick else experiment.name)
    )
    until = "train" if experiment.by_validation else "evaluate"
    runs = [
        _run_of(variant, seed, base, home, folder, quick, until)
        for seed in range(seeds)
        for variant in experiment.variants
    ]
    _do_all(runs, jobs, display)
    variants = experiment.variants
    if experiment.by_validation:
        variants = _chosen(experiment, runs)
        kept = [r for r in runs if r.variant in variants]
        _do_all([_until_scored(r) for r in kept], jobs, display)
    return read_outcome(experiment, variants, home, seeds, quick)


def _run_of(
    variant: Variant,
    seed: int,
    base: RunConfig,
    home: Path,
    folder: Path,
    quick: bool,
    until: str,
) -> RunOfVariant:
    # What the paper studies is the vector that training aligns, by itself.
    lean = {"evaluation": {"baselines": [], "tune": False}, "seed": seed}
    lean |= {"export": {"kind": "anchor"}}
    changes = merge(merge(lean, QUICK if quick else {}), variant.changes)
    own = home / variant.folder
    others = (folder, own / "seed0", *_siblings(home, seed))
    config = load_config(base, changes)
    return RunOfVariant(variant, seed, config, own / f"seed{seed}", others, until)


def _siblings(home: Path, seed: int) -> Iterator[Path]:
    """Name the runs that share most: those of the same seed, as far as they are."""
    yield from sorted(home.glob(f"*/seed{seed}"))


def _until_scored(one: RunOfVariant) -> RunOfVariant:
    return RunOfVariant(one.variant, one.seed, one.config, one.folder, one.reuse)


def _do_all(runs: Sequence[RunOfVariant], jobs: int, display: Display) -> None:
    """Do all runs; what a stop interrupts goes on with the next call."""
    with display.bar("Experiment", "runs") as progress:
        progress(0, len(runs))
        if jobs == 1:
            for done, one in enumerate(runs, start=1):
                _do(one)
                progress(done, len(runs))
            return
        _do(runs[0])  # first and alone: the others take its graph and features
        with (
            _one_thread_each(),
            ProcessPoolExecutor(jobs, get_context("spawn")) as pool,
        ):
            waiting = [pool.submit(_do, one) for one in runs[1:]]
            try:
                for done, future in enumerate(as_completed(waiting), start=2):
                    future.result()
                    progress(done, len(runs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _do(one: RunOfVariant) -> None:
    run(one.config, folder=one.folder, until=one.until, reuse=one.reuse)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started now work with one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _chosen(
    experiment: Experiment, runs: Sequence[RunOfVariant]
) -> tuple[Variant, ...]:
    """Give the reference and the variant with the least mean validation loss."""
    losses: dict[str, list[float]] = {}
    for one in runs:
        losses.setdefault(one.variant.name, []).append(validation_loss(one.folder))
    mean = {name: sum(values) / len(values) for name, values in losses.items()}
    best = min(experiment.variants, key=lambda variant: mean[variant.name])
    kept = {experiment.reference.name: experiment.reference, best.name: best}
    return tuple(kept.values())


def validation_loss(folder: Path) -> float:
    """Give the best validation loss of a finished run."""
    manifest: Mapping[str, Any] = read_json(folder / "train" / "manifest.json") or {}
    return float(manifest["facts"]["best_validation_loss"])
