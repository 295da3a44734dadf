"""A STAC item: where, when and what, for catalogues of Earth data."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import shapely

STAC_VERSION = "1.1.0"
FILES = {
    "model.safetensors": ("application/octet-stream", "Distilled encoder: weights"),
    "config.json": ("application/json", "Distilled encoder: shape"),
    "model.onnx": ("application/octet-stream", "Distilled encoder as ONNX"),
    "embeddings.parquet": ("application/vnd.apache.parquet", "Places and vectors"),
    "README.md": ("text/markdown", "Model card"),
    "privacy.json": ("application/json", "Privacy stages and attacks"),
}


def stac_item(
    name: str,
    title: str,
    bounds: tuple[float, float, float, float],
    period: tuple[date, date],
    licence: str,
    files: Iterable[str],
) -> dict[str, Any]:
    """Describe a published folder as a STAC item.

    Source: SpatioTemporal Asset Catalog specification 1.1.0, Item.

    Args:
        name: identifier of the item.
        title: for people.
        bounds: west, south, east, north of the places, degrees.
        period: first and last day that the movement is of.
        licence: SPDX identifier.
        files: names of the assets, relative to the item.

    Returns:
        The item as plain values; ``datetime`` is null, as the standard wants beside a
        start and an end.
    """
    first, last = period
    assets = {}
    for file in files:
        media, about = FILES[file]
        role = "metadata" if file in ("README.md", "privacy.json") else "data"
        assets[file] = {
            "href": f"./{file}",
            "type": media,
            "title": about,
            "roles": [role],
        }
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": name,
        "bbox": list(bounds),
        "geometry": shapely.geometry.mapping(shapely.box(*bounds)),
        "properties": {
            "title": title,
            "datetime": None,
            "start_datetime": f"{first.isoformat()}T00:00:00Z",
            "end_datetime": f"{last.isoformat()}T23:59:59Z",
            "license": licence,
        },
        "links": [],
        "assets": assets,
    }
