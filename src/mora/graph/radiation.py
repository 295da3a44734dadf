"""Flows simulated from population alone, where no observed flows exist."""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from mora.errors import GraphError
from mora.geometry import EARTH_RADIUS_KM


def radiation_flows(
    population: Float[np.ndarray, " tokens"],
    centroids: Float[np.ndarray, "tokens 2"],
    *,
    commuters_per_resident: float = 0.11,
    min_flow: float = 1.0,
) -> sp.csr_array:
    """Simulate commuting between tokens with the radiation model.

    Source: Simini et al. 2012, eq. 2, T_ij = T_i m_i n_j / ((m_i + s_ij)(m_i + n_j +
    s_ij)), s_ij the people within the distance d_ij of i, i and j not counted;
    divided by 1 - m_i / M for the finite size of the country (Masucci et al. 2013).

    Args:
        population: residents of each token, >= 0.
        centroids: lon/lat of each token.
        commuters_per_resident: T_i / m_i; 0.11 is the share of Americans whom the
            paper counts as commuting between counties.
        min_flow: flows below this many commuters are left out.

    Returns:
        Directed flows ``(tokens, tokens)`` without a diagonal.

    Raises:
        GraphError: if fewer than two tokens have people.
    """
    total = population.sum()
    if (population > 0).sum() < 2:
        raise GraphError(
            f"{(population > 0).sum()} of {len(population)} tokens have people; the "
            f"radiation model needs at least 2."
        )
    xyz = _unit_vectors(centroids)
    rows, columns, flows = [], [], []
    for token in np.flatnonzero(population > 0).tolist():
        order, between = _people_between(token, population, xyz)
        home, work = population[token], population[order]
        chance = home * work / ((home + between) * (home + work + between))
        flow = commuters_per_resident * home / (1 - home / total) * chance
        kept = flow >= min_flow
        rows.append(np.full(kept.sum(), token))
        columns.append(order[kept])
        flows.append(flow[kept])
    ends = (np.concatenate(rows), np.concatenate(columns))
    shape = (len(population), len(population))
    return sp.csr_array((np.concatenate(flows), ends), shape=shape)


def _unit_vectors(lonlat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    lon, lat = np.radians(lonlat).T
    return np.column_stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    )


def _people_between(
    token: int, population: np.ndarray, xyz: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Order the other tokens by distance, with the people nearer than each.

    Tokens at one distance (to the metre) count as equally far: each excludes the
    others, so that the result does not depend on rounding.
    """
    chord = np.linalg.norm(xyz - xyz[token], axis=1) * EARTH_RADIUS_KM * 1000
    metres = np.round(chord).astype(np.int64)
    order = np.argsort(metres, kind="stable")
    order = order[order != token]
    before = np.append(0.0, np.cumsum(population[order]))
    nearer = np.searchsorted(metres[order], metres[order], side="left")
    return order, before[nearer]
