"""HREP: regions by neighbours, features and movement, each a relation of one graph."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float32, Int
from numpy.random import Generator

from mora.baselines.region_graphs import (
    choose_block,
    convolution,
    feature_profiles,
    joined,
    known_rows,
    nearest_graph,
    unit_rows,
)
from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.errors import MoraError

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED_EPOCHS = 2000  # for 180 regions
PUBLISHED_TOKENS = 180
FEWEST_EPOCHS = 100
LOSS_ROWS = 512  # regions whose pairs with all others enter the losses of an epoch
WEIGHT_DECAY = 5e-3


@baseline(
    "hrep",
    group="trained",
    source="Zhou et al. 2023, Heterogeneous Region Embedding with Prompt Learning",
    needs=("flows", "features", "neighbours"),
    settings=({}, {"nearest": 5}, {"nearest": 20}, {"learning_rate": 3e-4}),
    reproduction=Reproduction(
        "R2 of check-ins in 180 regions of Manhattan by Ridge, 3 seeds; of crime 0.626 "
        "± 0.015 where 0.64 to 0.69 is reported",
        0.725,
        0.605,
        0.025,
        command="python -m benchmarks.manhattan180",
    ),
)
def hrep(
    given: BaselineInput,
    *,
    dim: int = 144,
    epochs: int | None = None,
    learning_rate: float = 1e-3,
    nearest: int = 10,
    poi: str = "poi",
) -> Float32[np.ndarray, "tokens dim"]:
    """Give HREP's vectors of regions, without its prompts.

    Source: Zhou et al. 2023, AAAI 37(4), with the settings of the released code. The
    prompts are left out: they are trained on labels, and every method here has the
    same readout. Up to 512 regions the losses are those published; of more, a random
    512 have their pairs with all others compared in each epoch. The three losses are
    added as they come, as published; summed over trips, that of movement is a million
    times the others on 180 regions and decides nearly alone.

    Args:
        given: needs ``flows``, ``features`` and ``neighbours``.
        dim: length of the vectors, a multiple of 4.
        epochs: passes, >= 1; by default those of :func:`default_epochs`.
        learning_rate: of Adam, > 0.
        nearest: how many regions each is joined with by likeness, itself counted.
        poi: block of features that makes regions alike; the first if there is none
            of the name. Tokens without features have no such edges.

    Raises:
        MissingInputError: if an input is missing.
        MoraError: if an option is out of its range, or nobody moves.
    """
    _check_options(dim, epochs, learning_rate)
    city = build_city(given, nearest, poi)
    if epochs is None:
        epochs = default_epochs(city.tokens)
    return _train(city, dim, epochs, learning_rate, given.seed)


def default_epochs(tokens: int) -> int:
    """Give 2,000 epochs for up to 180 tokens, then fewer in proportion, at least 100.

    An epoch costs in proportion to the tokens, so that the whole costs the same up to
    3,600 of them: one and a half minutes of one core.

    Args:
        tokens: number of regions.

    Returns:
        2,000 as published for 180 regions; 100 for 4,000, where the loss has flattened.
    """
    shared = PUBLISHED_EPOCHS * PUBLISHED_TOKENS // max(tokens, 1)
    return int(np.clip(shared, FEWEST_EPOCHS, PUBLISHED_EPOCHS))


def _check_options(dim: int, epochs: int | None, learning_rate: float) -> None:
    if dim < 4 or dim % 4:
        raise MoraError(f"dim is {dim}; expected a multiple of 4, such as 144.")
    if epochs is not None and epochs < 1:
        raise MoraError(f"epochs is {epochs}; expected 1 or more, such as 2000.")
    if not learning_rate > 0:
        raise MoraError(f"learning_rate is {learning_rate}; expected above 0.")


@dataclass(frozen=True, eq=False)
class City:
    """What HREP learns from.

    Attributes:
        graphs: relation -> which tokens it joins, the diagonal included.
        flows: movement from row to column, in units of the mean over all pairs.
        profiles: unit rows of features; empty for tokens without.
        known: tokens whose features are known.
        neighbours: which tokens touch, without a diagonal.
    """

    graphs: dict[str, sp.csr_array]
    flows: sp.csr_array
    profiles: sp.csr_array
    known: Bool[np.ndarray, " tokens"]
    neighbours: sp.csr_array

    @property
    def tokens(self) -> int:
        """Count the tokens."""
        return self.flows.shape[0]


def build_city(given: BaselineInput, nearest: int, poi: str) -> City:
    """Build the four graphs and the targets of the losses.

    Args:
        given: needs ``flows``, ``features`` and ``neighbours``.
        nearest: how many regions each is joined with by likeness, itself counted.
        poi: block of features that makes regions alike.

    Raises:
        MissingInputError: if an input is missing.
        MoraError: if nobody moves.
    """
    flows = sp.csr_array(given.require_flows(), dtype=np.float64)
    features = choose_block(given.require_features(), poi)
    neighbours = sp.csr_array(given.require_neighbours())
    total = flows.sum()
    if total <= 0:
        raise MoraError(
            f"the flows of {flows.shape[0]} tokens sum to {total}; HREP learns from "
            f"movement. Check the mobility input."
        )
    profiles = feature_profiles(features)
    graphs = {
        "neighbour": joined(neighbours),
        "poi": nearest_graph(profiles, nearest),
        "source": nearest_graph(unit_rows(sp.csr_array(flows.T)), nearest),
        "destination": nearest_graph(unit_rows(flows), nearest),
    }
    scaled = flows * (flows.shape[0] ** 2 / total)
    return City(graphs, scaled, profiles, known_rows(features), neighbours)


def _train(
    city: City, dim: int, epochs: int, learning_rate: float, seed: int
) -> Float32[np.ndarray, "tokens dim"]:
    """Train the network and give the vectors that all relations share."""
    import torch

    from mora.baselines.hrep_network import RELATIONS, RegionNetwork

    rng = np.random.default_rng(seed)
    blocks = [convolution(city.graphs[relation]) for relation in RELATIONS]
    operator = _sparse_tensor(sp.block_diag(blocks, format="coo"))
    with torch.random.fork_rng(devices=[]):  # leave the caller's stream alone
        torch.manual_seed(seed)
        network = RegionNetwork(city.tokens, dim)
        optimiser = torch.optim.Adam(
            network.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY
        )
        for _ in range(epochs):
            optimiser.zero_grad()
            _, views = network(operator)
            city_loss(city, views, rng).backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            return network(operator)[0].numpy()


def city_loss(city: City, views: "dict[str, Tensor]", rng: Generator) -> "Tensor":
    """Add the losses of movement, features and neighbours, all with weight 1.

    Args:
        city: the targets.
        views: vectors of the regions by relation.
        rng: draws neighbours, others, and the rows of the losses if there are many.
    """
    import torch

    from mora.baselines.hrep_network import (
        likeness_loss,
        mobility_loss,
        neighbour_loss,
    )

    rows = _draw_rows(city.tokens, rng)
    known, columns = rows[city.known[rows]], np.flatnonzero(city.known)
    leaving, arriving = city.flows[rows], city.flows[:, rows].T
    likeness = city.profiles[known] @ city.profiles[columns].T
    triplets = draw_triplets(city.neighbours, rng)
    mobility = mobility_loss(
        views, torch.from_numpy(rows), _dense(leaving), _dense(arriving)
    )
    indices = torch.from_numpy(known), torch.from_numpy(columns)
    return (
        mobility * (city.tokens / len(rows))
        + likeness_loss(views["poi"], *indices, _dense(likeness))
        + neighbour_loss(views["neighbour"], *map(torch.from_numpy, triplets))
    )


def _draw_rows(tokens: int, rng: Generator) -> Int[np.ndarray, " rows"]:
    if tokens <= LOSS_ROWS:
        return np.arange(tokens)
    return np.sort(rng.choice(tokens, LOSS_ROWS, replace=False))


def draw_triplets(
    neighbours: sp.csr_array, rng: Generator
) -> Int[np.ndarray, "3 triplets"]:
    """Draw for each token one of its neighbours and one other token.

    Args:
        neighbours: which tokens touch, without a diagonal.
        rng: draws both.

    Returns:
        Tokens, neighbours, others. Without those that have no neighbour, and those
        whose other turns out to be a neighbour or the token itself: they wait for the
        next epoch.
    """
    tokens, count = neighbours.shape[0], np.diff(neighbours.indptr)
    anchor = np.flatnonzero(count)
    place = (rng.random(len(anchor)) * count[anchor]).astype(np.int64)
    near = neighbours.indices[neighbours.indptr[anchor] + place].astype(np.int64)
    far = rng.integers(0, tokens, len(anchor))
    pairs = np.repeat(np.arange(tokens), count) * tokens + neighbours.indices
    apart = ~np.isin(anchor * tokens + far, pairs) & (far != anchor)
    return np.stack([anchor, near, far])[:, apart]


def _dense(matrix: sp.sparray) -> "Tensor":
    import torch

    return torch.from_numpy(matrix.toarray().astype(np.float32))


def _sparse_tensor(matrix: sp.coo_array) -> "Tensor":
    import torch

    # The CSR form is hardly faster, and PyTorch warns that it is in beta.
    return torch.sparse_coo_tensor(
        np.stack(matrix.coords),
        matrix.data.astype(np.float32),
        matrix.shape,
        check_invariants=False,
    ).coalesce()
