"""What makes two places alike: every kind of knowledge of them counts the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True, eq=False)
class Likeness:
    """Shifts and scales columns, so that cosines weigh each kind of section alike.

    Attributes:
        middle: what is taken off each column.
        scale: what each column is then multiplied by.
    """

    middle: Float32[np.ndarray, " dim"]
    scale: Float32[np.ndarray, " dim"]

    def of(self, vectors: Float[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
        """Give vectors in the form that cosines are taken of."""
        return ((vectors - self.middle) * self.scale).astype(np.float32, copy=False)


def likeness_of(
    vectors: Float[np.ndarray, "tokens dim"],
    sections: Mapping[str, Sequence[int]],
) -> Likeness:
    """Find how vectors of sections are to be compared.

    A fused vector gives movement ten times the variance of the rest, which is what a
    Ridge with a fixed penalty needs. Its cosines would be those of movement alone.

    Args:
        vectors: of the places.
        sections: name -> first column, and one past the last. The first word of a name
            says of what kind it is; sections of a kind keep their ratio.

    Returns:
        A form in which each kind has mean 0 and total variance 1 over the places;
        vectors as they are if there are fewer than two kinds.
    """
    dim = vectors.shape[1]
    middle, scale = np.zeros(dim), np.ones(dim)
    kinds: dict[str, list[int]] = {}
    for name, (first, end) in sections.items():
        kinds.setdefault(name.split()[0], []).extend(range(first, end))
    if len(kinds) > 1:
        middle = vectors.mean(axis=0, dtype=np.float64)
        variance = vectors.var(axis=0, dtype=np.float64)
        for columns in kinds.values():
            total = variance[columns].sum()
            scale[columns] = 1 / np.sqrt(total) if total > 0 else 0.0
    return Likeness(middle.astype(np.float32), scale.astype(np.float32))
