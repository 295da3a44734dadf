"""The registry of baselines, and what a run hands to each of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Float32

from mora.errors import MoraError


class MissingInputError(MoraError):
    """A baseline that needs something the run does not have."""

    def __init__(self, wanted: str, remedy: str):
        """Name the input and what would supply it."""
        super().__init__(f"this run has no {wanted}. {remedy}")


@dataclass(frozen=True, eq=False)
class Volume:
    """How much movement each token sees, as in the mobility graph.

    Attributes:
        outflow: movement to all other tokens.
        inflow: movement from all other tokens.
        within: movement from the token to itself.
    """

    outflow: Float[np.ndarray, " tokens"]
    inflow: Float[np.ndarray, " tokens"]
    within: Float[np.ndarray, " tokens"]


@dataclass(frozen=True, eq=False)
class BaselineInput:
    """What a run has; every array is in token order.

    Attributes:
        lonlat: middle of each token in degrees; None on a grid without a place.
        line: LINE vectors; None where none were trained.
        volume: movement per token; None without a mobility graph.
        features: raw features per modality; NaN where a token has none.
    """

    lonlat: Float[np.ndarray, "tokens 2"] | None = None
    line: Float[np.ndarray, "tokens line"] | None = None
    volume: Volume | None = None
    features: Mapping[str, Float[np.ndarray, "tokens _"]] = field(default_factory=dict)

    def require_lonlat(self) -> Float[np.ndarray, "tokens 2"]:
        """Give the coordinates, or refuse."""
        if self.lonlat is None:
            raise MissingInputError("lon/lat", "Use H3 tokens or zones with outlines.")
        return self.lonlat

    def require_line(self) -> Float[np.ndarray, "tokens line"]:
        """Give the LINE vectors, or refuse."""
        if self.line is None:
            raise MissingInputError("LINE vectors", "Run the stage `line` first.")
        return self.line

    def require_volume(self) -> Volume:
        """Give the movement per token, or refuse."""
        if self.volume is None:
            raise MissingInputError("mobility graph", "Run the stage `graph` first.")
        return self.volume

    def require_features(self) -> Mapping[str, Float[np.ndarray, "tokens _"]]:
        """Give the raw features, or refuse."""
        if not self.features:
            raise MissingInputError("features", "Name a modality in the configuration.")
        return self.features


Baseline: TypeAlias = Callable[..., Float32[np.ndarray, "tokens dim"]]
BASELINES: dict[str, Baseline] = {}


def baseline(name: str) -> Callable[[Baseline], Baseline]:
    """Register a function from :class:`BaselineInput` to vectors under a name.

    Raises:
        MoraError: if the name is taken.
    """

    def register(embed: Baseline) -> Baseline:
        if name in BASELINES:
            raise MoraError(f"baseline {name!r} exists already; choose another name.")
        BASELINES[name] = embed
        return embed

    return register


def embed_baselines(
    names: Iterable[str],
    given: BaselineInput,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, Float32[np.ndarray, "tokens _"]], dict[str, str]]:
    """Embed with each named baseline that has what it needs.

    Args:
        names: keys of :data:`BASELINES`.
        given: what the run has.
        options: keyword arguments per baseline, such as
            ``{"harmonics": {"degree": 32}}``.

    Returns:
        The vectors by name, and the reason for each baseline that was left out.

    Raises:
        MoraError: if no baseline has one of the names.
    """
    vectors, left_out = {}, {}
    for name in names:
        if name not in BASELINES:
            raise MoraError(
                f"no baseline {name!r}; expected one of {', '.join(BASELINES)}."
            )
        try:
            vectors[name] = BASELINES[name](given, **(options or {}).get(name, {}))
        except MissingInputError as reason:
            left_out[name] = str(reason)
    return vectors, left_out
