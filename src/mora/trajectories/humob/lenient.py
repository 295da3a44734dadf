"""A submission read row by row, whatever is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from jaxtyping import Int64

from mora.errors import TableError
from mora.trajectories.humob.columns import COLUMNS, read_header

WHOLE_NUMBER = r"^-?[0-9]{1,18}$"
SHOWN = 3


@dataclass(frozen=True, eq=False)
class LenientRows:
    """The rows that could be read, and what could not.

    Attributes:
        values: user, day, slot, column and row of each row whose fields are whole
            numbers, in the order of the file.
        header: names in the first line; empty without one.
        ragged: lines with another number of fields than five.
        ragged_first: the first of their texts.
        malformed: rows with a field that is no whole number.
        malformed_first: the first of their texts.
    """

    values: Int64[np.ndarray, "rows 5"]
    header: list[str]
    ragged: int
    ragged_first: list[str]
    malformed: int
    malformed_first: list[str]


def read_leniently(path: Path | str) -> LenientRows:
    """Read ``uid,d,t,x,y`` and count what is wrong instead of stopping there.

    Args:
        path: gzipped if it ends in ``.gz``. A header line that names the five columns
            in another order is followed; any other counts as one and is passed over.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if the file is no text, or has no rows.
    """
    header, ragged = read_header(path), []
    text = table = _read_text(path, bool(header), ragged)
    if sorted(header) == sorted(COLUMNS):
        table = text.rename_columns(header).select(COLUMNS)
    matches = [pc.match_substring_regex(c, WHOLE_NUMBER) for c in table.columns]
    whole = np.all([match.to_numpy() for match in matches], axis=0)
    readable = table.filter(pa.array(whole)).columns
    bad = text.filter(pa.array(~whole))
    return LenientRows(
        np.column_stack([pc.cast(c, pa.int64()).to_numpy() for c in readable]),
        header,
        len(ragged),
        ragged[:SHOWN],
        len(bad),
        [",".join(row.values()) for row in bad.slice(0, SHOWN).to_pylist()],
    )


def _read_text(path: Path | str, header: bool, ragged: list[str]) -> pa.Table:
    """Read all fields as text; lines of another length are added to ``ragged``."""

    def skip(row: pa_csv.InvalidRow) -> str:
        ragged.append(row.text)
        return "skip"

    try:
        return pa_csv.read_csv(
            str(path),
            read_options=pa_csv.ReadOptions(
                column_names=COLUMNS, skip_rows=int(header), use_threads=False
            ),
            parse_options=pa_csv.ParseOptions(invalid_row_handler=skip),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(COLUMNS, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise TableError(
            f"{path} cannot be read ({error}); expected lines {','.join(COLUMNS)}."
        ) from error
