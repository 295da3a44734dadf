"""The networks and losses of ReCP, and the loop that trains them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

HIDDEN = 128  # of both hidden layers of an autoencoder, published code
WEIGHT_DECAY = 1e-6  # published code
DECAY_PARTS = 10  # the learning rate falls after each tenth of the training ...
DECAY = 0.3  # ... to this share of itself: every 100 of 1000 epochs, published code
TINY = 1e-12  # keeps logarithms finite where two categories never meet

Draw = Callable[[np.ndarray], list[list[np.ndarray]]]
"""From the numbers of a batch's tokens to the positives of each of the three inputs."""


@dataclass(frozen=True)
class Losses:
    """Options of the loss of ReCP.

    Attributes:
        temperature: divides the similarities of the intra-view loss; > 0.
        alpha: weight of the entropy beside the mutual information.
        intra: weight of the intra-view contrastive loss.
        reconstruction: weight of the reconstruction.
        poi: weight of what concerns the POI view alone, beside 1 for movement.
        warmup: steps before the dual prediction joins.
    """

    temperature: float | int
    alpha: float | int
    intra: float | int
    reconstruction: float | int
    poi: float | int
    warmup: int


class Recp(nn.Module):
    """Autoencoders of POIs, outflow and inflow, and predictors between the views.

    Source: Li et al. 2024, ReCP, and its published code. Departs from the code in the
    last layer of each decoder, which is linear: features may be negative.

    Args:
        poi: columns of the POI features.
        flow: columns of the outflow, and of the inflow.
        dim: columns of each of the two views.
    """

    def __init__(self, poi: int, flow: int, dim: int) -> None:
        super().__init__()
        columns = (poi, flow, flow)
        self.encoders = nn.ModuleList(
            _layers([wide, HIDDEN, HIDDEN, dim]) for wide in columns
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(_layers([dim, HIDDEN, HIDDEN]), nn.Linear(HIDDEN, wide))
            for wide in columns
        )
        between = [dim, dim, 2 * dim, dim, 2 * dim, dim, dim]
        self.predict_movement = _layers(between)
        self.predict_poi = _layers(between)

    def encode(
        self, inputs: Sequence[Float[Tensor, "batch _"]]
    ) -> list[Float[Tensor, "batch dim"]]:
        """Give the latent rows of POIs, outflow and inflow."""
        pairs = zip(self.encoders, inputs, strict=True)
        return [encoder(block) for encoder, block in pairs]

    def forward(
        self, inputs: Sequence[Float[Tensor, "batch _"]]
    ) -> Float[Tensor, "batch both"]:
        """Give both views side by side: POIs, then the mean of out- and inflow."""
        poi, outflow, inflow = self.encode(inputs)
        return torch.cat([poi, (outflow + inflow) / 2], dim=1)

    def loss(
        self,
        inputs: Sequence[Float[Tensor, "batch _"]],
        positives: Sequence[Sequence[Float[Tensor, "batch _"]]],
        options: Losses,
        step: int,
    ) -> Float[Tensor, ""]:
        """Give the loss of a batch.

        Source: Li et al. 2024, intra-view and inter-view learning, with the weights of
        the published code.

        Args:
            inputs: POI features, outflow and inflow of the batch.
            positives: altered copies of each of them; as many of out- as of inflow.
            options: weights.
            step: gradient steps done so far.
        """
        latent = self.encode(inputs)
        poi, movement = latent[0], (latent[1] + latent[2]) / 2
        other = [self.encoders[0](block) for block in positives[0]]
        moved = [
            (self.encoders[1](out) + self.encoders[2](into)) / 2
            for out, into in zip(positives[1], positives[2], strict=True)
        ]
        intra = options.poi * contrast_positives(poi, other, options.temperature)
        intra = intra + contrast_positives(movement, moved, options.temperature)
        total = shared_information(poi, movement, options.alpha) + options.intra * intra
        total = total + options.reconstruction * self._missed(latent, inputs, options)
        if step >= options.warmup:
            forth = F.mse_loss(self.predict_movement(poi), movement)
            back = F.mse_loss(self.predict_poi(movement), poi)
            total = total + options.poi * forth + back
        return total

    def _missed(
        self, latent: Sequence[Tensor], inputs: Sequence[Tensor], options: Losses
    ) -> Tensor:
        """Give the mean squared error of the reconstructions."""
        parts = zip(self.decoders, latent, inputs, strict=True)
        poi, outflow, inflow = (F.mse_loss(d(z), block) for d, z, block in parts)
        return options.poi * poi + outflow + inflow


def contrast_positives(
    rows: Float[Tensor, "batch dim"],
    positives: Sequence[Float[Tensor, "batch dim"]],
    temperature: float | int,
) -> Float[Tensor, ""]:
    """Give the loss that pulls each row to its positives and off all other rows.

    Source: Li et al. 2024, intra-view contrastive loss; the similarity is the inner
    product, as in the published code.

    Args:
        rows: the tokens; other tokens of the batch are the negatives.
        positives: altered copies, at least one; row i belongs to row i of ``rows``.
        temperature: divides the similarities; > 0.

    Returns:
        Mean over rows and positives, in nats; log(positives), its least value, where
        the positives are equally near and all others far.
    """
    logits = rows @ rows.T / temperature
    logits = logits.masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    near = torch.stack([(rows * p).sum(dim=1) for p in positives], dim=1) / temperature
    log_sum = torch.cat([near, logits], dim=1).logsumexp(dim=1, keepdim=True)
    return (log_sum - near).mean()


def shared_information(
    poi: Float[Tensor, "batch dim"],
    movement: Float[Tensor, "batch dim"],
    alpha: float | int,
) -> Float[Tensor, ""]:
    """Give minus the information that both views share, and minus their entropy.

    Source: Li et al. 2024, inter-view contrastive loss; Lin et al. 2021, COMPLETER,
    eq. 5. A softmax makes of each row a distribution over ``dim`` categories; their
    joint distribution over the batch is made symmetric.

    Args:
        poi: rows of one view.
        movement: rows of the other, of the same tokens.
        alpha: weight of the entropies; 0 leaves the mutual information alone.

    Returns:
        -(I + alpha (H + H')) in nats; at least -(1 + 2 alpha) log(dim), which is
        reached where both views name the same category, all equally often.
    """
    joint = poi.softmax(dim=1).T @ movement.softmax(dim=1)
    joint = ((joint + joint.T) / (2 * len(poi))).clamp_min(TINY)
    log_one, log_other = (joint.sum(dim=side, keepdim=True).log() for side in (0, 1))
    return (joint * ((1 + alpha) * (log_one + log_other) - joint.log())).sum()


def train_recp(
    model: Recp,
    inputs: Sequence[Float[np.ndarray, "tokens _"]],
    draw: Draw,
    *,
    options: Losses,
    steps: int,
    batch: int,
    learning_rate: float | int,
    random: np.random.Generator,
) -> Float[np.ndarray, "tokens both"]:
    """Train with Adam and give the rows of all tokens.

    Args:
        model: initial weights; changed.
        inputs: POI features, outflow and inflow of all tokens.
        draw: makes the positives of a batch.
        options: of the loss.
        steps: gradient steps.
        batch: tokens of a step; all of them where there are fewer.
        learning_rate: at the start.
        random: draws the batches.
    """
    optimizer = torch.optim.Adam(
        model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY
    )
    every = max(1, steps // DECAY_PARTS)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, every, DECAY)
    blocks = [torch.as_tensor(block, dtype=torch.float32) for block in inputs]
    for step in range(steps):
        rows = _draw_rows(len(blocks[0]), batch, random)
        positives = [
            [torch.as_tensor(copy, dtype=torch.float32) for copy in copies]
            for copies in draw(rows)
        ]
        optimizer.zero_grad()
        model.loss(
            [block[rows] for block in blocks], positives, options, step
        ).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        return model(blocks).numpy()


def _draw_rows(tokens: int, batch: int, random: np.random.Generator) -> np.ndarray:
    """Draw the tokens of a step, in their order where all take part."""
    if batch >= tokens:
        return np.arange(tokens)
    return random.choice(tokens, batch, replace=False)


def _layers(columns: Sequence[int]) -> nn.Sequential:
    """Stack linear layers, each with batch normalisation and a ReLU."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(columns):
        layers += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.ReLU()]
    return nn.Sequential(*layers)
