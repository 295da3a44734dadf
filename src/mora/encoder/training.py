"""The one training loop: early stopping, best weights kept, exact resume."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mora.config import TrainingConfig
from mora.errors import ConfigError, RunError
from mora.progress import Progress, silent

CHECKPOINT = "checkpoint.safetensors"


@runtime_checkable
class TrainingTask(Protocol):
    """What the loop needs to know of a model that it trains."""

    model: nn.Module

    def batches(self, epoch: int) -> Iterable[Any]:
        """Give the batches of an epoch; the same for the same epoch."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Give the training loss of a batch."""
        ...

    def validation_loss(self, model: nn.Module) -> float:
        """Give the loss on what is held out."""
        ...


@dataclass
class TrainingState:
    """Where training stands.

    Attributes:
        epoch: epochs done.
        best_epoch: epoch (from 1) of the lowest validation loss; 0 before any.
        best_loss: that loss.
        history: one record an epoch: ``training`` and ``validation`` loss.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)

    def finished(self, config: TrainingConfig) -> bool:
        """Say whether no epoch is left or the patience is used up."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= config.epochs or (
            self.best_epoch > 0 and waited >= config.patience
        )


def fit(
    task: TrainingTask,
    config: TrainingConfig,
    folder: Path,
    *,
    progress: Progress = silent,
) -> TrainingState:
    """Train until the validation loss no longer falls; leave the best weights.

    A run that was killed goes on from its last checkpoint and ends with the same
    weights, bit for bit, on the same number of threads.

    Args:
        task: model, batches and losses.
        config: optimiser, epochs, patience, precision, devices.
        folder: where the checkpoint is kept.
        progress: told the epochs done and the most there can be.

    Returns:
        The losses of every epoch and which was best; ``task.model`` holds its weights.

    Raises:
        ConfigError: if this computer does not have the accelerator.
        RunError: if the loss is not finite.
    """
    fabric = _make_fabric(config)
    optimiser = make_optimiser(task.model, config)
    _, optimiser = fabric.setup(task.model, optimiser)
    state, best = _resume(folder / CHECKPOINT, task.model, optimiser)
    saved = time.monotonic()
    while not state.finished(config):
        training = _train_epoch(task, fabric, optimiser, state.epoch)
        task.model.eval()
        with torch.no_grad(), fabric.autocast():
            validation = task.validation_loss(task.model)
        _require_finite(training, validation, state.epoch)
        state.history.append({"training": training, "validation": validation})
        state.epoch += 1
        if validation < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, validation
            best = _copy(task.model.state_dict())
        progress(state.epoch, config.epochs)
        if time.monotonic() - saved >= config.checkpoint_seconds:
            _save(folder / CHECKPOINT, task.model, optimiser, best, state)
            saved = time.monotonic()
    task.model.load_state_dict(best)
    _save(folder / CHECKPOINT, task.model, optimiser, best, state)
    return state


def _make_fabric(config: TrainingConfig) -> Fabric:
    try:
        return Fabric(
            accelerator=config.accelerator, devices=1, precision=config.precision
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(
            f"training.accelerator {config.accelerator!r} with precision "
            f"{config.precision!r}: {error} Use accelerator auto, or cpu."
        ) from error


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay is on matrices only.

    Source: released MoRA code (AdamW); the paper writes Adam, whose weight decay is
    an L2 penalty in the gradient.

    Args:
        model: biases and vectors of it are not decayed.
        config: ``optimizer``, ``learning_rate``, ``weight_decay``.
    """
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2 and not name.endswith("bias")
        (decayed if matrix else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate)


def _train_epoch(
    task: TrainingTask, fabric: Fabric, optimiser: Any, epoch: int
) -> float:
    """Take one step a batch; give the mean loss."""
    task.model.train()
    losses = []
    for batch in task.batches(epoch):
        optimiser.zero_grad()
        with fabric.autocast():
            loss = task.loss(task.model, batch)
        fabric.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def _require_finite(training: float, validation: float, epoch: int) -> None:
    if not (abs(training) < float("inf") and abs(validation) < float("inf")):
        raise RunError(
            f"epoch {epoch + 1}: training loss {training}, validation loss "
            f"{validation}; expected finite numbers. Lower the learning rate, and look "
            f"for extreme values in the features."
        )


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def _save(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    state: TrainingState,
) -> None:
    """Write weights, best weights and optimiser state as one file, atomically."""
    tensors = {f"model.{k}": v for k, v in _copy(model.state_dict()).items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for number, slots in optimiser.state_dict()["state"].items():
        moments = {k: torch.as_tensor(v) for k, v in slots.items()}
        tensors |= {f"optimizer.{number}.{k}": v for k, v in _copy(moments).items()}
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, part, metadata={"state": json.dumps(asdict(state))})
    part.replace(path)


def _resume(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Bring model and optimiser to where the checkpoint stands, if there is one."""
    if not path.exists():
        return TrainingState(), {}
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    with safe_open(path, framework="pt") as file:
        state = TrainingState(**json.loads(file.metadata()["state"]))
        for key in file.keys():  # noqa: SIM118 - not a dictionary
            part, name = key.split(".", 1)
            parts[part][name] = file.get_tensor(key)
    model.load_state_dict(parts["model"])
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in parts["optimizer"].items():
        number, name = key.split(".", 1)
        slots.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    return state, parts["best"]
