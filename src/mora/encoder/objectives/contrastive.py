"""Contrast: which modality rows belong to which anchor rows."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mora.config.objectives import ContrastiveConfig
from mora.encoder.contrastive import Lookalikes, info_nce
from mora.encoder.objectives.base import Material, Objective, mean_of, objective
from mora.encoder.objectives.targets import standardise
from mora.encoder.objectives.views import Pair, Views

COLDEST = 0.01  # Radford et al. 2021, section 2.5: logits are scaled by 100 at most


@objective("contrastive")
class Contrastive(Objective):
    """InfoNCE of every modality against the anchor, in both directions.

    Source: MoRA eq. 4, constant temperatures. Radford et al. 2021, CLIP, learn one.

    Args:
        config: its settings.
        material: ``temperatures``; ``modalities`` for ``false_negatives``.
    """

    def __init__(self, config: ContrastiveConfig, material: Material) -> None:
        super().__init__(config.weight)
        self.constant = dict(material.temperatures or {})
        learned = self.constant if config.temperature == "learned" else {}
        self.learned = nn.ParameterDict(
            {name: torch.tensor(math.log(t)) for name, t in learned.items()}
        )
        threshold = 1.0 if config.false_negatives is None else config.false_negatives
        self.threshold, self.likeness = threshold, nn.Module()
        if threshold < 1:
            for name, batch in (material.modalities or {}).items():
                rows = nn.functional.normalize(standardise(batch).values, dim=1)
                self.likeness.register_buffer(f"{name}_rows", rows, persistent=False)

    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Average over the modalities that two tokens of the batch have; in nats."""
        losses = [
            info_nce(
                pair.anchor,
                pair.other,
                temperature=self.temperature(pair.name),
                lookalikes=self._lookalikes(pair),
            )
            for pair in views.pairs()
        ]
        return mean_of(losses, views)

    def temperature(self, name: str) -> float | Float[Tensor, ""]:
        """Give the temperature of a modality, at least 0.01 where it is learned."""
        if name not in self.learned:
            return self.constant[name]
        with torch.no_grad():
            self.learned[name].clamp_(min=math.log(COLDEST))
        return self.learned[name].exp()

    def _lookalikes(self, pair: Pair) -> Lookalikes | None:
        if self.threshold == 1:
            return None
        rows = self.likeness.get_buffer(f"{pair.name}_rows")[pair.tokens]
        return Lookalikes(rows, self.threshold)
