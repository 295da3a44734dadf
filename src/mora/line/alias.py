"""Tables from which a discrete distribution is drawn in constant time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from mora.errors import GraphError
from mora.kernels import kernel


class AliasTable(NamedTuple):
    """Draws from a discrete distribution in constant time.

    Column ``i`` is chosen uniformly, and gives ``i`` with probability ``keep[i]``,
    else ``alias[i]``.
    """

    keep: Float64[np.ndarray, " n"]
    alias: Int32[np.ndarray, " n"]


def alias_table(weight: Float64[np.ndarray, " n"]) -> AliasTable:
    """Prepare draws in proportion to weights.

    Source: Vose 1991, "A linear algorithm for generating random numbers with a given
    distribution".

    Args:
        weight: >= 0, at least one > 0.

    Returns:
        The table; a column of weight 0 is never drawn.

    Raises:
        GraphError: if a weight is negative or not finite, or all are zero.
    """
    bad = weight[~(np.isfinite(weight) & (weight >= 0))]
    if len(bad) or not weight.any():
        raise GraphError(
            f"{len(bad)} of {len(weight)} weights are negative or not finite (first: "
            f"{bad[:3].tolist()}), {np.count_nonzero(weight)} are not zero; expected "
            f"weights >= 0, at least one of them > 0."
        )
    keep = weight * (len(weight) / weight.sum())
    alias = np.arange(len(weight), dtype=np.int32)
    _fill_alias(keep, alias)
    return AliasTable(keep, alias)


@kernel()
def _fill_alias(keep: np.ndarray, alias: np.ndarray) -> None:
    """Top each column below 1 up from a column above 1, in place."""
    below = np.empty(len(keep), np.int32)
    above = np.empty(len(keep), np.int32)
    n_below = n_above = 0
    for i in range(len(keep)):
        if keep[i] < 1:
            below[n_below] = i
            n_below += 1
        else:
            above[n_above] = i
            n_above += 1
    while n_below and n_above:
        n_below -= 1
        low, high = below[n_below], above[n_above - 1]
        alias[low] = high
        keep[high] -= 1 - keep[low]
        if keep[high] < 1:
            n_above -= 1
            below[n_below] = high
            n_below += 1
    # What is left is 1 up to rounding.
    keep[below[:n_below]] = 1
    keep[above[:n_above]] = 1
