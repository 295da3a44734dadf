"""CSV, Parquet and frames in memory under our names, whole or in batches."""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mora.errors import MissingFileError, TableError
from mora.tables.delimited import (
    CSV_ENDINGS,
    read_header,
    require_names,
    stream_csv,
)
from mora.tables.schema import TEXT_COLUMNS, refuse_unknown_columns, require_columns
from mora.tables.values import to_numbers, to_text

Source = Path | str | pd.DataFrame | pa.Table

PARQUET_ENDINGS = (".parquet", ".pq")
TABLE_ENDINGS = CSV_ENDINGS + PARQUET_ENDINGS
LEFT_AS_READ = frozenset({"time", "geometry"})


def read_frame(
    source: Source,
    columns: Mapping[str, str],
    kind: str,
    *,
    text_columns: Collection[str] = TEXT_COLUMNS,
) -> pd.DataFrame:
    """Read the mapped columns of a table under our names.

    Args:
        source: CSV or TSV (also ``.gz``) in UTF-8 with a header, Parquet, a file name
            with ``*`` for several files, a data frame or an Arrow table.
        columns: our name to theirs.
        kind: visits, flows, places, areas, labels or rows; another word for a table
            with no fixed columns.
        text_columns: our names that stay text, so that "01001" keeps its zero.

    Returns:
        The rows in the order of the source. Times and geometries are as in the source;
        other columns are numbers where all of their values are.

    Raises:
        MissingFileError: if there is no such file.
        MissingColumnError: if a mapped column is not in the source.
        TableError: if there are no rows, or the file or the mapping cannot be used.
    """
    batches = read_batches(source, columns, kind, text_columns=text_columns)
    return pd.concat(list(batches), ignore_index=True)


def read_batches(
    source: Source,
    columns: Mapping[str, str],
    kind: str,
    rows: int = 500_000,
    *,
    text_columns: Collection[str] = TEXT_COLUMNS,
) -> Iterator[pd.DataFrame]:
    """Read like :func:`read_frame`, a batch at a time, for what outgrows memory.

    Args:
        source: as in :func:`read_frame`.
        columns: our name to theirs.
        kind: as in :func:`read_frame`.
        rows: rows a batch, > 0; the last may have fewer.
        text_columns: our names that stay text.

    Returns:
        Frames whose index goes on from one batch to the next, from 0.

    Raises:
        MissingFileError: if there is no such file.
        MissingColumnError: if a mapped column is not in the source.
        TableError: if ``rows`` is not positive, there are no rows (told at the end),
            or the file or the mapping cannot be used.
    """
    require_columns(list(columns), kind)
    refuse_unknown_columns(list(columns), kind)
    if rows < 1:
        raise TableError(f"a batch needs at least one row; got rows={rows}.")
    name = f"{kind} frame" if isinstance(source, pd.DataFrame | pa.Table) else source
    if isinstance(source, pd.DataFrame):
        require_names(list(columns.values()), [*map(str, source.columns)], str(name))
        frames = (
            source.iloc[start : start + rows] for start in range(0, len(source), rows)
        )
    else:
        batches = _stream(source, columns, kind, rows)
        frames = (
            _to_pandas(table, columns, text_columns)
            for table in _regroup(batches, rows)
        )
    return _finish(frames, columns, text_columns, str(name))


def column_names(source: Source) -> list[str]:
    """Give the names of a table's columns; of several files, those of the first.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if it cannot be read.
    """
    if isinstance(source, pd.DataFrame):
        return [str(name) for name in source.columns]
    if isinstance(source, pa.Table):
        return source.column_names
    first = _paths(source, "table")[0]
    if first.name.endswith(CSV_ENDINGS):
        return read_header(first)[0]
    return _open_parquet(first).schema_arrow.names


def count_rows(source: Source) -> int | None:
    """Count the rows where that needs no reading, for a progress bar; else None.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if the ending of the name is unknown.
    """
    if isinstance(source, pd.DataFrame | pa.Table):
        return len(source)
    paths = _paths(source, "table")
    if any(path.name.endswith(CSV_ENDINGS) for path in paths):
        return None
    return sum(_open_parquet(path).metadata.num_rows for path in paths)


def _paths(source: Path | str, kind: str) -> list[Path]:
    """Find the file or, with ``*`` in its name, the files in the order of names."""
    path = Path(source)
    paths = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    if not paths or not all(found.is_file() for found in paths):
        raise MissingFileError(path, kind)
    for found in paths:
        if not found.name.endswith(TABLE_ENDINGS):
            raise TableError(
                f"{found}: unknown ending {found.suffix!r}; expected one of "
                f"{', '.join(TABLE_ENDINGS)}."
            )
    return paths


def _stream(
    source: Path | str | pa.Table, columns: Mapping[str, str], kind: str, rows: int
) -> Iterator[pa.RecordBatch]:
    """Check that the columns are there, then stream them under their own names."""
    wanted = list(dict.fromkeys(columns.values()))
    if isinstance(source, pa.Table):
        require_names(wanted, source.column_names, f"{kind} frame")
        return iter(source.select(wanted).to_batches(max_chunksize=rows))
    parts = []
    for path in _paths(source, kind):
        if path.name.endswith(CSV_ENDINGS):
            parts.append(stream_csv(path, wanted))
        else:
            file = _open_parquet(path)
            require_names(wanted, file.schema_arrow.names, str(path))
            parts.append(file.iter_batches(rows, columns=wanted))
    return chain.from_iterable(parts)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise TableError(
            f"{path} cannot be read as Parquet ({error}); expected a whole file."
        ) from error


def _regroup(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Cut a stream into tables of ``rows`` rows."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += len(batch)
        while held >= rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, rows)
            waiting = table.slice(rows).to_batches()
            held -= rows
    if held:
        yield pa.Table.from_batches(waiting)


def _to_pandas(
    table: pa.Table, columns: Mapping[str, str], text_columns: Collection[str]
) -> pd.DataFrame:
    """Leave Arrow; whole-number ids as text, since gaps would turn them into floats."""
    for ours, theirs in columns.items():
        place = table.column_names.index(theirs)
        if ours in text_columns and pa.types.is_integer(table.field(place).type):
            table = table.set_column(place, theirs, table[theirs].cast(pa.string()))
    return table.to_pandas()


def _finish(
    frames: Iterator[pd.DataFrame],
    columns: Mapping[str, str],
    text_columns: Collection[str],
    name: str,
) -> Iterator[pd.DataFrame]:
    """Give each frame our names, settled types and row numbers that go on."""
    start = 0
    for frame in frames:
        taken = {
            ours: _settle(frame[theirs], ours, text_columns)
            for ours, theirs in columns.items()
        }
        index = pd.RangeIndex(start, start + len(frame))
        start += len(frame)
        yield pd.DataFrame(taken).set_axis(index)
    if start == 0:
        raise TableError(f"{name} has no rows; expected at least one below the header.")


def _settle(column: pd.Series, ours: str, text_columns: Collection[str]) -> pd.Series:
    """Make ids text and number-like text numbers; what is neither stays."""
    if ours in text_columns:
        return to_text(column)
    if ours in LEFT_AS_READ or pd.api.types.is_numeric_dtype(column):
        return column
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    numbers, unreadable = to_numbers(column)
    return column if unreadable.any() else pd.Series(numbers, column.index)
