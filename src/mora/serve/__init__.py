"""The HTTP service: vectors, similar places and search in words for other programs."""

from importlib import import_module
from typing import Any

from mora.errors import MissingExtraError

# Loaded when first asked for: FastAPI is an extra.
_HOME = {
    "Limits": "mora.serve.limits",
    "make_app": "mora.serve.app",
    "require_loopback": "mora.serve.server",
    "serve": "mora.serve.server",
}
_PACKAGES = ("fastapi", "starlette", "uvicorn")

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        try:
            return getattr(import_module(_HOME[name]), name)
        except ModuleNotFoundError as error:
            if error.name not in _PACKAGES:
                raise
            raise MissingExtraError(error.name, "serve", "the HTTP service") from error
    raise AttributeError(f"module 'mora.serve' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
