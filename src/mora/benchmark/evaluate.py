"""Evaluate place vectors: every model on every task, over the same splits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped
from threadpoolctl import threadpool_limits

from mora.benchmark.readouts import Readout, make_readout
from mora.benchmark.results import Report, Scores
from mora.benchmark.scores import ScoreFile, ScoreKey, fingerprint, r_squared
from mora.benchmark.splits import Split, blocked_splits, random_splits
from mora.benchmark.tasks import Task
from mora.errors import MoraError

Progress = Callable[[int, int, ScoreKey], None]


@dataclass(frozen=True, eq=False)
class _Plan:
    """A task with its splits."""

    task: Task
    targets: Float[np.ndarray, " known"]
    splits: dict[str, list[Split]]
    fingerprint: str


@dataclass(frozen=True, eq=False)
class _Fit:
    """One readout on one split."""

    key: ScoreKey
    readout: Readout
    split: Split
    fingerprint: str


def evaluate(
    tasks: Sequence[Task],
    models: Mapping[str, Shaped[np.ndarray, "tokens _"]],
    *,
    repeats: int = 5,
    seed: int = 0,
    test_share: float = 0.2,
    readouts: Sequence[str] | Mapping[str, Readout] = ("lightgbm", "ridge"),
    threads: int = 1,
    score_file: ScoreFile | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score every model on every task, on blocked and on random splits.

    Everything that can be refused is refused before the first fit.

    Args:
        tasks: labels with blocks; names differ.
        models: vectors per model, rows in token order; NaN where a token has none.
        repeats: splits per protocol.
        seed: seed of splits and readouts.
        test_share: part of the units that tests.
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
        MoraError: if a model or a task cannot be evaluated.
    """
    if not isinstance(readouts, Mapping):
        readouts = {name: make_readout(name, seed=seed) for name in readouts}
    tokens = _check_models(models)
    if len({task.name for task in tasks}) < len(tasks) or not (tasks and readouts):
        raise MoraError(
            f"tasks {[task.name for task in tasks]} and readouts {list(readouts)}; "
            f"expected at least one of each and no task name twice."
        )
    plans = [_plan(task, tokens, test_share, repeats, seed) for task in tasks]
    prints = {name: fingerprint(vectors) for name, vectors in models.items()}
    scores: Scores = {task.name: {name: {} for name in models} for task in tasks}
    done, total = 0, len(plans) * len(models) * len(readouts) * 2 * repeats
    # One core a fit: threads of linear algebra would fight the other fits for cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as executor:
        for plan in plans:
            for model, vectors in models.items():
                fits = list(_fits(plan, model, prints[model], readouts))
                x = plan.task.pool(vectors)
                run = partial(_score, x, plan.targets, score_file)
                for fit, r2 in zip(fits, executor.map(run, fits), strict=True):
                    if score_file is not None:
                        score_file.add(fit.key, fit.fingerprint, r2)
                    _record(scores, fit.key, r2)
                    done += 1
                    if progress is not None:
                        progress(done, total, fit.key)
    return Report(
        scores=scores,
        readouts={name: readout.description for name, readout in readouts.items()},
        samples={plan.task.name: len(plan.targets) for plan in plans},
        test_ratio={plan.task.name: _test_ratios(plan) for plan in plans},
        leaky={task.name: task.leaky for task in tasks if task.leaky is not None},
    )


def _check_models(models: Mapping[str, Shaped[np.ndarray, "tokens _"]]) -> int:
    """Give the number of tokens, or refuse models that differ in it."""
    shapes = {name: vectors.shape for name, vectors in models.items()}
    if len({shape[0] for shape in shapes.values()}) != 1:
        raise MoraError(
            f"models of shapes {shapes}; expected at least one, and as many rows in "
            f"each as there are tokens. Embed them with the same tokens."
        )
    infinite = [name for name, vectors in models.items() if np.isinf(vectors).any()]
    if infinite:
        raise MoraError(
            f"the vectors of {', '.join(infinite)} hold infinite values; expected "
            f"finite ones, or NaN where a token has no vector."
        )
    return next(iter(shapes.values()))[0]


def _plan(task: Task, tokens: int, test_share: float, repeats: int, seed: int) -> _Plan:
    """Check a task and draw its splits."""
    task.check(tokens)
    units, targets = task.units(), task.targets()
    blocks = task.blocks[units]
    try:
        splits = {
            "blocked": blocked_splits(blocks, test_share, repeats, seed),
            "random": random_splits(len(units), test_share, repeats, seed),
        }
    except MoraError as error:
        raise MoraError(f"task {task.name!r}: {error}") from error
    for protocol, drawn in splits.items():
        if any(np.ptp(targets[test]) == 0 for _, test in drawn):
            raise MoraError(
                f"task {task.name!r}: all labels of a {protocol} test set are equal, "
                f"so R2 is not defined; {len(targets)} labels have "
                f"{len(np.unique(targets))} distinct values. Give more labels, or "
                f"leave the task out."
            )
    pooling = task.pooling
    weights = () if pooling is None else (pooling.indices, pooling.indptr, pooling.data)
    return _Plan(task, targets, splits, fingerprint(units, targets, blocks, *weights))


def _fits(
    plan: _Plan, model: str, vectors: str, readouts: Mapping[str, Readout]
) -> Iterator[_Fit]:
    """List the fits of one model on one task."""
    for name, readout in readouts.items():
        for protocol, splits in plan.splits.items():
            for number, split in enumerate(splits):
                key = ScoreKey(plan.task.name, model, name, protocol, number)
                inputs = fingerprint(plan.fingerprint, vectors, readout, *split)
                yield _Fit(key, readout, split, inputs)


def _score(
    x: Shaped[np.ndarray, "known dim"],
    targets: Float[np.ndarray, " known"],
    score_file: ScoreFile | None,
    fit: _Fit,
) -> float:
    """Look a score up, or fit and score."""
    if score_file is not None:
        finished = score_file.get(fit.key, fit.fingerprint)
        if finished is not None:
            return finished
    train, test = fit.split
    predicted = fit.readout.fit_predict(x[train], targets[train], x[test])
    return r_squared(targets[test], predicted)


def _record(scores: Scores, key: ScoreKey, r2: float) -> None:
    """Put a score in its place."""
    by_protocol = scores[key.task][key.model].setdefault(key.readout, {})
    by_protocol.setdefault(key.protocol, []).append(r2)


def _test_ratios(plan: _Plan) -> dict[str, float]:
    """Give test rows over training rows per protocol, averaged over splits."""
    return {
        protocol: float(np.mean([len(test) / len(train) for train, test in splits]))
        for protocol, splits in plan.splits.items()
    }
