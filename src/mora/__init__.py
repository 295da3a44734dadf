"""Places as vectors that know how people use them."""

from importlib import import_module
from typing import Any

# Loaded when first asked for, so that `import mora` does not wait for torch.
_HOME = {
    "Embeddings": "mora.embeddings",
    "GridTokens": "mora.tokens",
    "H3Tokens": "mora.tokens",
    "MobilityGraph": "mora.graph.storage",
    "MoraError": "mora.errors",
    "Tokens": "mora.tokens",
    "ZoneTokens": "mora.tokens",
    "load_config": "mora.config",
    "read_embeddings": "mora.embeddings",
    "run": "mora.pipeline",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mora' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
