"""Which cells teach the distilled encoder, and which it is tested on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from mora.distill.config import DistillConfig
from mora.errors import MoraError
from mora.tokens import Tokens

FEWEST = 4  # cells without which nothing can be learned


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Cells for training, for choosing the best epoch, and for tests.

    Attributes:
        training: the network sees them.
        validation: the loss on them says which epoch was best.
        tests: ``random`` and ``blocked`` cells that nothing was chosen by.
    """

    training: Int[np.ndarray, " training"]
    validation: Int[np.ndarray, " validation"]
    tests: Mapping[str, Int[np.ndarray, " _"]]


def hold_out(tokens: Tokens, config: DistillConfig, validation_share: float) -> HeldOut:
    """Divide cells into those that teach, choose and test.

    Blocks are taken whole: neighbours of a cell in the blocked test are mostly in the
    test themselves, as those of a place are that no data came from. For validation,
    cells are drawn as for the test: at random, or in blocks if there are only blocks.

    Args:
        tokens: the cells.
        config: protocol, share and blocks.
        validation_share: part of the cells, in (0, 1).

    Returns:
        Ascending rows; each cell is in one set.

    Raises:
        MoraError: if too few cells or blocks are there.
        NoGeometryError: if blocks are H3 cells, and the tokens are not.
    """
    rng = np.random.default_rng([config.seed, 1])
    free = np.ones(len(tokens), dtype=bool)
    tests = {}
    every = np.arange(len(tokens))
    block = every if config.protocol == "random" else block_of_cells(tokens, config)
    if config.protocol != "random":
        tests["blocked"] = _draw(block, free, config.held_out_share, rng)
    if config.protocol != "blocked":
        tests["random"] = _draw(every, free, config.held_out_share, rng)
    group = block if config.protocol == "blocked" else every
    validation = _draw(group, free, validation_share, rng)
    if free.sum() < FEWEST:
        raise MoraError(
            f"{len(tokens)} cells in {len(np.unique(block))} blocks leave "
            f"{free.sum()} for training; expected at least {FEWEST}. Hold fewer out, "
            f"or use smaller blocks."
        )
    return HeldOut(np.flatnonzero(free), validation, tests)


def block_of_cells(tokens: Tokens, config: DistillConfig) -> Int[np.ndarray, " tokens"]:
    """Give the number of the block that each cell lies in.

    Args:
        tokens: the cells.
        config: ``block_resolution`` for H3 cells, else ``block_degrees`` for squares.
    """
    if config.block_resolution is not None:
        names = tokens.parents(config.block_resolution)
    else:
        names = np.floor(tokens.centroids() / config.block_degrees)
    return np.unique(names, axis=0, return_inverse=True)[1].reshape(-1)


def _draw(
    group: Int[np.ndarray, " n"],
    free: Bool[np.ndarray, " n"],
    share: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, " drawn"]:
    """Take whole groups of free cells until they are a share of all; mark them."""
    names = rng.permutation(np.unique(group[free]))
    sizes = np.bincount(group[free], minlength=group.max() + 1)[names]
    wanted = max(1, round(share * len(group)))
    count = np.searchsorted(sizes.cumsum(), wanted) + 1
    drawn = free & np.isin(group, names[:count])
    free[drawn] = False
    return np.flatnonzero(drawn)
