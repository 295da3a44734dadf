"""An encoder of mobility without the graph: what propagation is measured against."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mora.encoder.heads import make_head


class NodeMLP(nn.Module):
    """A network over each token's own features; no token sees another.

    Source: MoRA, section 4.4, where a simple MLP stands in for the graph encoder.

    Args:
        features: initial node features, here the LINE pre-encoding; learned.
        generator: random numbers of the initial weights.
    """

    def __init__(
        self, features: Float[Tensor, "tokens dim"], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.features = nn.Parameter(features.clone())
        dim = features.shape[1]
        self.network = make_head("mlp", dim, dim, generator, hidden=dim)

    def forward(
        self, rows: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "embedded dim"]:
        """Embed these tokens, in this order; all by default."""
        own = self.features if rows is None else self.features.index_select(0, rows)
        return self.network(own)
