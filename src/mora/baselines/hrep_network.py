"""The network of HREP: one convolution a relation, fused by attention."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

# Everything that belongs to a relation is stacked in this order, here and nowhere else.
RELATIONS = ("neighbour", "poi", "source", "destination")
HEADS = 4
KEPT = 0.95  # of the attended vector at first, the rest of the relation's own


class RegionNetwork(nn.Module):
    """Regions as their relations see them, and one vector that all relations share.

    Source: Zhou et al. 2023, Heterogeneous Region Embedding with Prompt Learning, the
    heterogeneous region embedding module; settings as released. The released code
    reads the four results of its convolution in another order than it returns them;
    here they are stacked by :data:`RELATIONS` and cannot be confused. Batch
    normalisation always uses the statistics of all regions, which are all in the
    batch; the released code averages them over the relations as well.

    Args:
        tokens: number of regions.
        dim: length of all vectors, a multiple of 4 (heads of the attention).
        layers: convolutions, >= 1.
        dropout: share of the numbers dropped after each hidden layer.
    """

    def __init__(
        self, tokens: int, dim: int, layers: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        # Drawn once and never trained, as released: only the graphs tell them apart.
        self.register_buffer("start", torch.randn(tokens, dim))
        self.register_buffer("relations", torch.randn(len(RELATIONS), dim))
        self.convolutions = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.transforms = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        for convolution in self.convolutions:
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(dim, track_running_stats=False) for _ in range(layers - 1)
        )
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(dim, HEADS)
        self.kept = nn.Parameter(torch.full((len(RELATIONS), 1, 1), KEPT))
        self.score = nn.Linear(dim, dim)
        self.query = nn.Parameter(torch.randn(dim))

    def forward(
        self, operator: Tensor
    ) -> tuple[Float[Tensor, "tokens dim"], dict[str, Float[Tensor, "tokens dim"]]]:
        """Embed the regions.

        Args:
            operator: sparse, the graphs of all relations along one diagonal, in the
                order of :data:`RELATIONS`.

        Returns:
            The shared vectors, and what each relation makes of them.
        """
        seen, relations = self._convolve(operator)
        attended, _ = self.attention(seen, seen, seen, need_weights=False)
        region = self._fuse(self.kept * attended + (1 - self.kept) * seen)
        return region, dict(zip(RELATIONS, region * relations[:, None], strict=True))

    def _convolve(
        self, operator: Tensor
    ) -> tuple[Float[Tensor, "relations tokens dim"], Float[Tensor, "relations dim"]]:
        """Pass the vectors of each relation along its own graph; weights are shared."""
        vectors = self.start.expand(len(RELATIONS), -1, -1)
        relations, passed = self.relations, vectors
        for layer, convolution in enumerate(self.convolutions):
            weighted = (vectors * relations[:, None]) @ convolution.weight.T
            passed = (operator @ weighted.flatten(0, 1)).view(vectors.shape)
            passed = passed + convolution.bias
            relations = self.transforms[layer](relations)
            if layer < len(self.norms):
                normed = torch.stack([self.norms[layer](each) for each in passed])
                vectors = self.dropout(vectors + F.leaky_relu(normed))
        return passed, relations

    def _fuse(
        self, seen: Float[Tensor, "relations tokens dim"]
    ) -> Float[Tensor, "tokens dim"]:
        """Weigh the relations, each by one number for all regions, and add them."""
        scores = (F.leaky_relu(self.score(seen)) @ self.query).mean(dim=1)
        return torch.einsum("r,rtd->td", scores.softmax(dim=0), seen)


def mobility_loss(
    views: Mapping[str, Float[Tensor, "tokens dim"]],
    rows: Int[Tensor, " rows"],
    leaving: Float[Tensor, "rows tokens"],
    arriving: Float[Tensor, "rows tokens"],
) -> Float[Tensor, ""]:
    """Give the cross-entropy of where trips go to and where they come from.

    Source: Zhou et al. 2023, the mobility loss. The released code weighs the second
    part by the trips of the opposite direction; here both parts have their own.

    Args:
        views: vectors of regions as ``source`` and as ``destination``.
        rows: the regions of this batch.
        leaving: trips from each of them to all regions.
        arriving: trips to each of them from all regions.

    Returns:
        In nats, summed over trips; ``log(tokens)`` a trip where all vectors are 0.
    """
    source, destination = views["source"], views["destination"]
    onward = F.log_softmax(source[rows] @ destination.T, dim=1)
    back = F.log_softmax(destination[rows] @ source.T, dim=1)
    return -(leaving * onward).sum() - (arriving * back).sum()


def likeness_loss(
    view: Float[Tensor, "tokens dim"],
    rows: Int[Tensor, " rows"],
    columns: Int[Tensor, " columns"],
    likeness: Float[Tensor, "rows columns"],
) -> Float[Tensor, ""]:
    """Give the mean squared error of dot products against known likeness.

    Source: Zhou et al. 2023, the POI loss.

    Args:
        view: vectors of all regions.
        rows: regions of this batch whose features are known.
        columns: all regions whose features are known.
        likeness: cosine of their features.

    Returns:
        0 where the dot products are the cosines, or no region is known.
    """
    if likeness.numel() == 0:
        return view.sum() * 0
    return F.mse_loss(view[rows] @ view[columns].T, likeness)


def neighbour_loss(
    view: Float[Tensor, "tokens dim"],
    anchor: Int[Tensor, " triplets"],
    near: Int[Tensor, " triplets"],
    far: Int[Tensor, " triplets"],
) -> Float[Tensor, ""]:
    """Ask that a neighbour is closer than another region, by a margin of 1.

    Source: Zhou et al. 2023, the geographic loss.

    Args:
        view: vectors of all regions.
        anchor: regions.
        near: a neighbour of each.
        far: a region that is not a neighbour of it.

    Returns:
        Mean over the triplets; 0 without any.
    """
    if len(anchor) == 0:
        return view.sum() * 0
    return F.triplet_margin_loss(view[anchor], view[near], view[far])
