"""How hot loops are compiled: numba, without the GIL, cached on disk."""

import inspect
from collections.abc import Callable
from typing import Any

from numba import njit


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
