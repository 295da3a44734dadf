"""Features of GeoJSON one at a time, so that the file may outgrow memory."""

import gzip
import json
import re
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from mora.errors import TableError

GEOJSON_ENDINGS = tuple(
    ending + zipped
    for ending in (".geojson", ".json", ".geojsonl", ".geojsonseq")
    for zipped in ("", ".gz")
)
CHUNK = 2**20  # characters read at a time
LONGEST = 10**8  # characters of one feature; beyond, the file is damaged
BETWEEN = re.compile(r"[\s,\x1e]*")  # \x1e begins the features of a text sequence
FEATURES = re.compile(r'"features"\s*:\s*\[')


def stream_features(path: Path) -> Iterator[dict[str, Any]]:
    """Give the features of a FeatureCollection, or of a file with one a line.

    Source: RFC 7946 (GeoJSON) and RFC 8142 (GeoJSON text sequences).

    Args:
        path: UTF-8, gzipped if its name ends in ``.gz``.

    Raises:
        TableError: if the file holds no features, is cut short or is no UTF-8.
    """
    opened = gzip.open if path.name.endswith(".gz") else open
    count = 0
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for feature in _decode(file):
                count += 1
                yield feature
    except (OSError, EOFError, ValueError) as error:
        raise TableError(
            f"{path} cannot be read as GeoJSON after {count} features ({error}); "
            f"expected a FeatureCollection or one feature a line, in UTF-8."
        ) from error


def _decode(file: TextIOWrapper) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    text, start = _begin(file), 0
    while True:
        gap = BETWEEN.match(text, start)
        start = gap.end() if gap else start
        if text.startswith("]", start):
            return
        try:
            feature, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            # Not whole yet: read as much again, so that a large feature is quick too.
            text, start = text[start:], 0
            more = file.read(max(CHUNK, len(text)))
            if not more and not text:
                return
            if not more or len(text) > LONGEST:
                raise
            text += more
            continue
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise ValueError(f"{str(feature)[:40]!r} is no feature")
        yield feature
        start = end


def _begin(file: TextIOWrapper) -> str:
    """Read up to the first feature, and some way beyond it."""
    text = file.read(CHUNK)
    if "FeatureCollection" not in text and not FEATURES.search(text[:100]):
        return text
    found = FEATURES.search(text)
    if found is None:
        raise ValueError(f"no list of features in the first {CHUNK:,} characters")
    return text[found.end() :]
