"""The one training loop: early stopping, best weights kept, exact resume."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mora.config import TrainingConfig
from mora.encoder.launch import require_processes
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
        """Give the training loss of a batch: of all processes, the same in each."""
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
    weights, bit for bit, on the same number of threads and processes; on another
    number, up to rounding. Of several processes the first one writes, tells its
    progress, and decides when to stop.

    Args:
        task: model, batches and losses; gradients are averaged over the processes.
        config: optimiser, epochs, patience, precision, devices.
        folder: where the checkpoint is kept.
        progress: told the epochs done and the most there can be.

    Returns:
        The losses of every epoch and which was best; ``task.model`` holds its weights.

    Raises:
        ConfigError: if this computer does not have the accelerator, or other than
            ``config.devices`` processes were started.
        RunError: if the loss is not finite.
    """
    fabric = _make_fabric(config)
    model, optimiser = fabric.setup(task.model, make_optimiser(task.model, config))
    state, best = _resume(folder / CHECKPOINT, task.model, optimiser)
    fabric.barrier()  # until all have read: the first may write, or be done at once
    saved = time.monotonic()
    while not state.finished(config):
        training = _train_epoch(task, model, fabric, optimiser, state.epoch)
        model.eval()
        with torch.no_grad(), fabric.autocast():
            validation = task.validation_loss(model)
        training, validation = fabric.broadcast((training, validation))
        _require_finite(training, validation, state.epoch)
        state.history.append({"training": training, "validation": validation})
        state.epoch += 1
        if validation < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, validation
            best = _copy(task.model.state_dict())
        if not fabric.is_global_zero:
            continue
        progress(state.epoch, config.epochs)
        if time.monotonic() - saved >= config.checkpoint_seconds:
            _save(folder / CHECKPOINT, task.model, optimiser, best, state)
            saved = time.monotonic()
    task.model.load_state_dict(best)
    if fabric.is_global_zero:
        _save(folder / CHECKPOINT, task.model, optimiser, best, state)
    return state


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
    task: TrainingTask, model: nn.Module, fabric: Fabric, optimiser: Any, epoch: int
) -> float:
    """Take one step a batch; give the mean loss."""
    model.train()
    losses = []
    for batch in task.batches(epoch):
        optimiser.zero_grad()
        with fabric.autocast():
            loss = task.loss(model, batch)
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
