"""A section of the fused vector: some columns, and which places have them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Section:
    """Columns that say one thing about places.

    Attributes:
        values: one row a token; zero where a token lacks the section.
        present: whether each token has it.
    """

    values: Float[np.ndarray, "tokens columns"]
    present: Bool[np.ndarray, " tokens"]

    @property
    def width(self) -> int:
        """Count the columns."""
        return self.values.shape[1]

    def with_variance(self, total: float) -> "Section":
        """Scale all columns by one factor, to a total variance over the tokens.

        One factor keeps the order and the ratios of a spectrum; a Ridge with a fixed
        penalty then shrinks what varies little.

        Args:
            total: the variances of all columns added up, > 0.

        Returns:
            The scaled section; as it is where nothing varies.
        """
        rows = self.values[self.present]
        variance = float(rows.var(axis=0).sum()) if len(rows) else 0.0
        if variance <= 0:
            return self
        return Section(self.values * np.sqrt(total / variance), self.present)


def leading(values: Float[np.ndarray, "tokens columns"], count: int) -> np.ndarray:
    """Give the ``count`` directions of most variance; all columns if not more.

    Returns:
        As they are if ``count`` holds them all; otherwise principal components, largest
        first, each with its largest weight positive.
    """
    if count >= values.shape[1]:
        return values
    return (values - values.mean(axis=0)) @ principal_axes(values, count)


def principal_axes(
    values: Float[np.ndarray, "rows columns"], count: int
) -> Float[np.ndarray, "columns count"]:
    """Give the axes of most variance, as columns, exactly and without chance."""
    centred = values - values.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    peak = axes[np.argmax(np.abs(axes), axis=0), np.arange(axes.shape[1])]
    return axes * np.where(peak < 0, -1.0, 1.0)
