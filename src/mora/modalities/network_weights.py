"""Weights of networks that others trained: read without running code, and checked."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mora.errors import MissingFileError, MoraError, examples

UNREADABLE = (
    *(UnpicklingError, RuntimeError, EOFError, OSError, ValueError),
    SafetensorError,
)


class WeightsFileError(MoraError):
    """A file of weights that is not of the network it was given for."""


def read_tensors(path: Path | str, purpose: str) -> Mapping[str, Any]:
    """Read a state dict.

    Args:
        path: ``.safetensors``, or a file of PyTorch, of which no code is run.
        purpose: what needs it, for the message.

    Raises:
        MissingFileError: if there is no file.
        WeightsFileError: if it cannot be read as tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(path, purpose)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise WeightsFileError(
            f"{path} cannot be read as tensors ({reason_of(error)}); expected a whole "
            f"state dict. Fetch it again, or save the weights without other objects."
        ) from error
    if not isinstance(found, dict):
        raise WeightsFileError(
            f"{path} holds a {type(found).__name__}; expected a state dict. Save "
            f"model.state_dict()."
        )
    return found


def reason_of(error: Exception) -> str:
    """Give the first sentence of an error: PyTorch's next ones say how to run code.

    Args:
        error: of a reader of weights.

    Returns:
        One line without an end; empty if the error says nothing.
    """
    return str(error).strip().split("\n")[0].split(". ")[0].removesuffix(".")


def require_weights(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: str,
    network: str,
) -> None:
    """Refuse weights that are missing, unknown, of another shape or not finite.

    Args:
        found: tensors by name.
        expected: the network's own, of which names and shapes count.
        source: where they are from, for the message.
        network: whose weights are expected, for the message.

    Raises:
        WeightsFileError: if they do not fit.
    """
    both = sorted(set(found) & set(expected))
    problems = {
        "missing": sorted(set(expected) - set(found)),
        "unknown": sorted(set(found) - set(expected)),
        "of another shape": [
            f"{name} {tuple(found[name].shape)} for {tuple(expected[name].shape)}"
            for name in both
            if found[name].shape != expected[name].shape
        ],
        "not finite": [name for name in both if not found[name].isfinite().all()],
    }
    said = [f"{len(n)} {what} ({examples(n)})" for what, n in problems.items() if n]
    if said:
        raise WeightsFileError(
            f"{source}: of {len(expected)} weights: {', '.join(said)}; expected those "
            f"of {network}. Is it a whole file, and this kind of model's?"
        )
