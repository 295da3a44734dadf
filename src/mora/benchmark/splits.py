"""Which units train a readout and which test it: single splits and folds.

Near places resemble each other, so a random split mostly asks a model to fill gaps
between known neighbours. Blocked splits hold out whole stretches of land.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from mora.errors import MoraError, examples

Split: TypeAlias = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]  # train, test

FEWEST_ROWS = 5  # training rows from which a few-label fit still says something


def random_splits(
    n: int, test_share: float = 0.2, repeats: int = 5, seed: int = 0
) -> list[Split]:
    """Divide rows at random, several times over.

    Args:
        n: number of rows.
        test_share: part of the rows that tests, in (0, 1).
        repeats: number of splits; the first ones do not depend on it.
        seed: the same seed gives the same splits.

    Returns:
        Ascending train and test rows of each split; the test sets of different splits
        overlap.

    Raises:
        MoraError: if there are fewer rows than ``1 / test_share``.
    """
    _check_count(n, test_share, repeats, "samples", "Give more labels.")
    tested, splits = max(1, round(n * test_share)), []
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(n)
        splits.append((np.sort(order[tested:]), np.sort(order[:tested])))
    return splits


def blocked_splits(
    blocks: Int[np.ndarray, " n"],
    test_share: float = 0.2,
    repeats: int = 5,
    seed: int = 0,
) -> list[Split]:
    """Divide rows so that no block has rows on both sides.

    Blocks are drawn in random order; each that brings the number of test rows nearer
    to ``test_share`` is held out.

    Args:
        blocks: block of each row, any numbers.
        test_share: part of the rows that tests, in (0, 1).
        repeats: number of splits; the first ones do not depend on it.
        seed: the same seed gives the same splits.

    Returns:
        Ascending train and test rows of each split.

    Raises:
        MoraError: if there are fewer blocks than ``1 / test_share``, or one block is
            so large that the others do not make up half the test share.
    """
    names, block, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    _check_count(
        len(names), test_share, repeats, "blocks", "Use smaller blocks or a wider area."
    )
    wanted, splits = len(blocks) * test_share, []
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(len(names))
        held_out = np.zeros(len(names), dtype=bool)
        held_out[_choose_blocks(order, sizes, wanted)] = True
        tested = held_out[block]
        if tested.sum() < wanted / 2:
            raise MoraError(
                f"the largest of {len(names)} blocks has {sizes.max()} of "
                f"{len(blocks)} rows; the others cannot make up a test share of "
                f"{test_share:g}. Use smaller blocks."
            )
        splits.append((np.flatnonzero(~tested), np.flatnonzero(tested)))
    return splits


def shuffled_folds(
    n: int, folds: int = 5, seed: int = 0, repeat: int = 0
) -> list[Split]:
    """Divide rows into folds at random; each fold tests once.

    Args:
        n: number of rows.
        folds: number of folds, >= 2.
        seed: the same seed gives the same folds.
        repeat: another division with the same seed.

    Returns:
        Ascending train and test rows of each fold; fold sizes differ by one at most.

    Raises:
        MoraError: if there are fewer rows than folds.
    """
    order = np.random.default_rng([seed, repeat, 2]).permutation(n)
    return _fold_splits(order, folds)


def ordered_folds(n: int, folds: int = 5) -> list[Split]:
    """Divide rows into folds of consecutive rows, as unshuffled k-fold does.

    Args:
        n: number of rows.
        folds: number of folds, >= 2.

    Raises:
        MoraError: if there are fewer rows than folds.
    """
    return _fold_splits(np.arange(n), folds)


def block_folds(blocks: Int[np.ndarray, " n"], folds: int = 5) -> list[Split]:
    """Divide rows into folds of whole blocks; each row tests once.

    Args:
        blocks: block of each row, any numbers.
        folds: most folds; where there are fewer blocks, each is a fold.

    Returns:
        Ascending train and test rows of each fold, of about equally many rows: blocks
        are dealt out by falling size (scikit-learn's ``GroupKFold``).

    Raises:
        MoraError: if there is only one block, or fewer than two folds are asked for.
    """
    from sklearn.model_selection import GroupKFold

    found = len(np.unique(blocks))
    if found < 2 or folds < 2:
        raise MoraError(
            f"{len(blocks)} samples in {found} blocks cannot be divided into {folds} "
            f"folds; expected at least two of each. Use smaller blocks or a wider area."
        )
    return list(GroupKFold(min(folds, found)).split(blocks, groups=blocks))


def few_rows(
    train: Int[np.ndarray, " train"],
    percent: float | int,
    seed: int = 0,
    repeat: int = 0,
) -> Int[np.ndarray, " few"]:
    """Keep a percentage of the training rows; fewer are always among more.

    Args:
        train: training rows of a split.
        percent: part to keep, in (0, 100).
        seed: the same seed gives the same rows.
        repeat: number of the split.

    Returns:
        Rows of ``train``, ascending.

    Raises:
        MoraError: if fewer than :data:`FEWEST_ROWS` would be left.
    """
    kept = round(len(train) * percent / 100)
    if kept < FEWEST_ROWS:
        needed = int(np.ceil(100 * FEWEST_ROWS / percent))
        raise MoraError(
            f"{percent:g} % of {len(train)} training rows are {kept}; expected at "
            f"least {FEWEST_ROWS}, which takes {needed} training rows. Use a higher "
            f"percentage."
        )
    order = np.random.default_rng([seed, repeat, 1]).permutation(len(train))
    return np.sort(train[order[:kept]])


def degree_blocks(
    lonlat: Float[np.ndarray, "n 2"], degrees: float = 1.0
) -> Int[np.ndarray, " n"]:
    """Give the square of the lon/lat grid that holds each point.

    Args:
        lonlat: degrees; -180 and 180 are the same.
        degrees: side of a square, in (0, 180]; 1 is about 111 km north to south.

    Returns:
        Block numbers, the same in every call with the same ``degrees``.

    Raises:
        MoraError: if a coordinate is missing or ``degrees`` is out of range.
    """
    if not 0 < degrees <= 180:
        raise MoraError(f"blocks of {degrees:g} degrees; expected a side in (0, 180].")
    bad = ~np.isfinite(lonlat).all(axis=1)
    if bad.any():
        rows = examples(np.flatnonzero(bad).tolist())
        raise MoraError(
            f"{bad.sum()} of {len(lonlat)} points have no coordinates (rows {rows}); "
            f"expected lon, lat for each. Give blocks of your own where places are "
            f"unknown."
        )
    columns = int(np.ceil(360 / degrees))
    column = np.floor((lonlat[:, 0] + 180) % 360 / degrees).astype(np.int64)
    row = np.floor((lonlat[:, 1] + 90) / degrees).astype(np.int64)
    return row * columns + column


def group_blocks(
    zone_of_row: Int[np.ndarray, " n"],
    zone_lonlat: Float[np.ndarray, "zones 2"],
    degrees: float = 1.0,
) -> Int[np.ndarray, " n"]:
    """Give rows the block of the zone they belong to, so that no zone is divided.

    For inputs or labels that were given per zone (flows between counties, say): cells
    of one county share them, and must not sit on both sides of a split.

    Args:
        zone_of_row: position in ``zone_lonlat`` of each row's zone.
        zone_lonlat: middle of each zone in degrees.
        degrees: side of the squares that group the zones by their middles.

    Returns:
        Block of each row; rows of one zone share it.

    Raises:
        MoraError: if a row names no zone or a zone has no coordinates.
    """
    outside = (zone_of_row < 0) | (zone_of_row >= len(zone_lonlat))
    if outside.any():
        rows = examples(np.flatnonzero(outside).tolist())
        raise MoraError(
            f"{outside.sum()} of {len(zone_of_row)} rows belong to none of the "
            f"{len(zone_lonlat)} zones (rows {rows}); "
            f"expected a zone for each. Leave these rows out, or give them one."
        )
    return degree_blocks(zone_lonlat, degrees)[zone_of_row]


def _fold_splits(order: Int[np.ndarray, " n"], folds: int) -> list[Split]:
    """Cut rows in the given order into folds."""
    if not 2 <= folds <= len(order):
        raise MoraError(
            f"{len(order)} samples cannot be divided into {folds} folds; expected at "
            f"least two folds and a sample for each. Give more labels, or use fewer "
            f"folds."
        )
    fold = np.empty(len(order), dtype=np.int64)
    for number, rows in enumerate(np.array_split(order, folds)):
        fold[rows] = number
    return [
        (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
        for number in range(folds)
    ]


def _choose_blocks(
    order: Int[np.ndarray, " blocks"], sizes: Int[np.ndarray, " blocks"], wanted: float
) -> list[int]:
    """Take blocks in the given order while each brings their rows nearer to wanted."""
    chosen, rows = [], 0
    for block in order.tolist():
        if abs(rows + sizes[block] - wanted) < abs(rows - wanted):
            chosen.append(block)
            rows += int(sizes[block])
    return chosen


def _check_count(
    count: int, test_share: float, repeats: int, things: str, remedy: str
) -> None:
    if not 0 < test_share < 1 or repeats < 1:
        raise MoraError(
            f"test_share is {test_share:g} and repeats {repeats}; expected a share "
            f"between 0 and 1 and at least one repeat."
        )
    folds = max(2, round(1 / test_share))
    if count < folds:
        raise MoraError(
            f"{count} {things} cannot be split; expected at least {folds} for a test "
            f"share of {test_share:g}. {remedy}"
        )
