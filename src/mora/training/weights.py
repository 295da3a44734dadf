"""Weights on disk: safetensors, whole or not at all, readable like any other file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_weights(
    path: Path,
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors under their names.

    Departs from ``safetensors.torch.save_file``, whose files nobody else may read,
    whatever the umask.

    Args:
        path: file; replaced once the new one is whole.
        weights: name -> tensor.
        metadata: texts kept beside them.
    """
    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    part = path.with_suffix(".part")
    part.write_bytes(save(whole, metadata=dict(metadata) if metadata else None))
    part.replace(path)
