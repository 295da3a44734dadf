"""The RAW network: a causal transformer over the points of trajectories."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mora.trajectories.raw.outputs import output_width, shift_points
from mora.trajectories.raw.presets import RawConfig
from mora.trajectories.raw.visited import VisitedHead

TIME_FEATURES = 4  # sine and cosine of the time of day and of the week
MINUTES_A_DAY = 1440
INITIAL_SPREAD = 0.02  # of the weights, as in GPT-2


class RawNetwork(nn.Module):
    """States and forecasts of the steps of trajectories, each from what came before.

    Source: RAW (arXiv 2311.10471), section 4; GPT-2 (Radford et al. 2019) for the
    order of the norms and the initial weights. The paper does not give the activation
    of the last MLP: it is SiLU, as in the blocks.

    Args:
        config: size and options.
    """

    def __init__(self, config: RawConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.point = nn.Sequential(
            nn.Linear(2, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.position = nn.Embedding(config.length, width)
        if config.time_features:
            self.time = nn.Linear(TIME_FEATURES, width)
        if config.gap_mask:
            self.unknown = nn.Parameter(INITIAL_SPREAD * torch.randn(width))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.head = _head(config)
        self._draw_weights()

    def forward(
        self,
        points: Float[Tensor, "users steps 2"],
        times: Float[Tensor, "users steps 4"],
        known: Bool[Tensor, "users steps"],
    ) -> Float[Tensor, "users steps outputs"]:
        """Give for every step what is expected of the next one.

        Args:
            points: scaled to [-1, 1] over the study box.
            times: of :func:`~mora.trajectories.raw.inputs.time_features`; ignored
                without ``time_features``.
            known: whether there was a fix; ignored without ``gap_mask``.

        Returns:
            Numbers that :mod:`mora.trajectories.raw.outputs` understands. Row ``i``
            depends on steps 0..i only.
        """
        states = self.states(points, times, known)
        if self.config.target == "visited":
            masked = self.config.gap_mask
            return self.head(states, known if masked else torch.ones_like(known))
        output = self.head(states)
        if self.config.target == "point":
            return output
        return shift_points(output, last_known_points(points, known), self.config)

    def states(
        self,
        points: Float[Tensor, "users steps 2"],
        times: Float[Tensor, "users steps 4"],
        known: Bool[Tensor, "users steps"],
        first: int = 0,
    ) -> Float[Tensor, "users steps width"]:
        """Give the final state of every step, behind the last norm.

        Args:
            points: as in :meth:`forward`.
            times: as in :meth:`forward`.
            known: as in :meth:`forward`.
            first: position of the first step, for a piece cut from a trajectory.
        """
        x = self._embed(points, times, known, first)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    @torch.no_grad()
    def attention_maps(
        self,
        points: Float[Tensor, "users steps 2"],
        times: Float[Tensor, "users steps 4"],
        known: Bool[Tensor, "users steps"],
    ) -> Float[Tensor, "layers users heads steps steps"]:
        """Give how much each step looks at each earlier one, for pictures.

        Args:
            points: as in :meth:`forward`.
            times: as in :meth:`forward`.
            known: as in :meth:`forward`.

        Returns:
            Weights that add up to 1 over the last axis; 0 for later steps. They take
            ``steps`` times ``steps`` numbers a head: ask for few users.
        """
        maps, x = [], self._embed(points, times, known, 0)
        for block in self.blocks:
            maps.append(block.attention(x))
            x = block(x)
        return torch.stack(maps)

    def _embed(
        self, points: Tensor, times: Tensor, known: Tensor, first: int
    ) -> Tensor:
        """Bring steps into the width of the states."""
        if self.config.gap_mask:
            # Hidden before the layer: a NaN behind it would spoil the gradient.
            x = self.point(points.masked_fill(~known[..., None], 0.0))
            x = torch.where(known[..., None], x, self.unknown.to(x.dtype))
        else:
            x = self.point(points)
        steps = torch.arange(first, first + points.shape[1], device=points.device)
        x = x + self.position(steps)
        if self.config.time_features:
            x = x + self.time(times)
        return self.dropout(x)

    def _draw_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_SPREAD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        # Two sums a block: the states shall not grow with the depth.
        spread = INITIAL_SPREAD / math.sqrt(2 * self.config.layers)
        for block in self.blocks:
            nn.init.normal_(block.join.weight, std=spread)
            nn.init.normal_(block.ffn[2].weight, std=spread)


def _head(config: RawConfig) -> nn.Module:
    if config.target == "visited":
        day = round(MINUTES_A_DAY / config.minutes)
        period = day if day > 1 else max(round(7 * MINUTES_A_DAY / config.minutes), 1)
        return VisitedHead(config.width, config.length, period)
    width = config.width
    return nn.Sequential(
        nn.Linear(width, 4 * width),
        nn.SiLU(),
        nn.Linear(4 * width, width),
        nn.Linear(width, output_width(config)),
    )


def last_known_points(
    points: Float[Tensor, "users steps 2"], known: Bool[Tensor, "users steps"]
) -> Float[Tensor, "users steps 2"]:
    """Give for every step where the user was last seen, then or before.

    Args:
        points: of all steps.
        known: which of them are fixes; the others are not read, whatever fills them.

    Returns:
        The first point where there was no fix yet.
    """
    steps = torch.arange(points.shape[1], device=points.device)
    latest = torch.where(known, steps, 0).cummax(dim=1).values
    return points.gather(1, latest[..., None].expand_as(points))


class CausalBlock(nn.Module):
    """Attention to earlier steps, then a hidden layer; each is added to its input.

    Args:
        config: ``width``, ``heads``, ``ffn_factor`` and ``dropout``.
    """

    def __init__(self, config: RawConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.ffn_factor * config.width
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.split = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width)
        )

    def forward(
        self, x: Float[Tensor, "users steps width"]
    ) -> Float[Tensor, "users steps width"]:
        """Give the states one block deeper."""
        query, key, value = self._split_heads(x)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=True,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        x = x + self.dropout(self.join(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.ffn(self.ffn_norm(x)))

    def attention(
        self, x: Float[Tensor, "users steps width"]
    ) -> Float[Tensor, "users heads steps steps"]:
        """Give the weights of the attention, which :meth:`forward` never holds."""
        query, key, _ = self._split_heads(x)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        steps = scores.shape[-1]
        later = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(later, -math.inf).softmax(dim=-1)

    def _split_heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give queries, keys and values, each users x heads x steps x head width."""
        parts = self.split(self.attention_norm(x)).chunk(3, dim=-1)
        return tuple(
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts
        )


def make_network(config: RawConfig, seed: int) -> RawNetwork:
    """Build the network with its initial weights.

    Args:
        config: size and options.
        seed: the same seed gives the same weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RawNetwork(config)


def count_parameters(config: RawConfig) -> int:
    """Count the numbers that are learned, without holding them."""
    with torch.device("meta"):
        network = RawNetwork(config)
    return sum(parameter.numel() for parameter in network.parameters())
