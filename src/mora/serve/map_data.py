"""What a map of the run shows, as one stream of Arrow columns."""

import json

import numpy as np
import pyarrow as pa

from mora.explore.colour import vector_colours
from mora.explore.explorer_run import ExplorerRun
from mora.tokens import GridTokens

ARROW_STREAM = "application/vnd.apache.arrow.stream"


def map_table(run: ExplorerRun) -> pa.Table:
    """Give one row per place: id, middle, colour of its vector, and its numbers.

    Args:
        run: places, vectors and columns.

    Returns:
        ``id`` as the places have it (H3 cells as uint64), ``lon`` and ``lat`` where
        they are on the globe, ``name`` where known, ``red``, ``green``, ``blue``, and
        the columns of the run in float32, whose metadata tell kind and unit.
    """
    tokens = run.embeddings.tokens
    colours, _ = vector_colours(run.embeddings.vectors)
    columns = {"id": pa.array(tokens.ids)}
    if not isinstance(tokens, GridTokens):
        middles = tokens.centroids().astype(np.float32)
        columns |= {"lon": middles[:, 0], "lat": middles[:, 1]}
    if run.names is not None:
        columns["name"] = pa.array(list(run.names), pa.string())
    columns |= dict(zip(("red", "green", "blue"), colours.T, strict=True))
    table = pa.table(columns)
    for name, column in run.columns.items():
        about = {"kind": column.kind, "unit": column.unit}
        about["description"] = column.description
        field = pa.field(name, pa.float32(), metadata=about)
        table = table.append_column(field, pa.array(column.values, pa.float32()))
    notes = {b"mora:notes": json.dumps(list(run.notes)).encode()}
    return table.replace_schema_metadata(notes)


def map_stream(run: ExplorerRun) -> bytes:
    """Give :func:`map_table` in Arrow's IPC stream format."""
    table, sink = map_table(run), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
