"""Pretraining by contrast: two views of a user are alike, those of others are not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from mora.config import TrainingConfig
from mora.config.section import Section
from mora.encoder.contrastive import info_nce
from mora.errors import MoraError
from mora.progress import Progress, silent
from mora.training.processes import own_part
from mora.trajectories.raw.batches import (
    epoch_batches,
    require_pretrainable,
    split_users,
    with_box,
)
from mora.trajectories.raw.inputs import StepInputs, make_inputs, require_fit
from mora.trajectories.raw.network import RawNetwork, make_network
from mora.trajectories.raw.presets import RawConfig
from mora.trajectories.raw.pretraining import Pretrained, train_and_save
from mora.trajectories.raw.steps import Steps
from mora.trajectories.raw.user_vectors import mean_state

LEAST_CONTRASTED = 2  # a user alone has nobody to be told from


class ContrastiveConfig(Section):
    """Views of a trajectory and how they are compared.

    Attributes:
        temperature: divides the cosine similarities.
        crop: share of the steps in a view; two halves cost what a whole does.
        jitter: spread of the noise on the points, in half boxes.
        hidden: share of the steps shown as unknown, where the network has ``gap_mask``.
        dim: width of what is compared, which is thrown away afterwards.
    """

    temperature: float = Field(0.1, gt=0)
    crop: float = Field(0.5, gt=0, le=1)
    jitter: float = Field(0.01, ge=0)
    hidden: float = Field(0.1, ge=0, lt=1)
    dim: int = Field(128, ge=1)


class ContrastiveNetwork(nn.Module):
    """The RAW network with a projection of its user vectors.

    Source: Chen et al. 2020, SimCLR, for the projection.

    Args:
        network: what is trained and kept.
        dim: width of the projection.
    """

    def __init__(self, network: RawNetwork, dim: int) -> None:
        super().__init__()
        width = network.config.width
        self.network = network
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dim)
        )

    def forward(
        self,
        points: Float[Tensor, "users steps 2"],
        times: Float[Tensor, "users steps 4"],
        known: Bool[Tensor, "users steps"],
        first: int,
    ) -> Float[Tensor, "users dim"]:
        """Project the user vectors of a view; the arguments are those of the states."""
        states = self.network.states(points, times, known, first)
        return self.projection(mean_state(states))


class ContrastiveTask:
    """Batches of users, and the InfoNCE loss of two views of each.

    Source: van den Oord et al. 2018 for the loss. A view is a piece of the trajectory,
    its points jittered. All users of a batch are cut at the same steps: else the time
    alone would tell them apart.

    Batches are those of :class:`~mora.trajectories.raw.pretraining.NextPointTask`, so
    that equal settings take equally many steps over as many points.

    Args:
        steps: of all users.
        config: of the network; a missing box is taken from the users trained on.
        training: ``batch_size`` in users, and ``validation_share``.
        options: views and temperature.
        seed: of the weights, the users held out, the order and the views.

    Raises:
        MoraError: if fewer than 2 users are on either side, or the steps do not fit.
    """

    def __init__(
        self,
        steps: Steps,
        config: RawConfig,
        training: TrainingConfig,
        options: ContrastiveConfig,
        seed: int,
    ) -> None:
        require_pretrainable(steps)
        share = training.validation_share
        self.training_users, self.held_out = split_users(steps, share, seed)
        _require_others(self.training_users, self.held_out)
        self.config = with_box(config, steps, self.training_users)
        require_fit(steps, self.config)
        self.steps = steps
        self.network = make_network(self.config, seed)
        self.model = _with_projection(self.network, options.dim, seed)
        self.options = options
        self.batch_size, self.seed = training.batch_size, seed

    def batches(self, epoch: int) -> Sequence[tuple[Tensor, list[int]]]:
        """Cut the users into even batches, each with the seed of its views."""
        cut = epoch_batches(self.training_users, self.batch_size, self.seed, epoch)
        return [(users, [self.seed, 2, epoch, i]) for i, users in enumerate(cut)]

    def loss(self, model: nn.Module, batch: tuple[Tensor, list[int]]) -> Tensor:
        """Give the loss of two views of the users of a batch."""
        users, seed = batch
        rng = np.random.default_rng(seed)
        length = self.steps.known.shape[1]
        width = max(1, round(self.options.crop * length))
        # Both cuts before any noise: every process draws noise for its own users only.
        cuts = rng.integers(length - width + 1, size=2).tolist()
        inputs = self._inputs(own_part(users)).to(next(model.parameters()).device)
        views = [
            model(*augment(inputs.between(cut, cut + width), self.options, rng), cut)
            for cut in cuts
        ]
        return info_nce(*views, temperature=self.options.temperature)

    def validation_loss(self, model: nn.Module) -> float:
        """Give the loss of the users held out, on the same views each time."""
        count = -(-len(self.held_out) // self.batch_size)
        parts = torch.tensor_split(self.held_out, count)
        losses = [
            len(users) * self.loss(model, (users, [self.seed, 3, i])).item()
            for i, users in enumerate(parts)
        ]
        return sum(losses) / len(self.held_out)

    def _inputs(self, users: Int[Tensor, " users"]) -> StepInputs:
        return make_inputs(self.steps.take_users(users.numpy()), self.config)


def augment(
    inputs: StepInputs, options: ContrastiveConfig, rng: np.random.Generator
) -> StepInputs:
    """Jitter the points, and hide some steps.

    Args:
        inputs: a piece of trajectories.
        options: ``jitter`` and ``hidden``.
        rng: source of the noise.
    """
    shape = inputs.known.shape
    noise = rng.normal(scale=options.jitter, size=(*shape, 2))
    kept = torch.from_numpy(rng.random(shape) >= options.hidden)
    return StepInputs(
        inputs.points + torch.from_numpy(noise).to(inputs.points),
        inputs.times,
        inputs.known & kept.to(inputs.known.device),
    )


def pretrain_contrastive(
    steps: Steps,
    config: RawConfig,
    training: TrainingConfig,
    folder: Path,
    *,
    options: ContrastiveConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Pretrained:
    """Train the same network by contrast, and save it as ``pretrain_raw`` does.

    Its user vectors can be compared with those of
    :func:`~mora.trajectories.raw.pretraining.pretrain_raw` at equal cost, if neither
    stops early. Its forecasts mean nothing: the head is not trained.

    Args:
        steps: of all users.
        config: of the network.
        training: of the loop.
        folder: where checkpoint, weights and card are kept.
        options: views and temperature.
        seed: of weights, split, order, views and dropout.
        progress: told the batches done and the most there can be.

    Raises:
        MoraError: if the steps do not fit the network or the users are too few.
    """
    options = ContrastiveConfig() if options is None else options
    task = ContrastiveTask(steps, config, training, options, seed)
    users = {"training": len(task.training_users), "held_out": len(task.held_out)}
    facts = {"objective": "contrast", "users": users, "seed": seed}
    facts["contrast"] = options.model_dump()
    return train_and_save(
        task, task.network, training, folder, facts, in_nats=True, progress=progress
    )


def _with_projection(network: RawNetwork, dim: int, seed: int) -> ContrastiveNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        return ContrastiveNetwork(network, dim)


def _require_others(
    training: Int[Tensor, " kept"], held_out: Int[Tensor, " held_out"]
) -> None:
    if min(len(training), len(held_out)) < LEAST_CONTRASTED:
        raise MoraError(
            f"{len(training)} users to train on and {len(held_out)} held out; expected "
            f"at least {LEAST_CONTRASTED} of each, to be told from each other. Take "
            f"more users, or change validation_share."
        )
