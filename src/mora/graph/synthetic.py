"""Made-up places and gravity flows of any size, for tests and benchmarks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numba import prange
from scipy.optimize import brentq

from mora.errors import GraphError
from mora.geometry import hilbert_order
from mora.graph.array_file import ArrayFile
from mora.graph.storage import MobilityGraph, read_graph
from mora.graph.weights import WeightFile
from mora.kernels import GOLDEN_GAMMA, as_uniform, kernel, mix_bits
from mora.progress import Progress, silent

COUNTRY_KM = (4_000.0, 2_500.0)
PLACES_A_CITY = 500
CITY_RADIUS_KM = 20.0
URBAN_SHARE = 0.8
NEAR_KM = 5.0  # within it distance does not matter
PAIRS_A_BLOCK = 8_000_000
SCALE_ROWS = 256  # rows from which the density of the whole is estimated


@dataclass(frozen=True, eq=False)
class Country:
    """Places of a made-up country, in Hilbert order: neighbours are in near rows.

    Attributes:
        xy_km: where they are.
        population: people of each, heavy-tailed.
    """

    xy_km: Float[np.ndarray, "places 2"]
    population: Float[np.ndarray, " places"]


def make_country(places: int, *, seed: int = 0) -> Country:
    """Scatter places around cities, four of five, and over the land between.

    Args:
        places: how many.
        seed: of everything drawn.
    """
    rng = np.random.default_rng(seed)
    cities = max(places // PLACES_A_CITY, 1)
    city = rng.integers(cities, size=places)
    angle = rng.uniform(0, 2 * np.pi, places)
    reach = rng.exponential(CITY_RADIUS_KM, places)
    middle = rng.uniform(0, COUNTRY_KM, (cities, 2))[city]
    xy = middle + reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    rural = rng.random(places) > URBAN_SHARE
    xy[rural] = rng.uniform(0, COUNTRY_KM, (int(rural.sum()), 2))
    size = rng.lognormal(0, 1, cities)[city] * np.exp(-reach / CITY_RADIUS_KM / 2)
    people = 1_000 * rng.lognormal(0, 0.7, places) * np.where(rural, 0.3, size)
    order = hilbert_order(xy[:, 0], xy[:, 1])
    return Country(xy[order], people[order])


def build_gravity_graph(
    country: Country,
    edges: int,
    folder: Path,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> MobilityGraph:
    """Draw co-visits from a gravity law and stream them to disk.

    The weight of a pair is Poisson with mean ``s p_i p_j / (1 + (d_ij / 5 km)^2)``;
    the scale ``s`` is such that about ``edges`` pairs have a weight above 0. Memory
    does not grow with the edges; the draws do not depend on the number of threads.

    Args:
        country: places, see :func:`make_country`.
        edges: pairs that are joined, within a few per cent.
        folder: where the graph's files are written.
        seed: of the draws.
        progress: told the rows done and in all.

    Returns:
        The graph, memory-mapped; whole weights of 1 and more.

    Raises:
        GraphError: if there are fewer pairs than edges.
    """
    places = len(country.population)
    pairs = places * (places - 1) // 2
    if not 0 < edges <= pairs / 2:
        raise GraphError(
            f"{edges:,} edges between {places:,} places; expected 1 to half of the "
            f"{pairs:,} pairs."
        )
    x, y = np.ascontiguousarray(country.xy_km.T)
    weight_of = country.population * np.sqrt(_scale(country, edges, seed))
    folder.mkdir(parents=True, exist_ok=True)
    row_edges, degree = np.zeros(places, np.int64), np.zeros(places)
    block = max(1, PAIRS_A_BLOCK // places)
    buffers = [np.empty((block, places), kind) for kind in (np.int32, np.uint32)]
    with (
        ArrayFile(folder / "neighbour.npy", np.int32) as neighbours,
        WeightFile(folder) as weights,
    ):
        first = 0
        while first < places:
            last = min(places, first + block)
            found = _draw_rows(first, last, x, y, weight_of, seed, *buffers)
            for row, size in enumerate(found):
                column, drawn = (buffer[row, :size] for buffer in buffers)
                neighbours.append(column)
                weights.append(drawn)
                degree[first + row] += drawn.sum()
                degree[column] += drawn
            row_edges[first:last] = found
            first = last
            progress(first, places)
    empty = {"users": np.zeros(0, np.uint32), "within": np.zeros(places)}
    ends = np.append(0, np.cumsum(row_edges))
    totals = {"indptr": ends, "outflow": degree, "inflow": degree}
    for name, values in {**empty, **totals}.items():
        np.save(folder / f"{name}.npy", values)
    return read_graph(folder)


def _scale(country: Country, edges: int, seed: int) -> float:
    """Find the scale that joins ``edges`` pairs, from some of the rows."""
    people, places = country.population, len(country.population)
    chosen = np.random.default_rng([seed, places]).permutation(places)[:SCALE_ROWS]
    x, y = country.xy_km.T
    near2 = (x[chosen, None] - x) ** 2 + (y[chosen, None] - y) ** 2
    mean = people[chosen, None] * people / (1 + near2 / NEAR_KM**2)
    mean[np.arange(len(chosen)), chosen] = 0
    wanted = 2 * edges / places  # partners of a place

    def surplus(log_scale: float) -> float:
        joined = -np.expm1(-np.exp(log_scale) * mean).sum() / len(chosen)
        return float(np.log(joined / wanted))

    return float(np.exp(brentq(surplus, -60.0, 20.0, xtol=1e-3)))


@kernel()
def _uniform(seed: int, row: int, column: int) -> float:
    """Draw from [0, 1) for a pair of places."""
    pair = np.uint64(row) << np.uint64(32) | np.uint64(column)
    return as_uniform(mix_bits(np.uint64(seed) * GOLDEN_GAMMA + pair))


@kernel()
def _poisson(mean: float, uniform: float) -> int:
    """Invert the distribution function; beyond 30 by its normal approximation."""
    if mean > 30:
        # Logistic quantile, scaled to the normal's deviation: within 2 % of its shape.
        odds = np.log(max(uniform, 1e-12) / max(1 - uniform, 1e-12))
        return max(1, int(mean + np.sqrt(mean) * odds / 1.702 + 0.5))
    chance, count = np.exp(-mean), 0
    below = chance
    while uniform > below and count < 200:
        count += 1
        chance *= mean / count
        below += chance
    return count


@kernel(parallel=True)
def _draw_rows(
    first: int,
    last: int,
    x: np.ndarray,
    y: np.ndarray,
    people: np.ndarray,
    seed: int,
    partner: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Draw a block of rows into the buffers; gives the partners of each row."""
    size = np.zeros(last - first, np.int64)
    for local in prange(last - first):
        row, found = first + local, 0
        mean, excess = np.empty(len(x)), np.empty(len(x))
        for column in range(row + 1, len(x)):
            near2 = (x[row] - x[column]) ** 2 + (y[row] - y[column]) ** 2
            mean[column] = people[row] * people[column] / (1 + near2 / NEAR_KM**2)
            excess[column] = _uniform(seed, row, column) - (1 - mean[column])
        for column in range(row + 1, len(x)):
            if excess[column] > 0:  # P(0) = exp(-mean) > 1 - mean: most end here
                uniform = excess[column] + (1 - mean[column])
                count = _poisson(mean[column], uniform)
                if count > 0:
                    partner[local, found] = column
                    weight[local, found] = count
                    found += 1
        size[local] = found
    return size
