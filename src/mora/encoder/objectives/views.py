"""A batch of tokens as its objectives see it: mobility, and each modality's head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mora.training.processes import count_in_batch, gather_rows, process_count

MOBILITY = "mobility"  # name of the mobility side among the modalities


@dataclass(frozen=True)
class ModalityBatch:
    """One modality's features and which tokens have them.

    Attributes:
        values: feature rows of all tokens; rows that are not present are ignored.
        present: whether each token has the modality.
    """

    values: Float[Tensor, "tokens columns"]
    present: Bool[Tensor, " tokens"]


@dataclass(frozen=True)
class Pair:
    """The anchor beside one modality, over the tokens that have both.

    Attributes:
        name: of the modality.
        tokens: which.
        anchor: their embeddings on the anchor's side.
        other: their embeddings on the modality's side, in the same order.
    """

    name: str
    tokens: Int[Tensor, " both"]
    anchor: Float[Tensor, "both dim"]
    other: Float[Tensor, "both dim"]


@dataclass(frozen=True)
class Views:
    """The embeddings of a batch.

    Attributes:
        tokens: ascending; those of this process, where several train together.
        mobility: their embeddings by the mobility encoder.
        heads: modality -> outputs of its head, for the tokens that have it.
        present: modality -> which of the tokens have it.
        anchor: what the modalities are aligned to: ``mobility``, or one of ``heads``.
        whole: whether the tokens are those of all processes.
    """

    tokens: Int[Tensor, " batch"]
    mobility: Float[Tensor, "batch dim"]
    heads: Mapping[str, Float[Tensor, "_ dim"]]
    present: Mapping[str, Bool[Tensor, " batch"]]
    anchor: str = MOBILITY
    whole: bool = False

    def pairs(self) -> Iterator[Pair]:
        """Pair each modality with the anchor, and the anchor with mobility.

        Yields:
            A pair for every modality that two tokens of the batch share with the
            anchor.
        """
        count = torch.sum if self.whole else count_in_batch
        for name in self.heads:
            of_anchor = name if self.anchor == MOBILITY else self.anchor
            has = self.present[name] & self.present[of_anchor]
            if int(count(has)) < 2:
                continue
            if of_anchor == name:
                first, second = self.mobility[has], self.heads[name]
            else:
                first, second = (
                    self.heads[side][has[self.present[side]]]
                    for side in (of_anchor, name)
                )
            yield Pair(name, self.tokens[has], first, second)

    def spread(self, name: str) -> Float[Tensor, "batch dim"]:
        """Give a row of a head for every token, 0 for those without the modality."""
        rows = torch.zeros_like(self.mobility)
        rows[self.present[name]] = self.heads[name]
        return rows

    def of_all_processes(self) -> "Views":
        """Give the views of the whole batch, the same in every process."""
        if process_count() == 1:
            return self
        # 53 bits hold every token's number.
        tokens = gather_rows(self.tokens[:, None].double())[0][:, 0].long()
        order = tokens.argsort()
        present = {
            name: gather_rows(mask[:, None].double())[0][order, 0] > 0
            for name, mask in self.present.items()
        }
        heads = {
            name: _Gathered.apply(self.spread(name))[order][present[name]]
            for name in self.heads
        }
        mobility = _Gathered.apply(self.mobility)[order]
        return Views(tokens[order], mobility, heads, present, self.anchor, True)


class _Gathered(torch.autograd.Function):
    """The rows of all processes; each process differentiates its own.

    Every process computes the same loss of all rows, so the gradient of its own rows
    is whole; times the count, for the mean over processes that follows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        every, ctx.own = gather_rows(rows)
        return every

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0][ctx.own] * process_count()
