"""What each square cell of a made-up city is used for."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy.ndimage import gaussian_filter

from mora.config.section import Section

FUNCTIONS = ("residential", "office", "shop", "leisure", "transport")
# POIs a cell would hold per unit of each function, in the order of FUNCTIONS. The
# same in every city: it is what vectors of places can carry from one to another.
LOADINGS = {
    "school": (0.6, 0.1, 0.0, 0.0, 0.0),
    "clinic": (0.5, 0.2, 0.1, 0.0, 0.0),
    "laundry": (0.5, 0.0, 0.1, 0.0, 0.0),
    "bank": (0.0, 0.5, 0.2, 0.0, 0.1),
    "company": (0.1, 2.0, 0.2, 0.0, 0.1),
    "hotel": (0.0, 0.4, 0.1, 0.3, 0.2),
    "supermarket": (0.3, 0.0, 0.6, 0.0, 0.0),
    "clothes": (0.0, 0.1, 1.2, 0.1, 0.1),
    "restaurant": (0.1, 0.6, 0.8, 0.8, 0.3),
    "bar": (0.0, 0.2, 0.3, 0.9, 0.1),
    "park": (0.2, 0.0, 0.0, 0.6, 0.0),
    "station": (0.0, 0.0, 0.0, 0.0, 1.0),
}
CATEGORIES = tuple(LOADINGS)
# Reach of a function from a centre: 0 as far as offices, 1 as far as homes.
SPREAD = {"residential": 1.0, "office": 0.0, "shop": 0.4, "leisure": 0.6}
PATCH_CELLS = 1.0  # size of the patches in which cells differ from their neighbours
CORRIDOR_CELLS = 1.5  # how far transport reaches from a line between centres
TAIL = 1.5  # exponent of the distances of trips
BEYOND = 1e-9  # factor of places beyond the edge
MARGIN = 0.15  # share of the grid on each side without a centre


class LayoutConfig(Section):
    """The map of a made-up city.

    Attributes:
        seed: of the map; the people have their own.
        width: columns of the grid.
        height: rows of the grid.
        centres: how many; the first is the largest.
        core_cells: distance from a centre at which offices are thinner by e.
        suburb_cells: the same for homes.
        roughness: standard deviation of the log of how much is in a cell compared
            with what its distances from the centres say.
        pois: points of interest in the whole city, about.
    """

    seed: int = Field(0, ge=0)
    width: int = Field(200, ge=4)
    height: int = Field(200, ge=4)
    centres: int = Field(12, ge=1)
    core_cells: float = Field(13.0, gt=0)
    suburb_cells: float = Field(21.0, gt=0)
    roughness: float = Field(0.8, ge=0)
    pois: int = Field(60_000, ge=1)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a city's functions spread over its cells.

    Attributes:
        centres: middle of each, in cells from the corner, largest first.
        shares: of each function of :data:`FUNCTIONS`, the share that a cell has; a row
            sums to 1. Cells are in HuMob's order: all rows of the first column first.
        width: columns.
        height: rows.
    """

    centres: Float[np.ndarray, "centres 2"]
    shares: Float[np.ndarray, "functions cells"]
    width: int
    height: int

    def share(self, function: str) -> Float[np.ndarray, " cells"]:
        """Give the share that each cell has of one function."""
        return self.shares[FUNCTIONS.index(function)]

    def size(self) -> Int[np.ndarray, "2"]:
        """Give width and height."""
        return np.array([self.width, self.height])

    def cell_at(self, place: Float[np.ndarray, "*n 2"]) -> Int[np.ndarray, "*n"]:
        """Find the cell of places; those beyond the edge are in the edge's cells."""
        last = self.size() - 1
        column_row = np.clip(np.floor(place), 0, last).astype(np.int64)
        return column_row[..., 0] * self.height + column_row[..., 1]

    def corner(self, cell: Int[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 2"]:
        """Give the lower left corner of cells."""
        column_row = np.stack([cell // self.height, cell % self.height], axis=-1)
        return column_row.astype(np.float64)


def lay_out(config: LayoutConfig) -> Layout:
    """Spread homes, offices, shops, leisure and transport around a few centres.

    Densities fall off from each centre as a Gaussian (Sherratt 1960) and differ from
    cell to cell by a lognormal factor; transport follows lines from the first centre
    to the others.

    Returns:
        The layout; with ``roughness`` 0 a smooth one.
    """
    rng = np.random.default_rng(config.seed)
    size = np.array([config.width, config.height])
    low, high = MARGIN * size, (1 - MARGIN) * size
    centres = rng.uniform(low, high, (config.centres, 2))
    cells = np.indices((config.width, config.height)).reshape(2, -1).T + 0.5
    away = np.linalg.norm(cells[:, None] - centres, axis=2)
    weight = 1 / np.sqrt(np.arange(1, config.centres + 1))
    shares = []
    for spread in SPREAD.values():
        reach = config.core_cells ** (1 - spread) * config.suburb_cells**spread
        density = np.exp(-((away / reach) ** 2)) @ weight
        shares.append(density * _rough(config, rng))
    shares.append(_along_lines(cells, centres) * (shares[0] + shares[1]))
    table = np.stack(shares)
    table /= table.sum(axis=1, keepdims=True)
    return Layout(centres, table, config.width, config.height)


def count_pois(
    layout: Layout, pois: int, seed: int
) -> Int[np.ndarray, "cells categories"]:
    """Count the points of interest of each category of :data:`CATEGORIES` in cells.

    Args:
        layout: of the city.
        pois: in the whole city, on average.
        seed: of the draws.

    Returns:
        Poisson counts whose means are the same mixture of the cell's functions in
        every city.
    """
    loadings = np.array(list(LOADINGS.values()))
    mean = layout.shares.T @ loadings.T * pois / loadings.sum()
    return np.random.default_rng(seed).poisson(mean)


def draw_cells(
    rng: np.random.Generator, share: Float[np.ndarray, " cells"], n: int
) -> Int[np.ndarray, " n"]:
    """Draw cells in proportion to their share."""
    return np.searchsorted(np.cumsum(share), rng.random(n) * share.sum(), side="right")


def choose_near(
    rng: np.random.Generator,
    layout: Layout,
    function: str,
    origin: Float[np.ndarray, "n 2"],
    reach_cells: float,
    options: int = 16,
) -> Float[np.ndarray, "n 2"]:
    """Choose for each origin a place in reach that is good for something.

    Some places are drawn around the origin in all directions, at distances with a
    heavy tail (Lomax, as people's are), and one is taken in proportion to its cell's
    share; places beyond the edge only if there is no other.

    Args:
        rng: of the draws.
        layout: of the city.
        function: what the place is for.
        origin: in cells from the corner.
        reach_cells: distance beyond which 1 in 4 of the places looked at lie.
        options: places looked at; with 1 the function does not matter.

    Returns:
        Places on the grid, in cells from the corner.
    """
    # Lomax with tail exponent TAIL, scaled so that its upper quartile is the reach
    scale = reach_cells / (4 ** (1 / TAIL) - 1)
    distance = scale * rng.pareto(TAIL, (len(origin), options))
    angle = rng.uniform(0, 2 * np.pi, distance.shape)
    step = distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    places = origin[:, None] + step
    cells = layout.cell_at(places)
    weight = layout.share(function)[cells]
    weight[(places < 0).any(2) | (places >= layout.size()).any(2)] *= BEYOND
    total = np.cumsum(weight, axis=1)
    chosen = (total < total[:, -1:] * rng.random((len(origin), 1))).sum(axis=1)
    cell = cells[np.arange(len(origin)), chosen]
    return layout.corner(cell) + rng.random((len(origin), 2))


def _rough(
    config: LayoutConfig, rng: np.random.Generator
) -> Float[np.ndarray, " cells"]:
    noise = gaussian_filter(
        rng.normal(size=(config.width, config.height)), PATCH_CELLS, mode="wrap"
    )
    return np.exp(config.roughness * noise / noise.std()).ravel()


def _along_lines(
    cells: Float[np.ndarray, "cells 2"], centres: Float[np.ndarray, "centres 2"]
) -> Float[np.ndarray, " cells"]:
    """Give how near each cell is to a line from the first centre to another."""
    nearest = np.linalg.norm(cells - centres[0], axis=1)
    for centre in centres[1:]:
        line = centre - centres[0]
        along = np.clip((cells - centres[0]) @ line / (line @ line), 0, 1)
        foot = centres[0] + along[:, None] * line
        nearest = np.minimum(nearest, np.linalg.norm(cells - foot, axis=1))
    return np.exp(-nearest / CORRIDOR_CELLS)
