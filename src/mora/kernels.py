"""How hot loops are compiled: numba, without the GIL, cached on disk; their chance."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, odd


def kernel(
    *, parallel: bool = False, fastmath: bool | set[str] = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a loop with numba; calls run without the GIL.

    Annotations are for readers: shape checks that a test run wraps around functions
    are taken off first, because numba compiles only the plain function.

    Args:
        parallel: spread ``prange`` loops over the cores.
        fastmath: let floating-point sums be reordered (all, or the named LLVM flags).
    """

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        options = {"parallel": parallel, "fastmath": fastmath}
        return njit(nogil=True, cache=True, **options)(inspect.unwrap(function))

    return compile_


@kernel()
def mix_bits(number: np.uint64) -> np.uint64:
    """Turn a number into 64 bits that look drawn by chance; never two into the same.

    Source: Steele et al. 2014, SplitMix64: the step after the state ``number``.
    """
    number += GOLDEN_GAMMA
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@kernel()
def as_uniform(bits: np.uint64) -> float:
    """Turn 64 bits into a number in [0, 1) with 53 of them."""
    return (bits >> np.uint64(11)) * 2.0**-53
