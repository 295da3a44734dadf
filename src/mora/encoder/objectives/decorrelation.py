"""Agreement without negatives: columns that agree and do not repeat each other."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mora.config.objectives import BarlowConfig, VicregConfig
from mora.encoder.objectives.base import Material, Objective, mean_of, objective
from mora.encoder.objectives.views import Views

FLOOR = 1e-4  # Bardes et al. 2022, eq. 2: added to a variance before its root


@objective("vicreg")
class Vicreg(Objective):
    """Variance, invariance and covariance between the anchor and every modality.

    Source: Bardes et al. 2022, VICReg, eq. 6. As in their released code, the distance
    is a mean over columns too, and the two sides' variance terms are halved; their
    expander network is left out: anchor and heads are compared as they are.

    Args:
        config: weight and coefficients.
        _material: not needed.
    """

    def __init__(self, config: VicregConfig, _material: Material) -> None:
        super().__init__(config.weight)
        self.config = config

    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Average over the modalities that two tokens of the batch have."""
        pairs = views.of_all_processes().pairs()
        return mean_of([self._loss(p.anchor, p.other) for p in pairs], views)

    def _loss(self, a: Tensor, b: Tensor) -> Tensor:
        given = self.config
        hinges = [F.relu(1 - (x.var(dim=0) + FLOOR).sqrt()).mean() / 2 for x in (a, b)]
        spread = [_off_diagonal(torch.cov(x.T)) / x.shape[1] for x in (a, b)]
        return (
            given.invariance * F.mse_loss(a, b)
            + given.variance * sum(hinges)
            + given.covariance * sum(spread)
        )


@objective("barlow")
class Barlow(Objective):
    """Correlations between the columns of the anchor and those of every modality.

    Source: Zbontar et al. 2021, Barlow Twins, eq. 1 and 2, with their coefficient of
    0.005; without their projector network.

    Args:
        config: weight and coefficient.
        _material: not needed.
    """

    def __init__(self, config: BarlowConfig, _material: Material) -> None:
        super().__init__(config.weight)
        self.redundancy = config.redundancy

    def forward(self, views: Views) -> Float[Tensor, ""]:
        """Average over the modalities that two tokens of the batch have.

        Returns:
            0 when each column correlates with its like by 1 and with no other; about
            the number of columns when nothing correlates.
        """
        pairs = views.of_all_processes().pairs()
        return mean_of([self._loss(p.anchor, p.other) for p in pairs], views)

    def _loss(self, a: Tensor, b: Tensor) -> Tensor:
        matrix = _scaled(a).T @ _scaled(b) / len(a)
        same = (1 - matrix.diagonal()).square().sum()
        return same + self.redundancy * _off_diagonal(matrix)


def _scaled(x: Tensor) -> Tensor:
    """Bring columns to mean 0 and deviation 1; 1e-5 as in batch normalisation."""
    return (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + 1e-5).sqrt()


def _off_diagonal(matrix: Tensor) -> Tensor:
    """Sum the squares beside the diagonal."""
    return (matrix - torch.diag(matrix.diagonal())).square().sum()
