"""What the service answers."""

from typing import Literal

from pydantic import BaseModel

from mora.serve.limits import Limits


class Vectors(BaseModel):
    """Vectors in the order of what was asked.

    Attributes:
        dim: width of a vector.
        vectors: null where there is none.
        sources: the ``place`` that holds the point, its ``coordinates`` through the
            distilled encoder, the mean over an ``area``; null where there is none.
        reasons: why there is none.
    """

    dim: int
    vectors: list[list[float] | None]
    sources: list[Literal["place", "coordinates", "area"] | None]
    reasons: list[str | None]


class FoundPlace(BaseModel):
    """A place that was found.

    Attributes:
        token: its id.
        row: its number in token order, as in ``/map``.
        lon: of its middle; null where places are not on the globe.
        lat: of its middle.
        score: how well it fits: a cosine, -1..1, or of words a sum of standard scores.
        text_match: cosine of the words with the place's own texts; null where it has
            none, or nothing was asked in words.
    """

    token: str
    row: int
    lon: float | None
    lat: float | None
    score: float
    text_match: float | None = None


class FoundPlaces(BaseModel):
    """Places, the best first."""

    places: list[FoundPlace]


class Health(BaseModel):
    """Says that the service answers."""

    status: Literal["ok"] = "ok"


class Meta(BaseModel):
    """What the service knows.

    Attributes:
        name: of the run.
        kind: of its places: ``h3``, ``grid`` or ``zone``.
        resolution: H3 level; null for others.
        places: how many.
        dim: width of the vectors.
        coordinates: whether points outside all places have vectors.
        words: whether it can be searched in words.
        columns: of ``/map``.
        notes: what a reader must know.
        limits: of one client and of one request.
    """

    name: str
    kind: str
    resolution: int | None
    places: int
    dim: int
    coordinates: bool
    words: bool
    columns: list[str]
    notes: list[str]
    limits: Limits
