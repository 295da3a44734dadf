"""CSV through DuckDB, every value as text, so that nothing is guessed."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from mora.errors import MissingColumnError, TableError

CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
DELIMITERS = ",\t;|"


def stream_csv(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Stream columns of a CSV file in its own order, all of them as text.

    The delimiter (comma, tab, semicolon or bar) is the one most frequent in the
    header. Types, quotes, comments and lines to skip are not guessed.

    Args:
        path: a file in UTF-8, gzipped if its name ends in ``.gz``.
        columns: names in the header, none twice.

    Returns:
        Record batches; empty fields are null.

    Raises:
        MissingColumnError: if a column is not in the header.
        TableError: if the header cannot be read or names a column twice; while
            streaming, if a line does not have as many fields as the header.
    """
    header, delimiter = read_header(path)
    require_names(columns, header, str(path))
    places = [header.index(name) for name in columns]
    return _stream(
        path, len(header), delimiter, dict(zip(columns, places, strict=True))
    )


def require_names(wanted: Sequence[str], found: Sequence[str], source: str) -> None:
    """Refuse a source that lacks a column or has two of one name.

    Raises:
        MissingColumnError: if a wanted column is not found.
        TableError: if a wanted column is found twice.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise MissingColumnError(source, missing, found)
    twice = [name for name in wanted if found.count(name) > 1]
    if twice:
        raise TableError(
            f"{source} has {found.count(twice[0])} columns {twice[0]!r}; expected one. "
            f"Rename the others."
        )


def read_header(path: Path) -> tuple[list[str], str]:
    """Give the names of the columns and the delimiter between them."""
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            delimiter = max(DELIMITERS, key=line.count)
            file.seek(0)
            return next(csv.reader(file, delimiter=delimiter), []), delimiter
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(
            f"{path} cannot be read ({error}); expected CSV in UTF-8 with a header."
        ) from error


def _stream(
    path: Path, width: int, delimiter: str, places: dict[str, int]
) -> Iterator[pa.RecordBatch]:
    with duckdb.connect() as connection:
        try:
            table = connection.read_csv(
                str(path),
                auto_detect=False,
                header=True,
                columns={f"c{place}": "VARCHAR" for place in range(width)},
                delimiter=delimiter,
                quotechar='"',
                escapechar='"',
            )
            chosen = [duckdb.ColumnExpression(f"c{i}") for i in places.values()]
            for batch in pa.RecordBatchReader.from_stream(table.select(*chosen)):
                yield batch.rename_columns(list(places))
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise TableError(f"{path}: {_explain(str(error))}") from error


def _explain(message: str) -> str:
    """Say where and why reading stopped, without the line itself: it may be private."""
    line = re.search(r"CSV Error on Line: (\d+)", message)
    width = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    where = f"line {line[1]}" if line else "the file"
    if width:
        return f"{where} has {width[2]} fields; expected {width[1]} as in the header."
    if "not utf-8" in message:
        return f"{where} is not UTF-8; expected UTF-8. Convert the file."
    return (
        f"{where} cannot be read as CSV; expected fields in double quotes where they "
        f"hold the delimiter, and one kind of line end."
    )
