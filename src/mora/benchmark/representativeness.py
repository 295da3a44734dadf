"""Whether the users of mobility records live where people live."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Real, Shaped

from mora.benchmark.results import without_nan
from mora.errors import MoraError, examples

UNKNOWN = "unknown"  # shown for places whose group is empty text
QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


@dataclass(frozen=True)
class GroupShare:
    """How much of the users and of the people live in one group of places.

    Attributes:
        grouping: what places are grouped by, such as ``state``.
        group: which of its groups.
        homes: users whose home is there.
        people: population.
        share_of_homes: of all users, in 0..1.
        share_of_people: of all people, in 0..1.
        ratio: of the two shares; 1 fair, below 1 too few users, NaN without people.
    """

    grouping: str
    group: str
    homes: float
    people: float
    share_of_homes: float
    share_of_people: float
    ratio: float


@dataclass(frozen=True)
class Representativeness:
    """Homes of users beside the population.

    Attributes:
        groups: one row a group, by grouping as given and then by name.
        pearson: correlation of homes and people over places; NaN if either is constant.
        spearman: the same of ranks.
        dissimilarity: share of the users who would have to live elsewhere for homes to
            be spread as people are, in 0..1.
        places: places with a known population.
        homes: users there.
        homes_elsewhere: users at places of unknown population, left out.
        people: population of the places.
    """

    groups: tuple[GroupShare, ...]
    pearson: float
    spearman: float
    dissimilarity: float
    places: int
    homes: float
    homes_elsewhere: float
    people: float

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values, None in place of NaN."""
        found = asdict(self)
        found["groups"] = [without_nan(row) for row in found["groups"]]
        return without_nan(found)


def representativeness(
    homes: Real[np.ndarray, " places"],
    population: Real[np.ndarray, " _"],
    groups: Mapping[str, Shaped[np.ndarray, " _"]],
) -> Representativeness:
    """Compare where users live with where people live.

    Places are tokens, or areas such as counties for which both were summed.

    Source: Duncan and Duncan 1955, A methodological analysis of segregation indexes,
    for the index of dissimilarity.

    Args:
        homes: users whose home is each place, >= 0; see
            :func:`mora.benchmark.homes.infer_homes`.
        population: people of each place, >= 0; NaN where unknown.
        groups: name -> group of each place; empty text where unknown.

    Returns:
        Shares by group, correlations and dissimilarity; the ratios are 1, the
        correlations 1 and the dissimilarity 0 where homes are proportional to people.

    Raises:
        MoraError: if lengths differ, a count is negative or not finite, or there are
            no homes or no people at all.
    """
    _check(homes, population, groups)
    known = ~np.isnan(population)
    users, people = homes[known].astype(float), population[known].astype(float)
    if users.sum() == 0 or people.sum() == 0:
        raise MoraError(
            f"{users.sum():.0f} homes and {people.sum():.0f} people at {known.sum()} "
            f"places of known population; expected some of both. Check that both are "
            f"in token order, and min_users."
        )
    rows = [
        row
        for name, group in groups.items()
        for row in _shares(name, _names(group[known]), users, people)
    ]
    pearson, spearman = _correlations(users, people)
    apart = np.abs(users / users.sum() - people / people.sum()).sum() / 2
    return Representativeness(
        groups=tuple(rows),
        pearson=pearson,
        spearman=spearman,
        dissimilarity=float(apart),
        places=int(known.sum()),
        homes=float(users.sum()),
        homes_elsewhere=float(homes[~known].sum()),
        people=float(people.sum()),
    )


def quarters(
    values: Real[np.ndarray, " places"], population: Real[np.ndarray, " places"]
) -> Shaped[np.ndarray, " places"]:
    """Cut places into four groups, from low to high values, of about equal population.

    Args:
        values: what to cut by, such as the median income; NaN where unknown.
        population: people of each place, >= 0; NaN counts as none.

    Returns:
        A name of :data:`QUARTERS` a place; empty text where the value is unknown.
        Equal values share a quarter, so one value everywhere gives one quarter.
    """
    known = np.flatnonzero(~np.isnan(values))
    people = np.nan_to_num(population[known].astype(float))
    _, level = np.unique(values[known], return_inverse=True)
    by_level = np.bincount(level, people)
    middle = np.cumsum(by_level) - by_level / 2  # people below, half of the level's own
    total = by_level.sum()
    quarter = np.minimum(4 * middle / (total if total > 0 else 1.0), 3).astype(int)
    named = np.full(len(values), "", dtype=f"<U{max(map(len, QUARTERS))}")
    named[known] = np.array(QUARTERS)[quarter[level]]
    return named


def _names(group: np.ndarray) -> np.ndarray:
    names = group.astype(str)
    return np.where(names == "", UNKNOWN, names)


def _shares(
    grouping: str, group: np.ndarray, homes: np.ndarray, people: np.ndarray
) -> list[GroupShare]:
    """Add homes and people up by group."""
    order = list(QUARTERS) if set(group) <= {*QUARTERS, UNKNOWN} else []
    names, row = np.unique(group, return_inverse=True)
    place = {name: order.index(name) if name in order else 99 for name in names}
    found = [
        _share(grouping, str(name), homes, people, row == number)
        for number, name in enumerate(names)
    ]
    return sorted(found, key=lambda share: (share.group == UNKNOWN, place[share.group]))


def _share(
    grouping: str,
    group: str,
    homes: Float[np.ndarray, " places"],
    people: Float[np.ndarray, " places"],
    inside: np.ndarray,
) -> GroupShare:
    users, residents = homes[inside].sum(), people[inside].sum()
    of_homes, of_people = users / homes.sum(), residents / people.sum()
    return GroupShare(
        grouping=grouping,
        group=group,
        homes=float(users),
        people=float(residents),
        share_of_homes=float(of_homes),
        share_of_people=float(of_people),
        ratio=float(of_homes / of_people) if residents > 0 else math.nan,
    )


def _correlations(homes: np.ndarray, people: np.ndarray) -> tuple[float, float]:
    """Give Pearson's and Spearman's correlation; NaN where one side is constant."""
    from scipy.stats import rankdata  # half a second to import

    if np.ptp(homes) == 0 or np.ptp(people) == 0:
        return math.nan, math.nan
    ranks = np.corrcoef(rankdata(homes), rankdata(people))[0, 1]
    return float(np.corrcoef(homes, people)[0, 1]), float(ranks)


def _check(
    homes: np.ndarray, population: np.ndarray, groups: Mapping[str, np.ndarray]
) -> None:
    """Refuse counts that cannot be compared."""
    lengths = {"population": len(population)}
    lengths |= {name: len(group) for name, group in groups.items()}
    if set(lengths.values()) != {len(homes)}:
        raise MoraError(
            f"{len(homes)} homes beside {lengths}; expected one row a place in each."
        )
    bad = ~np.isfinite(homes) | (homes < 0)
    if bad.any():
        raise MoraError(
            f"{bad.sum()} of {len(homes)} homes are not counts (first: "
            f"{examples(homes[bad][:4].tolist())}); expected numbers >= 0."
        )
    bad = np.isinf(population) | (population < 0)
    if bad.any():
        raise MoraError(
            f"{bad.sum()} of {len(population)} populations are not counts (first: "
            f"{examples(population[bad][:4].tolist())}); expected numbers >= 0, or NaN "
            f"where unknown."
        )
