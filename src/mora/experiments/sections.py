"""What each section of the fused vector is worth: alone, and left out."""

from pathlib import Path

from mora.config import ExportConfig, RunConfig
from mora.errors import ConfigError
from mora.experiments.variants import Experiment, Variant

SECTIONS = ("own", "contrast", "around", "movement")


def fused(config: RunConfig, _folder: Path) -> Experiment:
    """Leave each section of the fused vector out, and export it alone.

    Raises:
        ConfigError: if the run has no modality, whose sections could be left out.
    """
    if not config.modalities:
        raise ConfigError(
            "modalities: none; the experiment leaves sections of modalities out and "
            "needs at least one."
        )
    shares = {name: getattr(config.export, name) for name in SECTIONS}
    none = dict.fromkeys(SECTIONS, 0.0)
    whole = {**shares, "kind": "fused"}
    # "kind" is set each time: an experiment exports the aligned vector otherwise.
    variants = [
        Variant("fused", {"export": whole}),
        Variant("aligned alone", {"export": {"kind": "anchor"}}),
        *(
            Variant(f"w/o {name}", {"export": {**whole, name: 0.0}})
            for name in SECTIONS
        ),
        Variant("w/o aligned", {"export": _without_aligned(shares)}),
        *(
            Variant(f"{name} alone", {"export": {**none, "kind": "fused", name: 1.0}})
            for name in SECTIONS
        ),
    ]
    return Experiment(
        "fused",
        "What each section of the fused vector is worth",
        "mora.fusion; not in the paper",
        tuple(variants),
        notes=(
            "The width stays: columns of a section left out go to the aligned vector. "
            "A section alone has as many columns as there are, the aligned vector the "
            "rest, if any.",
        ),
    )


def _without_aligned(shares: dict[str, float]) -> dict[str, float | str]:
    """Share the whole width among the sections, in proportion."""
    total = sum(shares.values()) or 1.0
    grown = {name: share / total for name, share in shares.items()}
    # Rounding must not bring the sum above 1.
    grown["own"] = max(1.0 - sum(grown[n] for n in SECTIONS[1:]) - 1e-9, 0.0)
    return {**ExportConfig().model_dump(), **grown, "kind": "fused"}
