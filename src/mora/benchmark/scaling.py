"""How scores grow with the amount of data: a line over the logarithm of the size."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from mora.errors import MoraError

FEWEST_POINTS = 3  # two points fix the line and leave nothing to judge it by


@dataclass(frozen=True)
class ScalingFit:
    """A fitted line ``score = intercept + slope * log(size)`` and its uncertainty.

    Attributes:
        intercept: score at size 1, far outside the data as a rule.
        slope: gain for a size e times as large; times log(2) for a doubling.
        slope_interval: low and high end of the slope.
        confidence: of the intervals, in 0..1.
        points: number of scores.
        residual_error: standard deviation of a score around the line.
        mean_log_size: mean of log(size).
        spread_log_size: sum of the squared distances from it.
        quantile: of Student's t, by which a standard error is multiplied.
    """

    intercept: float
    slope: float
    slope_interval: tuple[float, float]
    confidence: float
    points: int
    residual_error: float
    mean_log_size: float
    spread_log_size: float
    quantile: float

    def at(
        self, size: Real[np.ndarray, " n"]
    ) -> tuple[
        Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]
    ]:
        """Give the line, and the low and high end of its interval.

        The interval is that of the mean score at a size, not of a single new score.

        Args:
            size: > 0.

        Returns:
            Score, low end, high end; closest together at the mean log size.
        """
        offset = np.log(size) - self.mean_log_size
        score = self.intercept + self.slope * np.log(size)
        share = 1 / self.points + offset**2 / self.spread_log_size
        half = self.quantile * self.residual_error * np.sqrt(share)
        return score, score - half, score + half

    def __str__(self) -> str:
        low, high = (np.log(2) * end for end in self.slope_interval)
        return (
            f"{np.log(2) * self.slope:+.3f} for each doubling ({self.confidence:.0%} "
            f"interval {low:+.3f} to {high:+.3f}, {self.points} scores)"
        )

    def to_json(self) -> dict[str, Any]:
        """Give the fit as plain values."""
        return asdict(self) | {"slope_interval": list(self.slope_interval)}


def fit_scaling(
    size: Real[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    *,
    confidence: float = 0.95,
) -> ScalingFit:
    """Fit a line over the logarithm of the size by least squares.

    Source: ordinary least squares with Student's t for the intervals (Draper and Smith
    1998, Applied Regression Analysis, ch. 1). Kaplan et al. 2020 fit a power law to a
    loss without an upper bound; R2 over a few decades is described by a line. The
    interval takes scores as independent; where smaller sets are parts of larger ones,
    or seeds share their data, it is too narrow.

    Args:
        size: of the training data, > 0; repeated where there are several seeds.
        score: one for each size.
        confidence: of the intervals, in 0..1, both excluded.

    Returns:
        The fit; intervals have no width where all scores lie on a line.

    Raises:
        MoraError: if there are fewer than 3 scores or 2 sizes, a size is not positive,
            a score is not finite, or ``confidence`` is out of range.
    """
    _check(size, score, confidence)
    from scipy.stats import linregress, t  # half a second to import

    log_size = np.log(size)
    line = linregress(log_size, score)
    free = len(size) - 2
    quantile = float(t.ppf((1 + confidence) / 2, free))
    half = quantile * line.stderr
    error = score - line.intercept - line.slope * log_size
    return ScalingFit(
        intercept=float(line.intercept),
        slope=float(line.slope),
        slope_interval=(float(line.slope - half), float(line.slope + half)),
        confidence=confidence,
        points=len(size),
        residual_error=float(np.sqrt((error**2).sum() / free)),
        mean_log_size=float(log_size.mean()),
        spread_log_size=float(((log_size - log_size.mean()) ** 2).sum()),
        quantile=quantile,
    )


def _check(size: np.ndarray, score: np.ndarray, confidence: float) -> None:
    """Refuse what no line can be fitted to."""
    if not 0 < confidence < 1:
        raise MoraError(f"confidence is {confidence}; expected more than 0, below 1.")
    good = np.isfinite(size) & (size > 0) & np.isfinite(score)
    if not good.all():
        raise MoraError(
            f"{(~good).sum()} of {len(good)} scores have no finite value or no "
            f"positive size; expected both. Leave out what was not measured."
        )
    if len(size) < FEWEST_POINTS or len(np.unique(size)) < 2:
        raise MoraError(
            f"{len(size)} scores at {len(np.unique(size))} sizes; expected at least "
            f"{FEWEST_POINTS} scores at 2 sizes. Add sizes or seeds."
        )
