"""What the first stage makes of records or flows, whatever their form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h3ronpy
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, UInt64

from mora.errors import TableError
from mora.geometry import change_level
from mora.graph.storage import MobilityGraph, read_graph
from mora.tables import Problem, TableReport
from mora.tokens import Tokens, read_tokens

Bounds = tuple[float, float, float, float]


def no_zones() -> pd.DataFrame:
    """Give an empty table of zones."""
    return pd.DataFrame(
        {"zone": np.zeros(0, str), "token": np.zeros(0, int), "population": 0.0}
    )


@dataclass(frozen=True, eq=False)
class Mobility:
    """Places, how they are joined, and who lives in them.

    Attributes:
        tokens: the places.
        graph: the edges between them.
        zones: ``zone``, ``token`` and ``population`` of each piece, where the source
            has zones.
        population: people of each token, where the source counts them.
        facts: for the manifest.
    """

    tokens: Tokens
    graph: MobilityGraph
    zones: pd.DataFrame = field(default_factory=no_zones)
    population: Float[np.ndarray, " tokens"] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write tokens, edges, zones and population into ``folder``."""
        self.tokens.write(folder / "tokens.parquet")
        self.graph.write(folder / "edges")
        table = pa.Table.from_pandas(self.zones, preserve_index=False)
        pq.write_table(table, folder / "zones.parquet")
        if self.population is not None:
            np.save(folder / "population.npy", self.population)


def read_mobility(folder: Path) -> Mobility:
    """Read what :meth:`Mobility.write` wrote; the edges are memory-mapped."""
    people = folder / "population.npy"
    return Mobility(
        read_tokens(folder / "tokens.parquet"),
        read_graph(folder / "edges"),
        pd.read_parquet(folder / "zones.parquet"),
        np.load(people, allow_pickle=False) if people.is_file() else None,
    )


def to_level(
    cells: UInt64[np.ndarray, " n"], resolution: int
) -> UInt64[np.ndarray, " n"]:
    """Bring cells to one H3 level; parents stand in for finer cells.

    Raises:
        TableError: if a cell is coarser than the level.
    """
    level = np.asarray(h3ronpy.cells_resolution(cells))
    coarse = level < resolution
    if coarse.any():
        raise TableError(
            f"{coarse.sum():,} of {len(cells):,} cells are of H3 level "
            f"{level[coarse].min()}; expected {resolution} or finer. Set "
            f"tokens.resolution to the level of the records."
        )
    return change_level(cells, resolution)


def keep_inside(
    frame: pd.DataFrame, bounds: Bounds | None, kind: str
) -> tuple[pd.DataFrame, TableReport | None]:
    """Keep the rows of the study area.

    Args:
        frame: rows with ``lon`` and ``lat``; rows without are kept.
        bounds: west, south, east, north in degrees; None keeps all.
        kind: what the rows are, for the report.

    Returns:
        The rows inside, and a report on those left out, if any were.

    Raises:
        TableError: if swapping lon and lat would bring most rows inside.
    """
    if bounds is None or "lon" not in frame:
        return frame, None
    west, south, east, north = bounds
    inside = frame["lon"].between(west, east) & frame["lat"].between(south, north)
    swapped = frame["lat"].between(west, east) & frame["lon"].between(south, north)
    if (swapped & ~inside).sum() > len(frame) / 2:
        raise TableError(
            f"{(swapped & ~inside).sum():,} of {len(frame):,} {kind} lie in the study "
            f"area only with lon and lat swapped; expected longitudes "
            f"{west:g}..{east:g}. Swap the two under `columns:`."
        )
    lost = frame[~inside]
    if lost.empty:
        return frame, None
    places = zip(lost["lon"].head(3), lost["lat"].head(3), strict=True)
    shown = tuple(f"lon {lon:.4f}, lat {lat:.4f}" for lon, lat in places)
    problem = Problem("outside the study area", len(lost), shown, "dropped")
    kept = int(inside.sum())
    return frame[inside], TableReport(kind, kind, len(frame), kept, (problem,))
