"""An experiment: a reference run and changes to its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mora.errors import ConfigError


@dataclass(frozen=True)
class Variant:
    """One change to the configuration of a run.

    Attributes:
        name: in tables; also its folder, with other characters than letters, digits,
            ``.``, ``+`` and ``-`` replaced.
        changes: settings that go over those of the reference, nested alike.
        paper: what the paper reports for it, in the experiment's ``paper_unit``; None
            where it gives no number.
        size: places that it is trained on or another number for the figure's axis.
        control: it shows what size alone does, and is left out of a fitted curve.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    paper: float | None = None
    size: float | int | None = None
    control: bool = False

    @property
    def folder(self) -> str:
        """Give the name of its folder."""
        return "".join(c if c.isalnum() or c in ".+-" else "_" for c in self.name)


@dataclass(frozen=True)
class Experiment:
    """A list of variants that are run on the same data and scored on the same splits.

    Attributes:
        name: also its folder.
        title: what it asks, in a few words.
        source: where the paper does it.
        variants: the reference first.
        paper_unit: what the paper's figures are: R2, or percent against the reference.
        figure: bars with the difference to the reference, or a curve over ``size``.
        axis: name of the ``size`` axis.
        by_validation: variants are only trained; the one with the least validation loss
            is scored beside the reference. Labels play no part in the choice.
        notes: what a reader must know.
    """

    name: str
    title: str
    source: str
    variants: tuple[Variant, ...]
    paper_unit: Literal["R2", "%"] = "%"
    figure: Literal["bars", "curve"] = "bars"
    axis: str = ""
    by_validation: bool = False
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> Variant:
        """Give the variant that the others are compared with."""
        return self.variants[0]

    def only(self, names: Sequence[str]) -> "Experiment":
        """Give the experiment with the reference and some other variants.

        Raises:
            ConfigError: if it has no variant of a name.
        """
        known = [variant.name for variant in self.variants]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"experiment {self.name!r} has no variant {', '.join(unknown)}; "
                f"expected some of {', '.join(known)}."
            )
        kept = [v for v in self.variants[1:] if v.name in names]
        return replace(self, variants=(self.reference, *kept))
