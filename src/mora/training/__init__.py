"""The one training loop, for every model that is trained."""

from importlib import import_module
from typing import Any

# Loaded when first asked for: starting processes does not wait for torch.
_HOME = {
    "TrainingState": "mora.training.checkpoint",
    "TrainingTask": "mora.training.loop",
    "fit": "mora.training.loop",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mora.training' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
