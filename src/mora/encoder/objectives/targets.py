"""Features as targets: standardised, few columns, or averaged over neighbours."""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float

from mora.encoder.objectives.views import ModalityBatch
from mora.graph.storage import MobilityGraph
from mora.modalities import Features


def standardise(batch: ModalityBatch) -> ModalityBatch:
    """Bring each column to mean 0 and deviation 1 over the tokens that have it.

    Returns:
        The same shape; constant columns and missing rows are 0.
    """
    values, present = batch.values.numpy(), batch.present.numpy()
    columns = [str(number) for number in range(values.shape[1])]
    scaled = Features.from_values(values, present, columns).standardised().values
    return ModalityBatch(_tensor(scaled), batch.present)


def make_targets(batch: ModalityBatch, components: int | None = None) -> ModalityBatch:
    """Standardise features and keep their first principal components.

    Args:
        batch: the features.
        components: how many, at most; None keeps all columns as they are.

    Returns:
        Targets with a mean square of 1 over the tokens that have them, so that to
        predict their mean costs 1 for every modality; 0 for constant features.
    """
    values = standardise(batch).values.double()
    if components is not None and components < values.shape[1]:
        _, axes = torch.linalg.eigh(values.T @ values)  # ascending
        values = values @ axes.flip(1)[:, :components]
    square = values[batch.present].square().mean() if batch.present.any() else 0.0
    scale = float(square) ** 0.5 or 1.0
    return ModalityBatch((values / scale).float(), batch.present)


def neighbour_mean(graph: MobilityGraph, batch: ModalityBatch) -> ModalityBatch:
    """Average the features of each token's neighbours, weighed by movement.

    Args:
        graph: the mobility graph; read in blocks of rows.
        batch: the features; neighbours without them do not count.

    Returns:
        One row a token; not present where no neighbour has features.
    """
    present = batch.present.numpy()[:, None].astype(np.float32)
    given = np.hstack([np.where(present > 0, batch.values.numpy(), 0), present])
    total = _neighbour_sum(graph, given)
    has = total[:, -1] > 0
    mean = total[:, :-1] / np.where(has, total[:, -1], 1)[:, None]
    return ModalityBatch(_tensor(mean), torch.from_numpy(has))


def _neighbour_sum(
    graph: MobilityGraph, rows: Float[np.ndarray, "tokens columns"]
) -> Float[np.ndarray, "tokens columns"]:
    total = np.zeros(rows.shape)
    for first, last in graph.row_blocks():
        indptr, neighbour, weight = graph.block(first, last)
        shape = (last - first, len(graph))
        data = weight.astype(np.float64)
        upper = sp.csr_array((data, neighbour, indptr), shape=shape)
        total[first:last] += upper @ rows
        total += upper.T @ rows[first:last]
    return total


def _tensor(values: Float[np.ndarray, "tokens columns"]) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
