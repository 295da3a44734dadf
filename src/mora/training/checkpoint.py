"""Where training stands, as one file that is whole or not there."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from mora.config import TrainingConfig
from mora.training.weights import write_weights


@dataclass
class TrainingState:
    """Where training stands.

    Attributes:
        epoch: epochs done.
        losses: training loss of each batch done in the epoch that has begun.
        best_epoch: epoch (from 1) of the lowest validation loss; 0 before any.
        best_loss: that loss.
        history: one record an epoch: ``training`` and ``validation`` loss.
    """

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)

    def finished(self, config: TrainingConfig) -> bool:
        """Say whether no epoch is left or the patience is used up."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= config.epochs or (
            self.best_epoch > 0 and waited >= config.patience
        )


def copy_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give copies on the CPU that later steps leave alone."""
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def write_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    state: TrainingState,
) -> None:
    """Write weights, best weights and optimiser state as one file, atomically."""
    tensors = {f"model.{k}": v for k, v in copy_tensors(model.state_dict()).items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for number, slots in optimiser.state_dict()["state"].items():
        moments = {k: torch.as_tensor(v) for k, v in slots.items()}
        tensors |= {
            f"optimizer.{number}.{k}": v for k, v in copy_tensors(moments).items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, tensors, {"state": json.dumps(asdict(state))})


def read_checkpoint(
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
