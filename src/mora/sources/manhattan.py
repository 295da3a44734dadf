"""The 180 regions of Manhattan that region embeddings are compared on."""

from pathlib import Path

import numpy as np
import pandas as pd

from mora.errors import ConfigError, MissingFileError, TableError
from mora.sources.registry import source

HOME = "https://github.com/slzhou-xy/HREP"
ABOUT = {
    "licence": "MIT (repositories of HREP and GURPP); NYC Open Data terms of use",
    "size": "1 MB",
    "home": HOME,
}
# What ``table`` chooses -> arrays of the file.
TABLES = {
    "poi": ("poi_counts",),
    "landuse": ("landuse_counts",),
    "imagery": ("image_emb",),
    "labels": ("label_checkin", "label_crime"),
}


@source("manhattan_flows", gives="flows", **ABOUT)
def read_manhattan_flows(path: Path | str) -> pd.DataFrame:
    """Read taxi trips between regions.

    Source: Zhou et al. 2023, Heterogeneous Region Embedding (AAAI 37), section 4.1.

    Args:
        path: ``regions.npz`` with the matrix ``od``.

    Returns:
        origin, destination (number of the region as text) and weight (trips > 0).

    Raises:
        MissingFileError: if there is no such file.
        TableError: if the file lacks the array.
    """
    trips = _array(Path(path), "od")
    origin, destination = np.nonzero(trips)
    return pd.DataFrame(
        {
            "origin": origin.astype(str),
            "destination": destination.astype(str),
            "weight": trips[origin, destination].astype(float),
        }
    )


@source("manhattan_regions", gives="numbers", **ABOUT)
def read_manhattan_regions(path: Path | str, *, table: str = "poi") -> pd.DataFrame:
    """Read numbers of the regions.

    Args:
        path: ``regions.npz``.
        table: ``poi`` (counts of 26 categories), ``landuse`` (11 counts), ``imagery``
            (512 numbers of satellite images) or ``labels`` (check-ins and crimes).

    Returns:
        ``id`` (number of the region as text) and a column for each number, named by its
        array and position.

    Raises:
        ConfigError: if there is no such table.
        MissingFileError: if there is no such file.
        TableError: if the file lacks the array.
    """
    if table not in TABLES:
        raise ConfigError(
            f"manhattan_regions: table {table!r}; expected one of {', '.join(TABLES)}."
        )
    columns = {}
    for name in TABLES[table]:
        values = _array(Path(path), name)
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{i:03d}": values[:, i] for i in range(values.shape[1])}
    frame = pd.DataFrame(columns)
    frame.insert(0, "id", np.arange(len(frame)).astype(str))
    return frame


def _array(path: Path, name: str) -> np.ndarray:
    """Read one array of the file."""
    if not path.is_file():
        raise MissingFileError(path, "regions of Manhattan")
    with np.load(path, allow_pickle=False) as file:
        if name not in file.files:
            raise TableError(
                f"{path} holds {', '.join(file.files)}; expected an array {name!r}."
            )
        return file[name]
