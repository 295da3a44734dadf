"""What the vectors are trained to do: a loss each, summed by weight."""

from mora.config.objectives import ObjectivesConfig
from mora.encoder.objectives.base import OBJECTIVES, Material, Objective
from mora.encoder.objectives.contrastive import Contrastive
from mora.encoder.objectives.decorrelation import Barlow, Vicreg
from mora.encoder.objectives.flow import Flow
from mora.encoder.objectives.reconstruction import Masked, Neighbours
from mora.encoder.objectives.views import MOBILITY, ModalityBatch, Views

__all__ = [
    "MOBILITY",
    "OBJECTIVES",
    "Barlow",
    "Contrastive",
    "Flow",
    "Masked",
    "Material",
    "ModalityBatch",
    "Neighbours",
    "Objective",
    "Vicreg",
    "Views",
    "build_objectives",
]


def build_objectives(
    config: ObjectivesConfig, material: Material
) -> dict[str, Objective]:
    """Build the objectives whose weight is not 0, in the order of the settings.

    Args:
        config: weights and options.
        material: what they are built from.
    """
    names = [n for n in type(config).model_fields if getattr(config, n).weight > 0]
    return {name: OBJECTIVES[name](getattr(config, name), material) for name in names}
