"""Places of the Overture Maps Foundation, in the old and the new categories."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from jaxtyping import Float

from mora.errors import ConfigError, MissingColumnError, TableError, examples
from mora.sources.parquet import (
    Field,
    find_parquet,
    has_field,
    open_parquet,
    stream_fields,
)
from mora.sources.registry import source
from mora.sources.selection import (
    Bounds,
    leave_out,
    misplaced,
    require_bounds,
    require_rows,
)

# Newest first: a release may hold both while the old column is phased out.
CATEGORIES: dict[str, list[Field]] = {
    "primary": [("taxonomy", "primary"), ("categories", "primary")],
    "basic": ["basic_category"],
}
BBOX_SLACK = 1e-4  # degrees: the bbox is float32, the geometry is not
CLOSED = "permanently_closed"


@source(
    "overture_places",
    gives="places",
    licence="CDLA-Permissive-2.0; parts CC0-1.0 and Apache-2.0",
    size="about 8 GB for the world, a part file about 1 GB",
    home="https://docs.overturemaps.org/guides/places",
)
def read_overture_places(
    path: Path | str,
    *,
    bounds: Bounds | None = None,
    category: str = "primary",
    min_confidence: float | int = 0.0,
    closed: bool = False,
) -> Iterator[pd.DataFrame]:
    """Read the places theme of Overture Maps (GeoParquet), a batch at a time.

    Args:
        path: a Parquet file, a folder of them, or a name with ``*``.
        bounds: west, south, east, north in degrees; groups of rows elsewhere are not
            read.
        category: ``primary``, the most specific (``taxonomy.primary``, before
            September 2026 ``categories.primary``), or ``basic``, the coarse
            ``basic_category``.
        min_confidence: that a place exists, 0..1; places below are left out, places
            without a confidence count as 0.
        closed: keep places that are closed for good.

    Returns:
        Frames with name, category, lon, lat; a place without a name or a category
        has none.

    Raises:
        MissingFileError: if there is no such file.
        MissingColumnError: if a file has no such category.
        ConfigError: if ``category`` is neither, or the bounds are none.
        TableError: if a file cannot be read, a geometry is no point, or no place is
            left.
    """
    if category not in CATEGORIES:
        raise ConfigError(
            f"category {category!r}; expected one of {', '.join(CATEGORIES)}."
        )
    require_bounds(bounds)
    paths = find_parquet(path, "Overture places")
    parts = (
        _read_file(part, bounds, category, min_confidence, closed) for part in paths
    )
    return require_rows((frame for part in parts for frame in part), path)


def _read_file(
    path: Path,
    bounds: Bounds | None,
    category: str,
    min_confidence: float | int,
    closed: bool,
) -> Iterator[pd.DataFrame]:
    dataset = open_parquet(path)
    schema = dataset.schema
    fields = _fields(schema, path, category)
    if min_confidence > 0 and "confidence" not in fields:
        raise MissingColumnError(str(path), ["confidence"], schema.names)
    kinds = [name for name in fields if name.startswith("category")]
    for given in stream_fields(dataset, fields, _near(schema, bounds)):
        kind = given[kinds[0]].astype("str")
        for older in kinds[1:]:
            kind = kind.fillna(given[older].astype("str"))
        lonlat = point_coordinates(given["geometry"], path)
        frame = pd.DataFrame(
            {
                "name": given["name"].astype("str"),
                "category": kind,
                "lon": lonlat[:, 0],
                "lat": lonlat[:, 1],
            }
        )
        reasons = misplaced(frame, bounds)
        if "confidence" in given:
            low = given["confidence"].fillna(0) < min_confidence
            reasons["confidence too low"] = low.to_numpy()
        if "status" in given and not closed:
            reasons["closed"] = (given["status"] == CLOSED).to_numpy(bool)
        yield leave_out(frame, reasons)


def _fields(schema: pa.Schema, path: Path, category: str) -> dict[str, Field]:
    """Choose the fields to read."""
    kinds = [field for field in CATEGORIES[category] if has_field(schema, field)]
    needed: dict[str, Field] = {"geometry": "geometry", "name": ("names", "primary")}
    missing = [_dotted(f) for f in needed.values() if not has_field(schema, f)]
    if not kinds:
        missing.append(" or ".join(_dotted(field) for field in CATEGORIES[category]))
    if missing:
        raise MissingColumnError(str(path), missing, schema.names)
    fields = needed | {f"category {i}": kind for i, kind in enumerate(kinds)}
    beside = {"confidence": "confidence", "status": "operating_status"}
    return fields | {o: t for o, t in beside.items() if has_field(schema, t)}


def _dotted(field: Field) -> str:
    return field if isinstance(field, str) else ".".join(field)


def _near(schema: pa.Schema, bounds: Bounds | None) -> pc.Expression | None:
    """Say by the bounding boxes which rows need no reading, a little generously."""
    corners = [("bbox", side) for side in ("xmin", "ymin", "xmax", "ymax")]
    if bounds is None or not all(has_field(schema, corner) for corner in corners):
        return None
    west, south, east, north = bounds
    xmin, ymin, xmax, ymax = (pc.field(*corner) for corner in corners)
    after, before = xmax >= west - BBOX_SLACK, xmin <= east + BBOX_SLACK
    across = after & before if west <= east else after | before
    return across & (ymax >= south - BBOX_SLACK) & (ymin <= north + BBOX_SLACK)


def point_coordinates(wkb: pd.Series, path: Path) -> Float[np.ndarray, "rows 2"]:
    """Give lon and lat of points in WKB; NaN where there is none.

    Raises:
        TableError: if a geometry is no point.
    """
    given = wkb.astype(object).where(wkb.notna(), None).to_numpy(object)
    points = shapely.from_wkb(given, on_invalid="ignore")
    kind = shapely.get_type_id(points)
    present = np.array([value is not None for value in given], dtype=bool)
    wrong = present & (kind != shapely.GeometryType.POINT)
    if wrong.any():
        seen = [str(shapely.get_type_id(p)) for p in points[wrong]]
        raise TableError(
            f"{path}: {wrong.sum()} of {len(given)} geometries are no points (type "
            f"numbers {examples(seen)}, -1 for no WKB); expected the places theme."
        )
    return np.column_stack([shapely.get_x(points), shapely.get_y(points)])
