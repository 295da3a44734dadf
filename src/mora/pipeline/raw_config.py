"""What `mora raw` is told: trajectories, a network, how it is trained and judged."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mora.config import TableInput, TrainingConfig
from mora.config.section import Section
from mora.trajectories.generator.trace_config import TraceConfig
from mora.trajectories.raw.contrastive import ContrastiveConfig
from mora.trajectories.raw.presets import RAW_TRAINING, RawConfig, raw_preset


class TraceInput(Section):
    """Points of users: from a table, or generated with labels.

    Attributes:
        table: ``user``, ``time``, ``lon``, ``lat``.
        timezone: IANA name of the zone the places are in, for ``table``.
        labels: table of ``user`` and columns to be predicted, for ``table``.
        generated: settings of made-up people, instead of a table.
    """

    table: TableInput | None = None
    timezone: str = "UTC"
    labels: TableInput | None = None
    generated: TraceConfig | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "TraceInput":
        if (self.table is None) == (self.generated is None):
            raise ValueError("expected either table or generated, and not both")
        return self


class StepsConfig(Section):
    """How points become steps; see :func:`mora.trajectories.raw.steps.to_steps`.

    Attributes:
        length: steps of a trajectory.
        minutes: of a step.
        fill: of steps without a point.
        min_known: users with fewer known steps are left out.
    """

    length: int = Field(960, ge=2)
    minutes: float = Field(15.0, gt=0)
    fill: Literal["last", "linear"] = "last"
    min_known: int = Field(2, ge=1)


class RegionsConfig(Section):
    """Regions whose vectors are made of who is seen there.

    Attributes:
        resolution: H3 level of the cells.
        pooling: ``sum`` as in the paper, or ``mean``.
        min_users: regions with fewer distinct users are hidden.
    """

    resolution: int = Field(8, ge=0, le=15)
    pooling: Literal["sum", "mean"] = "mean"
    min_users: int = Field(2, ge=1)


class HeadsConfig(Section):
    """How labels are read from the vectors of users.

    Attributes:
        vectors: ``mean`` of the states as in the paper, or ``mean_std``: their standard
            deviation as well.
        fitted_on: users whose labels the heads are fitted on: some of the ``unseen``
            ones, or ``all`` but those whom a split tests. Tested are unseen ones only.
        repeats: splits on which the heads are judged.
    """

    vectors: Literal["mean", "mean_std"] = "mean"
    fitted_on: Literal["unseen", "all"] = "unseen"
    repeats: int = Field(10, ge=2)


class RawRunConfig(Section):
    """Everything `mora raw` is told.

    Attributes:
        name: of the run; its folder is ``runs/NAME`` unless ``folder`` says otherwise.
        folder: where the run is kept.
        seed: of everything drawn by chance.
        traces: points of the users.
        steps: how points become steps.
        test_share: users that the network never sees; all figures are of them.
        preset: of the network; ``network`` goes over it.
        network: sizes and options of the network.
        pretrained: points of other users, whom the network is trained on instead; it is
            then tested on these, with the study box of these.
        pretraining: of the network: forecast the next point, contrast two views of a
            user, or ``none``: it stays as drawn.
        contrastive: views, for ``pretraining: contrastive``.
        training: of the loop; what is not set is the paper's.
        heads: that read labels from vectors.
        regions: whose vectors are made.
        horizon: steps forecast ahead; 10 of 15 minutes are the paper's 2.5 hours.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    folder: str | None = None
    seed: int = Field(0, ge=0)
    traces: TraceInput
    steps: StepsConfig = StepsConfig()
    test_share: float = Field(0.3, gt=0, lt=1)
    preset: str = "small"
    network: dict[str, Any] = Field(default_factory=dict)
    pretrained: TraceInput | None = None
    pretraining: Literal["forecast", "contrastive", "none"] = "forecast"
    contrastive: ContrastiveConfig = ContrastiveConfig()
    training: TrainingConfig = RAW_TRAINING
    heads: HeadsConfig = HeadsConfig()
    regions: RegionsConfig = RegionsConfig()
    horizon: int = Field(10, ge=1)

    @field_validator("training", mode="before")
    @classmethod
    def _over_the_papers(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {**RAW_TRAINING.model_dump(), **given}
        return given

    @model_validator(mode="after")
    def _check_network(self) -> "RawRunConfig":
        self.raw()  # a wrong size or option is told before anything is read
        if self.horizon >= self.steps.length:
            raise ValueError(
                f"horizon {self.horizon} of {self.steps.length} steps; expected a "
                f"horizon that leaves a history"
            )
        return self

    def raw(self) -> RawConfig:
        """Give the network's configuration: the preset, and what goes over it."""
        own = {"length": self.steps.length, "minutes": self.steps.minutes}
        return raw_preset(self.preset, **own | self.network)
