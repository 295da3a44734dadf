"""Movement between two tokens from their embeddings, in the form of gravity."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mora.config.objectives import FlowConfig
from mora.encoder.objectives.base import Material, Objective, mean_of, objective
from mora.encoder.objectives.views import Views
from mora.errors import ConfigError
from mora.graph.storage import MobilityGraph

Ends = tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]


@objective("flow")
class Flow(Objective):
    """log(1 + movement) of a pair as b_i + b_j + z_i . z_j, squared error.

    Gravity in logarithms: b is the mass of a token, the product their nearness. Of the
    tokens of a batch it takes edges of the graph and as many random pairs, without
    which "no movement" would never be seen.

    Args:
        config: weight, number of pairs, and what b is a linear map of.
        material: ``dim`` and ``graph``.

    Raises:
        ConfigError: if there is no graph.
    """

    def __init__(self, config: FlowConfig, material: Material) -> None:
        super().__init__(config.weight)
        if material.graph is None:
            raise ConfigError(
                "objectives.flow: got no mobility graph; expected the one that the "
                "operator was made from. Pass `graph`, or set the weight to 0."
            )
        self.graph, self.pairs = material.graph, config.pairs
        self.by_volume = config.mass == "volume"
        volume = torch.from_numpy(np.log1p(material.graph.degree())).float()
        self.register_buffer("volume", volume[:, None], persistent=False)
        self.mass = nn.Linear(1 if self.by_volume else material.dim, 1)
        nn.init.zeros_(self.mass.weight)
        nn.init.zeros_(self.mass.bias)

    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Give the mean squared error; 0 where no edge joins two of the tokens."""
        views = views.of_all_processes()
        tokens, random = views.tokens.cpu().numpy(), self.random(views)
        edges = draw_edges(self.graph, tokens, self.pairs, random)
        if not len(edges[0]):
            return mean_of([], views)
        others = _draw_pairs(len(tokens), len(edges[0]), random)
        i, j = (np.concatenate(ends) for ends in zip(edges, others, strict=True))
        weight = edge_weights(self.graph, tokens[i], tokens[j])
        z, mass = views.mobility, self._mass(views)
        first, second = (torch.from_numpy(end).to(z.device) for end in (i, j))
        expected = mass[first] + mass[second] + (z[first] * z[second]).sum(dim=1)
        target = torch.from_numpy(np.log1p(weight)).to(z)
        return (expected - target).square().mean()

    def _mass(self, views: Views) -> Float[Tensor, " batch"]:
        given = self.volume[views.tokens] if self.by_volume else views.mobility
        return self.mass(given)[:, 0]


def draw_edges(
    graph: MobilityGraph,
    tokens: Int[np.ndarray, " batch"],
    count: int,
    random: np.random.Generator,
) -> Ends:
    """Draw edges between tokens of a batch, each as likely as any other.

    Edges are drawn among those whose lower end is in the batch; those whose other end
    is not are passed over. So ``count`` is met on average, and never exceeded.

    Args:
        graph: the graph.
        tokens: of the batch, ascending.
        count: how many.
        random: where they are drawn from.

    Returns:
        Positions in the batch of the two ends; an edge may be drawn twice.
    """
    begins = np.asarray(graph.indptr[tokens])
    size = np.asarray(graph.indptr[tokens + 1]) - begins
    ends = np.cumsum(size)
    if not len(tokens) or ends[-1] == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.full(len(graph), -1)
    place[tokens] = np.arange(len(tokens))
    draws = random.integers(ends[-1], size=-(-count * len(graph) // len(tokens)))
    lower = np.searchsorted(ends, draws, side="right")
    edge = begins[lower] + draws - (ends - size)[lower]
    upper = place[graph.neighbour[edge]]
    kept = np.flatnonzero(upper >= 0)[:count]
    return lower[kept], upper[kept]


def edge_weights(
    graph: MobilityGraph, one: Int[np.ndarray, " pairs"], two: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    """Look up the movement between pairs of tokens.

    Args:
        graph: the graph.
        one: a token of each pair.
        two: the other; another than ``one``.

    Returns:
        The weight of each pair's edge; 0 where there is none.
    """
    low, high = np.minimum(one, two), np.maximum(one, two)
    start, last = np.asarray(graph.indptr[low]), np.asarray(graph.indptr[low + 1])
    stop = last
    while (start < stop).any():  # a search by halves, of all pairs at once
        middle = np.minimum((start + stop) // 2, graph.edges - 1)
        before = (start < stop) & (graph.neighbour[middle] < high)
        stop = np.where(before, stop, np.maximum(start, middle))
        start = np.where(before, middle + 1, start)
    found = start < last
    found[found] = graph.neighbour[start[found]] == high[found]
    weight = np.zeros(len(low))
    weight[found] = graph.weight[start[found]]
    return weight


def _draw_pairs(batch: int, count: int, random: np.random.Generator) -> Ends:
    """Draw pairs of two different positions in the batch."""
    one = random.integers(batch, size=count)
    return one, (one + random.integers(1, batch, size=count)) % batch
