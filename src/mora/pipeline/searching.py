"""Search over a finished run: in words, and by likeness."""

from collections.abc import Sequence
from pathlib import Path

import shapely

from mora.embeddings import read_embeddings
from mora.errors import ConfigError, NoGeometryError
from mora.explore.search import Found, PlaceSearch
from mora.explore.word_reading import read_word_search
from mora.geometry import bounding_box
from mora.pipeline.mapping import place_names
from mora.pipeline.opening import open_run

Row = dict[str, object]


def search_words(run: Path, text: str, count: int, movement: float) -> list[Row]:
    """Rank the places of a run by a text.

    Args:
        run: its folder.
        text: such as "airport".
        count: how many.
        movement: weight of how busy a place is (:meth:`PlaceSearch.words`).

    Raises:
        MoraError: if the run did not align texts.
    """
    embeddings = read_embeddings(run / "embeddings.parquet")
    index = PlaceSearch(embeddings, words=read_word_search(run))
    return _rows(run, index, index.words(text, count, movement=movement))


def search_similar(
    run: Path,
    places: Sequence[str],
    unlike: Sequence[str],
    within: str | None,
    count: int,
) -> list[Row]:
    """Rank the places of a run by likeness to some of them.

    Args:
        run: its folder.
        places: ids to be like.
        unlike: ids to be unlike.
        within: west, south, east, north with commas between them, or None.
        count: how many.

    Raises:
        ConfigError: if ``within`` is no such box.
        UnknownTokenError: if a place is not known.
    """
    index = PlaceSearch(read_embeddings(run / "embeddings.parquet"))
    found = index.combined(places, unlike, k=count, within=_box(within))
    return _rows(run, index, found)


def _box(text: str | None) -> shapely.Geometry | None:
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--within {text!r}; expected west,south,east,north in degrees, such as "
            f"-74.3,40.5,-73.7,40.9."
        ) from None
    return bounding_box(west, south, east, north)


def _rows(run: Path, index: PlaceSearch, found: Found) -> list[Row]:
    ids, context = index.tokens.names(), open_run(run)
    names = None if context is None else place_names(context, index.tokens)
    try:
        middles = index.tokens.centroids().round(5).tolist()
    except NoGeometryError:
        middles = None
    return [
        {
            "place": ids[token],
            "lon": middles[token][0] if middles else None,
            "lat": middles[token][1] if middles else None,
            "score": float(score),
            "name": names[token] if names else "",
        }
        for token, score in zip(found.tokens, found.scores, strict=True)
    ]
