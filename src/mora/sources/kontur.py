"""Kontur's population dataset: people per H3 cell, in a GeoPackage."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt64

from mora.errors import ConfigError, MissingFileError, TableError, examples
from mora.geometry import change_level
from mora.sources.registry import DROPPED, add_dropped, source
from mora.sources.selection import (
    Bounds,
    leave_out,
    misplaced,
    require_bounds,
    require_rows,
)
from mora.tokens import H3Tokens, parse_cells

ROWS = 100_000  # a batch
QUERY = "SELECT h3, population FROM population"
NO_PEOPLE = "no population"


@source(
    "kontur_population",
    gives="numbers",
    licence="CC BY 4.0",
    size="a country 1 MB to 1 GB, the world at 400 m about 6 GB unpacked",
    home="https://www.kontur.io/datasets/population-dataset/",
)
def read_kontur_population(
    path: Path | str,
    *,
    bounds: Bounds | None = None,
    resolution: int | None = None,
) -> Iterator[pd.DataFrame]:
    """Read the people of each H3 cell from Kontur's GeoPackage, a batch at a time.

    Args:
        path: an unpacked ``.gpkg`` with the layer ``population`` (h3, population).
        bounds: west, south, east, north in degrees; a cell of the file is where its
            centre is.
        resolution: H3 level, at most the file's (8), to which cells are summed; then
            one frame comes at the end. None leaves them as they are.

    Returns:
        Frames with id (H3 as text), lon, lat (centre), population.

    Raises:
        MissingFileError: if there is no such file.
        ConfigError: if the bounds are none, or the resolution is finer than the file.
        TableError: if it is no such GeoPackage, a population is negative, or no cell
            is left.
        MoraError: if an id is no H3 cell.
    """
    require_bounds(bounds)
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(path, "Kontur population")
    with path.open("rb") as file:
        if file.read(15) != b"SQLite format 3":
            raise TableError(
                f"{path} is no GeoPackage; expected an unpacked .gpkg. If it is "
                f"zipped, unpack it: gunzip {path.name}"
            )
    frames = (_frame(*batch, path, bounds) for batch in _batches(path))
    if resolution is not None:
        frames = _summed(frames, resolution)
    return require_rows(frames, path)


def _batches(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stream cells and their people, as they are written."""
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            cursor = database.execute(QUERY)
            while rows := cursor.fetchmany(ROWS):
                ids, people = zip(*rows, strict=True)
                yield np.array(ids, dtype=object), np.array(people, dtype=np.float64)
    except sqlite3.Error as error:
        raise TableError(
            f"{path} cannot be read ({error}); expected a whole GeoPackage with a "
            f"layer `population` that has the columns h3 and population."
        ) from error


def _frame(
    ids: np.ndarray,
    people: Float[np.ndarray, " rows"],
    path: Path,
    bounds: Bounds | None,
) -> pd.DataFrame:
    if (people < 0).any():
        wrong = people[people < 0].tolist()
        raise TableError(
            f"{path}: {len(wrong)} of {len(people)} populations are negative (first: "
            f"{examples(wrong)}); expected people, 0 or more."
        )
    frame = cell_frame(parse_cells(ids), people)
    missing = {NO_PEOPLE: np.isnan(people)}
    return leave_out(frame, missing | misplaced(frame, bounds))


def cell_frame(
    cells: UInt64[np.ndarray, " rows"], people: Float[np.ndarray, " rows"]
) -> pd.DataFrame:
    """Make a table of H3 cells and their people, in the order given."""
    tokens = H3Tokens(cells)
    lon, lat = tokens.centroids().T
    ids = pd.Series(tokens.names(), dtype="str")
    return pd.DataFrame({"id": ids, "lon": lon, "lat": lat, "population": people})


def _summed(frames: Iterator[pd.DataFrame], resolution: int) -> Iterator[pd.DataFrame]:
    """Sum the people of cells in their ancestors; the ancestors fit into memory."""
    people = pd.Series(dtype=np.float64, index=pd.Index([], dtype=np.uint64))
    dropped: dict[str, int] = {}
    for frame in frames:
        add_dropped(dropped, frame)
        if len(frame):
            cells = _ancestors(parse_cells(frame["id"].to_numpy(object)), resolution)
            part = frame["population"].groupby(cells).sum()
            people = people.add(part, fill_value=0.0)
    whole = cell_frame(people.index.to_numpy(np.uint64), people.to_numpy(np.float64))
    whole.attrs = {DROPPED: dropped} if dropped else {}
    yield whole


def _ancestors(
    cells: UInt64[np.ndarray, " rows"], resolution: int
) -> UInt64[np.ndarray, " rows"]:
    finest = H3Tokens(cells).resolution
    if not 0 <= resolution <= finest:
        raise ConfigError(
            f"resolution {resolution}; expected 0..{finest}, the file's own level."
        )
    return change_level(cells, resolution)
