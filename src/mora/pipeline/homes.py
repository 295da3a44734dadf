"""Where the people that a run observed live, beside where people live."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from mora.benchmark.homes import infer_homes
from mora.benchmark.representativeness import (
    Representativeness,
    quarters,
    representativeness,
)
from mora.config import FlowsMobility, VisitsMobility
from mora.errors import MoraError
from mora.pipeline.commutes import read_sightings
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.rows import read_numbers, token_of_rows
from mora.pipeline.units import token_regions

PUBLISHED_USERS = 5  # a report is made to be shown: smaller groups stay hidden


class NotObservedError(MoraError):
    """Movement that tells nothing about where anyone lives."""


def observed_homes(context: RunContext, mobility: Mobility) -> np.ndarray:
    """Count whom the run observed by the place where they live.

    Args:
        context: the run; visits are read once more, and users counted in memory.
        mobility: its places and flows.

    Returns:
        Users per token for visits; for flows, who sets out from each token, which are
        residents where flows go from home.

    Raises:
        NotObservedError: for movement that was simulated, or spread by the population
            and so agrees with it whatever was observed, or visits without times.
    """
    config = context.config.mobility
    if isinstance(config, VisitsMobility):
        return _homes_of_visitors(context, config, mobility)
    if isinstance(config, FlowsMobility):
        graph = mobility.graph
        return np.asarray(graph.outflow) + np.asarray(graph.within)
    raise NotObservedError(
        f"mobility of kind {config.kind!r} says of no place who lives there; expected "
        f"visits, or flows between the places themselves."
    )


def compare_with_population(
    context: RunContext, mobility: Mobility, groups: Mapping[str, np.ndarray]
) -> Representativeness:
    """Compare where the observed live with the population, by region and group.

    Args:
        context: the run.
        mobility: its places and flows.
        groups: name -> group of each token, such as quarters of income.

    Raises:
        NotObservedError: if the run observed nobody, or knows no population.
    """
    homes = observed_homes(context, mobility)
    people = _population(context, mobility)
    shown = {"population quarter": quarters(people, people), **groups}
    regions = token_regions(context.config.evaluation, mobility)
    if regions is not None:
        shown["region"] = _region_names(context, mobility, regions)
    return representativeness(homes.astype(np.float64), people, shown)


def _population(
    context: RunContext, mobility: Mobility
) -> Float[np.ndarray, " tokens"]:
    """Sum the people of each token; NaN where no row says how many there are."""
    table = context.config.evaluation.population
    if table is None:
        raise NotObservedError(
            "no population to compare with; name a table under "
            "`evaluation.population:`."
        )
    frame = read_numbers(context, table, "evaluation.population", ["population"])
    token = token_of_rows(mobility.tokens, frame)
    met, tokens = token >= 0, len(mobility.tokens)
    people = np.bincount(token[met], frame["population"][met], tokens)
    rows = np.bincount(token[met], minlength=tokens)
    return np.where(rows > 0, people, np.nan)


def _region_names(
    context: RunContext, mobility: Mobility, regions: np.ndarray
) -> np.ndarray:
    """Name regions by the code that their zones share, or by number."""
    length = context.config.evaluation.region_code_length
    if mobility.zones.empty:
        return np.array([str(region) for region in regions])
    codes = np.unique([zone[:length] for zone in mobility.zones["zone"]])
    return codes[regions]


def _homes_of_visitors(
    context: RunContext, config: VisitsMobility, mobility: Mobility
) -> np.ndarray:
    sightings = read_sightings(
        context, config.table, "mobility.table", mobility.tokens, config.timezone
    )
    parts = list(sightings)
    if not parts:
        raise NotObservedError("visits have weeks but no times; expected `time`.")
    user, token, clock = (np.concatenate(part) for part in zip(*parts, strict=True))
    return infer_homes(
        user,
        token,
        pd.DatetimeIndex(clock).hour.to_numpy(),
        tokens=len(mobility.tokens),
        min_users=max(config.min_users, PUBLISHED_USERS),
    )
