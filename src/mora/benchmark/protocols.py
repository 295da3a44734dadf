"""Protocols: which trials a task is scored on, by name.

A trial makes one R2. It is one split into training and test rows, or several folds
whose predictions are pooled.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mora.benchmark.splits import (
    Split,
    blocked_splits,
    few_rows,
    ordered_folds,
    random_splits,
    shuffled_folds,
)
from mora.errors import MoraError, examples

FEW_LABELS = (1, 5, 10, 50)  # percent of the training rows that are usually shown


@dataclass(frozen=True, eq=False)
class Rows:
    """What protocols know of the labelled units of a task.

    Attributes:
        blocks: block of each unit.
        regions: region of each unit, -1 where unknown; None without regions.
    """

    blocks: Int[np.ndarray, " known"]
    regions: Int[np.ndarray, " known"] | None = None


@dataclass(frozen=True)
class Draw:
    """How trials are drawn.

    Attributes:
        test_share: part of the units that tests, in (0, 1); k-fold protocols take as
            many folds as fit into one.
        repeats: trials, where a protocol can repeat itself.
        seed: the same seed gives the same trials.
    """

    test_share: float = 0.2
    repeats: int = 5
    seed: int = 0

    @property
    def folds(self) -> int:
        """Give the number of folds."""
        return max(2, round(1 / self.test_share))


@dataclass(frozen=True, eq=False)
class Trial:
    """Folds whose predictions make one score.

    Attributes:
        folds: train and test rows; no row tests twice.
        whole: group of each row that is never divided, to divide the training rows
            alike; None where rows are divided freely.
        names: names of the folds where they are places, such as regions.
        others: rows that do not test, per fold on average; more than the training rows
            where only few of them have labels.
    """

    folds: tuple[Split, ...]
    whole: Int[np.ndarray, " known"] | None = None
    names: tuple[str, ...] = ()
    others: float = 0.0

    @property
    def tested(self) -> Int[np.ndarray, " tested"]:
        """Give the test rows of all folds, one fold after the other."""
        return np.concatenate([test for _, test in self.folds])

    @property
    def test_ratio(self) -> float:
        """Give test rows over rows that do not test, averaged over folds."""
        return float(np.mean([len(test) for _, test in self.folds])) / self.others


Protocol = Callable[[Rows, Draw], list[Trial]]
PROTOCOLS: dict[str, Protocol] = {}


def protocol(name: str) -> Callable[[Protocol], Protocol]:
    """Register a protocol under a name."""

    def register(draw_trials: Protocol) -> Protocol:
        PROTOCOLS[name] = draw_trials
        return draw_trials

    return register


def draw_trials(name: str, rows: Rows, draw: Draw) -> list[Trial]:
    """Draw the trials of a protocol.

    Args:
        name: key of :data:`PROTOCOLS`; ``random@P`` and ``blocked@P`` test on the same
            rows as ``random`` and ``blocked``, and train on P percent of theirs.
        rows: the labelled units.
        draw: share, repeats and seed.

    Returns:
        At least one trial.

    Raises:
        MoraError: if no protocol has the name, or the rows cannot be divided so.
    """
    base, percent = parse_protocol(name)
    trials = PROTOCOLS[base](rows, draw)
    if percent is None:
        return trials
    return [_few_labels(t, percent, draw.seed, n) for n, t in enumerate(trials)]


def parse_protocol(name: str) -> tuple[str, float | None]:
    """Give a protocol's key and its percentage of training rows, None for all.

    Raises:
        MoraError: if there is no such protocol, with the nearest name.
    """
    base, mark, share = name.partition("@")
    try:
        percent = float(share) if mark else None
    except ValueError:
        percent = -1.0
    few = percent is None or (0 < percent < 100 and base in ("random", "blocked"))
    if base in PROTOCOLS and few:
        return base, percent
    known = [
        *PROTOCOLS,
        *(f"{b}@{p}" for b in ("random", "blocked") for p in FEW_LABELS),
    ]
    near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MoraError(
        f"no protocol {name!r}; expected one of {', '.join(PROTOCOLS)}, or random@ or "
        f"blocked@ with a percentage below 100.{hint}"
    )


def check_protocols(names: Sequence[str]) -> None:
    """Refuse names that no protocol has, or that come twice.

    Raises:
        MoraError: saying which.
    """
    for name in names:
        parse_protocol(name)
    if not names or len(set(names)) < len(names):
        raise MoraError(
            f"protocols {list(names)}; expected at least one and none twice."
        )


@protocol("random")
def _random(rows: Rows, draw: Draw) -> list[Trial]:
    """Test on units drawn at random."""
    splits = random_splits(len(rows.blocks), draw.test_share, draw.repeats, draw.seed)
    return [_single(split) for split in splits]


@protocol("blocked")
def _blocked(rows: Rows, draw: Draw) -> list[Trial]:
    """Test on whole blocks."""
    splits = blocked_splits(rows.blocks, draw.test_share, draw.repeats, draw.seed)
    return [_single(split, rows.blocks) for split in splits]


@protocol("region")
def _region(rows: Rows, draw: Draw) -> list[Trial]:  # noqa: ARG001
    """Test on each region once, trained on the others; all pooled into one trial.

    Units without a region neither train nor test: they may lie in the one held out.
    """
    if rows.regions is None:
        raise MoraError(
            "the task has no regions, so none can be left out. Give a region for "
            "each unit, or use another protocol."
        )
    names = np.unique(rows.regions[rows.regions >= 0])
    if len(names) < 2:
        raise MoraError(
            f"{len(rows.regions)} units lie in {len(names)} regions "
            f"({examples(names.tolist())}); expected at least 2. Use smaller regions "
            f"or another protocol."
        )
    known = rows.regions >= 0
    folds = tuple(
        (
            np.flatnonzero(known & (rows.regions != name)),
            np.flatnonzero(rows.regions == name),
        )
        for name in names
    )
    return [_pooled(folds, rows.regions, tuple(map(str, names.tolist())))]


@protocol("kfold")
def _kfold(rows: Rows, draw: Draw) -> list[Trial]:
    """Divide at random into folds, pooled into one trial a repeat.

    Source: MoRA's city protocol.
    """
    n = len(rows.blocks)
    return [
        _pooled(tuple(shuffled_folds(n, draw.folds, draw.seed, repeat)))
        for repeat in range(draw.repeats)
    ]


@protocol("kfold-ordered")
def _kfold_ordered(rows: Rows, draw: Draw) -> list[Trial]:
    """Divide in the given order into folds, pooled into one trial.

    Source: HREP (Zhou et al. 2023), which does not shuffle.
    """
    return [_pooled(tuple(ordered_folds(len(rows.blocks), draw.folds)))]


def _single(split: Split, whole: np.ndarray | None = None) -> Trial:
    """Give the trial of one split."""
    return Trial((split,), whole, others=float(len(split[0])))


def _pooled(
    folds: tuple[Split, ...],
    whole: np.ndarray | None = None,
    names: tuple[str, ...] = (),
) -> Trial:
    """Give the trial of several folds."""
    others = float(np.mean([len(train) for train, _ in folds]))
    return Trial(folds, whole, names, others)


def _few_labels(trial: Trial, percent: float, seed: int, number: int) -> Trial:
    """Give the trial with a percentage of its training rows."""
    ((train, test),) = trial.folds
    few = few_rows(train, percent, seed, number)
    return Trial(((few, test),), trial.whole, others=trial.others)
