"""A mixture of small networks, and the loss that keeps all of them in use."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Expert(nn.Module):
    """One linear layer and GELU: GELU(W x + b).

    Args:
        size: width of what comes in and goes out.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.fc = nn.Linear(size, size)

    def forward(self, x: Float[Tensor, "*n size"]) -> Float[Tensor, "*n size"]:
        """Give the answer of this expert."""
        return F.gelu(self.fc(x))


class MixtureOfExperts(nn.Module):
    """Experts whose answers are added up, weighed by a gate that sees the input.

    Source: the released code of ST-MoE-BERT (He et al. 2024), a softmax over all
    experts; with ``top_k``, Fedus et al. 2021, Switch Transformers, eq. 1 and 2, for
    k experts. All experts are computed: they are a small part of the network.

    Args:
        experts: how many.
        size: width of what comes in and goes out.
        top_k: experts that serve an event; None for all. The weights of the others
            become 0 and those that stay keep theirs, so that the gate also learns
            with one expert.
    """

    def __init__(self, experts: int, size: int, top_k: int | None = None) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Expert(size) for _ in range(experts))
        self.gate = nn.Linear(size, experts)
        self.top_k = top_k

    def forward(
        self,
        x: Float[Tensor, "batch events size"],
        padding: Bool[Tensor, "batch events"] | None = None,
    ) -> tuple[Float[Tensor, "batch events size"], Float[Tensor, ""]]:
        """Mix the answers of the experts.

        Args:
            x: state of each event.
            padding: events that do not count in the balance loss.

        Returns:
            The mixture and the balance loss.
        """
        shares = self.gate(x).softmax(dim=-1)
        weights = keep_largest(shares, self.top_k)
        answers = torch.stack([expert(x) for expert in self.experts], dim=-2)
        mixture = (weights[..., None] * answers).sum(dim=-2)
        if padding is not None:
            shares, weights = shares[~padding], weights[~padding]
        return mixture, balance_loss(
            shares.flatten(0, -2),
            None if self.top_k is None else weights.flatten(0, -2),
        )


def keep_largest(
    shares: Float[Tensor, "*n experts"], top_k: int | None
) -> Float[Tensor, "*n experts"]:
    """Set all but the largest shares of each row to 0.

    Args:
        shares: of the experts; a row sums to 1.
        top_k: how many stay; None for all.
    """
    if top_k is None:
        return shares
    kept = torch.zeros_like(shares, dtype=torch.bool)
    kept.scatter_(-1, shares.topk(top_k, dim=-1).indices, True)
    return shares * kept


def balance_loss(
    shares: Float[Tensor, "events experts"],
    weights: Float[Tensor, "events experts"] | None = None,
) -> Float[Tensor, ""]:
    """Give the loss that is lowest when all experts are used alike.

    Source: Fedus et al. 2021, Switch Transformers, eq. 4 to 6: N sum_i f_i P_i, where
    P_i is the mean share of expert i and f_i the part of all choices that fell on it.
    Where all experts serve all events nothing is chosen, and f_i is P_i.

    Args:
        shares: softmax of the gate.
        weights: shares of the chosen experts, 0 for the others; None if all serve.

    Returns:
        1 when the experts are used alike, the number of experts when only one is; 0
        without events.
    """
    if len(shares) == 0:
        return shares.sum()
    mean = shares.mean(dim=0)
    if weights is None:
        return shares.shape[1] * (mean * mean).sum()
    chosen = (weights > 0).to(mean)
    return shares.shape[1] * (chosen.sum(dim=0) / chosen.sum() * mean).sum()
