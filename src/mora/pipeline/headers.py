"""The columns that a configuration names, looked up before any work is done."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from mora.config import RunConfig
from mora.errors import MissingColumnError, MissingExtraError, MissingFileError
from mora.pipeline.inputs import locate
from mora.tables import column_names
from mora.tables.reading import TABLE_ENDINGS


def check_headers(settings: RunConfig, given: Container[str] = ()) -> None:
    """Refuse a mapping to columns that a file does not have.

    Files that are not there are left to the stage that needs them.

    Args:
        settings: of the run.
        given: places in the configuration whose tables were handed over instead.

    Raises:
        MissingColumnError: naming the place, the file and its columns.
        TableError: if a file cannot be read.
    """
    for place, path, columns in _tables(settings.model_dump(mode="json"), ""):
        if place in given or not path.endswith(TABLE_ENDINGS):
            continue
        try:
            header = column_names(locate(path, place))
        except (MissingFileError, MissingExtraError):
            continue
        missing = sorted(set(columns.values()) - set(header))
        if missing:
            raise MissingColumnError(f"{place} ({path})", missing, header)


def _tables(settings: Any, place: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Give the place, path and mapping of every table in nested settings."""
    if isinstance(settings, Mapping):
        if isinstance(settings.get("path"), str) and settings.get("columns"):
            yield place, settings["path"], settings["columns"]
        for key, value in settings.items():
            yield from _tables(value, f"{place}.{key}".lstrip("."))
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from _tables(value, f"{place}.{number}")
