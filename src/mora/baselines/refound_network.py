"""The network and the losses of a small model of ReFound's kind, and its training."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.encoder.contrastive import info_nce

TEMPERATURE = 0.1  # of the contrast between views and of the distilled similarities
WEIGHT_DECAY = 0.01


class Expert(nn.Module):
    """A transformer layer whose attention all share, with a network for each modality.

    Source: Xiao et al. 2024, ReFound, mixture of geospatial experts, in small: one
    expert for each modality and one for the region; normalisation comes first.

    Args:
        dim: columns of a piece.
        heads: of the attention; divides ``dim``.
        experts: number of modalities, and one more.
    """

    def __init__(self, dim: int, heads: int, experts: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.before_expert = nn.LayerNorm(dim)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
            for _ in range(experts)
        )

    def forward(
        self,
        x: Float[Tensor, "batch pieces dim"],
        hidden: Bool[Tensor, "batch pieces"],
        counts: Sequence[int],
    ) -> Float[Tensor, "batch pieces dim"]:
        """Mix the pieces that are not hidden, then apply each one's expert.

        Args:
            x: the region's piece, then those of each modality.
            hidden: pieces that no other may look at.
            counts: pieces of each expert, in order.
        """
        y = self.before_attention(x)
        x = x + self.attention(y, y, y, key_padding_mask=hidden, need_weights=False)[0]
        parts = self.before_expert(x).split(list(counts), dim=1)
        own = zip(self.experts, parts, strict=True)
        return x + torch.cat([expert(part) for expert, part in own], dim=1)


class RefoundStyle(nn.Module):
    """A transformer over pieces of the features of a token, and one for the region.

    Args:
        widths: columns of each piece, by modality.
        dim: columns of a piece inside, and of the result.
        layers: transformer layers.
        heads: of the attention; divides ``dim``.
    """

    def __init__(
        self, widths: Sequence[Sequence[int]], dim: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        flat = [width for piece in widths for width in piece]
        self.counts = [1, *(len(pieces) for pieces in widths)]
        self.embed = nn.ModuleList(nn.Linear(width, dim) for width in flat)
        self.restore = nn.ModuleList(nn.Linear(dim, width) for width in flat)
        self.teach = nn.ModuleList(nn.Linear(dim, dim) for _ in widths)
        self.region = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.masked = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.place = nn.Parameter(torch.randn(len(flat), dim) / dim**0.5)
        self.layers = nn.ModuleList(
            Expert(dim, heads, len(self.counts)) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        pieces: Sequence[Float[Tensor, "batch _"]],
        known: Bool[Tensor, "batch pieces"],
        masked: Bool[Tensor, "batch pieces"] | None = None,
    ) -> Float[Tensor, "batch more_pieces dim"]:
        """Give the region's piece, then all others.

        Args:
            pieces: features; finite where unknown, too.
            known: pieces that are looked at.
            masked: pieces whose content is replaced by a learned mask.
        """
        embedded = zip(self.embed, pieces, strict=True)
        x = torch.stack([layer(piece) for layer, piece in embedded], dim=1)
        if masked is not None:
            x = torch.where(masked[:, :, None], self.masked, x)
        region = self.region.expand(len(x), 1, -1)
        x = torch.cat([region, x + self.place], dim=1)
        hidden = F.pad(~known, (1, 0))  # the region always sees itself
        for layer in self.layers:
            x = layer(x, hidden, self.counts)
        return self.norm(x)

    def modality_of_pieces(self) -> Int[np.ndarray, " pieces"]:
        """Give the number of the modality of each piece."""
        return np.repeat(np.arange(len(self.counts) - 1), self.counts[1:])

    def loss(
        self,
        pieces: Sequence[Float[Tensor, "batch _"]],
        known: Bool[Tensor, "batch pieces"],
        random: np.random.Generator,
    ) -> Float[Tensor, ""]:
        """Give the sum of the three losses of a batch.

        Source: Xiao et al. 2024, ReFound: masked modelling, contrast between views,
        and knowledge distilled from frozen encoders.
        """
        first = torch.as_tensor(self._draw_view(random))
        one, other = known & first, known & ~first
        sees_one, sees_other = self(pieces, known, other), self(pieces, known, one)
        # Of every piece, what the pass that did not see it makes of it.
        guessed = torch.where(first[:, None], sees_other[:, 1:], sees_one[:, 1:])
        both = one.any(dim=1) & other.any(dim=1)
        total = self._reconstruction(guessed, pieces, known)
        if both.any():
            regions = sees_one[both, 0], sees_other[both, 0]
            total = total + info_nce(*regions, temperature=TEMPERATURE)
        return total + self._distil(pieces, known)

    def _draw_view(self, random: np.random.Generator) -> Bool[np.ndarray, " pieces"]:
        """Choose the pieces of one view: half of all, or those of one modality."""
        modality = self.modality_of_pieces()
        if random.random() < 0.5 or modality[-1] == 0:
            return random.permutation(len(modality)) < len(modality) // 2
        return modality == random.integers(modality[-1] + 1)

    def _reconstruction(
        self,
        guessed: Float[Tensor, "batch pieces dim"],
        pieces: Sequence[Tensor],
        known: Tensor,
    ) -> Float[Tensor, ""]:
        """Give the mean squared error of the known pieces."""
        errors = [
            (layer(guessed[:, i]) - piece).square().mean(dim=1)
            for i, (layer, piece) in enumerate(zip(self.restore, pieces, strict=True))
        ]
        return masked_mean(torch.stack(errors, dim=1), known)

    def _distil(self, pieces: Sequence[Tensor], known: Tensor) -> Tensor:
        """Give how far the region's similarities are from those of each modality."""
        region, start = self(pieces, known)[:, 0], 0
        losses = []
        for count, layer in zip(self.counts[1:], self.teach, strict=True):
            rows = known[:, start]
            teacher = torch.cat(list(pieces[start : start + count]), dim=1)[rows]
            losses.append(similarity_gap(layer(region[rows]), teacher))
            start += count
        return torch.stack(losses).mean()


def similarity_gap(
    student: Float[Tensor, "rows dim"], teacher: Float[Tensor, "rows columns"]
) -> Float[Tensor, ""]:
    """Give the divergence of the student's similarities from the teacher's.

    Source: Fang et al. 2021, SEED, eq. 4, with the batch in place of a queue: softmax
    over the other rows of cosines by temperature.

    Returns:
        Mean over rows, in nats; 0 where the cosines agree, or below three rows.
    """
    if len(student) < 3:
        return student.sum() * 0
    own, given = (_log_similarities(x) for x in (student, teacher.detach()))
    return F.kl_div(own, given, log_target=True, reduction="batchmean")


def _log_similarities(x: Tensor) -> Tensor:
    """Give log-softmax of the cosines of each row with all others."""
    x = F.normalize(x, dim=1)
    others = ~torch.eye(len(x), dtype=torch.bool)
    logits = (x @ x.T / TEMPERATURE)[others].reshape(len(x), -1)
    return logits.log_softmax(dim=1)


def masked_mean(
    values: Float[Tensor, "batch pieces"], chosen: Bool[Tensor, "batch pieces"]
) -> Float[Tensor, ""]:
    """Give the mean of the chosen values; 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def train_refound(
    model: RefoundStyle,
    pieces: Sequence[Float[np.ndarray, "tokens _"]],
    known: Bool[np.ndarray, "tokens pieces"],
    *,
    epochs: int,
    batch: int,
    learning_rate: float | int,
    random: np.random.Generator,
) -> Float[np.ndarray, "tokens dim"]:
    """Train with AdamW and give the region's piece of all tokens.

    Args:
        model: initial weights; changed.
        pieces: features of all tokens; finite where unknown, too.
        known: which pieces tokens have.
        epochs: passes over the tokens; the learning rate falls to 0 in half a cosine.
        batch: tokens of a step, at most.
        learning_rate: at the start.
        random: draws the batches, the masks and the views.
    """
    blocks = [torch.as_tensor(piece, dtype=torch.float32) for piece in pieces]
    seen = torch.as_tensor(known)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in _batches(len(seen), batch, random):
            optimizer.zero_grad()
            model.loss([block[rows] for block in blocks], seen[rows], random).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        parts = torch.arange(len(seen)).split(batch)
        rows = [model([b[i] for b in blocks], seen[i])[:, 0] for i in parts]
    return torch.cat(rows).numpy()


def _batches(
    tokens: int, batch: int, random: np.random.Generator
) -> Iterator[Int[np.ndarray, " rows"]]:
    """Cut all tokens, in a new order, into even batches."""
    yield from np.array_split(random.permutation(tokens), -(-tokens // batch))
