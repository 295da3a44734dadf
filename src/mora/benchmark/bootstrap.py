"""How certain an R2 is: whole blocks drawn with replacement."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mora.errors import MoraError


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    Attributes:
        value: from all rows.
        low: lower end.
        high: upper end.
        level: share of draws within, such as 0.95.
        blocks: number of blocks that were drawn from.
    """

    value: float
    low: float
    high: float
    level: float
    blocks: int


def bootstrap_r2(
    truth: Float[np.ndarray, " n"],
    predicted: Float[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Give R2 and its interval under a bootstrap of whole blocks.

    Near rows resemble each other; drawn one by one they would look like more evidence
    than they are.

    Source: Efron 1979, the percentile interval; Hall 1985, Resampling a coverage
    pattern, for blocks in space.

    Args:
        truth: measured values, not all equal.
        predicted: out-of-fold predictions in the same unit and order.
        blocks: block of each row, any numbers.
        level: share of draws within the interval, in (0, 1).
        draws: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Returns:
        The interval; of width 0 where predictions are exact.

    Raises:
        MoraError: if there is only one block, or ``level`` or ``draws`` is out of
            range.
    """
    sums = _block_sums(truth, predicted, predicted, blocks)
    r2 = _r2(_with_draws(sums, level, draws, seed))[:, 0]
    return _interval(r2, level, len(sums))


def bootstrap_difference(
    truth: Float[np.ndarray, " n"],
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Give the difference of two models' R2 under a bootstrap of whole blocks.

    Both models are scored on the same draws, so what both find hard cancels.

    Args:
        truth: measured values, not all equal.
        first: predictions of one model.
        second: predictions of the other, of the same rows.
        blocks: block of each row, any numbers.
        level: share of draws within the interval, in (0, 1).
        draws: number of bootstrap samples.
        seed: the same seed gives the same interval.

    Returns:
        First minus second; 0 of width 0 for equal predictions.

    Raises:
        MoraError: as :func:`bootstrap_r2`.
    """
    sums = _block_sums(truth, first, second, blocks)
    r2 = _r2(_with_draws(sums, level, draws, seed))
    return _interval(r2[:, 0] - r2[:, 1], level, len(sums))


def _block_sums(
    truth: Float[np.ndarray, " n"],
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "blocks 5"]:
    """Sum what R2 is made of per block: rows, labels, their squares, two errors."""
    centred = truth - truth.mean()  # squares of large labels would cancel badly
    names, block = np.unique(blocks, return_inverse=True)
    terms = (
        np.ones(len(truth)),
        centred,
        centred**2,
        (truth - first) ** 2,
        (truth - second) ** 2,
    )
    return np.column_stack(
        [np.bincount(block, term, minlength=len(names)) for term in terms]
    )


def _with_draws(
    sums: Float[np.ndarray, "blocks 5"], level: float, draws: int, seed: int
) -> Float[np.ndarray, "sums 5"]:
    """Add up all blocks, then as many as there are, drawn with replacement."""
    count = len(sums)
    if count < 2 or not 0 < level < 1 or draws < 1:
        raise MoraError(
            f"{count} blocks, level {level:g} and {draws} draws; expected at least "
            f"2 blocks, a level between 0 and 1 and one draw. Use smaller blocks."
        )
    rng = np.random.default_rng(seed)
    taken = (rng.integers(count, size=count) for _ in range(draws))
    return np.array([sums.sum(axis=0), *(sums[rows].sum(axis=0) for rows in taken)])


def _r2(sums: Float[np.ndarray, "sums 5"]) -> Float[np.ndarray, "sums 2"]:
    """Give both R2 from sums; NaN where a draw has equal labels only."""
    rows, total, squares, *_ = sums.T
    spread = squares - total**2 / rows
    spread = np.where(spread > 0, spread, np.nan)
    return 1 - sums[:, 3:] / spread[:, None]


def _interval(
    values: Float[np.ndarray, " values"], level: float, blocks: int
) -> Interval:
    """Give the first value and cut the same share of the others off both ends."""
    low, high = np.nanquantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high), level, blocks)
