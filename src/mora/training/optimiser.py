"""The optimiser and its learning rates."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from mora.config import TrainingConfig
from mora.errors import ConfigError


def make_optimiser(
    model: nn.Module,
    config: TrainingConfig,
    learning_rates: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay is on matrices only.

    Source: released MoRA code (AdamW); the paper writes Adam, whose weight decay is
    an L2 penalty in the gradient.

    Args:
        model: biases and vectors of it are not decayed.
        config: ``optimizer``, ``learning_rate``, ``weight_decay``.
        learning_rates: own rates of parameters, by how their names begin.

    Raises:
        ConfigError: if no parameter's name begins as ``learning_rates`` says.
    """
    own = learning_rates or {}
    _require_known(own, model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2 and not name.endswith("bias")
        decay = config.weight_decay if matrix else 0.0
        found = [rate for start, rate in own.items() if name.startswith(start)]
        rate = found[0] if found else config.learning_rate
        groups.setdefault((decay, rate), []).append(parameter)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(
        [
            {"params": parameters, "weight_decay": decay, "lr": rate}
            for (decay, rate), parameters in groups.items()
        ]
    )


def _require_known(own: Mapping[str, float], model: nn.Module) -> None:
    names = [name for name, _ in model.named_parameters()]
    for start in own:
        if not any(name.startswith(start) for name in names):
            raise ConfigError(
                f"a learning rate for {start!r}, and none of {len(names)} parameters "
                f"begins so; expected the start of a name such as {names[:3]}."
            )


def learning_rate_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """Give what the learning rate is multiplied by at a step.

    Args:
        step: steps taken before it.
        steps: the most there can be.
        config: ``warmup`` and ``schedule``.

    Returns:
        A line from above 0 to 1 over the warm-up, then 1, or a line or half a cosine
        from 1 towards 0 at the end.
    """
    warm = math.ceil(config.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return 1.0
    gone = (step - warm) / (steps - warm)
    if config.schedule == "linear":
        return 1 - gone
    return (1 + math.cos(math.pi * gone)) / 2
