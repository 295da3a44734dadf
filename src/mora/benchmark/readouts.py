"""The readouts by name: how much a standard regressor reads from place vectors."""

import difflib
from collections.abc import Callable

from mora.benchmark.fitting import Readout
from mora.benchmark.ridge import (
    RIDGE_GRID,
    BlockedRidgeReadout,
    FixedRidgeReadout,
    RidgeReadout,
    leave_one_out_ridge,
)
from mora.benchmark.trees import LightGBMReadout, PaperReadout
from mora.errors import MoraError

__all__ = [
    "READOUTS",
    "RIDGE_GRID",
    "BlockedRidgeReadout",
    "FixedRidgeReadout",
    "LightGBMReadout",
    "PaperReadout",
    "Readout",
    "RidgeReadout",
    "leave_one_out_ridge",
    "make_readout",
]


def make_readout(name: str, *, threads: int = 1, seed: int = 0) -> Readout:
    """Make a readout by its name.

    Args:
        name: ``lightgbm`` (quick: 200 trees), ``lightgbm-paper`` (MoRA's settings by
            the scale of the task), ``ridge`` (penalty chosen by leave-one-out),
            ``ridge-blocked`` (by blocked inner folds) or ``ridge-1`` (alpha 1,
            columns as they are).
        threads: threads of LightGBM.
        seed: seed of LightGBM.

    Raises:
        MoraError: if no readout has the name, with the nearest one.
    """
    if name not in READOUTS:
        near = difflib.get_close_matches(name, READOUTS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MoraError(
            f"no readout {name!r}; expected one of {', '.join(READOUTS)}.{hint}"
        )
    return READOUTS[name](threads, seed)


READOUTS: dict[str, Callable[[int, int], Readout]] = {
    "lightgbm": lambda threads, seed: LightGBMReadout(
        threads=threads, seed=seed, shared_bins=True
    ),
    "lightgbm-paper": lambda threads, seed: PaperReadout(threads, seed),
    "ridge": lambda threads, seed: RidgeReadout(),  # noqa: ARG005
    "ridge-blocked": lambda threads, seed: BlockedRidgeReadout(),  # noqa: ARG005
    "ridge-1": lambda threads, seed: FixedRidgeReadout(),  # noqa: ARG005
}
