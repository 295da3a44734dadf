"""Pretraining RAW: the next point of users, checked on users held out."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from mora.config import TrainingConfig
from mora.progress import Progress, silent
from mora.training import TrainingState, TrainingTask, fit
from mora.training.loop import CHECKPOINT
from mora.training.processes import own_part, process_rank
from mora.trajectories.raw.batches import (
    epoch_batches,
    mean_over_processes,
    require_pretrainable,
    split_users,
    with_box,
)
from mora.trajectories.raw.inputs import make_inputs, require_fit
from mora.trajectories.raw.network import RawNetwork, make_network
from mora.trajectories.raw.outputs import step_losses
from mora.trajectories.raw.presets import RawConfig
from mora.trajectories.raw.saved import save_raw
from mora.trajectories.raw.steps import Steps

# Failure signs: of the squared error, or nats of a likelihood. Set by judgement: the
# losses of runs that work fall several times over, and to like values on both sides.
LEAST_DROP = 0.05
MOST_GAP = 0.5
HIDDEN_RUN = 8  # steps hidden together: longer than most forecasts are


class FailureSignWarning(UserWarning):
    """A sign that pretraining has not learned what it should."""


@dataclass(frozen=True)
class Pretrained:
    """A trained network and how its training went.

    Attributes:
        network: with the weights of the best epoch.
        state: losses of every epoch, and which was best.
        signs: of failure, in words; none where all went well.
    """

    network: RawNetwork
    state: TrainingState
    signs: list[str]


class NextPointTask:
    """Batches of users and the loss of the point that comes next.

    Source: RAW, section 4.4. The paper holds no users out.

    Args:
        steps: of all users.
        config: of the network; a missing box is taken from the users trained on.
        training: ``batch_size`` in users, and ``validation_share``.
        seed: of the initial weights, the users held out and the order.

    Attributes:
        training_users: positions of the users trained on.
        held_out: positions of the others.

    Raises:
        MoraError: if there are fewer than 2 users or steps, or they do not fit.
    """

    def __init__(
        self, steps: Steps, config: RawConfig, training: TrainingConfig, seed: int
    ) -> None:
        require_pretrainable(steps)
        share = training.validation_share
        self.training_users, self.held_out = split_users(steps, share, seed)
        self.config = with_box(config, steps, self.training_users)
        require_fit(steps, self.config)
        self.steps = steps
        self.model = make_network(self.config, seed)
        self.batch_size, self.seed = training.batch_size, seed

    def batches(self, epoch: int) -> Sequence[tuple[Tensor, list[int]]]:
        """Cut the users into even batches, each with the seed of what is hidden."""
        cut = epoch_batches(self.training_users, self.batch_size, self.seed, epoch)
        return [(users, [self.seed, 4, epoch, i]) for i, users in enumerate(cut)]

    def loss(self, model: nn.Module, batch: tuple[Tensor, list[int]]) -> Tensor:
        """Give the mean loss of the steps of a batch that have a next point."""
        users, seed = batch
        return mean_over_processes(*self._score(model, own_part(users), seed))

    def validation_loss(self, model: nn.Module) -> float:
        """Give the mean loss of the steps of the users held out."""
        scores = [
            torch.stack([part.double() for part in self._score(model, rows, [i])])
            for i, rows in enumerate(self.held_out.split(self.batch_size))
        ]
        total, count = torch.stack(scores).sum(dim=0)
        return (total / count.clamp(min=1)).item()

    def _score(
        self, model: nn.Module, users: Tensor, seed: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Give the sum of the losses, and of how many steps."""
        inputs = make_inputs(self.steps.take_users(users.numpy()), self.config)
        inputs = inputs.to(next(model.parameters()).device)
        shown = inputs.between(0, -1)
        if self.config.hidden > 0:
            hidden = draw_hidden(shown.known, self.config.hidden, seed)
            shown = shown._replace(known=shown.known & ~hidden)
        output = model(*shown)
        target, known = inputs.points[:, 1:], inputs.known[:, 1:]
        losses = step_losses(output, target, self.config, shown.points)
        scored = known if self.config.gap_mask else torch.ones_like(known)
        if self.config.target != "point":
            # Steps before the first fix are filled with it: they would tell the future.
            scored = scored & (shown.known.cumsum(dim=1) > 0)
        return losses.masked_fill(~scored, 0.0).sum(), scored.sum()


def draw_hidden(
    known: Bool[Tensor, "users steps"], share: float, seed: Sequence[int]
) -> Bool[Tensor, "users steps"]:
    """Mark steps to be hidden, in runs of :data:`HIDDEN_RUN` steps.

    Args:
        known: of any users; only its shape is used.
        share: of the steps, in [0, 1).
        seed: the same seed hides the same steps.
    """
    rng, (users, steps) = np.random.default_rng(seed), known.shape
    runs = rng.random((users, steps // HIDDEN_RUN + 2)) < share
    run = (np.arange(steps) + rng.integers(HIDDEN_RUN, size=(users, 1))) // HIDDEN_RUN
    return torch.from_numpy(np.take_along_axis(runs, run, axis=1)).to(known.device)


def pretrain_raw(
    steps: Steps,
    config: RawConfig,
    training: TrainingConfig,
    folder: Path,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Pretrained:
    """Train a network to forecast the next point, and save it.

    A run that was killed goes on from its checkpoint in ``folder``.

    Args:
        steps: of all users.
        config: of the network.
        training: of the loop; :data:`~mora.trajectories.raw.presets.RAW_TRAINING` is
            the paper's.
        folder: where checkpoint, weights and card are kept.
        seed: of weights, split, order and dropout.
        progress: told the batches done and the most there can be.

    Raises:
        MoraError: if the steps do not fit the network or are too few.
    """
    task = NextPointTask(steps, config, training, seed)
    users = {"training": len(task.training_users), "held_out": len(task.held_out)}
    facts = {"objective": "next point", "users": users, "seed": seed}
    in_nats = "mixture" in task.config.output or task.config.target == "visited"
    return train_and_save(
        task, task.model, training, folder, facts, in_nats=in_nats, progress=progress
    )


def train_and_save(
    task: TrainingTask,
    network: RawNetwork,
    training: TrainingConfig,
    folder: Path,
    facts: Mapping[str, Any],
    *,
    in_nats: bool,
    progress: Progress = silent,
) -> Pretrained:
    """Train on any task for the network, warn of failure, and save.

    Args:
        task: whose model is, or holds, ``network``.
        network: what is kept.
        training: of the loop.
        folder: where checkpoint, weights and card are kept.
        facts: further entries of the card.
        in_nats: whether the loss is a negative log likelihood.
        progress: told the batches done and the most there can be.
    """
    state = fit(task, training, folder, progress=progress)
    signs = failure_signs(state, in_nats=in_nats)
    for sign in signs:
        warnings.warn(sign, FailureSignWarning, stacklevel=3)
    if process_rank() == 0:
        losses = {"history": state.history, "best_epoch": state.best_epoch}
        facts = {**facts, "training": training.model_dump(), **losses, "signs": signs}
        save_raw(network, folder, facts)
        (folder / CHECKPOINT).unlink()
    return Pretrained(network.eval(), state, signs)


def failure_signs(state: TrainingState, *, in_nats: bool) -> list[str]:
    """Say what of a run's losses speaks against its network.

    Args:
        state: losses of every epoch.
        in_nats: compare by differences, as fit negative log likelihoods; else by
            ratios, as fit squared errors.

    Returns:
        A sentence where the lowest training loss is less than :data:`LEAST_DROP` below
        that of the first epoch (after one epoch there is none to compare), and one
        where, at the best epoch, the validation loss is more than :data:`MOST_GAP`
        above the training loss.
    """
    training = [epoch["training"] for epoch in state.history]
    first, lowest = training[0], min(training)
    at_best = state.history[state.best_epoch - 1]
    fitted, held_out = at_best["training"], at_best["validation"]
    unit = "nats" if in_nats else "of it"
    least_fall = LEAST_DROP * (1 if in_nats else first)
    most_gap = MOST_GAP * (1 if in_nats else fitted)
    signs = []
    if len(training) > 1 and first - lowest < least_fall:
        signs.append(
            f"the training loss fell from {first:.4g} in the first epoch to "
            f"{lowest:.4g} at most; expected a fall of {LEAST_DROP:g} {unit} or more. "
            f"Train longer, or change the learning rate."
        )
    if held_out - fitted > most_gap:
        signs.append(
            f"at the best epoch the loss of users held out is {held_out:.4g} and that "
            f"of users trained on {fitted:.4g}; expected a gap of at most "
            f"{MOST_GAP:g} {unit}. Take more users, or a smaller network."
        )
    return signs
