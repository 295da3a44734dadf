"""What place vectors must beat: coordinates, movement alone, the raw features."""

from mora.baselines import coordinates, inputs
from mora.baselines.registry import (
    BASELINES,
    Baseline,
    BaselineInput,
    MissingInputError,
    Volume,
    baseline,
    embed_baselines,
)

__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineInput",
    "MissingInputError",
    "Volume",
    "baseline",
    "coordinates",
    "embed_baselines",
    "inputs",
]
