"""LightGCN over the mobility graph: propagation without weights or activations."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mora.errors import GraphError
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

    def __call__(
        self, x: Float[Tensor, "tokens dim"], rows: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "products dim"]:
        """Apply the operator to ``x``.

        Args:
            x: one row a token.
            rows: give these rows of the product only, in this order, none twice. The
                gradient takes the entries of these columns and passes over the others:
                about 0.3 of the whole product for a tenth of the rows, as much for
                0.85 of them, 1.1 to 1.25 for all, which is no loss worth a choice.

        Raises:
            GraphError: if a row is given twice.
        """
        if rows is not None and len(rows.unique()) < len(rows):
            raise GraphError(
                f"{len(rows)} rows name {len(rows.unique())} tokens; expected none "
                f"twice."
            )
        return _SymmetricProduct.apply(x, self, rows)

    def product(
        self,
        x: Float[Tensor, "columns dim"],
        *,
        rows: Int[Tensor, " rows"] | None = None,
        columns: Int[Tensor, " columns"] | None = None,
    ) -> Float[Tensor, "products dim"]:
        """Apply the operator without recording a gradient.

        Args:
            x: one row a token, or one for each of ``columns``.
            rows: give these rows of the product only.
            columns: the tokens that the rows of ``x`` belong to; others count as zero.
        """
        x = x.detach()
        if x.device.type != "cpu":
            return _multiply_elsewhere(self._matrix(x.device), x, rows, columns)
        dense = np.ascontiguousarray(x.to(torch.float32).numpy())
        given = {"rows": rows, "columns": columns}
        given = {name: t.numpy() for name, t in given.items() if t is not None}
        return torch.from_numpy(multiply(*self.operator, dense, **given)).to(x.dtype)

    def _matrix(self, device: torch.device) -> Tensor:
        if device not in self._on_device:
            indptr, indices, data = (torch.from_numpy(a) for a in self.operator)
            rows = len(self.operator[0]) - 1
            matrix = torch.sparse_csr_tensor(indptr, indices.long(), data, (rows, rows))
            self._on_device[device] = matrix.to(device)
        return self._on_device[device]


def _multiply_elsewhere(
    matrix: Tensor, x: Tensor, rows: Tensor | None, columns: Tensor | None
) -> Tensor:
    """Multiply on a device that has no row-wise product: the whole, then its rows."""
    if columns is not None:
        whole = x.new_zeros(matrix.shape[1], x.shape[1])
        x = whole.index_copy_(0, columns, x)
    product = matrix @ x
    return product if rows is None else product[rows]


class _SymmetricProduct(torch.autograd.Function):
    """Rows of y = A x with A = A^T, so the gradient of x is those columns of A grad."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, propagation: Propagation, rows: Tensor | None
    ) -> Tensor:
        ctx.propagation, ctx.rows = propagation, rows
        return propagation.product(x, rows=rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = ctx.propagation.product(gradients[0], columns=ctx.rows)
        return gradient, None, None


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

    def forward(
        self, rows: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "embedded dim"]:
        """Embed the tokens of the graph.

        Args:
            rows: embed these tokens only, none twice, in this order; fastest when
                ascending. All by default.
        """
        own = self.features if rows is None else self.features.index_select(0, rows)
        if self.layers == 0:
            return own
        # Horner's rule, x + A (x + A x): only the outermost product knows the rows.
        total = self.features
        for _ in range(self.layers - 1):
            total = self.features + self.propagation(total)
        return own + self.propagation(total, rows)
