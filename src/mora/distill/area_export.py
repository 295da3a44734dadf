"""A whole country as a file of embeddings: block after block, and it can go on."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely
from jaxtyping import UInt64

from mora.distill.coordinate_encoder import CoordinateEncoder
from mora.distill.polygons import require_polygons
from mora.embeddings import Embeddings
from mora.errors import MoraError
from mora.geometry import cover_with_cells
from mora.progress import Progress, silent
from mora.tokens import H3Tokens

ROW_GROUP = 16_384  # cells held at a time


def encode_area(
    encoder: CoordinateEncoder,
    polygons: Sequence[shapely.Geometry] | np.ndarray,
    resolution: int,
    path: Path | str,
    *,
    name: str = "mora-distilled",
    threads: int = 1,
    progress: Progress = silent,
) -> int:
    """Write the vectors of all H3 cells of an area, as a file of embeddings.

    Blocks of cells are written to a folder beside the file and joined at the end, so
    memory holds the ids of all cells and the vectors of one block. A call that was
    stopped goes on where it was; the folder is named by all that it depends on.

    Args:
        encoder: gives the vectors.
        polygons: in lon/lat; cut in two at the antimeridian.
        resolution: H3 level, 0..15.
        path: of the file, Parquet; it appears when it is whole.
        name: of the model, kept in the provenance.
        threads: that share the cells, >= 1.
        progress: told the cells done and all cells.

    Returns:
        How many cells were written: those whose middle lies in a polygon, none twice;
        a polygon without any gives the cell that it lies in.
        :func:`mora.embeddings.read_embeddings` reads the file.

    Raises:
        MoraError: if there is no polygon, one is no polygon, is empty or reaches beyond
            longitude 180 or latitude 90, or ``resolution`` is out of range.
    """
    cells = area_cells(polygons, resolution)
    provenance = {
        "model": name,
        "encoder": encoder.fingerprint,
        "distilled_from": encoder.provenance,
    }
    folder = Path(f"{path}.{_fingerprint(cells, provenance)}.blocks")
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for start in range(0, len(cells), ROW_GROUP):
        blocks.append(folder / f"{start:012d}.parquet")
        tokens = H3Tokens(cells[start : start + ROW_GROUP])
        if not blocks[-1].is_file():
            vectors = encoder.encode(tokens.centroids(), threads=threads)
            Embeddings(tokens, vectors, provenance=provenance).write(blocks[-1])
        progress(start + len(tokens), len(cells))
    _join(blocks, Path(path))
    shutil.rmtree(folder)
    return len(cells)


def area_cells(
    polygons: Sequence[shapely.Geometry] | np.ndarray, resolution: int
) -> UInt64[np.ndarray, " cells"]:
    """Give the H3 cells whose middle lies in any of the polygons.

    Args:
        polygons: in lon/lat.
        resolution: H3 level, 0..15.

    Returns:
        Cells in ascending order, none twice; a polygon without any gives the cell that
        it lies in.

    Raises:
        MoraError: if there is no polygon, or one cannot be covered.
    """
    outlines = require_polygons(polygons, resolution)
    if len(outlines) == 0:
        raise MoraError("there are 0 polygons; expected at least one to cover.")
    _, cells, _ = cover_with_cells(outlines, resolution, finer=0)
    return np.unique(cells)


def _fingerprint(cells: UInt64[np.ndarray, " n"], about: Mapping[str, Any]) -> str:
    """Name a piece of work by its cells and its encoder: no other goes on from it."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(cells.tobytes())
    return digest.hexdigest()[:12]


def _join(blocks: Sequence[Path], path: Path) -> None:
    """Make one file of several, a row group each."""
    schemas = [pq.read_schema(block) for block in blocks]
    geo = [json.loads(schema.metadata[b"geo"]) for schema in schemas]
    bounds = np.array([each["columns"]["geometry"]["bbox"] for each in geo])
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    geo[0]["columns"]["geometry"]["bbox"] = [*low.tolist(), *high.tolist()]

    metadata = {**schemas[0].metadata, b"geo": json.dumps(geo[0], sort_keys=True)}
    schema = schemas[0].with_metadata(metadata)
    part = Path(f"{path}.part")
    with pq.ParquetWriter(part, schema) as writer:
        for block in blocks:
            table = pq.read_table(block)
            writer.write_table(table.replace_schema_metadata(metadata))
    part.replace(path)
