"""Heads that bring a modality into the shared space."""

import math
from typing import Literal

import torch
from torch import nn

HIDDEN = 64  # width between the two layers of the demographics head


def make_head(
    kind: Literal["linear", "mlp"],
    columns: int,
    dim: int,
    generator: torch.Generator,
    hidden: int = HIDDEN,
) -> nn.Module:
    """Build the head of one modality.

    Source: released MoRA code. ``linear`` for text and imagery; ``mlp``, columns ->
    64 -> dim with a ReLU between, for demographics.

    Args:
        kind: which of the two.
        columns: width of the features.
        dim: width of the shared space.
        generator: random numbers of the initial weights.
        hidden: width between the two layers of ``mlp``.
    """
    if kind == "linear":
        return _linear(columns, dim, generator)
    return nn.Sequential(
        _linear(columns, hidden, generator),
        nn.ReLU(),
        _linear(hidden, dim, generator),
    )


def _linear(columns: int, dim: int, generator: torch.Generator) -> nn.Linear:
    """Kaiming-uniform weights with ReLU gain; bias uniform within 1/sqrt(columns)."""
    layer = nn.Linear(columns, dim)
    bound = math.sqrt(6.0 / columns)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-(columns**-0.5), columns**-0.5, generator=generator)
    return layer
