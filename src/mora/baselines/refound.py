"""A small model of ReFound's kind: masked modelling, contrast and distillation."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from mora.baselines.inputs import raw
from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.errors import MoraError

PIECE = 128  # most columns of a piece
REFERENCE_WIDTHS = {"poi": 512, "imagery": 108, "demographics": 12}
REFERENCE_PARAMETERS = 875_000  # of refound with these widths and its defaults


@baseline(
    "refound",
    group="trained",
    source=(
        "after Xiao et al. 2024, ReFound: Crafting a Foundation Model for Urban Region "
        "Understanding upon Language and Visual Foundations, KDD"
    ),
    needs=("features",),
    reproduction=Reproduction(
        "ReFound's own data are not public, and its weights, trained on five Chinese "
        "cities, need inputs of that kind; a model of its kind with "
        f"{REFERENCE_PARAMETERS:,} parameters (for features of 512, 108 and 12 "
        "columns), trained on the same data as all others"
    ),
    settings=({}, {"epochs": 40}, {"learning_rate": 3e-4}, {"layers": 4}),
)
def refound(
    given: BaselineInput,
    *,
    dim: int = 128,
    layers: int = 2,
    heads: int = 4,
    epochs: int = 20,
    batch: int = 256,
    learning_rate: float | int = 1e-3,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed tokens with a transformer over their features, trained as ReFound was.

    Source: after Xiao et al. 2024, ReFound. Encoders: those of the run, frozen, whose
    outputs are the features, and a transformer with one expert network for each
    modality over pieces of at most 128 standardised columns. Losses, equally weighted:
    the squared error of pieces that were masked; InfoNCE between what one part of the
    pieces (one modality, or half of all) and what the rest say of a token; the
    divergence of the tokens' similarities from those of each frozen encoder.
    :func:`refound_parameters` counts the parameters.

    Departures: it is trained on the tokens of the run, not on other cities; whole
    features stand for the POIs and image patches that ReFound reads; the teachers are
    the encoders of the run; sizes are ours.

    Args:
        given: features and seed of the run.
        dim: columns, a multiple of ``heads``.
        layers: of the transformer, at least 1.
        heads: of its attention.
        epochs: passes over the tokens, at least 1.
        batch: tokens of a step, at least 2.
        learning_rate: of AdamW at the start.

    Returns:
        The region's piece; the same row for all tokens without any feature.

    Raises:
        MissingInputError: if the run has no features.
        MoraError: if an option is out of range.
    """
    _check_options(dim, layers, heads, epochs, batch)
    blocks = given.require_features()
    known = [~np.isnan(block).all(axis=1) for block in blocks.values()]
    numbers = [_numbers(block) for block in blocks.values()]
    widths = [_piece_widths(block.shape[1]) for block in numbers]
    pieces = [
        piece
        for block, parts in zip(numbers, widths, strict=True)
        for piece in np.split(block, np.cumsum(parts)[:-1], axis=1)
    ]

    import torch

    from mora.baselines.refound_network import RefoundStyle, train_refound

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(given.seed)
        model = RefoundStyle(widths, dim, layers, heads)
    return train_refound(
        model,
        pieces,
        np.column_stack(known)[:, model.modality_of_pieces()],
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        random=np.random.default_rng(given.seed),
    )


def refound_parameters(
    widths: Mapping[str, int], *, dim: int = 128, layers: int = 2, heads: int = 4
) -> int:
    """Count the trained parameters of :func:`refound`.

    Args:
        widths: columns of each modality.
        dim: as there.
        layers: as there.
        heads: as there; the number does not depend on it.

    Raises:
        MoraError: if an option is out of range.
    """
    _check_options(dim, layers, heads)
    from mora.baselines.refound_network import RefoundStyle

    pieces = [_piece_widths(columns) for columns in widths.values()]
    model = RefoundStyle(pieces, dim, layers, heads)
    return sum(weights.numel() for weights in model.parameters())


def _numbers(
    block: Float[np.ndarray, "tokens columns"],
) -> Float32[np.ndarray, "tokens columns"]:
    """Standardise, with the mean in place of what is missing."""
    return np.nan_to_num(raw(BaselineInput(features={"block": block})))


def _piece_widths(columns: int) -> Sequence[int]:
    """Cut columns into even pieces; into two, so that one can tell of the other."""
    count = min(columns, max(2, -(-columns // PIECE)))
    return [len(part) for part in np.array_split(np.arange(columns), count)]


def _check_options(
    dim: int, layers: int, heads: int, epochs: int = 1, batch: int = 2
) -> None:
    """Refuse options out of range."""
    if heads < 1 or dim < 1 or dim % heads:
        raise MoraError(
            f"dim is {dim} with {heads} heads; expected a positive multiple of heads."
        )
    for name, value, bound in (
        ("layers", layers, 1),
        ("epochs", epochs, 1),
        ("batch", batch, 2),
    ):
        if value < bound:
            raise MoraError(f"{name} is {value}; expected at least {bound}.")
