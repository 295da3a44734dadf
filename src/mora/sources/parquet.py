"""Parquet files of places, streamed with only the fields that are needed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mora.errors import TableError
from mora.sources.files import find_files

ROWS = 65_536  # a batch; a few MB of names and points

Field = str | tuple[str, ...]  # a column, or the path to a field inside one


def find_parquet(path: Path | str, what: str) -> list[Path]:
    """Find a Parquet file, those in a folder, or those that a name with ``*`` meets.

    Args:
        path: file, folder or pattern.
        what: the source, for the message.

    Raises:
        MissingFileError: if there is none.
    """
    folder = Path(path).is_dir()
    return find_files(Path(path) / "*.parquet" if folder else path, what)


def open_parquet(path: Path) -> ds.Dataset:
    """Open a Parquet file without reading its rows.

    Reading ahead is off: it keeps the parts of a file that were read, as large as it.

    Raises:
        TableError: if it is no Parquet file, or cut short.
    """
    try:
        scan = ds.ParquetFragmentScanOptions(pre_buffer=False)
        form = ds.ParquetFileFormat(default_fragment_scan_options=scan)
        return ds.dataset(path, format=form)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(
            f"{path} cannot be read as Parquet ({error}); expected a whole file."
        ) from error


def has_field(schema: pa.Schema, field: Field) -> bool:
    """Say whether a column, or a field inside a column of structs, exists."""
    first, *rest = (field,) if isinstance(field, str) else field
    if first not in schema.names:
        return False
    kind = schema.field(first).type
    for name in rest:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return False
        kind = kind.field(name).type
    return True


def stream_fields(
    dataset: ds.Dataset,
    fields: Mapping[str, Field],
    keep: pc.Expression | None = None,
) -> Iterator[pd.DataFrame]:
    """Stream fields under our names, a batch at a time.

    Args:
        dataset: of one file.
        fields: our name -> theirs; all must exist.
        keep: rows to read; groups of rows whose statistics rule it out are skipped.
    """
    batches = dataset.to_batches(
        columns={
            ours: pc.field(theirs if isinstance(theirs, str) else tuple(theirs))
            for ours, theirs in fields.items()
        },
        filter=keep,
        batch_size=ROWS,
        batch_readahead=1,  # the default of 16 holds ten times as much
        fragment_readahead=1,
    )
    for batch in batches:
        if len(batch):
            yield batch.to_pandas()
