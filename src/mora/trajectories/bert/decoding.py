"""Which location to answer, given a score for every one of them."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from mora.config.section import Section
from mora.errors import MoraError
from mora.trajectories.bert.inputs import NO_CANDIDATE
from mora.trajectories.bert.network import restrict
from mora.trajectories.bert.vocabulary import Vocabulary
from mora.trajectories.events import plane_coordinates
from mora.trajectories.humob.medoid import nearest_in_expectation


class DecodingConfig(Section):
    """How an answer is chosen.

    Attributes:
        decoding: ``argmax``: the likeliest location, as released; ``proximity``: the
            one that is nearest in expectation, the answer of least expected loss where
            nearness is what counts, as in GEO-BLEU.
        restrict: only candidates are answered.
        beta: how fast nearness falls with the distance in cells.
        support: likeliest locations of a window that proximity weighs and chooses from;
            their probabilities are those of the whole window, event by event.
    """

    decoding: Literal["argmax", "proximity"] = "argmax"
    restrict: bool = False
    beta: float = Field(0.5, ge=0)
    support: int = Field(100, ge=1)


def decode(
    logits: Float[Tensor, "batch predict locations"],
    vocabulary: Vocabulary,
    config: DecodingConfig,
    candidates: Int[Tensor, "batch candidates"] | None = None,
) -> Int[Tensor, "batch predict"]:
    """Choose a location for every event.

    Args:
        logits: of every location.
        vocabulary: says which locations are places: no others are answered.
        config: how to choose.
        candidates: what may be answered, for ``restrict``; each window has at least
            one.

    Raises:
        MoraError: if answers are restricted and there are no candidates.
    """
    if config.restrict and candidates is None:
        raise MoraError(
            "restrict is on and no candidates were given; expected those of each "
            "window. Find them with CandidateFinder, or switch restrict off."
        )
    allowed = candidates if config.restrict else None
    places = torch.from_numpy(vocabulary.places()).to(logits.device)
    logits = logits.masked_fill(~places, -torch.inf)
    if config.decoding == "argmax":
        if allowed is not None:
            logits = restrict(logits, allowed.to(logits.device))
        return logits.argmax(dim=-1)
    return _nearest(logits, vocabulary, config, allowed)


def _nearest(
    logits: Float[Tensor, "batch predict locations"],
    vocabulary: Vocabulary,
    config: DecodingConfig,
    candidates: Int[Tensor, "batch candidates"] | None,
) -> Int[Tensor, "batch predict"]:
    probability = logits.float().softmax(dim=-1)
    count = min(config.support, int(vocabulary.places().sum()))
    support = probability.sum(dim=1).topk(count, dim=-1).indices
    weights = probability.gather(2, support[:, None, :].expand(-1, logits.shape[1], -1))
    length = logits.shape[1]
    own = torch.ones_like(support, dtype=torch.bool)
    offsets, tokens = _repeat(support, own, length, vocabulary)
    options = None
    if candidates is not None:
        options = _repeat(candidates, candidates != NO_CANDIDATE, length, vocabulary)
    found = nearest_in_expectation(
        offsets,
        tokens,
        weights.double().cpu().numpy().ravel(),
        plane_coordinates(vocabulary.tokens),
        candidates=options,
        beta=config.beta,
    )
    answer = torch.from_numpy(vocabulary.encode(found)).to(logits.device)
    return answer.reshape(logits.shape[:2])


def _repeat(
    locations: Int[Tensor, "batch n"],
    kept: Bool[Tensor, "batch n"],
    length: int,
    vocabulary: Vocabulary,
) -> tuple[Int[np.ndarray, " bounds"], Int[np.ndarray, " entries"]]:
    """Give every event of a window the window's tokens: offsets and tokens."""
    rows = locations.cpu().numpy().repeat(length, axis=0)
    kept_rows = kept.cpu().numpy().repeat(length, axis=0)
    offsets = np.append(0, np.cumsum(kept_rows.sum(axis=1)))
    return offsets, vocabulary.decode(rows[kept_rows])
