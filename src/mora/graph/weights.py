"""Weights of edges in few bytes: whole numbers in 16 bits, none of them cut off."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt16, UInt32
from numpy.typing import DTypeLike

from mora.errors import GraphError
from mora.graph.array_file import ArrayFile

MAX_EXACT_WEIGHT = np.iinfo(np.uint32).max
ESCAPE = np.iinfo(np.uint16).max  # stands for "look in the list of large weights"


def compact_weights(
    weight: Float[np.ndarray, " edges"],
) -> Shaped[np.ndarray, " edges"]:
    """Store whole numbers exactly as uint32, anything else as float32.

    Raises:
        GraphError: if a whole-number weight does not fit into 32 bits.
    """
    whole = bool((weight == np.round(weight)).all())
    if whole and len(weight) and weight.max() > MAX_EXACT_WEIGHT:
        raise GraphError(
            f"the largest weight is {weight.max():.0f}; expected at most "
            f"{MAX_EXACT_WEIGHT}. Divide the weights by a common unit."
        )
    return weight.astype(np.uint32 if whole else np.float32)


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """Whole weights in two bytes each; large ones stand in a list beside them.

    Behaves as a read-only uint32 array: a slice, a mask or row numbers give the exact
    weights.

    Attributes:
        code: the weight, or 65,535 where it is that or more.
        large_edge: numbers of the edges whose code is 65,535, ascending.
        large_weight: their weights.
    """

    code: UInt16[np.ndarray, " edges"]
    large_edge: Int64[np.ndarray, " large"]
    large_weight: UInt32[np.ndarray, " large"]
    dtype = np.dtype(np.uint32)

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, chosen: Any) -> UInt32[np.ndarray, " chosen"]:
        weight = self.code[chosen].astype(np.uint32)
        escaped = np.flatnonzero(weight == ESCAPE)
        if len(escaped) == 0:
            return weight
        if isinstance(chosen, slice):
            start, _, step = chosen.indices(len(self))
            edge = start + step * escaped
        else:
            edge = np.arange(len(self))[chosen][escaped]
        weight[escaped] = self._large(edge)
        return weight

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        if copy is False:
            raise ValueError("packed weights cannot be seen as an array without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def tolist(self) -> list[int]:
        """Give the weights as Python numbers."""
        return self[:].tolist()

    def _large(self, edge: Int64[np.ndarray, " n"]) -> UInt32[np.ndarray, " n"]:
        """Look up the weights of edges whose code is the escape."""
        place = np.searchsorted(self.large_edge, edge)
        listed = np.append(self.large_edge, -1)[place] == edge
        if not listed.all():
            raise GraphError(
                f"{(~listed).sum()} of {len(edge)} weights of {ESCAPE:,} or more are "
                f"not in large_edge.npy; expected all. Build the graph again."
            )
        return self.large_weight[place]


class WeightFile:
    """Packed weights that grow on disk: ``weight``, ``large_edge``, ``large_weight``.

    Args:
        folder: of the graph.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = ArrayFile(folder / "weight.npy", np.uint16)
        self.large_edge: list[np.ndarray] = []
        self.large_weight: list[np.ndarray] = []

    def __enter__(self) -> "WeightFile":
        self.file.__enter__()
        return self

    def append(self, weight: UInt32[np.ndarray, " n"]) -> None:
        """Write whole weights behind what is there."""
        large = np.flatnonzero(weight >= ESCAPE)
        self.large_edge.append(large + self.file.length)
        self.large_weight.append(weight[large])
        self.file.append(np.minimum(weight, ESCAPE))

    def __exit__(self, failure: object, *rest: object) -> None:
        self.file.__exit__(failure, *rest)
        if failure is None:
            edge = np.concatenate([np.zeros(0, np.int64), *self.large_edge])
            weight = np.concatenate([np.zeros(0, np.uint32), *self.large_weight])
            np.save(self.folder / "large_edge.npy", edge)
            np.save(self.folder / "large_weight.npy", weight)
