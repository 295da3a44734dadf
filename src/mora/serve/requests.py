"""What the service takes: unknown fields, other types and wild numbers are refused."""

from typing import Annotated, Any, Literal

import shapely
from pydantic import BaseModel, ConfigDict, Field

from mora.errors import MoraError
from mora.explore.word_ranking import MOVEMENT_WEIGHT
from mora.explore.words import MOST_LETTERS
from mora.geometry import bounding_box
from mora.serve.limits import Limits
from mora.serve.problems import LimitError

Longitude = Annotated[float, Field(strict=True, ge=-180, le=180)]
Latitude = Annotated[float, Field(strict=True, ge=-90, le=90)]
Position = tuple[Longitude, Latitude]
Ring = Annotated[list[Position], Field(min_length=4)]
Rings = Annotated[list[Ring], Field(min_length=1)]
Place = Annotated[str, Field(min_length=1, max_length=200)]
Places = Annotated[list[Place], Field(min_length=1)]
Number = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)]


class Asked(BaseModel):
    """The base of every request."""

    model_config = ConfigDict(extra="forbid")


class Polygon(Asked):
    """A polygon of GeoJSON (RFC 7946): the outline, then holes, in lon/lat."""

    type: Literal["Polygon"]
    coordinates: Rings


class MultiPolygon(Asked):
    """Several polygons of GeoJSON."""

    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[Rings], Field(min_length=1)]


Area = Annotated[Polygon | MultiPolygon, Field(discriminator="type")]


class PointsToEmbed(Asked):
    """Points as [longitude, latitude]."""

    points: Annotated[list[Position], Field(min_length=1)]


class PlacesToEmbed(Asked):
    """Places by their ids."""

    tokens: Places


class AreaToEmbed(Asked):
    """An area, and how its places are averaged: by area or by who lives there."""

    polygon: Area
    weight: Literal["area", "population"] = "area"


Embed = PointsToEmbed | PlacesToEmbed | AreaToEmbed


class WithinBox(Asked):
    """West, south, east, north; west above east crosses the antimeridian."""

    bbox: tuple[Longitude, Latitude, Longitude, Latitude]


class WithinArea(Asked):
    """Places whose middle lies in the area."""

    polygon: Area


class WithinPlaces(Asked):
    """Places to choose from."""

    tokens: Places


Within = WithinBox | WithinArea | WithinPlaces


class Search(Asked):
    """How many answers are wanted, and from where."""

    k: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 10
    within: Within | None = None


class LikePlaces(Search):
    """Places to be like and, where given, places to be unlike."""

    plus: Places
    minus: list[Place] = Field(default_factory=list)


class LikeVector(Search):
    """A vector to be near to, as long as those of the run."""

    vector: Annotated[list[Number], Field(min_length=1, max_length=10_000)]


Similar = LikePlaces | LikeVector


class InWords(Search):
    """A text, such as "airport", and the weight of how busy a place is."""

    text: Annotated[
        str,
        Field(min_length=1, max_length=MOST_LETTERS, pattern=r"^[^\x00]*\S[^\x00]*$"),
    ]
    movement: Annotated[Number, Field(ge=0, le=1000)] = MOVEMENT_WEIGHT


def require_count(got: int, most: int, what: str) -> None:
    """Refuse a request that asks for too much.

    Raises:
        LimitError: saying how much it asked for.
    """
    if got > most:
        raise LimitError(
            f"the request has {got} {what}; expected at most {most}. Split it."
        )


def geometry_of(area: Polygon | MultiPolygon, limits: Limits) -> shapely.Geometry:
    """Turn GeoJSON into a geometry.

    Raises:
        LimitError: if it has too many corners.
        MoraError: if it is not valid, as where its outline crosses itself.
    """
    polygons = area.coordinates if area.type == "MultiPolygon" else [area.coordinates]
    corners = sum(len(ring) for rings in polygons for ring in rings)
    require_count(corners, limits.corners, "corners")
    geometry = shapely.MultiPolygon([(rings[0], rings[1:]) for rings in polygons])
    if not shapely.is_valid(geometry):
        raise MoraError(
            f"the polygon is not valid ({shapely.is_valid_reason(geometry)}); expected "
            f"rings that neither cross nor lie in each other. Mend it."
        )
    return geometry


def area_of(within: Within | None, limits: Limits) -> Any:
    """Give what :meth:`mora.explore.search.PlaceSearch.nearest` takes as ``within``.

    Raises:
        MoraError: if the area is not valid or too much.
    """
    if isinstance(within, WithinBox):
        return bounding_box(*within.bbox)
    if isinstance(within, WithinArea):
        return geometry_of(within.polygon, limits)
    if within is not None:
        require_count(len(within.tokens), limits.points, "places")
        return within.tokens
    return None
