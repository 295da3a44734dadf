"""The one training loop: schedule, early stopping, best weights kept, exact resume."""

import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from mora.config import TrainingConfig
from mora.errors import ConfigError, RunError
from mora.progress import Progress, silent
from mora.training.checkpoint import (
    TrainingState,
    copy_tensors,
    read_checkpoint,
    write_checkpoint,
)
from mora.training.launch import require_processes
from mora.training.optimiser import learning_rate_factor, make_optimiser
from mora.training.processes import process_rank

CHECKPOINT = "checkpoint.safetensors"


@runtime_checkable
class TrainingTask(Protocol):
    """What the loop needs to know of a model that it trains.

    A task may also have ``learning_rates``, which gives parameters whose names begin in
    some way a rate of their own, and ``seed``, from which dropout is drawn.
    """

    model: nn.Module

    def batches(self, epoch: int) -> Sequence[Any]:
        """Give the batches of an epoch; the same for the same epoch."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Give the training loss of a batch: of all processes, the same in each."""
        ...

    def validation_loss(self, model: nn.Module) -> float:
        """Give the loss on what is held out, or any other figure to be lowered."""
        ...


def fit(
    task: TrainingTask,
    config: TrainingConfig,
    folder: Path,
    *,
    progress: Progress = silent,
) -> TrainingState:
    """Train until the validation loss no longer falls; leave the best weights.

    A run that was killed goes on from its last checkpoint and ends with the same
    weights, bit for bit, on the same number of threads and processes; on another
    number, up to rounding. Of several processes the first one writes, tells its
    progress, and decides when to stop.

    Args:
        task: model, batches and losses; gradients are averaged over the processes.
        config: optimiser, epochs, patience, precision, devices.
        folder: where the checkpoint is kept.
        progress: told the batches done and the most there can be.

    Returns:
        The losses of every epoch and which was best; ``task.model`` holds its weights.

    Raises:
        ConfigError: if this computer does not have the accelerator, or other than
            ``config.devices`` processes were started.
        RunError: if the loss is not finite.
    """
    fabric = _make_fabric(config)
    with torch.random.fork_rng():  # dropout has seeds of its own, see _take_step
        return _Run(task, config, folder / CHECKPOINT, fabric, progress).finish()


class _Run:
    """One training run, from where its checkpoint stands to its end."""

    def __init__(
        self,
        task: TrainingTask,
        config: TrainingConfig,
        path: Path,
        fabric: Fabric,
        progress: Progress,
    ) -> None:
        self.task, self.config, self.path = task, config, path
        self.fabric, self.progress = fabric, progress
        rates = getattr(task, "learning_rates", {})
        optimiser = make_optimiser(task.model, config, rates)
        self.model, self.optimiser = fabric.setup(task.model, optimiser)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.state, self.best = read_checkpoint(path, task.model, self.optimiser)
        fabric.barrier()  # until all have read: the first may write, or be done at once
        self.saved = time.monotonic()

    def finish(self) -> TrainingState:
        """Do the epochs that are left."""
        while not self.state.finished(self.config):
            training = self._train_epoch()
            self._close_epoch(training, self._validate())
            self._save_now_and_then()
        self.task.model.load_state_dict(self.best)
        if self.fabric.is_global_zero:
            self._save()
        return self.state

    def _train_epoch(self) -> float:
        """Take one step for each batch that is left; give the mean loss."""
        self.model.train()
        epoch, losses = self.state.epoch, self.state.losses
        batches = self.task.batches(epoch)
        for number in range(len(losses), len(batches)):
            done = epoch * len(batches) + number
            losses.append(self._take_step(batches[number], done, len(batches)))
            if self.fabric.is_global_zero:
                self.progress(done + 1, self.config.epochs * len(batches))
            if number + 1 < len(batches):
                self._save_now_and_then()
        return sum(losses) / len(losses)

    def _take_step(self, batch: Any, done: int, steps: int) -> float:
        """Take the step that follows ``done`` others; give the loss before it."""
        torch.manual_seed(_seed_of_step(getattr(self.task, "seed", 0), done))
        factor = learning_rate_factor(done, self.config.epochs * steps, self.config)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.zero_grad()
        with self.fabric.autocast():
            loss = self.task.loss(self.model, batch)
        self.fabric.backward(loss)
        if self.config.clip_norm is not None:
            norm = self.config.clip_norm
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=norm)
        self.optimiser.step()
        return loss.item()

    def _validate(self) -> float:
        self.model.eval()
        with torch.no_grad(), self.fabric.autocast():
            return self.task.validation_loss(self.model)

    def _close_epoch(self, training: float, validation: float) -> None:
        """Write the epoch down, and keep its weights if they are the best so far."""
        state = self.state
        training, validation = self.fabric.broadcast((training, validation))
        _require_finite(training, validation, state.epoch)
        state.history.append({"training": training, "validation": validation})
        state.epoch += 1
        state.losses.clear()
        if validation < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, validation
            self.best = copy_tensors(self.task.model.state_dict())

    def _save_now_and_then(self) -> None:
        waited = time.monotonic() - self.saved
        if self.fabric.is_global_zero and waited >= self.config.checkpoint_seconds:
            self._save()
            self.saved = time.monotonic()

    def _save(self) -> None:
        write_checkpoint(
            self.path, self.task.model, self.optimiser, self.best, self.state
        )


def _seed_of_step(seed: int, step: int) -> int:
    """Draw the seed of a step's dropout, so that a resumed run drops the same."""
    return zlib.crc32(f"{seed} {step} {process_rank()}".encode())


def _make_fabric(config: TrainingConfig) -> Fabric:
    require_processes(config.devices)
    # A modality that too few tokens of a batch have leaves its head unused.
    strategy = "auto" if config.devices == 1 else "ddp_find_unused_parameters_true"
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=strategy,
            precision=config.precision,
        )
        fabric.launch()
    except (ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ConfigError(
            f"training.accelerator {config.accelerator!r} with precision "
            f"{config.precision!r} and {config.devices} devices: {error} Use "
            f"accelerator auto, or cpu."
        ) from error
    return fabric


def _require_finite(training: float, validation: float, epoch: int) -> None:
    if not (abs(training) < float("inf") and abs(validation) < float("inf")):
        raise RunError(
            f"epoch {epoch + 1}: training loss {training}, validation loss "
            f"{validation}; expected finite numbers. Lower the learning rate, and look "
            f"for extreme values in the features."
        )
