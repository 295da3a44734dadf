"""What the service does for each request, apart from HTTP."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from mora.embeddings import Embeddings
from mora.errors import MissingExtraError, MoraError, NoGeometryError, RunError
from mora.explore.explorer_run import ExplorerRun, read_explorer_run
from mora.explore.search import Found, PlaceSearch
from mora.explore.word_reading import has_words, read_word_search
from mora.explore.words import WordSearch
from mora.geometry import polygon_areas_km2
from mora.serve import requests as asked
from mora.serve.answers import FoundPlace, FoundPlaces, Meta, Vectors
from mora.serve.limits import Limits
from mora.serve.map_data import map_stream
from mora.serve.problems import NoWordsError
from mora.tokens import H3Tokens

DISTILLED = "distilled"  # folder within that of a run
# Overlaps are measured on cells two levels finer: 49 times as many.
MOST_COVERED = 50_000


@runtime_checkable
class PointEncoder(Protocol):
    """Gives vectors for points; see :class:`mora.distill.CoordinateEncoder`."""

    def encode(self, lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n dim"]:
        """Encode points in lon/lat."""
        ...


@dataclass(frozen=True, eq=False)
class Service:
    """A run, ready to be asked.

    Attributes:
        run: places, vectors and what is known of them.
        limits: of a request.
        encoder: for points outside all places; None without.
        words: for search in words, or why there is none.
    """

    run: ExplorerRun
    limits: Limits
    encoder: PointEncoder | None
    words: WordSearch | MoraError

    def __post_init__(self) -> None:
        if self.encoder is not None:
            width = self.encoder.encode(np.zeros((1, 2))).shape[1]
            if width != self.embeddings.dim:
                raise MoraError(
                    f"the encoder gives {width} numbers and the run's vectors have "
                    f"{self.embeddings.dim}; expected the same. Take the encoder that "
                    f"was distilled from this run."
                )

    @property
    def embeddings(self) -> Embeddings:
        """Give places and vectors."""
        return self.run.embeddings

    @cached_property
    def index(self) -> PlaceSearch:
        """Give what searches."""
        known = self.words if isinstance(self.words, WordSearch) else None
        return PlaceSearch(self.embeddings, known)

    @cached_property
    def names(self) -> list[str]:
        """Give the ids of the places as text."""
        return self.embeddings.tokens.names()

    @cached_property
    def middles(self) -> Float[np.ndarray, "tokens 2"] | None:
        """Give where the places are; None where they are not on the globe."""
        try:
            return self.embeddings.tokens.centroids()
        except NoGeometryError:
            return None

    @cached_property
    def map_stream(self) -> bytes:
        """Give the columns of the map."""
        return map_stream(self.run)

    def embed(self, request: asked.Embed) -> Vectors:
        """Give vectors of points, of places, or of an area."""
        if isinstance(request, asked.PointsToEmbed):
            asked.require_count(len(request.points), self.limits.points, "points")
            return self._embed_points(np.array(request.points, dtype=np.float64))
        if isinstance(request, asked.PlacesToEmbed):
            asked.require_count(len(request.tokens), self.limits.points, "places")
            found = self.embeddings.at(request.tokens)
            return _vectors(found, ["place"] * len(found))
        return self._embed_area(request)

    def _embed_points(self, lonlat: Float[np.ndarray, "n 2"]) -> Vectors:
        vectors = self.embeddings.at_lonlat(lonlat)
        outside = np.isnan(vectors).any(axis=1)
        if self.encoder is not None and outside.any():
            vectors[outside] = self.encoder.encode(lonlat[outside])
        other = None if self.encoder is None else "coordinates"
        return _vectors(vectors, [other if out else "place" for out in outside])

    def _embed_area(self, request: asked.AreaToEmbed) -> Vectors:
        polygon = asked.geometry_of(request.polygon, self.limits)
        if isinstance(self.embeddings.tokens, H3Tokens):
            cell_km2 = float(self.embeddings.tokens.areas_km2().mean())
            covered = int(polygon_areas_km2(np.array([polygon]))[0] / cell_km2)
            asked.require_count(covered, MOST_COVERED, "places under its polygon")
        vector = self.embeddings.over(polygon, request.weight)
        return _vectors(vector[None], ["area"])

    def similar(self, request: asked.Similar) -> FoundPlaces:
        """Find places like others, or near a vector."""
        within = self._within(request)
        if isinstance(request, asked.LikeVector):
            query = np.array(request.vector, dtype=np.float32)
            return self._places(self.index.nearest(query, request.k, within))
        many = len(request.plus) + len(request.minus)
        asked.require_count(many, self.limits.points, "places")
        found = self.index.combined(
            request.plus, request.minus, k=request.k, within=within
        )
        return self._places(found)

    def search(self, request: asked.InWords) -> FoundPlaces:
        """Find places in words.

        Raises:
            NoWordsError: if the run knows no texts.
            MissingExtraError: if the encoder of texts is not installed.
        """
        if not isinstance(self.words, WordSearch):
            raise self.words
        within = self._within(request)
        found = self.index.words(request.text, request.k, within, request.movement)
        match = self.index.text_match(request.text)[found.tokens]
        return self._places(found, match)

    def meta(self) -> Meta:
        """Say what the service knows."""
        tokens = self.embeddings.tokens
        return Meta(
            name=self.run.name,
            kind=tokens.kind,
            resolution=tokens.resolution if isinstance(tokens, H3Tokens) else None,
            places=len(tokens),
            dim=self.embeddings.dim,
            coordinates=self.encoder is not None,
            words=isinstance(self.words, WordSearch),
            columns=list(self.run.columns),
            notes=list(self.run.notes),
            limits=self.limits,
        )

    def _within(self, request: asked.Search) -> object:
        asked.require_count(request.k, self.limits.answers, "answers")
        return asked.area_of(request.within, self.limits)

    def _places(self, found: Found, match: np.ndarray | None = None) -> FoundPlaces:
        places = []
        for i, row in enumerate(found.tokens.tolist()):
            place = FoundPlace.model_construct(
                token=self.names[row],
                row=row,
                lon=None if self.middles is None else float(self.middles[row, 0]),
                lat=None if self.middles is None else float(self.middles[row, 1]),
                score=float(found.scores[i]),
                text_match=None
                if match is None or np.isnan(match[i])
                else float(match[i]),
            )
            places.append(place)
        return FoundPlaces.model_construct(places=places)


def _vectors(vectors: np.ndarray, sources: list[str | None]) -> Vectors:
    known = np.isfinite(vectors).all(axis=1).tolist()
    reason = "no place holds this point, and the service has no distilled encoder"
    return Vectors.model_construct(
        dim=vectors.shape[1],
        vectors=[
            v if k else None for v, k in zip(vectors.tolist(), known, strict=True)
        ],
        sources=[s if k else None for s, k in zip(sources, known, strict=True)],
        reasons=[None if k else reason for k in known],
    )


def open_service(
    run: Path | str | Embeddings | ExplorerRun,
    limits: Limits,
    encoder: PointEncoder | None = None,
    words: WordSearch | None = None,
) -> Service:
    """Make a run ready to be asked.

    Args:
        run: folder of a finished run, what was gathered of one, or embeddings.
        limits: of a request.
        encoder: for points outside all places; by default the run's own, in its folder
            ``distilled``, where there is one.
        words: for search in words; by default what the run's folder holds.

    Raises:
        PersonalDataError: if the folder holds personal data.
        MissingFileError: if the run has no embeddings.
        MoraError: if the encoder has vectors of another width.
    """
    known: WordSearch | MoraError = words or _no_words("these embeddings")
    if isinstance(run, Embeddings):
        name = str(run.provenance.get("run", "embeddings"))
        run = ExplorerRun(name, run, list(run.provenance.get("notes", [])))
    elif not isinstance(run, ExplorerRun):
        folder = Path(run)
        run = read_explorer_run(folder)
        if words is None:
            known = _read_words(folder)
        if encoder is None and (folder / DISTILLED / "config.json").is_file():
            encoder = _read_encoder(folder / DISTILLED)
    return Service(run, limits, encoder, known)


def _read_words(folder: Path) -> WordSearch | MoraError:
    """Read what search in words needs, or say why it cannot be."""
    if not has_words(folder):
        return _no_words(f"the run {folder.name}")
    try:
        return read_word_search(folder)
    except (MissingExtraError, RunError) as error:
        return error


def _no_words(what: str) -> NoWordsError:
    return NoWordsError(
        f"{what} cannot be searched in words; expected a run with a modality of kind "
        f"'poi'. Ask /similar, or serve such a run."
    )


def _read_encoder(folder: Path) -> PointEncoder:
    # Imported here: it waits for torch.
    from mora.distill import CoordinateEncoder

    return CoordinateEncoder.load(folder)
