"""One modality as the anchor that every other is aligned to; mobility by default."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.config.objectives import ContrastiveConfig
from mora.encoder.lightgcn import LightGCN
from mora.encoder.node_mlp import NodeMLP
from mora.encoder.objectives import (
    MOBILITY,
    Contrastive,
    Material,
    ModalityBatch,
    Objective,
    Views,
)

__all__ = ["MOBILITY", "AlignedModel", "ModalityBatch"]


class AlignedModel(nn.Module):
    """An encoder of mobility and one head per modality, trained to agree on each token.

    Source: MoRA, section 3.3, whose one objective is the contrastive loss.

    Args:
        mobility: the encoder of mobility.
        heads: name of each modality -> head into the width of ``mobility``.
        temperatures: name of each modality -> temperature of its contrastive loss.
        anchor: what all others are aligned to and whose output is the exported
            embedding: ``mobility``, or one of ``heads`` (MoRA, section 4.4).
        objectives: what it is trained to do; the contrastive loss by default.
    """

    def __init__(
        self,
        mobility: LightGCN | NodeMLP,
        heads: Mapping[str, nn.Module],
        temperatures: Mapping[str, float],
        anchor: str = MOBILITY,
        objectives: Mapping[str, Objective] | None = None,
    ) -> None:
        super().__init__()
        self.mobility = mobility
        self.anchor = anchor
        self.heads = nn.ModuleDict(dict(heads))
        self.temperatures = dict(temperatures)
        if objectives is None:
            material = Material(temperatures=temperatures)
            objectives = {"contrastive": Contrastive(ContrastiveConfig(), material)}
        self.objectives = nn.ModuleDict(dict(objectives))

    def forward(
        self,
        batch: Int[Tensor, " batch"],
        modalities: Mapping[str, ModalityBatch],
    ) -> Float[Tensor, ""]:
        """Give the loss of a batch of tokens: the sum of weight times objective.

        By default it is the contrastive loss alone: each modality against the anchor
        over the tokens of the batch that have both, in both directions, averaged over
        the pairs (MoRA eq. 4). A pair with mobility has the temperature of its other
        side.

        Args:
            batch: tokens, none twice.
            modalities: the features of every modality that has a head.

        Returns:
            The loss, in nats by default; 0 when no modality has two tokens in the
            batch.
        """
        views = self._views(batch.sort().values, modalities)  # near tokens: near rows
        with torch.autocast(batch.device.type, enabled=False):  # sums need all digits
            return sum(o.weight * o(views) for o in self.objectives.values())

    def embed(
        self, modalities: Mapping[str, ModalityBatch]
    ) -> Float[Tensor, "tokens dim"]:
        """Give the exported embedding: the anchor's output, not normalised.

        Args:
            modalities: the features of every modality that has a head.

        Returns:
            One row a token. Tokens that lack another anchor than mobility have their
            mobility vector, which lies in the same space.
        """
        mobility = self.mobility()
        if self.anchor == MOBILITY:
            return mobility
        present = modalities[self.anchor].present
        embedded = mobility.clone()
        embedded[present] = self._project(self.anchor, modalities, present)
        return embedded

    def _views(
        self, batch: Int[Tensor, " batch"], modalities: Mapping[str, ModalityBatch]
    ) -> Views:
        """Embed a batch by the mobility encoder and by every head."""
        mobility = self.mobility(batch)
        present = {name: modalities[name].present[batch] for name in self.heads}
        heads = {
            name: self._project(name, modalities, batch[has]).to(mobility.dtype)
            for name, has in present.items()
        }
        return Views(batch, mobility, heads, present, self.anchor)

    def _project(
        self,
        name: str,
        modalities: Mapping[str, ModalityBatch],
        rows: Int[Tensor, " _"] | Bool[Tensor, " _"],
    ) -> Float[Tensor, "rows dim"]:
        """Bring rows of one modality into the shared space."""
        return self.heads[name](modalities[name].values[rows])
