"""Tables that a configuration takes from open data: refused early, read in batches."""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from mora.config import TableInput
from mora.config.inputs import FILE_KEYS
from mora.errors import ConfigError, TableError
from mora.sources.registry import (
    SOURCES,
    add_dropped,
    check_source,
    find_source,
    stream_files,
)
from mora.tables import Problem, TableReport

Bounds = tuple[float, float, float, float]

NUMBERS = ("numbers", "labels")
WANTED = {  # kind of the section, and setting: what a source may give there
    ("visits", "table"): ("visits",),
    ("flows", "table"): ("flows",),
    ("gravity", "table"): ("flows",),
    ("poi", "inputs"): ("places",),
    ("demographics40", "inputs"): (*NUMBERS, "flows", "visits"),
    (None, "names"): ("places",),
}


def check_sourced(settings: BaseModel, place: str, owner: BaseModel | None) -> None:
    """Refuse a source that cannot be read as it is asked for.

    Args:
        settings: a table from a source; others and other settings are let through.
        place: of ``settings`` in the configuration.
        owner: the section that the table belongs to.

    Raises:
        ConfigError: if the source is unknown, gives another kind of table, or does not
            take these files or options.
    """
    if not isinstance(settings, TableInput) or settings.source is None:
        return
    entry = find_source(settings.source)
    name = next(step for step in reversed(place.split(".")) if not step.isdigit())
    wanted = WANTED.get((getattr(owner, "kind", None), name), NUMBERS)
    if entry.gives and entry.gives not in wanted:
        fit = [other for other in SOURCES if SOURCES[other].gives in wanted]
        raise ConfigError(
            f"{place}: source {entry.name!r} gives {entry.gives}; expected "
            f"{' or '.join(wanted)}, as {', '.join(fit)} give."
        )
    check_source(entry.name, settings.files, settings.options)
    lost = [key for key in _file_options(entry.read) if key in settings.options]
    if lost:
        raise ConfigError(
            f"{place}: option {lost[0]!r} of source {entry.name!r} names a file, which "
            f"a configuration can give only under {', '.join(FILE_KEYS)}. Write the "
            f"table with mora.sources.write_source, and name it under `path:`."
        )


def _file_options(read: Callable[..., Any]) -> list[str]:
    """List options that are files, but not known as such where paths are looked up."""
    after_first = [*inspect.signature(read).parameters.values()][1:]
    return [
        option.name
        for option in after_first
        if Path in typing.get_args(option.annotation) and option.name not in FILE_KEYS
    ]


def stream_sourced(
    name: str,
    files: Sequence[str],
    options: Mapping[str, Any],
    bounds: Bounds | None,
    report: Callable[[TableReport], None],
) -> Iterator[pd.DataFrame]:
    """Read a source a frame at a time.

    Args:
        name: of the source.
        files: that it is read from.
        options: of its reader.
        bounds: of the study area; they are the reader's unless the options say others,
            where it takes any.
        report: is told at the end what the reader left out.

    Returns:
        Frames that have rows.

    Raises:
        TableError: if there is none.
    """
    if "bounds" in inspect.signature(find_source(name).read).parameters:
        options = {"bounds": bounds, **options}
    dropped: dict[str, int] = {}
    rows = 0
    for frame in stream_files(name, files, options):
        add_dropped(dropped, frame)
        rows += len(frame)
        if len(frame):
            yield frame
    if rows == 0:
        raise TableError(f"source {name!r} gave no rows; expected at least one.")
    if dropped:
        found = tuple(Problem(why, n, (), "dropped") for why, n in dropped.items())
        total = rows + sum(dropped.values())
        report(TableReport("records", name, total, rows, found))
