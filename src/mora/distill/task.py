"""Batches of cells and the loss of a distilled encoder on them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from mora.distill.config import DistillConfig

VALIDATION_ROWS = 8192  # cells at a time where no gradient is wanted


@dataclass(frozen=True, eq=False)
class Scale:
    """How vectors are brought to mean 0 and deviation 1, and back.

    Attributes:
        mean: of each dimension.
        deviation: of each dimension; 1 where all vectors have the same value.
    """

    mean: Float[Tensor, " dim"]
    deviation: Float[Tensor, " dim"]

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "n dim"], standardise: bool) -> "Scale":
        """Take the scale of some vectors, or one that leaves them as they are."""
        if not standardise:
            dim = vectors.shape[1]
            return cls(torch.zeros(dim).double(), torch.ones(dim).double())
        known = torch.from_numpy(vectors).double()
        deviation = known.std(dim=0, correction=0)
        return cls(known.mean(dim=0), torch.where(deviation > 0, deviation, 1.0))

    def to_standard(self, vectors: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        """Bring vectors to the standard scale."""
        return (vectors - self.mean) / self.deviation

    def from_standard(self, standard: Float[Tensor, "*n dim"]) -> Tensor:
        """Bring vectors back, in their own precision."""
        return standard * self.deviation.to(standard) + self.mean.to(standard)

    def move_into(self, last: nn.Linear) -> None:
        """Let the last layer itself give vectors that are back from the scale."""
        with torch.no_grad():
            last.weight.mul_(self.deviation[:, None].to(last.weight))
            last.bias.copy_(self.from_standard(last.bias))


class DistillTask:
    """What the training loop needs to know of a distilled encoder.

    Args:
        network: the linear layers; their precision is that of the training.
        inputs: harmonics and waves of every cell.
        vectors: of every cell.
        scale: on which the squared error is taken.
        weights: of the cells, >= 0.
        training: cells that teach.
        validation: cells whose loss says which epoch is best.
        config: loss and seed.
        batch_size: cells of a step, at most.
    """

    def __init__(
        self,
        network: nn.Sequential,
        inputs: Float[Tensor, "cells inputs"],
        vectors: Float[Tensor, "cells dim"],
        scale: Scale,
        weights: Float[Tensor, " cells"],
        training: Int[Tensor, " training"],
        validation: Int[Tensor, " validation"],
        config: DistillConfig,
        batch_size: int,
    ) -> None:
        self.model, self.seed = network, config.seed
        self.inputs, self.weights, self.scale = inputs, weights, scale
        self.standard = scale.to_standard(vectors.double()).to(inputs)
        self.training, self.validation = training, validation
        self.config, self.batch_size = config, batch_size

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Cut the training cells, in the order of this epoch, into even batches."""
        seed = zlib.crc32(f"epoch {epoch}".encode(), self.seed)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.training), generator=generator)
        count = -(-len(order) // self.batch_size)
        return torch.tensor_split(self.training[order], count)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Give the weighted mean loss of the cells of a batch."""
        weights = self.weights[batch]
        device = next(self.model.parameters()).device
        each = self._loss_of_cells(model, batch, device)
        return (each * weights.to(each)).sum() / weights.sum().to(each)

    def validation_loss(self, model: nn.Module) -> float:
        """Give the same loss on the cells of validation."""
        parts = torch.split(self.validation, VALIDATION_ROWS)
        shares = [float(self.weights[part].sum()) for part in parts]
        losses = [float(self.loss(model, part)) for part in parts]
        return float(np.average(losses, weights=shares))

    def _loss_of_cells(
        self, model: nn.Module, batch: Tensor, device: torch.device
    ) -> Float[Tensor, " batch"]:
        predicted = model(self.inputs[batch].to(device))
        wanted = self.standard[batch].to(predicted)
        loss = (predicted - wanted).square().mean(dim=1)
        if self.config.loss == "mse":
            return loss
        pair = (self.scale.from_standard(x) for x in (predicted, wanted))
        return loss + self.config.cosine_weight * (1 - cosine_similarity(*pair, dim=1))
