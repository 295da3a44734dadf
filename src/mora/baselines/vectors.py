"""Vectors that others published as a table: one row, or several, for each place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Float32

from mora.baselines.checkpoints import require_file
from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.embeddings import read_embeddings
from mora.errors import MissingColumnError, TableError, examples
from mora.modalities.rows import read_numbers, rows_inside, weighted_group_means
from mora.personal import require_not_personal
from mora.tokens import Tokens, ZoneTokens

# The first that a table has.
ID_COLUMNS = ("token", "cell", "zone", "id", "h3", "h3_index")
PLACING = (*ID_COLUMNS, "lon", "lat", "longitude", "latitude")
LIST_COLUMN = "embedding"
PDFM_COLUMN = "feature"  # and a number: feature0, feature1, ...
PDFM_WHERE = "zcta_embeddings.csv or county_embeddings.csv of PDFM"
VECTORS_WHERE = "a Parquet or CSV table with a vector for each place"


@baseline(
    "pdfm",
    group="pretrained",
    source="Agarwal et al. 2024, Population Dynamics Foundation Model",
    needs=("tokens",),
    needs_file=True,
    reproduction=Reproduction(
        "its accuracies on US postcodes and counties (its vectors were not at hand; "
        "matching them to zones is tested on a table of the same format)"
    ),
)
def pdfm(
    given: BaselineInput, *, path: Path | str | None = None
) -> Float32[np.ndarray, "tokens dim"]:
    """Give PDFM's published vectors of US postcodes or counties.

    Source: Agarwal et al. 2024; the table has a column ``place`` (``zip/10001``,
    ``geoId/36061``) and columns ``feature0``, ``feature1``, ...

    Args:
        given: needs ``tokens`` that are zones, named as in the table or by the code
            alone (``10001``).
        path: the table, CSV or Parquet.

    Returns:
        One column for each feature, 330 as published; NaN for zones without a row.

    Raises:
        MissingInputError: if there are no tokens or no file is named.
        MissingFileError: if there is no such file.
        TableError: if the tokens are no zones, no row is one of them, or codes without
            their kind are not unique.
        MissingColumnError: if the table has no ``place`` or no features.
    """
    tokens = given.require_tokens()
    file = require_file(path, "pdfm", PDFM_WHERE)
    if not isinstance(tokens, ZoneTokens):
        raise TableError(
            f"PDFM describes postcodes and counties; the tokens are {tokens.kind}. Use "
            f"zones named by their code, or the baseline `vectors`, which takes lon "
            f"and lat."
        )
    frame = _read_table(file, ("place",)).to_pandas()
    names = [
        name
        for name in frame.columns
        if name.startswith(PDFM_COLUMN) and name[len(PDFM_COLUMN) :].isdigit()
    ]
    wanted = [] if names else [f"{PDFM_COLUMN}0"]
    missing = [name for name in ("place", *wanted) if name not in frame]
    if missing:
        raise MissingColumnError(str(file), missing, list(frame.columns))
    placed = frame.assign(token=_zone_names(tokens, frame["place"], str(file)))
    return _mean_rows(tokens, placed, frame[names])


def _zone_names(tokens: ZoneTokens, place: pd.Series, source: str) -> pd.Series:
    """Give each place's name as the zones have it: in full, or the code alone."""
    parts = place.astype("str").str.rpartition("/")
    in_full = tokens.find(place.to_numpy(str)) >= 0
    by_code = ~in_full & (tokens.find(parts[2].to_numpy(str)) >= 0)
    kinds = parts[0][by_code].unique().tolist()
    if len(kinds) > 1:
        raise TableError(
            f"{source}: the zones' names are codes of {len(kinds)} kinds of place "
            f"({examples(kinds)}), in which the same code occurs; expected one kind. "
            f"Name the zones in full, such as {place.to_numpy(str)[by_code][0]!r}."
        )
    return place.where(~by_code, parts[2])


@baseline(
    "vectors",
    group="pretrained",
    source="the table itself",
    needs=("tokens",),
    needs_file=True,
    reproduction=Reproduction(
        "greatest difference from the rows of the table",
        0.0,
        0.0,
        0.0,
        "pytest tests/test_baselines_vectors.py",
    ),
)
def vectors(
    given: BaselineInput,
    *,
    path: Path | str | None = None,
    columns: Sequence[str] | None = None,
    id_column: str | None = None,
) -> Float32[np.ndarray, "tokens dim"]:
    """Give the vectors of any table, the mean where a token has several rows.

    Source: the table. One that Mora wrote is read with its tokens; if those are of
    another kind than the run's, the middle of each says in which token it lies.

    Args:
        given: needs ``tokens``.
        path: Parquet (``.parquet``, ``.pq``), CSV or TSV with a row for each place.
        columns: that make the vector: numbers, or one column of lists. If not given,
            the column ``embedding`` or else every column of numbers that does not
            place a row.
        id_column: the places' ids: H3 cells as text or integers, zone names or grid
            ids. If not given, the first of ``token``, ``cell``, ``zone``, ``id``,
            ``h3`` and ``h3_index`` that the table has, or else ``lon`` and ``lat``
            (``longitude``, ``latitude``) in degrees.

    Returns:
        The columns; NaN for tokens without a row.

    Raises:
        MissingInputError: if there are no tokens or no file is named.
        MissingFileError: if there is no such file.
        PersonalDataError: if it lies in a folder of personal data.
        MissingColumnError: if a column is not in the table.
        TableError: if no row lies in a token, or vectors are of several lengths.
    """
    tokens = given.require_tokens()
    file = require_file(path, "vectors", VECTORS_WHERE)
    require_not_personal(file)
    if columns is None and id_column is None and _is_ours(file):
        return _own_vectors(tokens, file)
    ids = (id_column,) if id_column else ID_COLUMNS
    table = _read_table(file, ids)
    places = _places(table, ids, str(file))
    values = _vector_columns(table, columns, ids, str(file))
    return _mean_rows(tokens, places, values)


def _is_ours(file: Path) -> bool:
    if not _is_parquet(file):
        return False
    return b"mora:kind" in (_parquet(pq.read_schema, file).metadata or {})


def _own_vectors(tokens: Tokens, file: Path) -> Float32[np.ndarray, "tokens dim"]:
    """Give the vectors of a file that Mora wrote."""
    found = read_embeddings(file)
    if found.tokens.kind == tokens.kind:
        places = pd.DataFrame({"token": found.tokens.ids})
    else:
        places = pd.DataFrame(found.tokens.centroids(), columns=["lon", "lat"])
    return _mean_rows(tokens, places, pd.DataFrame(found.vectors))


def _mean_rows(
    tokens: Tokens, places: pd.DataFrame, values: pd.DataFrame
) -> Float32[np.ndarray, "tokens dim"]:
    """Average rows in each token; refuse a table of which no row lies in one."""
    named = values.rename(columns=str)
    _, numbers = read_numbers(named, list(named.columns), ())
    row, _ = rows_inside(tokens, places, "rows")
    means = weighted_group_means(row, numbers, np.ones(len(places)), len(tokens))
    return means.astype(np.float32)


def _is_parquet(file: Path) -> bool:
    return file.suffix in (".parquet", ".pq")


def _parquet(read: Any, file: Path) -> Any:
    try:
        return read(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(
            f"{file} cannot be read as Parquet ({error}); expected a whole file."
        ) from error


def _read_table(file: Path, text_columns: Sequence[str]) -> pa.Table:
    """Read Parquet as it is, and CSV with ids as text, so that 01001 keeps its zero."""
    if _is_parquet(file):
        return _parquet(pq.read_table, file)
    separator = "\t" if ".tsv" in file.suffixes else ","
    try:
        frame = pd.read_csv(file, sep=separator, dtype=dict.fromkeys(text_columns, str))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise TableError(
            f"{file} cannot be read as CSV ({error}); expected UTF-8, a header, and as "
            f"many fields in each line."
        ) from error
    return pa.Table.from_pandas(frame, preserve_index=False)


def _places(table: pa.Table, ids: Sequence[str], source: str) -> pd.DataFrame:
    """Take what places the rows: one column of ids, or lon and lat."""
    names = table.column_names
    for name in ids:
        if name in names:
            return pd.DataFrame({"token": table[name].to_pandas()})
    if ids == ID_COLUMNS:
        for pair in (("lon", "lat"), ("longitude", "latitude")):
            if set(pair) <= set(names):
                frame = table.select(list(pair)).to_pandas()
                return frame.set_axis(["lon", "lat"], axis=1)
        raise TableError(
            f"{source}: no column of places; expected {', '.join(ID_COLUMNS)}, or lon "
            f"and lat; the columns begin with {', '.join(names[:6])}. Rename the one "
            f"that names the places."
        )
    raise MissingColumnError(source, [ids[0]], names)


def _vector_columns(
    table: pa.Table, columns: Sequence[str] | None, ids: Sequence[str], source: str
) -> pd.DataFrame:
    """Take the columns of the vector, those of a list one by one."""
    names = table.column_names
    chosen = list(columns or [LIST_COLUMN] * (LIST_COLUMN in names))
    missing = [name for name in chosen if name not in names]
    if missing:
        raise MissingColumnError(source, missing, names)
    if len(chosen) == 1 and _is_list(table.schema.field(chosen[0]).type):
        return pd.DataFrame(_list_rows(table[chosen[0]], f"{source}: {chosen[0]}"))
    if not chosen:
        besides = {*PLACING, *ids}
        numeric = [field.name for field in table.schema if _is_number(field.type)]
        chosen = [name for name in numeric if name not in besides]
    return table.select(chosen).to_pandas()


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _list_rows(column: pa.ChunkedArray, source: str) -> Float[np.ndarray, "rows dim"]:
    """Give lists of one length as rows; NaN for a missing list."""
    whole = column.combine_chunks()
    present = whole.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.unique(pc.list_value_length(whole.filter(present)).to_numpy())
    if len(lengths) != 1:
        raise TableError(
            f"{source} holds lists of {len(lengths)} lengths "
            f"({examples(lengths.tolist())}); expected one length in all rows."
        )
    rows = np.full((len(whole), lengths[0]), np.nan)
    numbers = whole.filter(present).flatten().to_numpy(zero_copy_only=False)
    rows[present] = numbers.reshape(-1, lengths[0])
    return rows
