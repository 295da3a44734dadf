"""LightGCN over the mobility graph: propagation without weights or activations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mora.graph.product import multiply

Operator = tuple[np.ndarray, np.ndarray, np.ndarray]


class Propagation:
    """A symmetric sparse operator, applied to dense rows.

    On the CPU both directions are the row-wise product of :mod:`mora.graph.product`:
    the operator is its own transpose, so the gradient is the same product. Elsewhere
    PyTorch's CSR product is used, again with the operator as its own transpose.

    Args:
        indptr: where each row begins.
        indices: column of each entry, ascending within a row.
        data: value of each entry, float32; ``(i, j)`` and ``(j, i)`` are equal.
    """

    def __init__(
        self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray
    ) -> None:
        self.operator: Operator = (indptr, indices, data)
        self._on_device: dict[torch.device, Tensor] = {}

    def __call__(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """Apply the operator to ``x``."""
        return _SymmetricProduct.apply(x, self.product)

    def product(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
        """Apply the operator without recording a gradient."""
        if x.device.type == "cpu":
            rows = np.ascontiguousarray(x.detach().to(torch.float32).numpy())
            return torch.from_numpy(multiply(*self.operator, rows)).to(x.dtype)
        return self._matrix(x.device) @ x.detach()

    def _matrix(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            indptr, indices, data = (torch.from_numpy(a) for a in self.operator)
            rows = len(self.operator[0]) - 1
            matrix = torch.sparse_csr_tensor(indptr, indices.long(), data, (rows, rows))
            self._on_device[device] = matrix.to(device)
        return self._on_device[device]


class _SymmetricProduct(torch.autograd.Function):
    """y = A x with A = A^T, so the gradient of x is A grad."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.product = product
        return product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.product(gradients[0]), None


class LightGCN(nn.Module):
    """Sum of the node features after 0..layers propagation steps.

    Source: He et al. 2020, LightGCN; MoRA eq. 3. Departs from the LightGCN paper,
    which averages the layers: MoRA sums them.

    Args:
        features: initial node features, here the LINE pre-encoding; learned.
        propagation: the normalised mobility graph.
        layers: propagation steps; 0 returns the features themselves.
    """

    def __init__(
        self,
        features: Float[Tensor, "tokens dim"],
        propagation: Propagation,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.features = nn.Parameter(features.clone())
        self.propagation = propagation
        self.layers = layers

    def forward(self) -> Float[Tensor, "tokens dim"]:
        """Embed every token of the graph."""
        x = total = self.features
        for _ in range(self.layers):
            x = self.propagation(x)
            total = total + x
        return total
