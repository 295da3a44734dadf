"""Mobility as the anchor that every other modality is aligned to."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.encoder.contrastive import info_nce
from mora.encoder.lightgcn import LightGCN
from mora.encoder.processes import count_in_batch


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
    """LightGCN and one head per modality, trained to agree on each token.

    Source: MoRA, section 3.3. The temperatures are constants, not learned.

    Args:
        mobility: the graph encoder; its output is the exported embedding.
        heads: name of each modality -> head into the width of ``mobility``.
        temperatures: name of each modality -> temperature of its loss.
    """

    def __init__(
        self,
        mobility: LightGCN,
        heads: Mapping[str, nn.Module],
        temperatures: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.mobility = mobility
        self.heads = nn.ModuleDict(dict(heads))
        self.temperatures = dict(temperatures)

    def forward(
        self,
        batch: Int[Tensor, " batch"],
        modalities: Mapping[str, ModalityBatch],
    ) -> Float[Tensor, ""]:
        """Give the contrastive loss of a batch of tokens.

        Each modality is contrasted over the tokens of the batch that have it, in both
        directions; the loss is the mean over the modalities (MoRA eq. 4).

        Args:
            batch: tokens, none twice.
            modalities: the features of every modality that has a head.

        Returns:
            The loss in nats; 0 when no modality has two tokens in the batch.
        """
        batch = batch.sort().values  # near tokens lie in near rows
        mobility = self.mobility(batch)
        losses = []
        for name, head in self.heads.items():
            features = modalities[name]
            has = features.present[batch]
            if count_in_batch(has) < 2:
                continue
            projected = head(features.values[batch[has]])
            temperature = self.temperatures[name]
            losses.append(info_nce(mobility[has], projected, temperature=temperature))
        return torch.stack(losses).mean() if losses else mobility.sum() * 0
