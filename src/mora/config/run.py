"""The parts of a run's configuration, in the order in which they are used."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mora.config.evaluation import EvaluationConfig
from mora.config.inputs import AreaInput, TableInput
from mora.config.mobility import Mobility
from mora.config.objectives import ObjectivesConfig
from mora.config.section import Section


class TokensConfig(Section):
    """What a place is.

    Attributes:
        kind: H3 cells, cells of a square grid, or zones with names.
        resolution: H3 level; for ``h3``.
        areas: outlines of the zones; for ``h3`` the study area to fill with cells
            where no records do.
        bounds: west, south, east, north in degrees; rows outside are counted and
            left out.
        width: columns of a square grid.
        height: rows of a square grid.
        cell_km: side of a grid cell.
        only: a table of the places to keep, by ``id``; movement with all others is left
            out, as if it had never been recorded.
    """

    kind: Literal["h3", "grid", "zone"] = "h3"
    resolution: int = Field(6, ge=0, le=15)
    areas: AreaInput | None = None
    bounds: tuple[float, float, float, float] | None = None
    width: int = Field(200, ge=1)
    height: int = Field(200, ge=1)
    cell_km: float = Field(0.5, gt=0)
    only: TableInput | None = None


class SampleConfig(Section):
    """Which edges the encoder propagates over.

    Attributes:
        share: part of each node's edges, in (0, 1].
        by: the heaviest, or as many at random.
        ends: keep what either end chose, or only what both did.
    """

    share: float = Field(0.1, gt=0, le=1)
    by: Literal["weight", "random"] = "weight"
    ends: Literal["union", "intersection"] = "union"


class LineConfig(Section):
    """The pre-encoding of the full graph.

    Attributes:
        method: closed form, sampled as published, ``random`` numbers of the same size
            instead of LINE, or read from ``path``.
        dim: width of LINE and of every later vector.
        path: ``.npy`` of one row a token; for ``given``.
        options: further arguments of the method.
    """

    method: Literal["closed_form", "sampled", "random", "given"] = "closed_form"
    dim: int = Field(128, ge=1)
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class HeadConfig(Section):
    """How a modality reaches the shared space.

    Attributes:
        kind: one linear layer, or two with 64 hidden units.
        temperature: of its contrastive loss.
    """

    kind: Literal["linear", "mlp"] = "linear"
    temperature: float = Field(0.2, gt=0)


class ModalityConfig(Section):
    """One modality of the tokens.

    Attributes:
        kind: name of a registered builder, or ``array`` for a ready ``.npy``.
        inputs: tables whose rows are put together.
        areas: polygons that the rows' ids name, for ``demographics``; rows are
            allocated to the tokens that each polygon covers, by area.
        path: the ``.npy`` of kind ``array``, one row a token, NaN where missing.
        options: arguments of the builder.
        head: how it is aligned.
        align: False keeps it out of training; it stays among the raw features, and in
            the fused export.
        standardise: bring each column to mean 0 and deviation 1 before the head.
    """

    kind: str
    inputs: tuple[TableInput, ...] = ()
    areas: AreaInput | None = None
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    head: HeadConfig = HeadConfig()
    align: bool = True
    standardise: bool = True


class EncoderConfig(Section):
    """The encoder of mobility.

    Attributes:
        kind: LightGCN over the graph, or a small network over each token's LINE vector
            alone.
        anchor: what all modalities are aligned to and whose side is exported:
            ``mobility``, or the name of a modality.
        layers: propagation steps.
        normalisation: degrees from weights (released code) or from counts (paper).
    """

    kind: Literal["lightgcn", "mlp"] = "lightgcn"
    anchor: str = "mobility"
    layers: int = Field(2, ge=0)
    normalisation: Literal["weighted", "unweighted"] = "weighted"


class ExportConfig(Section):
    """What the exported vector is made of; see :mod:`mora.fusion`.

    The shares are of ``line.dim``, the width of the vector. What they leave, and what
    sections do not need, goes to the vector that training aligned. ``anchor`` has no
    sections and no use for them.

    Attributes:
        kind: the anchor's side of the trained model alone (paper), or sections side by
            side: ``fused``.
        own: share of the place's own features.
        contrast: of their difference from the places that it exchanges people with.
        around: of the features of places two steps away.
        movement: of volumes and factors of the flows.
    """

    kind: Literal["anchor", "fused"] = "anchor"
    own: float = Field(0.28, ge=0, le=1)
    contrast: float = Field(0.19, ge=0, le=1)
    around: float = Field(0.09, ge=0, le=1)
    movement: float = Field(0.3125, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> "ExportConfig":
        total = self.own + self.contrast + self.around + self.movement
        if total > 1:
            raise ValueError(
                f"the shares of export add up to {total:g}; expected 1 at most, what "
                f"is left goes to the aligned vector"
            )
        return self


class TrainingConfig(Section):
    """The training loop.

    Attributes:
        optimizer: AdamW (released code) or Adam (paper).
        learning_rate: its highest value.
        weight_decay: on matrices only.
        batch_size: tokens contrasted together, at most.
        epochs: at most.
        patience: epochs without a better validation loss before stopping.
        schedule: of the learning rate after the warm-up: constant, or falling to 0 at
            the last epoch there can be along a line or half a cosine.
        warmup: share of all steps over which the learning rate rises from 0.
        clip_norm: longest gradient of all parameters together; None leaves it.
        validation_share: tokens held out of the loss.
        checkpoint_seconds: least time between two checkpoints.
        precision: of Lightning Fabric, such as ``32-true`` or ``bf16-mixed``.
        accelerator: of Lightning Fabric; ``auto`` takes a GPU where there is one.
        devices: processes that share every batch, started by ``torchrun`` on one
            machine; each has a GPU of its own where there are some.
    """

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    batch_size: int = Field(20_480, ge=2)
    epochs: int = Field(100, ge=1)
    patience: int = Field(10, ge=1)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0)
    validation_share: float = Field(0.1, gt=0, lt=1)
    checkpoint_seconds: float = Field(15.0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)


class MapConfig(Section):
    """The first map.

    Attributes:
        names: columns ``name`` and ``lon``, ``lat`` or ``id``: what to call a place;
            the first name of a token is shown.
        similar: how many similar places a click lists.
    """

    names: TableInput | None = None
    similar: int = Field(10, ge=1)


ModalityName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class RunConfig(Section):
    """Everything a run is told.

    Attributes:
        name: of the run; its folder is ``runs/NAME`` unless ``folder`` says otherwise.
        preset: values of everything that is not set; see ``mora/presets``.
        folder: where the run is kept, from the folder that ``mora`` is started in.
        seed: of everything drawn by chance.
        memory_gb: GB that a stage may take; by default what is free, and 2 for counting
            co-visits, which is no faster with more.
        notes: shown wherever a number of the run is shown.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    preset: Literal["default", "paper"] = "default"
    folder: str | None = None
    seed: int = Field(0, ge=0)
    memory_gb: float | None = Field(None, gt=0)
    notes: tuple[str, ...] = ()
    tokens: TokensConfig = TokensConfig()
    mobility: Mobility
    sample: SampleConfig = SampleConfig()
    line: LineConfig = LineConfig()
    modalities: dict[ModalityName, ModalityConfig] = Field(default_factory=dict)
    encoder: EncoderConfig = EncoderConfig()
    objectives: ObjectivesConfig = ObjectivesConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    map: MapConfig = MapConfig()

    @model_validator(mode="after")
    def _anchor_known(self) -> "RunConfig":
        aligned = [name for name, m in self.modalities.items() if m.align]
        if self.encoder.anchor not in ("mobility", *aligned):
            raise ValueError(
                f"encoder.anchor: {self.encoder.anchor!r} is no aligned modality; "
                f"expected one of {', '.join(['mobility', *aligned])}"
            )
        return self
