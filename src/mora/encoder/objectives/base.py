"""What every objective is and is made of, and the registry of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mora.encoder.objectives.views import ModalityBatch, Views
from mora.graph.storage import MobilityGraph
from mora.training.processes import process_rank, sum_over_processes


@dataclass(frozen=True)
class Material:
    """What an objective may be built from.

    Attributes:
        dim: width of the embeddings.
        modalities: features of every modality with a head.
        temperatures: modality -> temperature of its contrastive loss.
        graph: the full mobility graph.
    """

    dim: int = 1
    modalities: Mapping[str, ModalityBatch] | None = None
    temperatures: Mapping[str, float] | None = None
    graph: MobilityGraph | None = None


class Objective(nn.Module, ABC):
    """A loss of the embeddings of a batch.

    Args:
        weight: what its loss is multiplied by.
    """

    def __init__(self, weight: float | int) -> None:
        super().__init__()
        self.weight = weight

    @abstractmethod
    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Give the loss of a batch; 0 where it says nothing on its tokens."""

    def random(self, views: Views) -> np.random.Generator:
        """Give the random numbers of a step, the same in all processes.

        In training they follow PyTorch's, which the training loop seeds at every step;
        in validation they are the same every time, so that epochs can be compared.
        """
        if not self.training:
            return np.random.default_rng(0)
        seed = torch.randint(2**62, (1,)).to(views.tokens.device)
        seed = seed if process_rank() == 0 else torch.zeros_like(seed)
        return np.random.default_rng(int(sum_over_processes(seed)))


def mean_of(losses: list[Tensor], views: Views) -> Float[Tensor, ""]:
    """Average losses; 0, with gradients of 0, where there are none."""
    return torch.stack(losses).mean() if losses else views.mobility.sum() * 0


OBJECTIVES: dict[str, type[Objective]] = {}


def objective(name: str) -> Callable[[type[Objective]], type[Objective]]:
    """Register an objective under the name of its settings."""

    def register(kind: type[Objective]) -> type[Objective]:
        OBJECTIVES[name] = kind
        return kind

    return register
