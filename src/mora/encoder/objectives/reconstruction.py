"""Reconstruction: features of a token, or of its neighbours, from embeddings."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.config.objectives import MaskedConfig, NeighboursConfig
from mora.encoder.objectives.base import Material, Objective, mean_of, objective
from mora.encoder.objectives.targets import make_targets, neighbour_mean, standardise
from mora.encoder.objectives.views import ModalityBatch, Views
from mora.errors import ConfigError


class Decoder(nn.Module):
    """A linear map from embeddings to the targets of one modality.

    It begins at 0, so with the mean of the targets, which costs 1.

    Args:
        dim: width of the embeddings.
        targets: of all tokens; no parameters, and not kept with them.
    """

    def __init__(self, dim: int, targets: ModalityBatch) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, targets.values.shape[1])
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("values", targets.values, persistent=False)
        self.register_buffer("present", targets.present, persistent=False)

    def forward(
        self, given: Float[Tensor, "batch dim"], tokens: Int[Tensor, " batch"]
    ) -> Float[Tensor, " has"]:
        """Give the squared error of each token that has targets, mean over columns."""
        has = self.present[tokens]
        error = self.linear(given[has]) - self.values[tokens[has]]
        return error.square().mean(dim=1)


@objective("masked")
class Masked(Objective):
    """Each modality from mobility and what modality dropout leaves of the others.

    The decoder sees the mean of the mobility embedding and the heads' outputs that are
    left, so that its input has one size whatever is left.

    Args:
        config: weight, dropout and components.
        material: ``dim`` and ``modalities``.
    """

    def __init__(self, config: MaskedConfig, material: Material) -> None:
        super().__init__(config.weight)
        self.dropout = config.dropout
        self.decoders = nn.ModuleDict(
            {
                name: Decoder(material.dim, make_targets(batch, config.components))
                for name, batch in (material.modalities or {}).items()
            }
        )

    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Give the mean squared error; 1 where every target's mean is predicted."""
        views = views.of_all_processes()
        left = self._left(views)
        rows = {name: views.spread(name) for name in self.decoders}
        losses = []
        for name, decoder in self.decoders.items():
            total, count = views.mobility, torch.ones_like(views.mobility[:, :1])
            for other in [n for n in rows if n != name]:
                total = total + left[other] * rows[other]
                count = count + left[other]
            errors = decoder(total / count, views.tokens)
            losses += [errors.mean()] if len(errors) else []
        return mean_of(losses, views)

    def _left(self, views: Views) -> dict[str, Bool[Tensor, "batch 1"]]:
        """Choose which modalities of each token the decoders see."""
        random = self.random(views)
        left = {}
        for name in self.decoders:
            drawn = random.random((len(views.tokens), 1)) >= self.dropout
            kept = torch.from_numpy(drawn).to(views.tokens.device)
            left[name] = kept & views.present[name][:, None]
        return left


@objective("neighbours")
class Neighbours(Objective):
    """Features of each token's neighbours, weighed by movement, from its embedding.

    Args:
        config: weight and components.
        material: ``dim``, ``modalities`` and ``graph``.

    Raises:
        ConfigError: if there is no graph.
    """

    def __init__(self, config: NeighboursConfig, material: Material) -> None:
        super().__init__(config.weight)
        if material.graph is None:
            raise ConfigError(
                "objectives.neighbours: got no mobility graph; expected the one that "
                "the operator was made from. Pass `graph`, or set the weight to 0."
            )
        self.decoders = nn.ModuleDict()
        for name, batch in (material.modalities or {}).items():
            around = neighbour_mean(material.graph, standardise(batch))
            targets = make_targets(around, config.components)
            self.decoders[name] = Decoder(material.dim, targets)

    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Give the mean squared error; 1 where every target's mean is predicted."""
        views = views.of_all_processes()
        errors = [d(views.mobility, views.tokens) for d in self.decoders.values()]
        return mean_of([e.mean() for e in errors if len(e)], views)
