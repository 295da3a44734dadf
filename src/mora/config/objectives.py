"""What the vectors are trained to do: objectives, each with a weight and options."""

from typing import Literal

from pydantic import Field, model_validator

from mora.config.section import Section


class ContrastiveConfig(Section):
    """Each token's anchor and modalities are told from those of other tokens.

    Attributes:
        weight: of its loss; 0 leaves it out.
        temperature: constant, that of each head (MoRA); or ``learned``, one a modality
            that starts there and does not fall below 0.01 (CLIP).
        false_negatives: pairs of tokens whose features of the modality have a cosine
            above this, in (0, 1], are not contrasted; None or 1 contrasts all.
    """

    weight: float = Field(1.0, ge=0)
    temperature: Literal["constant", "learned"] = "constant"
    false_negatives: float | None = Field(None, gt=0, le=1)


class MaskedConfig(Section):
    """A modality is reconstructed from mobility and some of the other modalities.

    Attributes:
        weight: of its loss; 0 leaves it out.
        dropout: chance that another modality of a token is hidden; at 1, mobility alone
            is left.
        components: principal components that stand for the features; all columns by
            default.
    """

    weight: float = Field(0.0, ge=0)
    dropout: float = Field(0.5, ge=0, le=1)
    components: int | None = Field(None, ge=1)


class VicregConfig(Section):
    """Anchor and modalities agree, while no column shrinks or repeats another.

    Attributes:
        weight: of its loss; 0 leaves it out.
        invariance: coefficient of the distance between the two.
        variance: coefficient of deviations below 1.
        covariance: coefficient of covariances between columns.
    """

    weight: float = Field(0.0, ge=0)
    invariance: float = Field(25.0, ge=0)
    variance: float = Field(25.0, ge=0)
    covariance: float = Field(1.0, ge=0)


class BarlowConfig(Section):
    """Each column of the anchor correlates with the same column of a modality only.

    Attributes:
        weight: of its loss; 0 leaves it out.
        redundancy: coefficient of correlations between different columns.
    """

    weight: float = Field(0.0, ge=0)
    redundancy: float = Field(0.005, ge=0)


class FlowConfig(Section):
    """Movement between two tokens is predicted from their vectors, as gravity does.

    Attributes:
        weight: of its loss; 0 leaves it out.
        pairs: edges of the graph a step, at most, and as many random pairs.
        mass: what the pull of a token is a linear map of: its vector, or the logarithm
            of all its movement.
    """

    weight: float = Field(0.0, ge=0)
    pairs: int = Field(20_480, ge=1)
    mass: Literal["vector", "volume"] = "vector"


class NeighboursConfig(Section):
    """The features of the tokens that people come from and go to are predicted.

    Attributes:
        weight: of its loss; 0 leaves it out.
        components: principal components that stand for the features; all columns by
            default.
    """

    weight: float = Field(0.0, ge=0)
    components: int | None = Field(None, ge=1)


class ObjectivesConfig(Section):
    """The objectives; the loss is the sum of weight times loss.

    Attributes:
        contrastive: InfoNCE between anchor and modalities (MoRA), the default.
        masked: reconstruction of a modality from the others.
        vicreg: VICReg between anchor and modalities.
        barlow: Barlow Twins between anchor and modalities.
        flow: movement from pairs of vectors.
        neighbours: features of neighbours from a vector.
    """

    contrastive: ContrastiveConfig = ContrastiveConfig()
    masked: MaskedConfig = MaskedConfig()
    vicreg: VicregConfig = VicregConfig()
    barlow: BarlowConfig = BarlowConfig()
    flow: FlowConfig = FlowConfig()
    neighbours: NeighboursConfig = NeighboursConfig()

    @model_validator(mode="after")
    def _one_at_least(self) -> "ObjectivesConfig":
        if not any(getattr(self, name).weight for name in type(self).model_fields):
            raise ValueError(
                "every weight is 0; expected one above 0, such as contrastive: "
                "{weight: 1}"
            )
        return self
