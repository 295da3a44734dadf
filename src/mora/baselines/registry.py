"""The registry of baselines, and what a run hands to each of them."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Float32

from mora.errors import MissingExtraError, MoraError
from mora.tokens import Tokens

Group = Literal["input", "analytical", "pretrained", "trained"]
TUNING_BUDGET = 4  # settings tried of every baseline that has any to try


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
        flows: movement from row to column, the diagonal included; symmetric where the
            source knows no direction. None without a mobility graph.
        neighbours: which tokens touch, symmetric, ones without a diagonal; None where
            that is unknown.
        tokens: the places; None where only arrays are known.
        seed: of everything a baseline draws by chance.
    """

    lonlat: Float[np.ndarray, "tokens 2"] | None = None
    line: Float[np.ndarray, "tokens line"] | None = None
    volume: Volume | None = None
    features: Mapping[str, Float[np.ndarray, "tokens _"]] = field(default_factory=dict)
    flows: sp.csr_array | None = None
    neighbours: sp.csr_array | None = None
    tokens: Tokens | None = None
    seed: int = 0

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

    def require_flows(self) -> sp.csr_array:
        """Give the movement between tokens, or refuse."""
        if self.flows is None:
            raise MissingInputError("mobility graph", "Run the stage `graph` first.")
        return self.flows

    def require_neighbours(self) -> sp.csr_array:
        """Give which tokens touch, or refuse."""
        if self.neighbours is None:
            raise MissingInputError(
                "neighbours", "Use H3 tokens or zones with outlines."
            )
        return self.neighbours

    def require_tokens(self) -> Tokens:
        """Give the places, or refuse."""
        if self.tokens is None:
            raise MissingInputError("places", "Evaluate on a run, not on arrays alone.")
        return self.tokens


@dataclass(frozen=True)
class Reproduction:
    """How a baseline was checked against what its authors, or others, report.

    Attributes:
        what: the quantity, and where its expected value comes from.
        expected: that value; None if there is none to compare with here.
        measured: ours.
        tolerance: the largest difference that counts as reproduced.
        command: what measures it.
    """

    what: str
    expected: float | None = None
    measured: float | None = None
    tolerance: float = 0.0
    command: str = ""

    @property
    def reached(self) -> bool:
        """Say whether the measured value is within the tolerance."""
        if self.expected is None or self.measured is None:
            return False
        return abs(self.measured - self.expected) <= self.tolerance

    def __str__(self) -> str:
        if self.expected is None or self.measured is None:
            return f"not reproduced: {self.what}"
        outcome = "reproduced" if self.reached else "not reproduced"
        if self.reached and self.tolerance == 0:
            return f"{outcome}: {self.what}: {self.measured:.4g}, exactly as expected"
        return (
            f"{outcome}: {self.what}: {self.measured:.4g}, expected "
            f"{self.expected:.4g} ± {self.tolerance:.2g}"
        )


Embed: TypeAlias = Callable[..., Float32[np.ndarray, "tokens dim"]]


@dataclass(frozen=True)
class Baseline:
    """A way to make vectors of places, to compare with.

    Attributes:
        name: key of the registry.
        embed: :class:`BaselineInput` and options to vectors.
        group: what kind it is.
        source: author, year, title.
        needs: inputs that it cannot do without, as attributes of
            :class:`BaselineInput`.
        needs_file: whether it reads a file that the user must name.
        settings: the options tried when it is tuned, the published ones first; one
            entry where there is nothing to tune.
        reproduction: how it was checked.
    """

    name: str
    embed: Embed
    group: Group
    source: str
    needs: tuple[str, ...]
    needs_file: bool
    settings: tuple[Mapping[str, Any], ...]
    reproduction: Reproduction

    @property
    def description(self) -> str:
        """Give the first sentence of its documentation."""
        return (self.embed.__doc__ or "").split("\n")[0]

    def __call__(
        self, given: BaselineInput, **options: Any
    ) -> Float32[np.ndarray, "tokens dim"]:
        """Embed with the given options."""
        return self.embed(given, **options)


BASELINES: dict[str, Baseline] = {}


def baseline(
    name: str,
    *,
    group: Group,
    source: str,
    needs: tuple[str, ...],
    reproduction: Reproduction,
    needs_file: bool = False,
    settings: tuple[Mapping[str, Any], ...] = ({},),
) -> Callable[[Embed], Embed]:
    """Register a function from :class:`BaselineInput` to vectors under a name.

    The arguments are the attributes of :class:`Baseline`.

    Raises:
        MoraError: if the name is taken, or another number of settings than one or
            :data:`TUNING_BUDGET` is given.
    """

    def register(embed: Embed) -> Embed:
        if name in BASELINES:
            raise MoraError(f"baseline {name!r} exists already; choose another name.")
        if len(settings) not in (1, TUNING_BUDGET):
            raise MoraError(
                f"baseline {name!r} has {len(settings)} settings; expected 1 or "
                f"{TUNING_BUDGET}, the same tuning for all."
            )
        BASELINES[name] = Baseline(
            name, embed, group, source, needs, needs_file, settings, reproduction
        )
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
        The vectors by name, and the reason for each baseline that was left out: an
        input or a package that is missing.

    Raises:
        MoraError: if no baseline has one of the names.
    """
    vectors, left_out = {}, {}
    for name in names:
        try:
            chosen = find_baseline(name)
            vectors[name] = chosen(given, **(options or {}).get(name, {}))
        except (MissingInputError, MissingExtraError) as reason:
            left_out[name] = str(reason)
    return vectors, left_out


def find_baseline(name: str) -> Baseline:
    """Give a registered baseline.

    Raises:
        MoraError: if there is none of the name, with the nearest ones.
    """
    if name in BASELINES:
        return BASELINES[name]
    near = difflib.get_close_matches(name, BASELINES, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MoraError(
        f"no baseline {name!r}; expected one of {', '.join(BASELINES)}.{hint}"
    )
