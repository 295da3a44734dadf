"""The registry of sources, filled by explicit imports."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mora.errors import ConfigError, TableError

DROPPED = "dropped"  # key of ``frame.attrs``: reason -> rows a reader left out

Read = TypeVar("Read", bound=Callable[..., Any])


@dataclass(frozen=True)
class SourceEntry:
    """An open data source and the function that reads its files.

    Attributes:
        name: what a configuration calls it under ``source:``.
        read: gives a frame, or frames one after another where files may be large.
        gives: the table that comes out: visits, flows, places, labels or numbers.
        licence: of the data, as the publisher names it.
        size: of a usual file, in words.
        home: the publisher's page.
        use: one line of Python that reads it.
    """

    name: str
    read: Callable[..., Any]
    gives: str = ""
    licence: str = ""
    size: str = ""
    home: str = ""
    use: str = ""


SOURCES: dict[str, SourceEntry] = {}


def source(
    name: str,
    *,
    gives: str = "",
    licence: str = "",
    size: str = "",
    home: str = "",
    use: str = "",
) -> Callable[[Read], Read]:
    """Register a function that reads a source.

    Args:
        name: what a configuration calls it under ``source:``.
        gives: the table that comes out: visits, flows, places, labels or numbers.
        licence: of the data, as the publisher names it.
        size: of a usual file, in words.
        home: the publisher's page.
        use: one line of Python that reads it; the call with its parameters if empty.
    """

    def register(read: Read) -> Read:
        line = use or f"read_source({name!r}{_parameters(read)})"
        SOURCES[name] = SourceEntry(name, read, gives, licence, size, home, line)
        return read

    return register


def list_sources() -> list[dict[str, str]]:
    """Describe every source, in the order of their names.

    Returns:
        A row a source: name, gives, licence, size, home, use; empty where unknown.
    """
    keys = ("name", "gives", "licence", "size", "home", "use")
    return [{k: getattr(SOURCES[n], k) for k in keys} for n in sorted(SOURCES)]


def stream_source(name: str, *files: Any, **options: Any) -> Iterator[pd.DataFrame]:
    """Read a source a frame at a time, for what outgrows memory.

    Args:
        name: of the source.
        files: what its reader takes, in its order.
        options: of its reader, by name.

    Returns:
        Frames with the same columns. ``attrs["dropped"]`` counts the rows that the
        reader left out, by reason.

    Raises:
        ConfigError: if the source is not registered or its reader takes other files or
            options.
    """
    entry = find_source(name)
    _bind(entry, files, options)
    read = entry.read(*files, **options)
    return iter([read]) if isinstance(read, pd.DataFrame) else iter(read)


def check_source(
    name: str, files: Sequence[Path | str], options: Mapping[str, Any]
) -> None:
    """Refuse what :func:`stream_files` could not follow, before any file is opened.

    Args:
        name: of the source.
        files: see :func:`stream_files`.
        options: see :func:`stream_files`.

    Raises:
        ConfigError: saying what is known.
    """
    entry = find_source(name)
    for call in _calls(entry, files):
        _bind(entry, call, options)


def stream_files(
    name: str, files: Sequence[Path | str], options: Mapping[str, Any]
) -> Iterator[pd.DataFrame]:
    """Read the files of a source, as a configuration names them.

    Args:
        name: of the source.
        files: read together by a reader of several, else one after another.
        options: of the reader, by name.

    Returns:
        Frames as of :func:`stream_source`.

    Raises:
        ConfigError: as :func:`stream_source`.
    """
    for call in _calls(find_source(name), files):
        yield from stream_source(name, *call, **options)


def read_source(name: str, *files: Any, **options: Any) -> pd.DataFrame:
    """Read a source whole.

    Args:
        name: of the source.
        files: what its reader takes, in its order.
        options: of its reader, by name.

    Returns:
        The table, rows numbered from 0; ``attrs["dropped"]`` counts the rows that the
        reader left out, by reason.

    Raises:
        ConfigError: if the source is not registered or its reader takes other files or
            options.
        TableError: if its files cannot be used.
    """
    frames = list(stream_source(name, *files, **options))
    if len(frames) == 1:
        return frames[0]
    if not frames:
        raise TableError(f"source {name!r} gave no rows; expected at least one.")
    dropped: dict[str, int] = {}
    for frame in frames:
        add_dropped(dropped, frame)
    whole = pd.concat(frames, ignore_index=True)
    whole.attrs = {DROPPED: dropped} if dropped else {}
    return whole


def write_source(
    name: str, path: Path | str, *files: Any, **options: Any
) -> dict[str, int]:
    """Write a source as one Parquet table that a configuration can name as a path.

    Only one frame is in memory at a time.

    Args:
        name: of the source.
        path: of the Parquet file; replaced if it exists.
        files: what the reader takes, in its order.
        options: of the reader, by name.

    Returns:
        ``rows`` written, and the rows that the reader left out, by reason.

    Raises:
        ConfigError: if the source is not registered or its reader takes other files or
            options.
        TableError: if its files cannot be used; nothing is left at ``path`` then.
    """
    unfinished = Path(f"{path}.unfinished")
    counts = {"rows": 0}
    writer = None
    try:
        for frame in stream_source(name, *files, **options):
            schema = writer.schema if writer else None
            table = pa.Table.from_pandas(frame, schema, preserve_index=False)
            table = table.replace_schema_metadata()
            writer = writer or pq.ParquetWriter(unfinished, table.schema)
            writer.write_table(table)
            counts["rows"] += len(frame)
            add_dropped(counts, frame)
        if writer is None:
            raise TableError(f"source {name!r} gave no rows; expected at least one.")
        writer.close()
        unfinished.replace(path)
    finally:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)
    return counts


def add_dropped(total: dict[str, int], frame: pd.DataFrame) -> None:
    """Add what the reader of a frame left out to a count by reason, in place."""
    for reason, rows in frame.attrs.get(DROPPED, {}).items():
        total[reason] = total.get(reason, 0) + rows


def find_source(name: str) -> SourceEntry:
    """Look up a source.

    Raises:
        ConfigError: naming those that are registered.
    """
    if name not in SOURCES:
        raise ConfigError(
            f"source {name!r} is unknown; expected one of {', '.join(SOURCES)}."
        )
    return SOURCES[name]


def _calls(entry: SourceEntry, files: Sequence[Path | str]) -> list[tuple[Any, ...]]:
    """Say with which files a reader is called: with all at once, or with each."""
    together = "files" in inspect.signature(entry.read).parameters
    calls = [([*files],)] if together and files else [(file,) for file in files]
    return calls or [()]


def _bind(entry: SourceEntry, files: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Refuse files or options that a reader does not take."""
    signature = inspect.signature(entry.read)
    try:
        signature.bind(*files, **options)
    except TypeError as error:
        known = ", ".join([*signature.parameters][1:]) or "none"
        raise ConfigError(
            f"source {entry.name!r}: {error}; expected {entry.use}, with the options "
            f"{known}. In a configuration the files stand under `files:`, the options "
            f"under `options:`; or write a table with mora.sources.write_source and "
            f"name it under `path:`."
        ) from error


def _parameters(read: Callable[..., Any]) -> str:
    """Write what a reader must be given, behind the name of the source."""
    given = inspect.signature(read).parameters.values()
    needed = [p.name for p in given if p.default is p.empty]
    return "".join(f", {name}" for name in needed)
