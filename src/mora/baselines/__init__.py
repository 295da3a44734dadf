"""What place vectors must beat: coordinates, movement alone, the raw features."""

from mora.baselines import (
    alphaearth,
    analytical,
    coordinates,
    csp,
    graphs,
    hrep,
    inputs,
    pretrained,
    recp,
    refound,
    vectors,
)
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
    "alphaearth",
    "analytical",
    "baseline",
    "coordinates",
    "csp",
    "embed_baselines",
    "find_baseline",
    "graphs",
    "hrep",
    "inputs",
    "pretrained",
    "recp",
    "refound",
    "vectors",
]
