"""Zone flows spread over cells with a doubly constrained gravity model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from mora.errors import GraphError
from mora.geometry import great_circle_km
from mora.kernels import kernel

MAX_PAIRS = 400_000_000  # 3.2 GB of float64 while the model is fitted
DISC_DISTANCE = 128 / (45 * np.pi)  # mean distance of two points in a unit disc


@dataclass(frozen=True, eq=False)
class Crosswalk:
    """Which part of a zone's population lives in which token.

    Attributes:
        zone: zone row of each piece, ascending.
        token: token of each piece; a token on a border has several pieces.
        population: people in each piece, > 0.
    """

    zone: Int[np.ndarray, " pieces"]
    token: Int[np.ndarray, " pieces"]
    population: Float[np.ndarray, " pieces"]

    @classmethod
    def from_rows(
        cls,
        zone: Int[np.ndarray, " rows"],
        token: Int[np.ndarray, " rows"],
        population: Float[np.ndarray, " rows"],
    ) -> "Crosswalk":
        """Add up rows of the same zone and token; rows without people are left out."""
        shape = (int(zone.max()) + 1, int(token.max()) + 1)
        summed = sp.csr_array((population, (zone, token)), shape=shape)
        summed.sum_duplicates()
        summed.eliminate_zeros()
        pieces = summed.tocoo()
        order = np.lexsort([pieces.col, pieces.row])
        return cls(
            pieces.row[order].astype(np.int64),
            pieces.col[order].astype(np.int64),
            pieces.data[order],
        )

    def main_zone(self, tokens: int) -> Int[np.ndarray, " tokens"]:
        """Give the zone with most of each token's people; -1 where nobody lives."""
        order = np.argsort(self.population, kind="stable")
        zone = np.full(tokens, -1, np.int64)
        zone[self.token[order]] = self.zone[order]
        return zone


@dataclass(frozen=True, eq=False)
class GravityFit:
    """Flows between tokens and how well they keep the observed totals.

    Attributes:
        flows: directed, ``(tokens, tokens)``; the diagonal stays in the token.
        margin_error: largest relative error of a piece's total out- or inflow; the
            totals between zones are exact.
        iterations: balancing rounds used.
    """

    flows: sp.csr_array
    margin_error: float
    iterations: int


def spread_flows(
    zone_flows: sp.csr_array,
    crosswalk: Crosswalk,
    centroids: Float[np.ndarray, "tokens 2"],
    areas_km2: Float[np.ndarray, " tokens"],
    *,
    decay: Literal["exponential", "power"] = "exponential",
    decay_km: float = 20.0,
    tolerance: float = 1e-3,
    max_iterations: int = 50,
) -> GravityFit:
    """Disaggregate flows between zones into flows between tokens.

    Source: Wilson 1967, doubly constrained gravity model, T_ij = A_i O_i B_j D_j
    f(d_ij), with one more factor per pair of zones so that the published flow between
    the zones is kept. Out- and inflow of a zone are shared by population; which part
    of it goes where depends on distance, so two cells of a zone get different rows.

    Args:
        zone_flows: directed, ``(zones, zones)``; the diagonal is the internal flow.
        crosswalk: where the people of each zone live.
        centroids: lon/lat of each token.
        areas_km2: area of each token; gives the distance of a token to itself.
        decay: ``exponential``, f = exp(-d / decay_km), or ``power``,
            f = (1 + d / decay_km)^-2.
        decay_km: how fast interaction falls with distance, > 0.
        tolerance: largest relative error of a piece's totals at which to stop.
        max_iterations: balancing rounds at most.

    Returns:
        The flows; they sum to ``zone_flows`` between zones that people live in.

    Raises:
        GraphError: if a zone with flow has no people, ``decay_km`` is not positive, or
            the pairs of cells would not fit into memory.
    """
    if decay_km <= 0:
        raise GraphError(f"decay_km must be positive, got {decay_km!r} km.")
    zone_flows = sp.csr_array(zone_flows).astype(np.float64)
    zone_flows.eliminate_zeros()
    zones = zone_flows.shape[0]
    start = np.searchsorted(crosswalk.zone, np.arange(zones + 1))
    size = np.diff(start)
    origin, destination = zone_flows.nonzero()
    _require_people(zone_flows, size)
    pairs = size[origin] * size[destination]
    if pairs.sum() > MAX_PAIRS:
        raise GraphError(
            f"the zone flows join {pairs.sum():,} pairs of cells; expected at most "
            f"{MAX_PAIRS:,}. Use a coarser resolution or drop small flows."
        )
    slot = np.append(0, np.cumsum(pairs))
    share = crosswalk.population / np.bincount(
        crosswalk.zone, crosswalk.population, zones
    )[crosswalk.zone]  # fmt: skip
    out_target = share * np.asarray(zone_flows.sum(axis=1)).ravel()[crosswalk.zone]
    in_target = share * np.asarray(zone_flows.sum(axis=0)).ravel()[crosswalk.zone]
    piece_i, piece_j = _piece_pairs(start, origin, destination, slot)
    friction = _friction(crosswalk, centroids, areas_km2, piece_i, piece_j)
    if decay == "exponential":
        # The factor of a pair of zones takes up what is common to its pieces; without
        # it, exp(-d) does not vanish between zones that are far apart.
        _subtract_nearest(friction, slot)
        seed = np.exp(-friction / decay_km)
    else:
        seed = (1 + friction / decay_km) ** -2
    seed *= share[piece_i] * share[piece_j]
    error, rounds = _balance(
        seed, piece_i, piece_j, slot, zone_flows.data, out_target, in_target,
        tolerance, max_iterations,
    )  # fmt: skip
    shape = (len(centroids), len(centroids))
    ends = (crosswalk.token[piece_i], crosswalk.token[piece_j])
    return GravityFit(sp.csr_array((seed, ends), shape=shape), float(error), rounds)


def internal_flow(
    zone_flows: sp.csr_array,
    population: Float[np.ndarray, " zones"],
    workers_per_resident: float,
) -> sp.csr_array:
    """Model the flow inside each zone as its workers who do not leave it.

    Args:
        zone_flows: directed, without internal flow.
        population: residents of each zone.
        workers_per_resident: share of residents who travel; 0.456 in the US in 2000
            (Census 2000: 128.3 M workers among 281.4 M people).

    Returns:
        The flows with the diagonal filled; 0 where more leave than are modelled.
    """
    leaving = np.asarray(zone_flows.sum(axis=1)).ravel() - zone_flows.diagonal()
    staying = np.maximum(workers_per_resident * population - leaving, 0.0)
    without = zone_flows - sp.diags_array(zone_flows.diagonal())
    return sp.csr_array(without + sp.diags_array(staying))


def _require_people(zone_flows: sp.csr_array, size: np.ndarray) -> None:
    moving = (np.asarray(zone_flows.sum(axis=0)) + zone_flows.sum(axis=1)).ravel() > 0
    empty = np.flatnonzero(moving & (size == 0))
    if len(empty):
        raise GraphError(
            f"{len(empty)} of {len(size)} zones have flow but no people to spread it "
            f"over (first zone rows: {empty[:3].tolist()}); expected population rows "
            f"for every zone. Drop these flows or add the population."
        )


@kernel()
def _piece_pairs(
    start: np.ndarray, origin: np.ndarray, destination: np.ndarray, slot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """List the pieces of both zones of each flow, all against all."""
    first = np.empty(slot[-1], np.int32)
    second = np.empty(slot[-1], np.int32)
    for flow in range(len(origin)):
        at = slot[flow]
        for i in range(start[origin[flow]], start[origin[flow] + 1]):
            for j in range(start[destination[flow]], start[destination[flow] + 1]):
                first[at], second[at] = i, j
                at += 1
    return first, second


def _friction(
    crosswalk: Crosswalk,
    centroids: np.ndarray,
    areas_km2: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> Float[np.ndarray, " pairs"]:
    """Give the distance of each pair of pieces, within a token that of its disc."""
    token_i, token_j = crosswalk.token[first], crosswalk.token[second]
    distance = np.empty(len(first))
    for part in np.array_split(np.arange(len(first)), len(first) // 2_000_000 + 1):
        i, j = token_i[part], token_j[part]
        own = DISC_DISTANCE * np.sqrt(areas_km2[i] / np.pi)
        apart = great_circle_km(centroids[i], centroids[j])
        distance[part] = np.where(i == j, own, apart)
    return distance


@kernel()
def _subtract_nearest(distance: np.ndarray, slot: np.ndarray) -> None:
    """Count distances from the nearest in each block, in place."""
    for pair in range(len(slot) - 1):
        block = distance[slot[pair] : slot[pair + 1]]
        block -= block.min()


@kernel()
def _totals(flow: np.ndarray, ends: np.ndarray, pieces: int) -> np.ndarray:
    total = np.zeros(pieces)
    for k in range(len(flow)):
        total[ends[k]] += flow[k]
    return total


@kernel()
def _scale_to(flow: np.ndarray, ends: np.ndarray, target: np.ndarray) -> None:
    scale = _totals(flow, ends, len(target))
    for piece in range(len(target)):
        if scale[piece] > 0:
            scale[piece] = target[piece] / scale[piece]
    for k in range(len(flow)):
        flow[k] *= scale[ends[k]]


@kernel()
def _largest_error(flow: np.ndarray, ends: np.ndarray, target: np.ndarray) -> float:
    error, total = 0.0, _totals(flow, ends, len(target))
    for piece in range(len(target)):
        if target[piece] > 0:
            error = max(error, abs(total[piece] / target[piece] - 1))
    return error


@kernel()
def _balance(
    flow: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    slot: np.ndarray,
    zone_flow: np.ndarray,
    out_target: np.ndarray,
    in_target: np.ndarray,
    tolerance: float,
    max_iterations: int,
) -> tuple[float, int]:
    """Scale ``flow`` in place to the totals of pieces and pairs of zones in turn."""
    error, rounds = np.inf, 0
    while error > tolerance and rounds < max_iterations:
        _scale_to(flow, first, out_target)
        _scale_to(flow, second, in_target)
        for pair in range(len(zone_flow)):
            block = flow[slot[pair] : slot[pair + 1]]
            block *= zone_flow[pair] / block.sum()
        error = max(
            _largest_error(flow, first, out_target),
            _largest_error(flow, second, in_target),
        )
        rounds += 1
    return error, rounds
