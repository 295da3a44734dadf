"""Files of a table as one Spark frame, under our names and in our units."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from mora.errors import ConfigError, TableError, examples
from mora.pipeline.spark.values import read_column
from mora.tables.delimited import CSV_ENDINGS, _read_header, require_names
from mora.tables.reading import _open_parquet, _paths
from mora.tables.schema import refuse_unknown_columns, require_columns

# Empty fields are null, quoted or not, and no line is dropped or cut.
CSV_OPTIONS = {
    "quote": '"',
    "escape": '"',
    "nullValue": "",
    "emptyValue": "",
    "maxCharsPerColumn": "-1",
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": "malformed",
}
LOCAL = "file://"  # a cluster may have another default
NOT_UTF8 = "\ufffd"  # what bytes that are not UTF-8 are read as


@dataclass(frozen=True)
class Layout:
    """What files have in common that are read alike.

    Attributes:
        names: all columns of a CSV file, in their order; the mapped ones of Parquet.
        types: of the columns of Parquet.
        delimiter: of CSV; None for Parquet.
    """

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...] = ()
    delimiter: str | None = None


@dataclass(frozen=True)
class Table:
    """An opened table; nothing is read yet.

    Attributes:
        rows: for ids a column of text. For numbers the value, null where there is
            none, and ``NAME_unread``, what could not be read. For ``time``
            microseconds since 1970 in UTC, or as the clock shows them;
            ``time_zoned``, which of the two; and ``time_text``, as written. Further
            ``line``, whether it is a "header" or what is wrong with it, and
            ``position``, by which rows sort as they stand in the files.
        source: the file, for messages.
        headers: how many of the rows are headers of files.
    """

    rows: DataFrame
    source: str
    headers: int


def require_files(source: Path | pd.DataFrame) -> Path:
    """Give the source if Spark can read it.

    Raises:
        ConfigError: if it is a frame.
    """
    if isinstance(source, pd.DataFrame):
        raise ConfigError(
            f"engine spark reads files; got a frame of {len(source):,} rows. Write it "
            f"to Parquet and name the file under `mobility: table: path:`, or use "
            f"`mobility: engine: embedded`."
        )
    return source


def open_table(
    spark: SparkSession,
    source: Path,
    columns: Mapping[str, str],
    kind: str,
) -> Table:
    """Open CSV or Parquet files.

    Args:
        spark: the session.
        source: a file, or a name with ``*`` for several; driver and workers must both
            find it under this path.
        columns: our name to theirs.
        kind: of :data:`mora.tables.schema.SCHEMAS`; another word has no fixed columns.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if a column is missing or of a type that cannot be used.
    """
    require_columns(list(columns), kind)
    refuse_unknown_columns(list(columns), kind)
    layouts: dict[Layout, list[str]] = {}
    for path in _visible(_paths(source, kind)):
        layouts.setdefault(_layout(path, columns), []).append(_exact(path))
    frames = [
        _read(spark, layout, paths, columns, str(source))
        for layout, paths in layouts.items()
    ]
    headers = sum(len(paths) for layout, paths in layouts.items() if layout.delimiter)
    return Table(reduce(DataFrame.unionByName, frames), str(source), headers)


def _visible(paths: Sequence[Path]) -> Sequence[Path]:
    """Refuse files that Spark would leave out without a word."""
    hidden = [path.name for path in paths if path.name.startswith(("_", "."))]
    if hidden:
        raise TableError(
            f"{len(hidden)} of {len(paths)} files begin with _ or a dot, which hides "
            f"them from Spark (first: {examples(hidden)}). Rename them."
        )
    return paths


def _exact(path: Path) -> str:
    """Name a file so that Spark takes neither brackets nor its folder for others."""
    name = str(path.resolve())
    return LOCAL + "".join(f"\\{c}" if c in r"[]{}*?\\" else c for c in name)


def _layout(path: Path, columns: Mapping[str, str]) -> Layout:
    wanted = list(dict.fromkeys(columns.values()))
    if path.name.endswith(CSV_ENDINGS):
        header, delimiter = _read_header(path)
        require_names(wanted, header, str(path))
        return Layout(tuple(header), delimiter=delimiter)
    schema = _open_parquet(path).schema_arrow
    require_names(wanted, schema.names, str(path))
    return Layout(tuple(wanted), tuple(schema.field(name).type for name in wanted))


@dataclass(frozen=True)
class Fields:
    """Rows as they are in files of one layout, and where their fields are.

    Attributes:
        rows: the rows.
        stored: type of each mapped column in the file.
        column: each mapped column.
        further: ``line`` and ``position`` of :class:`Table`.
    """

    rows: DataFrame
    stored: dict[str, pa.DataType]
    column: dict[str, Column]
    further: list[Column]


def _read(
    spark: SparkSession,
    layout: Layout,
    paths: list[str],
    columns: Mapping[str, str],
    source: str,
) -> DataFrame:
    """Read files of one layout under our names."""
    opened = _open_lines if layout.delimiter else _open_parquet_files
    fields = opened(spark, layout, paths)
    taken: dict[str, Column] = {}
    for ours, theirs in columns.items():
        column = fields.column[theirs]
        given = fields.rows.select(column).schema[0].dataType
        read = read_column(column, ours, given, fields.stored[theirs])
        if read is None:
            raise TableError(
                f"{source}: column {theirs!r} is of type {given.simpleString()}, from "
                f"which engine spark cannot read {ours!r}. Expected ids as text or "
                f"whole numbers, coordinates and weights as numbers or text, times as "
                f"timestamps or ISO 8601; convert it, or use `engine: embedded`."
            )
        taken |= read
    named = [column.alias(name) for name, column in taken.items()]
    return fields.rows.select(*named, *fields.further)


def _open_parquet_files(
    spark: SparkSession, layout: Layout, paths: list[str]
) -> Fields:
    rows = spark.read.parquet(*paths)
    column = {name: rows["`" + name.replace("`", "``") + "`"] for name in layout.names}
    stored = dict(zip(layout.names, layout.types, strict=True))
    line = F.lit(None).cast("string").alias("line")
    position = _position(F.col("_metadata.row_index"))
    return Fields(rows, stored, column, [line, position])


def _open_lines(spark: SparkSession, layout: Layout, paths: list[str]) -> Fields:
    """Read CSV line by line, so that many workers can share a file.

    A field that goes on over lines would be taken for two rows; its quotes show it.
    """
    names = [f"c{place}" for place in range(len(layout.names))]
    schema = ", ".join(f"{name} string" for name in [*names, "malformed"])
    text = F.regexp_replace("value", "^\ufeff", "")
    quotes = F.length(text) - F.length(F.replace(text, F.lit('"')))
    options = CSV_OPTIONS | {"sep": layout.delimiter or ","}
    rows = spark.read.text(paths).where("value != ''")
    rows = rows.select(
        F.from_csv(text, schema, options).alias("field"),
        (quotes % 2 == 1).alias("open"),
        text.contains(NOT_UTF8).alias("not_utf8"),
        _position(F.monotonically_increasing_id()),
    )
    fields = [rows["field"][name] for name in names]
    column = dict(zip(layout.names, fields, strict=True))
    same = [column[name].eqNullSafe(F.lit(name or None)) for name in layout.names]
    line = (
        F.when(reduce(Column.__and__, same), "header")
        .when(rows["field"]["malformed"].isNotNull(), "fields")
        .when(rows["open"], "quotes")
        .when(rows["not_utf8"], "UTF-8")
    )
    stored = dict.fromkeys(layout.names, pa.string())
    return Fields(rows, stored, column, [line.alias("line"), rows["position"]])


def _position(row: Column) -> Column:
    """Give what rows sort by as they stand in the files; files sort by name."""
    name, block = (F.col(f"_metadata.{x}") for x in ("file_name", "file_block_start"))
    return F.struct(name, block, row.alias("row")).alias("position")


def fetch(rows: DataFrame, folder: Path, *order: str) -> pa.Table:
    """Bring rows to this process, sorted, through files of a folder.

    Args:
        rows: what to bring.
        folder: does not exist yet; driver and workers must share it.
        order: columns to sort by.
    """
    parts = _write_sorted(rows, folder, order)
    return pa.concat_tables([pq.read_table(part) for part in parts])


def fetch_batches(
    rows: DataFrame, folder: Path, *order: str
) -> Iterator[pa.RecordBatch]:
    """Bring rows as :func:`fetch` does, a batch at a time; Spark works at the first."""
    for part in _write_sorted(rows, folder, order):
        with pq.ParquetFile(part) as file:
            yield from file.iter_batches()


def _write_sorted(rows: DataFrame, folder: Path, order: Sequence[str]) -> list[Path]:
    """Let Spark write sorted files, whose names sort as their rows do."""
    rows.orderBy(*order).write.parquet(LOCAL + str(folder.resolve()))
    return sorted(folder.glob("part-*.parquet"))
