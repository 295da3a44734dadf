"""Square regions of a made-up city, with labels that people's movements follow."""

from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Int, Num

from mora.errors import MoraError
from mora.tokens import ZoneTokens
from mora.trajectories.generator.layout import count_pois, lay_out
from mora.trajectories.generator.trace_config import TraceConfig


@dataclass(frozen=True, eq=False)
class Regions:
    """Squares that cover the map, and what is true of them.

    Attributes:
        tokens: the squares, as zones.
        pois: points of interest of each category of
            :data:`mora.trajectories.generator.layout.CATEGORIES`.
        function: position in :data:`mora.trajectories.generator.layout.FUNCTIONS` of
            what the square has most of, compared with the city.
    """

    tokens: ZoneTokens
    pois: Int[np.ndarray, "tokens categories"]
    function: Int[np.ndarray, " tokens"]


def generate_regions(
    config: TraceConfig, seed: int = 0, side_cells: int = 4
) -> Regions:
    """Cut the map into squares and count points of interest in them.

    Args:
        config: the city.
        seed: of the counts.
        side_cells: cells along a side of a square, >= 1; squares at the upper and
            right edge are cut off.

    Returns:
        The squares; people go to those with many points of interest.

    Raises:
        MoraError: if ``side_cells`` is below 1.
    """
    if side_cells < 1:
        raise MoraError(f"side_cells is {side_cells}; expected at least 1.")
    layout = lay_out(config.layout)
    column, row = np.indices((layout.width, layout.height)).reshape(2, -1) // side_cells
    square = column * (row.max() + 1) + row
    _, first = np.unique(square, return_index=True)
    low = np.column_stack([column, row])[first] * side_cells
    high = np.minimum(low + side_cells, layout.size())
    corners = [config.to_lonlat(ends.astype(float)).T for ends in (low, high)]
    outlines = shapely.box(*corners[0], *corners[1])
    names = np.array([f"{x:03d}-{y:03d}" for x, y in low])
    tokens = ZoneTokens.from_zones(names, outlines)
    order = np.searchsorted(names, tokens.ids)
    pois = _sum_squares(square, count_pois(layout, config.layout.pois, seed))
    shares = _sum_squares(square, layout.shares.T)
    return Regions(tokens, pois[order], shares.argmax(axis=1)[order])


def _sum_squares(
    square: Int[np.ndarray, " cells"], values: Num[np.ndarray, "cells columns"]
) -> Num[np.ndarray, "squares columns"]:
    sums = np.zeros((square.max() + 1, values.shape[1]), values.dtype)
    np.add.at(sums, square, values)
    return sums
