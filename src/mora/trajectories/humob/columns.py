"""Columns of whole numbers in the CSV files of HuMob, read a part at a time."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from jaxtyping import Bool

from mora.errors import MissingFileError, MoraError, TableError
from mora.tables.delimited import require_names

COLUMNS = ("uid", "d", "t", "x", "y")
HEADER_BYTES = 1000  # in which the first line ends

Columns = dict[str, np.ndarray]


def read_columns(path: Path | str, names: Sequence[str] = COLUMNS) -> Columns:
    """Read columns of whole numbers, a part of the file at a time.

    Args:
        path: CSV, gzipped if it ends in ``.gz``.
        names: of the columns; without a header line the file must have them in this
            order.

    Returns:
        Each column as int32, ``uid`` as int64.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if a line does not have as many fields as the first, or a field is
            no whole number.
    """
    header = read_header(path)
    if header:
        require_names(names, header, str(path))
    read = pa_csv.ReadOptions(
        column_names=list(header or names), skip_rows=1 if header else 0
    )
    convert = pa_csv.ConvertOptions(
        include_columns=list(names),
        column_types={n: pa.int64() if n == "uid" else pa.int32() for n in names},
        strings_can_be_null=False,
        null_values=[],
    )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    try:
        with pa_csv.open_csv(
            str(path), read_options=read, convert_options=convert
        ) as reader:
            for batch in reader:
                for name in names:
                    parts[name].append(batch[name].to_numpy(zero_copy_only=False))
    except (pa.ArrowException, OSError, EOFError) as error:
        raise TableError(
            f"{path} cannot be read ({error}); expected lines of {len(names)} whole "
            f"numbers: {','.join(names)}."
        ) from error
    none = np.empty(0, np.int32)
    return {name: np.concatenate([none, *parts[name]]) for name in names}


def read_header(path: Path | str) -> list[str]:
    """Give the names in the first line; none if the file begins with a number.

    Args:
        path: CSV, gzipped if it ends in ``.gz``.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if it cannot be read.
    """
    if not Path(path).is_file():
        raise MissingFileError(path, "events of the HuMob challenge")
    try:
        with pa.input_stream(str(path), compression="detect") as file:
            line = file.read(HEADER_BYTES).partition(b"\n")[0]
        names = next(csv.reader([line.decode("utf-8-sig").strip()]), [])
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise TableError(
            f"{path} cannot be read ({error}); expected CSV in UTF-8, gzipped if the "
            f"name ends in .gz."
        ) from error
    numbers = not names or names[0].strip().lstrip("-").isdigit()
    return [] if numbers else names


def refuse_outside(
    columns: Columns,
    name: str,
    low: int,
    high: int,
    source: str,
    exempt: Bool[np.ndarray, " rows"] | None = None,
) -> None:
    """Refuse values outside ``low`` to ``high``.

    Args:
        columns: of the file.
        name: of the column.
        low: smallest value that is allowed.
        high: largest value that is allowed.
        source: the file, for the message.
        exempt: rows whose value does not matter.

    Raises:
        MoraError: with the number of rows and the first of them.
    """
    bad = (columns[name] < low) | (columns[name] > high)
    if exempt is not None:
        bad &= ~exempt
    if bad.any():
        first = first_rows(columns, [name], bad)
        raise MoraError(
            f"{source}: {bad.sum()} of {len(bad)} rows have {name} out of range "
            f"(first: {first}); expected {low} to {high}. Correct the rows, or say how "
            f"the file counts."
        )


def first_rows(
    columns: Columns, names: Sequence[str], bad: Bool[np.ndarray, " rows"]
) -> str:
    """Write where the first bad rows are, and what the named columns hold there.

    Whose rows they are is left out: a message may be passed on.
    """
    rows = np.flatnonzero(bad)[:3]
    values = [",".join(str(columns[name][row]) for name in names) for row in rows]
    pairs = zip(rows + 1, values, strict=True)
    return ", ".join(f"row {row}: {value}" for row, value in pairs)
