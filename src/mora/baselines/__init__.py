"""What place vectors must beat: coordinates, movement alone, the raw features."""

from mora.baselines import coordinates, inputs
from mora.baselines.registry import (
    BASELINES,
    Baseline,
    BaselineInput,
    MissingInputError,
    Reproduction,
    Volume,
    baseline,
    embed_baselines,
    find_baseline,
)

__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineInput",
    "MissingInputError",
    "Reproduction",
    "Volume",
    "baseline",
    "coordinates",
    "embed_baselines",
    "find_baseline",
    "inputs",
]
