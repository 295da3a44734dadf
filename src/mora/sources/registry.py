"""The registry of sources, filled by explicit imports."""

from collections.abc import Callable

import pandas as pd

from mora.errors import ConfigError

SOURCES: dict[str, Callable[[], pd.DataFrame]] = {}


def source(
    name: str,
) -> Callable[[Callable[[], pd.DataFrame]], Callable[[], pd.DataFrame]]:
    """Register a function that reads a source.

    Args:
        name: what a configuration calls it under ``source:``.
    """

    def register(read: Callable[[], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
        SOURCES[name] = read
        return read

    return register


def read_source(name: str) -> pd.DataFrame:
    """Read a source by name.

    Raises:
        ConfigError: if it is not registered.
    """
    if name not in SOURCES:
        raise ConfigError(
            f"source {name!r} is unknown; expected one of {', '.join(SOURCES)}."
        )
    return SOURCES[name]()
