"""Evaluate place vectors: every model on every task, over the same splits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped
from threadpoolctl import threadpool_limits

from mora.benchmark.candidates import Model, candidates_of, choose_candidate
from mora.benchmark.fitting import Fit, Readout
from mora.benchmark.protocols import Draw, Rows, Trial, check_protocols, draw_trials
from mora.benchmark.readouts import make_readout
from mora.benchmark.results import Chosen, FoldScores, Report, Scores
from mora.benchmark.scores import (
    Score,
    ScoreFile,
    ScoreKey,
    fingerprint,
    fold_score,
    r_squared,
)
from mora.benchmark.tasks import Task
from mora.errors import MoraError

Progress = Callable[[int, int, ScoreKey], None]


@dataclass(frozen=True, eq=False)
class _Plan:
    """A task with its trials."""

    task: Task
    targets: Float[np.ndarray, " known"]
    trials: dict[str, list[Trial]]
    fingerprint: str
    seed: int

    @property
    def scores(self) -> int:
        """Count the scores of one model and readout."""
        return sum(len(trials) for trials in self.trials.values())


@dataclass(frozen=True, eq=False)
class _Job:
    """One readout on one trial; ``fits`` has one function a candidate."""

    key: ScoreKey
    fits: Sequence[Fit]
    trial: Trial
    fingerprint: str


def evaluate(
    tasks: Sequence[Task],
    models: Mapping[str, Model],
    *,
    protocols: Sequence[str] = ("blocked", "random"),
    repeats: int = 5,
    seed: int = 0,
    test_share: float = 0.2,
    trials: Mapping[str, Mapping[str, list[Trial]]] | None = None,
    readouts: Sequence[str] | Mapping[str, Readout] = ("lightgbm", "ridge"),
    threads: int = 1,
    score_file: ScoreFile | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score every model on every task, over the trials of each protocol.

    Everything that can be refused is refused before the first fit.

    Args:
        tasks: labels with blocks; names differ.
        models: vectors per model, rows in token order; NaN where a token has none. A
            sequence of matrices is a model with settings to choose from: per trial
            the one that a Ridge reads best within the training rows is taken.
        protocols: names for :func:`mora.benchmark.protocols.draw_trials`; the first
            is the main one.
        repeats: trials per protocol that can repeat itself.
        seed: seed of splits and readouts.
        test_share: part of the units that tests; k-fold protocols have
            ``1 / test_share`` folds.
        trials: task -> protocol -> fixed trials, as of a benchmark that was exported;
            then ``protocols``, ``repeats`` and ``test_share`` are not used.
        readouts: names for :func:`make_readout`, or readouts by name; the first is the
            main one.
        threads: fits at a time, one core each; the scores do not depend on it.
        score_file: finished scores are taken from it and new ones added.
        progress: called after each score with the number done, the number in all, and
            the score's key.

    Returns:
        The report. Fill in what only the caller knows (``left_out``, ``warnings``,
        ``notes``, ``pairs``) with :func:`dataclasses.replace`.

    Raises:
        MoraError: if a model, a task or a protocol cannot be evaluated.
    """
    if not isinstance(readouts, Mapping):
        readouts = {name: make_readout(name, seed=seed) for name in readouts}
    check_protocols(protocols)
    tokens = _check_models(models)
    if len({task.name for task in tasks}) < len(tasks) or not (tasks and readouts):
        raise MoraError(
            f"tasks {[task.name for task in tasks]} and readouts {list(readouts)}; "
            f"expected at least one of each and no task name twice."
        )
    draw = Draw(test_share, repeats, seed)
    fixed = trials or {}
    plans = [_plan(t, tokens, protocols, draw, fixed.get(t.name)) for t in tasks]
    report = _empty_report(plans, models, readouts)
    prints = {name: _print(model, seed) for name, model in models.items()}
    done = 0
    total = sum(plan.scores for plan in plans) * len(models) * len(readouts)
    # One core a fit: threads of linear algebra would fight the other fits for cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as executor:
        for plan in plans:
            for name, model in models.items():
                xs = [plan.task.pool(vectors) for vectors in candidates_of(model)]
                jobs = list(_jobs(plan, name, prints[name], xs, readouts))
                run = partial(_score, xs, plan, score_file, {})
                for job, score in zip(jobs, executor.map(run, jobs), strict=True):
                    if score_file is not None:
                        score_file.add(job.key, job.fingerprint, score)
                    _record(report, job.key, score)
                    done += 1
                    if progress is not None:
                        progress(done, total, job.key)
    return report


def _check_models(models: Mapping[str, Model]) -> int:
    """Give the number of tokens, or refuse models that differ in it."""
    parts = {name: candidates_of(model) for name, model in models.items()}
    shapes = {
        name: found[0].shape if len(found) == 1 else [x.shape for x in found]
        for name, found in parts.items()
    }
    rows = {x.shape[0] for found in parts.values() for x in found}
    if len(rows) != 1 or not all(parts.values()):
        raise MoraError(
            f"models of shapes {shapes}; expected at least one, and as many rows in "
            f"each as there are tokens. Embed them with the same tokens."
        )
    infinite = [
        n for n, found in parts.items() if any(np.isinf(x).any() for x in found)
    ]
    if infinite:
        raise MoraError(
            f"the vectors of {', '.join(infinite)} hold infinite values; expected "
            f"finite ones, or NaN where a token has no vector."
        )
    return rows.pop()


def _plan(
    task: Task,
    tokens: int,
    protocols: Sequence[str],
    draw: Draw,
    fixed: Mapping[str, list[Trial]] | None,
) -> _Plan:
    """Check a task and draw its trials, where they are not fixed."""
    task.check(tokens)
    units, targets = task.units(), task.targets()
    blocks = task.blocks[units]
    regions = None if task.regions is None else task.regions[units]
    try:
        rows = Rows(blocks, regions)
        drawn = {} if fixed else {n: draw_trials(n, rows, draw) for n in protocols}
    except MoraError as error:
        raise MoraError(f"task {task.name!r}: {error}") from error
    trials = dict(fixed or drawn)
    for protocol, found in trials.items():
        if any(np.ptp(targets[trial.tested]) == 0 for trial in found):
            raise MoraError(
                f"task {task.name!r}: all labels of a {protocol} test set are equal, "
                f"so R2 is not defined; {len(targets)} labels have "
                f"{len(np.unique(targets))} distinct values. Give more labels, or "
                f"leave the task out."
            )
    pooling = task.pooling
    weights = () if pooling is None else (pooling.indices, pooling.indptr, pooling.data)
    digest = fingerprint(units, targets, blocks, *weights)
    return _Plan(task, targets, trials, digest, draw.seed)


def _print(model: Model, seed: int) -> str:
    """Digest a model; the choice between candidates depends on the seed too."""
    prints = [fingerprint(vectors) for vectors in candidates_of(model)]
    return prints[0] if len(prints) == 1 else fingerprint("candidates", seed, *prints)


def _jobs(
    plan: _Plan,
    model: str,
    digest: str,
    xs: Sequence[Shaped[np.ndarray, "known _"]],
    readouts: Mapping[str, Readout],
) -> Iterator[_Job]:
    """List the scores of one model on one task."""
    blocks = plan.task.blocks[plan.task.units()]
    for name, given in readouts.items():
        readout = given.for_scale(plan.task.scale)
        fits = [readout.bind(x, blocks) for x in xs]
        for protocol, trials in plan.trials.items():
            for number, trial in enumerate(trials):
                key = ScoreKey(plan.task.name, model, name, protocol, number)
                rows = [part for split in trial.folds for part in split]
                parts = (plan.fingerprint, digest, readout, *rows, *trial.names)
                yield _Job(key, fits, trial, fingerprint(*parts))


def _score(
    xs: Sequence[Shaped[np.ndarray, "known _"]],
    plan: _Plan,
    score_file: ScoreFile | None,
    choices: dict[tuple[str, int], tuple[int, ...]],
    job: _Job,
) -> Score:
    """Look a score up, or fit and score; choices are kept for the next readout."""
    if score_file is not None:
        finished = score_file.get(job.key, job.fingerprint)
        if finished is not None:
            return finished
    trial, y = job.trial, plan.targets
    place = (job.key.protocol, job.key.split)
    if place not in choices:
        choices[place] = tuple(
            choose_candidate(xs, y, train, trial.whole, plan.seed)
            for train, _ in trial.folds
        )
    predicted = [
        job.fits[choice](train, y[train], test)
        for choice, (train, test) in zip(choices[place], trial.folds, strict=True)
    ]
    tests = [test for _, test in trial.folds]
    return Score(
        r_squared(y[trial.tested], np.concatenate(predicted)),
        choices[place] if len(xs) > 1 else (),
        {
            name: fold_score(y[test], guess)
            for name, test, guess in zip(trial.names, tests, predicted, strict=False)
        },
    )


def _empty_report(
    plans: Sequence[_Plan],
    models: Mapping[str, Model],
    readouts: Mapping[str, Readout],
) -> Report:
    """Give the report before its scores are recorded."""
    scores: Scores = {p.task.name: {name: {} for name in models} for p in plans}
    chosen: Chosen = {
        name: {} for name, model in models.items() if len(candidates_of(model)) > 1
    }
    folds: FoldScores = {}
    tasks = [plan.task for plan in plans]
    return Report(
        scores=scores,
        readouts={name: readout.description for name, readout in readouts.items()},
        samples={plan.task.name: len(plan.targets) for plan in plans},
        test_ratio={plan.task.name: _test_ratios(plan) for plan in plans},
        leaky={task.name: task.leaky for task in tasks if task.leaky is not None},
        dims={
            name: max(vectors.shape[1] for vectors in candidates_of(model))
            for name, model in models.items()
        },
        domains={task.name: task.domain for task in tasks if task.domain},
        chosen=chosen,
        folds=folds,
    )


def _record(report: Report, key: ScoreKey, score: Score) -> None:
    """Put a score in its place; a choice is the same for every readout."""
    by_protocol = report.scores[key.task][key.model].setdefault(key.readout, {})
    by_protocol.setdefault(key.protocol, []).append(score.r2)
    if score.folds:
        by_model = report.folds.setdefault(key.task, {}).setdefault(key.model, {})
        by_readout = by_model.setdefault(key.readout, {})
        by_readout.setdefault(key.protocol, []).append(dict(score.folds))
    if score.chosen and key.readout == next(iter(report.readouts)):
        by_task = report.chosen[key.model].setdefault(key.task, {})
        by_task.setdefault(key.protocol, []).extend(score.chosen)


def _test_ratios(plan: _Plan) -> dict[str, float]:
    """Give test rows over other rows per protocol, averaged over trials."""
    return {
        protocol: float(np.mean([trial.test_ratio for trial in trials]))
        for protocol, trials in plan.trials.items()
    }
