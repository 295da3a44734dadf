"""The distilled checkpoint of the paper's authors, read without running code."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from mora.distill.config import Convention
from mora.distill.network import DistilledModel
from mora.errors import MissingFileError, MoraError, examples

# Those weights were trained on harmonics whose columns of m = 0 are pi times too large.
RELEASED_CONVENTION: Convention = "mora_released_analytic"

# What the authors' file gives at one place, for whoever holds it: the first three
# numbers of the vector of lon 104.057273, lat 30.665787 (Chengdu).
RELEASED_PLACE = (104.057273, 30.665787)
RELEASED_VECTOR = (1.1620, -3.7438, 3.1581)


class DistilledFileError(MoraError):
    """A file of a distilled encoder that is not what it should be."""


def read_released(path: Path | str) -> DistilledModel:
    """Read a checkpoint in the form that the authors of MoRA released.

    Source: MoRA, released code: a dictionary with ``model_state_dict``, whose names
    are ``network.0.weight``, ``network.0.bias``, ``network.2.weight``, ..

    Args:
        path: file of PyTorch; no code in it is run.

    Returns:
        The network in float64, ready to use; sizes are those of the weights.

    Raises:
        MissingFileError: if there is no file.
        DistilledFileError: if it cannot be read as tensors, or names, shapes or values
            are not those of a distilled encoder.
    """
    found = _read_tensors(Path(path))
    if "model_state_dict" not in found:
        raise DistilledFileError(
            f"{path} has no 'model_state_dict' (its keys: {examples(list(found))}); "
            f"expected the released checkpoint. Save "
            f"{{'model_state_dict': model.state_dict()}}."
        )
    return from_weights(
        found["model_state_dict"], RELEASED_CONVENTION, source=str(path)
    )


def from_weights(
    weights: Any, convention: Convention, *, source: str
) -> DistilledModel:
    """Build the network that weights of linear layers belong to.

    Args:
        weights: tensors by name; ``network.0.weight``, ``network.0.bias``, ..
        convention: of the harmonics that they were trained on.
        source: where they are from, for messages.

    Raises:
        DistilledFileError: if names, shapes or values do not fit.
    """
    layers = _check_names(weights, source)
    matrices = [weights[f"network.{2 * i}.weight"] for i in range(layers)]
    inputs = _check_shapes(weights, layers, source)
    model = DistilledModel(
        [len(matrix) for matrix in matrices],
        degree=math.isqrt(inputs),
        convention=convention,
    )
    model.load_state_dict({name: value.double() for name, value in weights.items()})
    return model.eval()


def _read_tensors(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise MissingFileError(path, "distilled encoder")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DistilledFileError(
            f"{path} cannot be read as tensors and plain values ({reason}); expected "
            f"a whole file of PyTorch. If it holds other objects, save the weights "
            f"again without them."
        ) from error
    if not isinstance(found, dict):
        raise DistilledFileError(
            f"{path} holds a {type(found).__name__}; expected a dictionary with "
            f"'model_state_dict'. Save a state dict."
        )
    return found


def _check_names(weights: Any, source: str) -> int:
    """Give the number of layers, if all of their weights are there and no others."""
    found = set(weights) if isinstance(weights, Mapping) else set()
    layers = max(1, sum(name.endswith(".weight") for name in found))
    expected = {
        f"network.{2 * i}.{kind}" for i in range(layers) for kind in ("weight", "bias")
    }
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if missing or unknown:
        raise DistilledFileError(
            f"{source}: {len(missing)} weights are missing "
            f"({examples(missing) or 'none'}) and {len(unknown)} are unknown "
            f"({examples(unknown) or 'none'}); expected network.0.weight, "
            f"network.0.bias, network.2.weight, .. Is it another model's file?"
        )
    return layers


def _check_shapes(weights: Mapping[str, Any], layers: int, source: str) -> int:
    """Give the inputs of the first layer, if each takes what the one before gives."""
    for name, value in weights.items():
        wanted = 2 if name.endswith("weight") else 1
        if not isinstance(value, Tensor) or value.ndim != wanted:
            shape = getattr(value, "shape", type(value).__name__)
            raise DistilledFileError(
                f"{source}: {name} is {shape}; expected a tensor of {wanted} "
                f"dimensions. Is it another model's file?"
            )
        if not torch.isfinite(value).all():
            raise DistilledFileError(
                f"{source}: {name} holds values that are not finite; expected trained "
                f"weights. Get the file again."
            )
    shapes = [weights[f"network.{2 * i}.weight"].shape for i in range(layers)]
    biases = [weights[f"network.{2 * i}.bias"].shape[0] for i in range(layers)]
    chained = all(before[0] == after[1] for before, after in pairwise(shapes))
    inputs = shapes[0][1]
    square = math.isqrt(inputs) ** 2 == inputs
    if not chained or not square or biases != [shape[0] for shape in shapes]:
        text = ", ".join(str(tuple(shape)) for shape in shapes)
        raise DistilledFileError(
            f"{source}: the layers have shapes {text} and biases {biases}; expected "
            f"inputs that are a square number (1,024 for degree 32) and layers that "
            f"take what the one before gives. Is the file whole?"
        )
    return inputs
