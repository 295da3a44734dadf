"""Places as tokens: H3 cells, square-grid cells or zones in one shared row order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from mora.errors import MoraError
from mora.tokens.base import Tokens
from mora.tokens.grid import GridTokens
from mora.tokens.h3 import H3Tokens, parse_cells
from mora.tokens.zone import ZoneTokens

__all__ = [
    "GridTokens",
    "H3Tokens",
    "Tokens",
    "ZoneTokens",
    "parse_cells",
    "read_tokens",
    "tokens_from_names",
    "tokens_from_table",
]


def tokens_from_names(names: Sequence[str]) -> Tokens:
    """Make tokens of names alone: H3 cells where all are, else zones.

    Args:
        names: as :meth:`Tokens.names` gives them; repeats count once.
    """
    distinct = np.unique(np.asarray(names, dtype=str))
    try:
        return H3Tokens.from_cells(parse_cells(distinct))
    except MoraError:
        return ZoneTokens.from_zones(distinct)


def read_tokens(path: Path) -> Tokens:
    """Read an order written by :meth:`Tokens.write`."""
    return tokens_from_table(pq.read_table(path), str(path))


def tokens_from_table(table: pa.Table, source: str) -> Tokens:
    """Make tokens from the columns of :meth:`Tokens.to_table`.

    Raises:
        MoraError: if the table does not say of which kind its tokens are.
    """
    metadata = table.schema.metadata or {}
    kind = metadata.get(b"mora:kind", b"").decode()
    if kind == H3Tokens.kind:
        return H3Tokens(table["cell"].to_numpy())
    if kind == GridTokens.kind:
        width, height, cell_km = metadata[b"mora:grid"].decode().split()
        return GridTokens(
            table["grid"].to_numpy(), int(width), int(height), float(cell_km)
        )
    if kind == ZoneTokens.kind:
        outlines = None
        if "geometry" in table.column_names:
            wkb = np.array(table["geometry"].to_pylist(), dtype=object)
            outlines = shapely.from_wkb(wkb)
        return ZoneTokens(np.array(table["zone"].to_pylist(), dtype=str), outlines)
    raise MoraError(
        f"{source} has token kind {kind!r}; expected h3, grid or zone. Was it written "
        f"by Mora?"
    )
