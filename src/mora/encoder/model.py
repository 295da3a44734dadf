"""One modality as the anchor that every other is aligned to; mobility by default."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.encoder.contrastive import info_nce
from mora.encoder.lightgcn import LightGCN
from mora.encoder.node_mlp import NodeMLP
from mora.training.processes import count_in_batch

MOBILITY = "mobility"  # name of the mobility side among the modalities


@dataclass(frozen=True)
class ModalityBatch:
    """One modality's features and which tokens have them.

    Attributes:
        values: feature rows of all tokens; rows that are not present are ignored.
        present: whether each token has the modality.
    """

    values: Float[Tensor, "tokens columns"]
    present: Bool[Tensor, " tokens"]


class AlignedModel(nn.Module):
    """An encoder of mobility and one head per modality, trained to agree on each token.

    Source: MoRA, section 3.3. The temperatures are constants, not learned.

    Args:
        mobility: the encoder of mobility.
        heads: name of each modality -> head into the width of ``mobility``.
        temperatures: name of each modality -> temperature of its loss.
        anchor: what all others are aligned to and whose output is the exported
            embedding: ``mobility``, or one of ``heads`` (MoRA, section 4.4).
    """

    def __init__(
        self,
        mobility: LightGCN | NodeMLP,
        heads: Mapping[str, nn.Module],
        temperatures: Mapping[str, float],
        anchor: str = MOBILITY,
    ) -> None:
        super().__init__()
        self.mobility = mobility
        self.anchor = anchor
        self.heads = nn.ModuleDict(dict(heads))
        self.temperatures = dict(temperatures)

    def forward(
        self,
        batch: Int[Tensor, " batch"],
        modalities: Mapping[str, ModalityBatch],
    ) -> Float[Tensor, ""]:
        """Give the contrastive loss of a batch of tokens.

        Each modality is contrasted with the anchor over the tokens of the batch that
        have both, in both directions; the loss is the mean over the pairs (MoRA eq. 4).
        A pair with mobility has the temperature of its other side.

        Args:
            batch: tokens, none twice.
            modalities: the features of every modality that has a head.

        Returns:
            The loss in nats; 0 when no modality has two tokens in the batch.
        """
        batch = batch.sort().values  # near tokens lie in near rows
        mobility = self.mobility(batch)
        anchored = torch.ones_like(batch, dtype=torch.bool)
        if self.anchor != MOBILITY:
            anchored = modalities[self.anchor].present[batch]
        losses = []
        for name in self.heads:
            has = modalities[name].present[batch] & anchored
            if count_in_batch(has) < 2:
                continue
            first, second = mobility[has], self._project(name, modalities, batch[has])
            if self.anchor not in (MOBILITY, name):
                first = self._project(self.anchor, modalities, batch[has])
            losses.append(info_nce(first, second, temperature=self.temperatures[name]))
        return torch.stack(losses).mean() if losses else mobility.sum() * 0

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

    def _project(
        self,
        name: str,
        modalities: Mapping[str, ModalityBatch],
        rows: Int[Tensor, " _"] | Bool[Tensor, " _"],
    ) -> Float[Tensor, "rows dim"]:
        """Bring rows of one modality into the shared space."""
        return self.heads[name](modalities[name].values[rows])
