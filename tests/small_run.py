"""A planted city for whole runs: two communities whose people stay among themselves.

The communities are strewn over the same streets, so that movement and features tell
them apart while longitude and latitude do not.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h3
import numba
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import shapely
import torch
from numpy.random import Generator
from PIL import Image

from mora.pipeline import STAGES, run
from mora.pipeline.display import Display
from mora.tokens import H3Tokens

RESOLUTION = 7
RINGS = 5  # 91 cells
BOX = (13.2, 52.38, 13.6, 52.62)  # west, south, east, north; holds the city
SQUARES = 5  # zones along each side of the box
WORDS = (("bakery", "café", "school"), ("steel works", "warehouse", "depot"))
GRID = {"kind": "grid", "width": 200, "height": 190}


@dataclass(frozen=True)
class City:
    """The city's tables, and what was planted in them; not to be changed.

    Attributes:
        tokens: its cells.
        community: 0 or 1 of each cell.
        visits: user, time (with offset), lon, lat, cell, x, y.
        flows: origin, destination (cells), weight, and lon and lat of both ends.
        zone_flows: origin, destination (zones), weight.
        places: name, category, lon, lat.
        people: cell, zone, grid, lon, lat, population, young, old.
        labels: cell, zone, grid, lon, lat, wealth (planted), crowd (by chance).
        zones: id and outline of the squares of the box.
    """

    tokens: H3Tokens
    community: np.ndarray
    visits: pd.DataFrame
    flows: pd.DataFrame
    zone_flows: pd.DataFrame
    places: pd.DataFrame
    people: pd.DataFrame
    labels: pd.DataFrame
    zones: pd.DataFrame


@cache
def planted_city(users: int = 100, weeks: int = 4, seed: int = 0) -> City:
    """Make the city; the same arguments give the same one."""
    rng = np.random.default_rng(seed)
    middle = h3.latlng_to_cell(52.5, 13.4, RESOLUTION)
    tokens = H3Tokens.from_cells(list(h3.grid_disk(middle, RINGS)))
    community = rng.permutation(np.arange(len(tokens)) % 2)
    zones = _zones()
    cells = _cells(tokens, zones)
    flows = _flows(rng, cells, community)
    return City(
        tokens=tokens,
        community=community,
        visits=_visits(rng, cells, community, users, weeks),
        flows=flows,
        zone_flows=_zone_flows(flows, cells),
        places=_places(rng, cells, community),
        people=_people(rng, cells, community),
        labels=cells.assign(
            wealth=community + rng.normal(0, 0.1, len(tokens)),
            crowd=rng.gamma(2, 10, len(tokens)),
        ),
        zones=zones,
    )


def _zones() -> pd.DataFrame:
    """Make squares ``Z00`` to ``Z44``, the first digit from west to east."""
    x, y = (np.linspace(BOX[i], BOX[i + 2], SQUARES + 1) for i in (0, 1))
    rows = [
        (f"Z{i}{j}", shapely.box(x[i], y[j], x[i + 1], y[j + 1]))
        for i in range(SQUARES)
        for j in range(SQUARES)
    ]
    return pd.DataFrame(rows, columns=["id", "geometry"])


def _cells(tokens: H3Tokens, zones: pd.DataFrame) -> pd.DataFrame:
    """Name each cell, its zone and a cell of a square grid, 19 apart from the next."""
    lonlat = tokens.centroids()
    tree = shapely.STRtree(zones["geometry"].to_numpy(object))
    row, zone = tree.query(shapely.points(lonlat), "within")
    number = np.arange(len(tokens))
    x, y = 1 + 19 * (number // 10), 1 + 19 * (number % 10)
    return pd.DataFrame(
        {
            "cell": tokens.names(),
            "zone": zones["id"].to_numpy()[zone[np.argsort(row)]],
            "grid": GRID["height"] * (x - 1) + y - 1,
            "x": x,
            "y": y,
            "lon": lonlat[:, 0],
            "lat": lonlat[:, 1],
        }
    )


def _visits(
    rng: Generator, cells: pd.DataFrame, community: np.ndarray, users: int, weeks: int
) -> pd.DataFrame:
    """Make six visits a user and week, one in ten of them to the other community."""
    user, week, _ = np.indices((users, weeks, 6)).reshape(3, -1)
    side = (user + (rng.random(len(user)) < 0.1)) % 2
    members = [np.flatnonzero(community == s) for s in (0, 1)]
    place = np.where(
        side == 0, rng.choice(members[0], len(user)), rng.choice(members[1], len(user))
    )
    hours = 168 * week + rng.integers(0, 168, len(user))
    time = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, "h")
    return pd.DataFrame(
        {
            "user": [f"person-{number:03d}" for number in user],
            "time": time.map(pd.Timestamp.isoformat),
            **{c: cells[c].to_numpy()[place] for c in ("lon", "lat", "cell", "x", "y")},
        }
    )


def _flows(rng: Generator, cells: pd.DataFrame, community: np.ndarray) -> pd.DataFrame:
    """Make many flows within a community and few across."""
    rate = np.where(community[:, None] == community, 2.0, 0.2)
    weight = rng.poisson(rate)
    i, j = weight.nonzero()
    ends = {
        f"{end}{column}": cells[of].to_numpy()[row]
        for end, row in (("origin", i), ("destination", j))
        for column, of in (("", "cell"), ("_lon", "lon"), ("_lat", "lat"))
    }
    return pd.DataFrame({**ends, "weight": weight[i, j]})


def _zone_flows(flows: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    zone = cells.set_index("cell")["zone"]
    ends = {end: flows[end].map(zone) for end in ("origin", "destination")}
    summed = flows.assign(**ends).groupby([*ends], as_index=False)
    return summed["weight"].sum()


def _places(rng: Generator, cells: pd.DataFrame, community: np.ndarray) -> pd.DataFrame:
    """Make two to four places a cell; every tenth cell has none."""
    number = np.where(np.arange(len(cells)) % 10, rng.integers(2, 5, len(cells)), 0)
    cell = np.repeat(np.arange(len(cells)), number)
    words = [WORDS[community[c]][rng.integers(3)] for c in cell]
    return pd.DataFrame(
        {
            "name": [f"{word} {i}" for i, word in enumerate(words)],
            "category": words,
            "lon": cells["lon"].to_numpy()[cell],
            "lat": cells["lat"].to_numpy()[cell],
        }
    )


def _people(rng: Generator, cells: pd.DataFrame, community: np.ndarray) -> pd.DataFrame:
    """Make one row a cell; the second community is younger."""
    return cells.assign(
        population=rng.integers(50, 500, len(cells)).astype(float),
        young=rng.poisson(np.where(community == 1, 60, 30)).astype(float),
        old=rng.poisson(40, len(cells)).astype(float),
    )


def write_city(folder: Path, city: City | None = None) -> City:
    """Write each table as CSV under its name, zones as GeoJSON, and a picture."""
    city = city or planted_city()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("visits", "flows", "zone_flows", "places", "people", "labels"):
        getattr(city, name).to_csv(folder / f"{name}.csv", index=False)
    write_zones(folder / "zones.geojson", city.zones)
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return city


def write_zones(path: Path, zones: pd.DataFrame) -> None:
    """Write zones as GeoJSON; ``name`` is the id in lower case."""
    features = [
        {
            "type": "Feature",
            "properties": {"id": zone, "name": zone.lower()},
            "geometry": shapely.geometry.mapping(outline),
        }
        for zone, outline in zones[["id", "geometry"]].itertuples(index=False)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    path.write_text(json.dumps(collection))


def write_arrays(folder: Path, city: City | None = None) -> None:
    """Write graph, cells and features as arrays, in an order of their own."""
    city = city or planted_city()
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)
    order = rng.permutation(len(city.tokens))
    number = dict(zip(city.tokens.names(), range(len(order)), strict=True))
    ends = [city.flows[end].map(number) for end in ("origin", "destination")]
    flows = sp.csr_array((city.flows["weight"].astype(float), ends))
    symmetric = sp.csr_array(flows + flows.T)[order][:, order]
    sp.save_npz(folder / "graph.npz", symmetric)
    np.save(folder / "cells.npy", city.tokens.ids[order])
    for name, columns in (("mob", 16), ("poi", 24), ("image", 12), ("demo", 8)):
        planted = city.community[order, None] + rng.normal(
            0, 0.5, (len(order), columns)
        )
        np.save(folder / f"{name}.npy", planted.astype(np.float32))


def same(*names: str) -> dict[str, str]:
    """Map columns that bear our names."""
    return {name: name for name in names}


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Give the configuration of a run on the files of :func:`write_city`.

    Args:
        folder: where the files are.
        changes: whole sections to put in place.
    """
    visits = {
        "path": str(folder / "visits.csv"),
        "columns": same("user", "time", "lon", "lat"),
    }
    config = {
        "name": "city",
        "tokens": {"kind": "h3", "resolution": RESOLUTION},
        "mobility": {"kind": "visits", "table": visits},
        "sample": {"share": 0.3},
        "line": {"dim": 16},
        "modalities": {"poi": poi(folder), "demographics": demographics(folder)},
        "training": {"epochs": 8, "learning_rate": 0.01, "accelerator": "cpu"},
        "evaluation": evaluation(folder),
        "map": {"similar": 3},
    }
    return config | changes


def poi(folder: Path) -> dict[str, Any]:
    """Encode the texts of places, without weights."""
    columns = same("name", "category", "lon", "lat")
    return {
        "kind": "poi",
        "inputs": [{"path": str(folder / "places.csv"), "columns": columns}],
        "options": {"encoder": "hashing"},
        "head": {"kind": "linear", "temperature": 0.5},
    }


def demographics(folder: Path, **place: str) -> dict[str, Any]:
    """Average young and old people by cell, or by ``place`` (ours: theirs)."""
    columns = (place or {"id": "cell"}) | {"weight": "population"}
    return {
        "kind": "demographics",
        "inputs": [{"path": str(folder / "people.csv"), "columns": columns}],
        "options": {"columns": ["young", "old"]},
        "head": {"kind": "mlp", "temperature": 0.7},
    }


def evaluation(folder: Path, **place: str) -> dict[str, Any]:
    """Evaluate the planted label by cell, or by ``place`` (ours: theirs)."""
    table = {"path": str(folder / "labels.csv"), "columns": place or {"id": "cell"}}
    return {
        "labels": [{"table": table, "values": {"wealth": "wealth"}}],
        "degrees": 0.05,
        "splits": 2,
        "baselines": ["lonlat"],
    }


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Work on one thread: so few places are done before a second one has begun."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


class Recorder(Display):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    def done(self) -> list[str]:
        """Name the stages that were done, not skipped."""
        return [stage.name for stage in STAGES if stage.title in self.lines]


def stages_done(config: Any, folder: Path, **options: Any) -> list[str]:
    """Run, and name the stages that were done, not skipped."""
    display = Recorder()
    run(config, folder=folder, display=display, **options)
    return display.done()


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, by its path within."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
