"""What a run is told: YAML or a dictionary becomes frozen, checked settings."""

from mora.config.evaluation import EvaluationConfig, GroupConfig, LabelsConfig
from mora.config.inputs import AreaInput, TableInput
from mora.config.loading import load_config, load_section, validate_settings
from mora.config.mobility import (
    ArraysMobility,
    FlowsMobility,
    GravityMobility,
    Mobility,
    NeighboursMobility,
    RadiationMobility,
    VisitsMobility,
)
from mora.config.objectives import ObjectivesConfig
from mora.config.run import (
    EncoderConfig,
    ExportConfig,
    HeadConfig,
    LineConfig,
    MapConfig,
    ModalityConfig,
    RunConfig,
    SampleConfig,
    TokensConfig,
    TrainingConfig,
)

__all__ = [
    "AreaInput",
    "ArraysMobility",
    "EncoderConfig",
    "EvaluationConfig",
    "ExportConfig",
    "FlowsMobility",
    "GravityMobility",
    "GroupConfig",
    "HeadConfig",
    "LabelsConfig",
    "LineConfig",
    "MapConfig",
    "Mobility",
    "ModalityConfig",
    "NeighboursMobility",
    "ObjectivesConfig",
    "RadiationMobility",
    "RunConfig",
    "SampleConfig",
    "TableInput",
    "TokensConfig",
    "TrainingConfig",
    "VisitsMobility",
    "load_config",
    "load_section",
    "validate_settings",
]
