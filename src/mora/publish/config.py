"""What publishing is told: licence, period, thresholds, and what is left out."""

import difflib
from collections.abc import Collection
from datetime import date
from itertools import accumulate

from pydantic import Field, model_validator

from mora.config.section import Section
from mora.errors import ConfigError

INTENDED = (
    "Features for regressions and comparisons of places: how places are used and what "
    "they resemble. Not for decisions about single persons or households."
)


class PublishConfig(Section):
    """What a published folder says of itself, and what it leaves out.

    Attributes:
        licence: of what is published, as an SPDX identifier such as ``cc-by-4.0``.
        period: first and last day that the movement is of.
        title: heading of the card; the run's name by default.
        tags: for the search of a model hub.
        input_licences: licence of each input by its place in the configuration, such
            as ``mobility.table``; a place also stands for all below it.
        intended_use: a sentence or two.
        limits: further sentences on where the vectors should not be relied on.
        min_users: distinct users that a place needs to be published; None for flows
            whose publisher has hidden small groups.
        embeddings: also publish the table of vectors, beside the encoder.
        onnx: also publish the encoder as ONNX, which needs further packages.
        attacks: measure what the vectors give away.
        attack_pairs: pairs of places that an attack is measured on.
        attack_people: people on whom user membership is measured, if it is.
        caliper: by how much matched pairs may differ, as a logarithm: 0.1 is 11 %.
        seed: of the attacks' draws.
    """

    licence: str = Field(min_length=1)
    period: tuple[date, date]
    title: str | None = None
    tags: tuple[str, ...] = ("geospatial", "mobility", "embeddings")
    input_licences: dict[str, str] = Field(default_factory=dict)
    intended_use: str = INTENDED
    limits: tuple[str, ...] = ()
    min_users: int | None = Field(5, ge=1)
    embeddings: bool = True
    onnx: bool = False
    attacks: bool = True
    attack_pairs: int = Field(2_000, ge=2)
    attack_people: int = Field(50, ge=2)
    caliper: float = Field(0.1, gt=0)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> "PublishConfig":
        first, last = self.period
        if last < first:
            raise ValueError(
                f"period is {first} to {last}; expected the first day before the last."
            )
        return self

    def licence_of(self, place: str) -> str:
        """Give the licence of an input; the most exact name that holds it decides.

        Args:
            place: in the configuration, such as ``mobility.table.path[0]``.
        """
        names = [name for name in _names_of(place) if name in self.input_licences]
        return self.input_licences[names[-1]] if names else "not stated"

    def require_inputs(self, places: Collection[str]) -> None:
        """Refuse licences of what is no input of the run.

        Args:
            places: of the run's inputs, as for :meth:`licence_of`.

        Raises:
            ConfigError: naming every one, with the nearest name and the run's inputs.
        """
        known = {name for place in places for name in _names_of(place)}
        unknown = [name for name in self.input_licences if name not in known]
        if unknown:
            raise ConfigError(
                f"input_licences: {'; '.join(_unknown(n, known) for n in unknown)}. "
                f"Expected inputs of the run, which are "
                f"{', '.join(places) or 'not recorded'}, or what they begin with, such "
                f"as mobility.table. Correct the names, or leave them out."
            )


def _names_of(place: str) -> list[str]:
    """Give the names that hold a place, from the widest to the place itself."""
    return list(accumulate(place.split("."), "{}.{}".format))


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{name!r} is no input of the run{hint}"
