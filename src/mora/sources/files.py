"""Files of a source: found, and lines without a header streamed under names."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from mora.errors import MissingFileError, TableError
from mora.sources.registry import DROPPED
from mora.tables.inspection import Inspection
from mora.tables.values import to_numbers

Files = Path | str | Sequence[Path | str]

BLOCK_BYTES = 4 * 2**20  # of text at a time; some 30 are read ahead


def find_files(given: Files, purpose: str) -> list[Path]:
    """List the files that were named.

    Args:
        given: a file, several, or a name with ``*``, whose files come in the order of
            their names.
        purpose: what they are wanted for, for the message.

    Raises:
        MissingFileError: if one of them is not there.
        TableError: if none was named.
    """
    paths = [Path(p) for p in ([given] if isinstance(given, Path | str) else given)]
    if not paths:
        raise TableError(f"{purpose}: no files given; expected at least one.")
    found: list[Path] = []
    for path in paths:
        files = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
        if not files or not all(file.is_file() for file in files):
            raise MissingFileError(path, purpose)
        found += files
    return found


def stream_lines(
    path: Path,
    names: Sequence[str],
    wanted: Sequence[str],
    *,
    delimiter: str = "\t",
    encoding: str = "utf-8",
    skip_lines: int = 0,
) -> Iterator[pd.DataFrame]:
    """Stream columns of a file without a header, all of them as text.

    Lines with another number of fields are left out and counted. Quotes have no
    meaning.

    Args:
        path: gzipped if its name ends in ``.gz``.
        names: of the fields of a line.
        wanted: those of them to give.
        delimiter: between the fields.
        encoding: of the text.
        skip_lines: lines before the first record.

    Returns:
        Frames whose index goes on from one to the next, from 0; none if the file has
        no records.

    Raises:
        TableError: if the first or more than half of the lines have another number of
            fields, or the file cannot be read.
    """
    try:
        if not _has_records(path, len(names), delimiter, encoding, skip_lines):
            return
        ill_formed: list[int] = []

        def leave_out(row: Any) -> str:
            ill_formed.append(row.actual_columns)
            return "skip"

        reader = pa_csv.open_csv(
            str(path),
            pa_csv.ReadOptions(
                use_threads=False,
                block_size=BLOCK_BYTES,
                skip_rows=skip_lines,
                column_names=list(names),
                encoding=encoding,
            ),
            pa_csv.ParseOptions(
                delimiter=delimiter, quote_char=False, invalid_row_handler=leave_out
            ),
            pa_csv.ConvertOptions(
                include_columns=list(wanted),
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        yield from _number(reader, path, len(names), ill_formed)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise TableError(
            f"{path} cannot be read ({type(error).__name__}); expected lines of "
            f"{len(names)} fields in {encoding}."
        ) from error


def to_visits(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Give user, time, lon and lat, coordinates as numbers.

    Args:
        frame: the columns as text; what is missing stays, for the check of visits.
        source: the file, for messages.

    Returns:
        The visits in their order; those whose coordinates cannot be read are left out
        and counted in ``attrs``.
    """
    inspection = Inspection(frame, "visits", source)
    for column in ("lon", "lat"):
        _, unreadable = to_numbers(inspection.frame[column])
        inspection.drop(unreadable, f"{column} is not a number", column)
        inspection.put(column, to_numbers(inspection.frame[column])[0])
    return with_dropped(inspection, ["user", "time", "lon", "lat"], frame)


def with_dropped(
    inspection: Inspection, columns: list[str], read: pd.DataFrame
) -> pd.DataFrame:
    """Take columns of a table under inspection, with the count of what was dropped.

    Args:
        inspection: the table.
        columns: to take.
        read: the rows as read, whose own count of dropped rows is added to.
    """
    taken = inspection.frame[columns].reset_index(drop=True)
    dropped = dict(read.attrs.get(DROPPED, {}))
    for problem in inspection.problems:
        if problem.action == "dropped":
            dropped[problem.name] = dropped.get(problem.name, 0) + problem.count
    taken.attrs = {DROPPED: dropped} if dropped else {}
    return taken


def _has_records(
    path: Path, width: int, delimiter: str, encoding: str, skip_lines: int
) -> bool:
    """Say whether there is a first record, and refuse one of another width."""
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding=encoding) as file:
        for _ in range(skip_lines):
            file.readline()
        line = file.readline()
    if not line.strip():
        return False
    fields = line.count(delimiter) + 1
    if fields != width:
        raise TableError(
            f"{path}: line {skip_lines + 1} has {fields} fields between "
            f"{delimiter!r}; expected {width}. Check that it is the publisher's file."
        )
    return True


def _number(
    reader: pa_csv.CSVStreamingReader, path: Path, width: int, ill_formed: list[int]
) -> Iterator[pd.DataFrame]:
    """Number the rows on, and count ill-formed lines with the last of the frames."""
    start, last = 0, None
    for batch in reader:
        if last is not None:
            yield last
        index = pd.RangeIndex(start, start + len(batch))
        last = batch.to_pandas().set_axis(index)
        start += len(batch)
    if len(ill_formed) > start:
        raise TableError(
            f"{path}: {len(ill_formed)} of {len(ill_formed) + start} lines do not have "
            f"{width} fields (first: {ill_formed[0]}); expected {width} in each."
        )
    if last is not None:
        if ill_formed:
            last.attrs = {DROPPED: {f"line without {width} fields": len(ill_formed)}}
        yield last
