"""Points of interest of OpenStreetMap, from extracts (``.pbf``) and GeoJSON."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import shapely
from shapely.errors import ShapelyError

from mora.errors import (
    ConfigError,
    MissingExtraError,
    MissingFileError,
    TableError,
)
from mora.sources.geojson import GEOJSON_ENDINGS, stream_features
from mora.sources.registry import DROPPED, source
from mora.sources.selection import (
    Bounds,
    leave_out,
    misplaced,
    require_bounds,
    require_rows,
)

KEYS = (
    *("amenity", "shop", "office", "leisure", "tourism"),
    *("craft", "healthcare", "historic"),
)
EXTRACT_ENDINGS = (".pbf", ".osm", ".osm.gz", ".osm.bz2")
ROWS = 65_536  # a batch
IN_MEMORY_BYTES = 100 * 10**6  # larger extracts keep the places of nodes on disk

TYPES = {"name": "str", "category": "str", "lon": float, "lat": float}

Record = tuple[str | None, str, float, float]  # name, category, lon, lat


@source(
    "osm_places",
    gives="places",
    licence="ODbL 1.0, (c) OpenStreetMap contributors",
    size="a city about 1 MB to 100 MB, a country 10 MB to 5 GB",
    home="https://download.geofabrik.de",
)
def read_osm_places(
    path: Path | str,
    *,
    keys: Sequence[str] = KEYS,
    bounds: Bounds | None = None,
) -> Iterator[pd.DataFrame]:
    """Read the points of interest of an OpenStreetMap file, a batch at a time.

    A place is a node, a way or a multipolygon with one of the keys; a way or a
    multipolygon lies at its centroid. The category is the value of the first key
    (``amenity=cafe`` is a cafe), the first of several (``books;music``), and the key
    itself where the value is only ``yes``.

    Of an extract of more than 100 MB, the coordinates of nodes (16 bytes each, as much
    as twice the extract) go to a nameless file in the folder for temporary files.

    Args:
        path: ``.osm.pbf`` or ``.osm`` (extra ``osm``), or GeoJSON with tags as
            properties or under ``tags``: a FeatureCollection or one feature a line.
        keys: that make a place, the first of them first.
        bounds: west, south, east, north in degrees.

    Returns:
        Frames with name, category, lon, lat; a place without a name has none. Left out
        and counted: places of which no node is in the file, and relations that are no
        whole multipolygon.

    Raises:
        MissingFileError: if there is no such file.
        MissingExtraError: if osmium is not installed and needed.
        ConfigError: if there are no keys, or the bounds are none.
        TableError: if the ending is unknown, the file cannot be read, or no place is
            left.
    """
    require_bounds(bounds)
    path = Path(path)
    if isinstance(keys, str) or not keys:
        raise ConfigError(f"keys {keys!r}; expected a list such as {list(KEYS[:2])}.")
    if not path.is_file():
        raise MissingFileError(path, "OpenStreetMap places")
    lost: Counter[str] = Counter()
    if path.name.endswith(EXTRACT_ENDINGS):
        records = _extract_records(path, keys, lost)
    elif path.name.endswith(GEOJSON_ENDINGS):
        records = _geojson_records(path, keys)
    else:
        raise TableError(
            f"{path}: unknown ending {path.suffix!r}; expected one of "
            f"{', '.join(EXTRACT_ENDINGS + GEOJSON_ENDINGS)}."
        )
    return require_rows(_frames(records, bounds, lost), path)


def _frames(
    records: Iterator[Record], bounds: Bounds | None, lost: Counter[str]
) -> Iterator[pd.DataFrame]:
    """Gather records; what was lost on the way is known when they end."""
    ended = False
    while not ended:
        batch = list(islice(records, ROWS))
        ended = len(batch) < ROWS
        frame = pd.DataFrame(batch, columns=list(TYPES))
        frame = frame.astype(TYPES)
        frame = leave_out(frame, misplaced(frame, bounds))
        if ended and lost.total():
            frame.attrs[DROPPED] = frame.attrs.get(DROPPED, {}) | dict(+lost)
        yield frame


def place_category(tags: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """Give the category of an OpenStreetMap object.

    Args:
        tags: of the object.
        keys: that make a place, the first of them first.

    Returns:
        None if no key is there, or all of them say ``no``.
    """
    for key in keys:
        value = str(tags.get(key) or "no").split(";")[0].strip()
        if value not in ("", "no"):
            return key if value == "yes" else value
    return None


def _geojson_records(path: Path, keys: Sequence[str]) -> Iterator[Record]:
    for feature in stream_features(path):
        properties = feature.get("properties") or {}
        inner = properties.get("tags")
        tags = inner if isinstance(inner, dict) else properties
        category = place_category(tags, keys)
        if category is not None:
            yield tags.get("name"), category, *_centroid(feature.get("geometry"))


def _centroid(geometry: Any) -> tuple[float, float]:
    """Give the middle of a GeoJSON geometry; NaN if it is missing or broken."""
    try:
        if geometry["type"] == "Point":  # most are, and a shape takes ten times longer
            lon, lat = geometry["coordinates"][:2]
            return float(lon), float(lat)
        middle = shapely.centroid(shapely.geometry.shape(geometry))
    except (TypeError, ValueError, KeyError, AttributeError, ShapelyError):
        return float("nan"), float("nan")
    return float(shapely.get_x(middle)), float(shapely.get_y(middle))


def _extract_records(
    path: Path, keys: Sequence[str], lost: Counter[str]
) -> Iterator[Record]:
    try:
        import osmium
    except ImportError as error:
        raise MissingExtraError("osmium", "osm", f"reading {path.name}") from error
    wanted = osmium.filter.KeyFilter(*keys)
    large = path.stat().st_size > IN_MEMORY_BYTES
    try:
        things = (
            osmium.FileProcessor(path)
            .with_locations("sparse_file_array" if large else "flex_mem")
            .with_areas(wanted)
            .with_filter(wanted)
        )
        for thing in things:
            tags = {tag.k: tag.v for tag in thing.tags}
            category = place_category(tags, keys)
            if category is not None:
                for lonlat in _locate(thing, lost):
                    yield tags.get("name"), category, *lonlat
    except RuntimeError as error:
        raise TableError(
            f"{path} cannot be read as an OpenStreetMap extract ({error}); the file is "
            f"damaged or cut short. Get it again."
        ) from error


def _locate(thing: Any, lost: Counter[str]) -> Iterator[tuple[float, float]]:
    """Give the middle of an object, if it has one; closed ways come again as areas."""
    if thing.is_node():
        yield thing.location.lon, thing.location.lat
    elif thing.is_way():
        yield _way_centroid(thing)
    elif thing.is_relation():
        lost["relation that is no whole multipolygon"] += 1
    elif not thing.from_way():
        lost["relation that is no whole multipolygon"] -= 1
        yield _area_centroid(thing)


def _way_centroid(way: Any) -> tuple[float, float]:
    """Give the middle of a way, or of the area it encloses; NaN without any node."""
    points = [
        (node.location.lon, node.location.lat)
        for node in way.nodes
        if node.location.valid()
    ]
    if not points:
        return float("nan"), float("nan")
    closed = way.is_closed() and len(points) >= 4
    line = shapely.Polygon(points) if closed else shapely.MultiPoint(points)
    middle = shapely.centroid(line)
    return float(middle.x), float(middle.y)


def _area_centroid(area: Any) -> tuple[float, float]:
    """Give the middle of a multipolygon, holes left out."""
    parts = [
        shapely.Polygon(
            [(node.lon, node.lat) for node in outer],
            [
                [(node.lon, node.lat) for node in hole]
                for hole in area.inner_rings(outer)
            ],
        )
        for outer in area.outer_rings()
    ]
    middle = shapely.centroid(shapely.MultiPolygon(parts))
    return float(middle.x), float(middle.y)
