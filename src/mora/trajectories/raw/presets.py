"""Sizes and options of the RAW model."""

from typing import Literal

from pydantic import Field, model_validator

from mora.config import TrainingConfig
from mora.config.section import Section
from mora.errors import ConfigError

Box = tuple[float, float, float, float]  # west, south, east, north in degrees


class RawConfig(Section):
    """A GPT over the points of a trajectory.

    Source: RAW (arXiv 2311.10471), section 4. The options from ``time_features`` on are
    not in the paper; as they stand here, the model is the paper's.

    Attributes:
        length: steps of a trajectory, at most; 960 is 10 days of 15 minutes.
        minutes: between two steps.
        width: of the states.
        layers: causal blocks.
        heads: of the attention; divide ``width``.
        ffn_factor: width of the blocks' hidden layer over ``width``.
        dropout: share of the activations left out while training.
        time_features: whether time of day and day of the week are added at the input.
        gap_mask: whether steps without a fix are shown as a learned vector and left out
            of the loss; else their filled-in points are taken as they are.
        output: ``mse``, one point a step, or ``mixture``, a density of the next point.
        components: Gaussians of the mixture.
        covariance: of each Gaussian: ``diagonal``, or ``full`` for slanted ones.
        target: what the network gives: the next ``point`` itself, as in the paper, or
            the ``move`` to it from where the user was last seen, or the ``visited``
            point near which it lies (a density; ``output`` then says nothing).
        point: what a density forecasts: its ``mean``, the middle of its ``heaviest``
            component, or of the component least far from all others (``median``).
        hidden: share of the steps shown as unknown while training, in runs of
            :data:`~mora.trajectories.raw.pretraining.HIDDEN_RUN`; needs ``gap_mask``.
        ahead: what steps after the first one are forecast from: the ``points`` just
            forecast, as in the paper, or ``gaps``: the network is asked for a step
            further on, with none known between; needs ``gap_mask``.
        box: west, south, east, north of the study box in degrees, which is scaled to
            [-1, 1]; None takes it from the training data.
    """

    length: int = Field(960, ge=1)
    minutes: float = Field(15.0, gt=0)
    width: int = Field(768, ge=1)
    layers: int = Field(12, ge=1)
    heads: int = Field(16, ge=1)
    ffn_factor: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    time_features: bool = False
    gap_mask: bool = False
    output: Literal["mse", "mixture"] = "mse"
    components: int = Field(5, ge=1)
    covariance: Literal["diagonal", "full"] = "diagonal"
    target: Literal["point", "move", "visited"] = "point"
    point: Literal["mean", "heaviest", "median"] = "mean"
    hidden: float = Field(0.0, ge=0, lt=1)
    ahead: Literal["points", "gaps"] = "points"
    box: Box | None = None

    @model_validator(mode="after")
    def _check(self) -> "RawConfig":
        if self.width % self.heads:
            raise ConfigError(
                f"width {self.width} and {self.heads} heads; expected a width that the "
                f"heads divide."
            )
        if not self.gap_mask and (self.hidden > 0 or self.ahead == "gaps"):
            raise ConfigError(
                f"hidden {self.hidden:g} and ahead {self.ahead!r} without gap_mask; "
                f"expected gap_mask: true, which lets the network tell a gap."
            )
        if self.box is not None:
            west, south, east, north = self.box
            if not (west < east and south < north):
                raise ConfigError(
                    f"box {self.box}; expected west, south, east, north with west < "
                    f"east and south < north."
                )
        return self


PRESETS = {
    "test": RawConfig(length=32, width=32, layers=2, heads=4, dropout=0.0),
    "small": RawConfig(width=256, layers=6, heads=8),
    "base": RawConfig(),  # 92 million parameters, the smallest of the paper
    "large": RawConfig(width=1536, layers=36, heads=24),  # about a billion
}

# Source: RAW: AdamW, 1e-4, linear decay; users of a batch are not given.
RAW_TRAINING = TrainingConfig(
    learning_rate=1e-4, weight_decay=0.01, schedule="linear", batch_size=32
)


def raw_preset(name: str, **changes: object) -> RawConfig:
    """Give a size by its name.

    Args:
        name: one of :data:`PRESETS`.
        changes: fields that shall differ.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"no preset {name!r} of RAW; expected one of {', '.join(PRESETS)}."
        )
    return RawConfig(**{**PRESETS[name].model_dump(), **changes})
