"""Files that others published: found, read without running code, checked."""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.baselines.registry import MissingInputError
from mora.errors import MissingFileError, MoraError, examples


class CheckpointError(MoraError):
    """A file of trained weights that is not what it should be."""


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear layer with weights from a file.

    Attributes:
        weight: from inputs to outputs.
        bias: added to each output.
    """

    weight: Float[np.ndarray, "outputs inputs"]
    bias: Float[np.ndarray, " outputs"]

    def __call__(self, x: Float[np.ndarray, "n inputs"]) -> np.ndarray:
        """Give ``x W^T + b``, one row for each row of ``x``."""
        return x @ self.weight.T + self.bias

    @property
    def outputs(self) -> int:
        """Give the number of columns of the result."""
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Weights:
    """The arrays of one part of a model, by their names within it.

    Attributes:
        arrays: finite, float64.
        source: the file, for messages.
    """

    arrays: Mapping[str, Float[np.ndarray, "..."]]
    source: str

    def require_names(self, expected: Collection[str]) -> None:
        """Refuse arrays that are missing or that nobody knows.

        Raises:
            CheckpointError: naming them.
        """
        missing = sorted(set(expected) - set(self.arrays))
        unknown = sorted(set(self.arrays) - set(expected))
        if missing or unknown:
            raise CheckpointError(
                f"{self.source}: {len(missing)} weights are missing "
                f"({examples(missing) or 'none'}) and {len(unknown)} are unknown "
                f"({examples(unknown) or 'none'}); expected the {len(expected)} "
                f"weights of the published model. Is it another model's file?"
            )

    def array(self, name: str, *shape: int | None) -> Float[np.ndarray, "..."]:
        """Give an array, as float64.

        Args:
            name: of the array.
            shape: its lengths; None where any will do.

        Raises:
            CheckpointError: if its shape is another.
        """
        found = self.arrays[name]
        if len(found.shape) != len(shape) or any(
            wanted not in (None, length)
            for wanted, length in zip(shape, found.shape, strict=True)
        ):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise CheckpointError(
                f"{self.source}: {name} has shape {tuple(found.shape)}; expected "
                f"({wanted}). Is it another model's file?"
            )
        return found

    def linears(self, names: Sequence[str], inputs: int) -> list[Linear]:
        """Give linear layers, each of which takes what the one before it gives.

        Args:
            names: of the layers, in their order.
            inputs: of the first.

        Raises:
            CheckpointError: if one takes another number.
        """
        layers = []
        for name in names:
            weight = self.array(f"{name}.weight", None, inputs)
            layers.append(Linear(weight, self.array(f"{name}.bias", len(weight))))
            inputs = layers[-1].outputs
        return layers


def linear_names(layers: Sequence[str]) -> list[str]:
    """Give the names of the weights of linear layers (and of normalisations)."""
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def require_file(path: Path | str | None, name: str, where: str) -> Path:
    """Give the path of a baseline's file, or refuse.

    Args:
        path: as the user gave it; None if not at all.
        name: of the baseline.
        where: what file it is and where to get it.

    Raises:
        MissingInputError: if no path was given.
        MissingFileError: if there is no such file.
    """
    if path is None:
        raise MissingInputError(f"file for {name!r}", f"Give its `path`: {where}.")
    if not Path(path).is_file():
        raise MissingFileError(path, name)
    return Path(path)


def read_checkpoint(file: Path | io.BytesIO, source: str) -> Mapping[str, Any]:
    """Read what PyTorch saved, if it is tensors and plain values; no code is run.

    Args:
        file: a path or an open file.
        source: its name in messages.

    Returns:
        The dictionary that was saved, with its tensors in main memory.

    Raises:
        CheckpointError: if it cannot be read or holds anything else.
    """
    import torch

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"{source} cannot be read as tensors and plain values ({reason}); expected "
            f"a whole file of PyTorch. If it holds other objects, save its weights and "
            f"its settings again without them."
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{source} holds a {type(found).__name__}; expected a dictionary of "
            f"weights. Save a state dict."
        )
    return found


def take_weights(found: Any, prefixes: tuple[str, ...], source: str) -> Weights:
    """Take the weights of one part of a model out of its state dict.

    Args:
        found: what the file has as state dict.
        prefixes: what the names of the part may begin with; the first that occurs
            counts, and is cut off.
        source: the file, for messages.

    Raises:
        CheckpointError: if no name begins so, or one is no tensor of finite floats.
    """
    state = {str(n): v for n, v in found.items()} if isinstance(found, dict) else {}
    for prefix in prefixes:
        names = [name for name in state if name.startswith(prefix)]
        if names:
            arrays = {
                name[len(prefix) :]: _array(state, name, source) for name in names
            }
            return Weights(arrays, source)
    raise CheckpointError(
        f"{source} has {len(state)} weights (first: {examples(list(state))}), none of "
        f"them under {' or '.join(map(repr, prefixes))}; expected the published "
        f"layout. Is it another model's file?"
    )


def _array(state: Mapping[str, Any], name: str, source: str) -> np.ndarray:
    import torch

    tensor = state[name]
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise CheckpointError(
            f"{source}: {name} is no tensor of floats; expected weights."
        )
    if not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{source}: {name} holds values that are not finite; expected trained "
            f"weights. Get the file again."
        )
    return tensor.to(torch.float64).numpy()


def require_settings(
    found: Any,
    expected: Mapping[str, set[str] | tuple[type, ...]],
    source: str,
) -> Mapping[str, Any]:
    """Give a model's settings, or refuse those of another model.

    Args:
        found: what the file has as settings.
        expected: by name, the words that will do, or the types.
        source: the file, for messages.

    Raises:
        CheckpointError: if one is missing or another.
    """
    settings = found if isinstance(found, dict) else {}
    for name, wanted in expected.items():
        value = settings.get(name)
        if isinstance(wanted, set):
            fits = isinstance(value, str) and value in wanted
            text = " or ".join(sorted(wanted))
        else:
            fits, text = type(value) in wanted, examples([t.__name__ for t in wanted])
        if not fits:
            raise CheckpointError(
                f"{source}: the setting {name!r} is {value!r}; expected {text}. Is it "
                f"another model's file?"
            )
    return settings
