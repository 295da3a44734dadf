"""A table of points in a file, of any length, and their vectors in another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from jaxtyping import Float64

from mora.distill.coordinate_encoder import (
    CoordinateEncoder,
    InvalidPlacesError,
    OnInvalid,
    check_option,
    on_earth,
)
from mora.distill.frames import frame_lonlat, vector_columns
from mora.errors import MissingFileError, TableError, examples
from mora.progress import Progress, silent
from mora.tables.delimited import CSV_ENDINGS, require_names, stream_csv
from mora.tables.reading import PARQUET_ENDINGS

ROWS = 65_536  # points held at a time
TARGET_ENDINGS = (*PARQUET_ENDINGS, ".csv", ".csv.gz")


@dataclass(frozen=True)
class EncodedPoints:
    """What became of a table of points.

    Attributes:
        places: rows written.
        invalid: how many of them have NaN for a vector.
    """

    places: int
    invalid: int


def encode_points(
    encoder: CoordinateEncoder,
    source: Path | str,
    target: Path | str,
    *,
    lon: str = "lon",
    lat: str = "lat",
    keep: Sequence[str] = (),
    on_invalid: OnInvalid = "raise",
    threads: int = 1,
    progress: Progress = silent,
) -> EncodedPoints:
    """Write the vectors of the points in a file, in the order of its rows.

    The file is read twice: all coordinates are checked before the first is encoded.

    Args:
        encoder: gives the vectors.
        source: CSV or TSV (also ``.gz``) with a header, or Parquet.
        target: ``.parquet``, ``.csv`` or ``.csv.gz``; it appears when it is whole.
        lon: column of the longitude, in degrees.
        lat: column of the latitude, in degrees.
        keep: other columns that come along; those of CSV stay text.
        on_invalid: what to do with places that are missing or not on Earth.
        threads: that share the places, >= 1.
        progress: told the points done and all points.

    Returns:
        How many points there were. The file has the columns kept, longitude, latitude,
        e000, e001, .. in float32.

    Raises:
        MissingFileError: if there is no source.
        TableError: if a column is missing or not numbers, a name is taken, an ending
            is unknown, or the file cannot be read.
        InvalidPlacesError: if a place is invalid, unless ``on_invalid`` is ``nan``.
    """
    source, target = Path(source), Path(target)
    check_option(on_invalid)
    if not target.name.endswith(TARGET_ENDINGS):
        raise TableError(
            f"{target}: unknown ending {target.suffix!r}; expected one of "
            f"{', '.join(TARGET_ENDINGS)}."
        )
    found = _check_places(source, lon, lat, on_invalid)

    columns = list(dict.fromkeys([*keep, lon, lat]))
    taken = [name for name in columns if name in vector_columns(encoder.dim)]
    if taken:
        raise TableError(
            f"{source}: columns {examples(taken)} have names of vectors; expected "
            f"others. Rename them, or do not keep them."
        )

    def tables() -> Iterator[pa.Table]:
        done = 0
        for batch in _stream(source, columns):
            lonlat = _lonlat(batch, lon, lat)
            vectors = encoder.encode(lonlat, on_invalid=on_invalid, threads=threads)
            yield _with_vectors(batch, lonlat, vectors, lon, lat)
            done += len(batch)
            progress(done, found.places)

    _write(tables(), target)
    return found


def _stream(source: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Give columns of a file, a few rows at a time."""
    if not source.is_file():
        raise MissingFileError(source, "points")
    if source.name.endswith(CSV_ENDINGS):
        batches = stream_csv(source, columns)
    elif source.name.endswith(PARQUET_ENDINGS):
        batches = _stream_parquet(source, columns)
    else:
        raise TableError(
            f"{source}: unknown ending {source.suffix!r}; expected one of "
            f"{', '.join(CSV_ENDINGS + PARQUET_ENDINGS)}."
        )
    for batch in batches:
        for start in range(0, len(batch), ROWS):
            yield batch.slice(start, ROWS)


def _stream_parquet(source: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(source) as file:
            require_names(columns, file.schema_arrow.names, str(source))
            yield from file.iter_batches(ROWS, columns=columns)
    except pa.ArrowInvalid as error:
        raise TableError(
            f"{source} cannot be read as Parquet ({error}); expected a whole file."
        ) from error


def _lonlat(batch: pa.RecordBatch, lon: str, lat: str) -> Float64[np.ndarray, "n 2"]:
    return frame_lonlat(batch.select([lon, lat]).to_pandas(), lon, lat)


def _check_places(
    source: Path, lon: str, lat: str, on_invalid: OnInvalid
) -> EncodedPoints:
    """Look at all coordinates; give how many there are and how many are invalid."""
    places, invalid = 0, 0
    rows: list[int] = []
    first: list[np.ndarray] = []
    for batch in _stream(source, [lon, lat]):
        lonlat = _lonlat(batch, lon, lat)
        bad = np.flatnonzero(~on_earth(lonlat))
        rows += [places + int(row) for row in bad[: 3 - len(rows)]]
        first += list(lonlat[bad[: 3 - len(first)]])
        places += len(batch)
        invalid += len(bad)
    if places == 0:
        raise TableError(f"{source} has no rows; expected at least one point.")
    if invalid and on_invalid == "raise":
        raise InvalidPlacesError(
            str(source), np.array(rows), np.array(first), invalid, places
        )
    return EncodedPoints(places, invalid)


def _with_vectors(
    batch: pa.RecordBatch,
    lonlat: Float64[np.ndarray, "n 2"],
    vectors: np.ndarray,
    lon: str,
    lat: str,
) -> pa.Table:
    """Put vectors beside the columns kept; coordinates are numbers now."""
    columns = {name: batch[name] for name in batch.schema.names}
    columns |= {lon: pa.array(lonlat[:, 0]), lat: pa.array(lonlat[:, 1])}
    names, by_column = vector_columns(vectors.shape[1]), np.ascontiguousarray(vectors.T)
    columns |= {n: pa.array(v) for n, v in zip(names, by_column, strict=True)}
    return pa.table(columns)


def _write(tables: Iterator[pa.Table], target: Path) -> None:
    """Write tables one after another; the file appears when all went well."""
    part = target.with_name(f"{target.name}.part")
    first = next(tables)
    try:
        with _open_writer(part, target.name, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open_writer(
    part: Path, name: str, schema: pa.Schema
) -> Iterator[pq.ParquetWriter | pa.csv.CSVWriter]:
    if name.endswith(PARQUET_ENDINGS):
        with pq.ParquetWriter(part, schema) as writer:
            yield writer
        return
    compression = "gzip" if name.endswith(".gz") else None
    options = pa.csv.WriteOptions(quoting_header="needed")
    with (
        pa.output_stream(part, compression=compression) as file,
        pa.csv.CSVWriter(file, schema, write_options=options) as writer,
    ):
        yield writer
