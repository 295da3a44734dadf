"""Vectors of areas: the mean over the H3 cells that an area covers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float32
from scipy.sparse import csc_array
from shapely.errors import GEOSException

from mora.distill.coordinate_encoder import BLOCK, CoordinateEncoder
from mora.errors import MissingFileError, MoraError, TableError
from mora.geometry import cover_with_cells
from mora.tables.area_files import read_areas
from mora.tables.areas import POLYGONAL, check_areas
from mora.tokens import H3Tokens

MAX_RESOLUTION = 15
GEOJSON_ENDINGS = (".geojson", ".json")


def encode_cells(
    encoder: CoordinateEncoder,
    cells: Sequence[Any] | np.ndarray,
    *,
    threads: int = 1,
) -> Float32[np.ndarray, "n dim"]:
    """Give the vectors at the middles of H3 cells.

    Args:
        encoder: gives the vectors.
        cells: of one level, as integers or hex text, in any order, repeats allowed.
        threads: that share the cells, >= 1.

    Returns:
        One row a cell; a cell given twice has two equal rows.

    Raises:
        MoraError: if there are none, one is not H3, or levels are mixed.
    """
    tokens = H3Tokens.from_cells(cells)
    vectors = encoder.encode(tokens.centroids(), threads=threads)
    return vectors[tokens.encode(cells)]


def encode_polygons(
    encoder: CoordinateEncoder,
    polygons: Sequence[shapely.Geometry] | np.ndarray,
    resolution: int,
    *,
    finer: int = 2,
    threads: int = 1,
) -> Float32[np.ndarray, "polygons dim"]:
    """Give each polygon the mean of its cells' vectors, weighted by area.

    Beside the cells' ids, memory does not grow with the polygons.

    Args:
        encoder: gives the vectors.
        polygons: in lon/lat; cut in two at the antimeridian.
        resolution: H3 level of the cells, 0..15.
        finer: extra levels that measure how much of a cell lies inside, see
            :func:`mora.geometry.cover_with_cells`.
        threads: that share the cells, >= 1.

    Returns:
        One row a polygon; one that lies within a cell has that cell's vector.

    Raises:
        MoraError: if one is no polygon, is empty or reaches beyond longitude 180 or
            latitude 90, or ``resolution`` is out of range.
    """
    outlines = require_polygons(polygons, resolution)
    if len(outlines) == 0:
        return np.empty((0, encoder.dim), np.float32)
    row, cell, share = cover_with_cells(outlines, resolution, finer)
    cells, column = np.unique(cell, return_inverse=True)
    shape = (len(outlines), len(cells))
    shares = csc_array((share, (row, column)), shape=shape)
    mean = np.zeros((len(outlines), encoder.dim))
    for start in range(0, len(cells), BLOCK):
        block = slice(start, start + BLOCK)
        middles = H3Tokens(cells[block]).centroids()
        mean += shares[:, block] @ encoder.encode(middles, threads=threads)
    return mean.astype(np.float32)


def read_polygons(path: Path | str) -> np.ndarray:
    """Read the polygons of a file, without ids.

    Args:
        path: GeoJSON, a collection, one feature or one geometry, in lon/lat; or what
            :func:`mora.tables.read_areas` reads.

    Returns:
        Shapely polygons and multipolygons, repaired where their rings cross.

    Raises:
        MissingFileError: if there is no such file.
        MoraError: if it cannot be read or holds anything but polygons.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(path, "polygons")
    try:
        return _checked(read_areas(path)["geometry"].to_numpy(object), path)
    except TableError:
        if not path.name.endswith(GEOJSON_ENDINGS):
            raise
    try:  # features without ids, one feature, or a geometry
        found = shapely.from_geojson(path.read_text(encoding="utf-8-sig"))
    except (GEOSException, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise MoraError(
            f"{path} cannot be read as GeoJSON ({reason}); expected polygons in "
            f"lon/lat."
        ) from error
    return _checked(_parts(found), path)


def require_polygons(
    polygons: Sequence[shapely.Geometry] | np.ndarray, resolution: int
) -> np.ndarray:
    """Refuse what cannot be covered with cells.

    Returns:
        The polygons as an array.

    Raises:
        MoraError: if one is missing, empty or no polygon, or ``resolution`` is out of
            range.
    """
    if not 0 <= resolution <= MAX_RESOLUTION:
        raise MoraError(
            f"resolution is {resolution}; expected an H3 level, 0..{MAX_RESOLUTION}."
        )
    outlines = np.array(list(polygons), dtype=object)
    other = ~np.isin(shapely.get_type_id(outlines), POLYGONAL)
    bad = np.flatnonzero(other | shapely.is_empty(outlines))
    if len(bad):
        kinds = sorted({getattr(outlines[i], "geom_type", "None") for i in bad})
        raise MoraError(
            f"{len(bad)} of {len(outlines)} geometries are no polygons or empty "
            f"({', '.join(kinds)}; first: row {bad[0]}); expected polygons with an "
            f"area. Leave the others out."
        )
    return outlines


def _parts(found: shapely.Geometry) -> np.ndarray:
    """Give the geometries of a collection, and anything else as it is."""
    collection = found.geom_type == "GeometryCollection"
    return np.array(found.geoms if collection else [found], dtype=object)


def _checked(polygons: np.ndarray, path: Path) -> np.ndarray:
    names = [f"polygon {row}" for row in range(len(polygons))]
    areas = pd.DataFrame({"id": names, "geometry": polygons})
    return check_areas(areas, source=str(path))[0]["geometry"].to_numpy(object)
