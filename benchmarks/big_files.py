"""Files of 2 GB are streamed: rows a second, and the most memory that is held.

`python -m benchmarks.big_files [--quick] [--megabytes N] [NAME ...]` writes a made-up
file of that size on disk, reads it from start to end in a process of its own, prints
the process's highest memory (its packages included), and removes the file.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import shapely

from benchmarks.measure import print_ratio
from mora.memory import peak_mb

MEGABYTES, QUICK_MEGABYTES = 2000, 40
LIMIT_MB = 1000  # 10^6 bytes
PART = 250_000  # rows written at once
MB = 10**6
RASTER_WIDTH, BLOCK = 12_800, 256  # pixels


@dataclass(frozen=True)
class BigFile:
    """A kind of file: how one is made, and how Mora reads it.

    Attributes:
        name: of the file.
        write: makes one of about so many MB.
        read: streams one; gives frames.
    """

    name: str
    write: Callable[[Path, float], None]
    read: Callable[[Path], Iterator[pd.DataFrame]]


def main() -> None:
    """Write and read each kind in turn, and say whether all stay below 1 GB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(FILES)}; all")
    parser.add_argument("--quick", action="store_true", help="of 40 MB")
    parser.add_argument("--megabytes", type=float, help="of each file; 2000")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    unknown = set(given.names) - set(FILES)
    if unknown:
        parser.error(f"no file {sorted(unknown)}; expected some of {', '.join(FILES)}")
    if given.read:
        print(json.dumps(read(FILES[given.names[0]], given.read)))
        return
    usual = QUICK_MEGABYTES if given.quick else MEGABYTES
    print("| file | MB | rows | rows/s | MB/s | peak MB |\n|---|---|---|---|---|---|")
    peaks = {}
    for name in given.names or FILES:
        with TemporaryDirectory() as folder:
            peaks[name] = measure(name, Path(folder), given.megabytes or usual)
    for name, peak in peaks.items():
        print_ratio(f"1 GB / peak, {name}", LIMIT_MB / peak, 1.0)


def measure(name: str, folder: Path, megabytes: float) -> float:
    """Write a file, read it in another process, print a row; give the peak in MB."""
    path = folder / FILES[name].name
    FILES[name].write(path, megabytes)
    size = path.stat().st_size / MB
    command = [sys.executable, "-m", "benchmarks.big_files", name, "--read", str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(said)
    rows, seconds, peak = found["rows"], found["seconds"], found["peak_mb"]
    print(
        f"| {name} | {size:,.0f} | {rows:,} | {rows / seconds:,.0f} "
        f"| {size / seconds:.0f} | {peak:.0f} |",
        flush=True,
    )
    return peak


def read(file: BigFile, path: Path) -> dict[str, float]:
    """Count the rows of a file, one frame at a time."""
    began = time.perf_counter()
    rows = sum(len(frame) for frame in file.read(path))
    seconds = time.perf_counter() - began
    return {"rows": rows, "seconds": seconds, "peak_mb": peak_mb()}


# ------------------------------------------------------------------- visits


def write_visits(path: Path, megabytes: float) -> None:
    """Write visits of made-up people, in the order of time."""
    rng = np.random.default_rng(0)
    second = 0
    with path.open("wb") as file:
        while file.tell() < megabytes * MB:
            seconds = second + np.sort(rng.integers(0, 3600, PART))
            second += 3600
            times = pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, unit="s")
            table = pa.table(
                {
                    "user": pa.array(rng.integers(10**11, 10**12, PART)).cast("string"),
                    "time": pa.array(times.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()),
                    "lon": rng.uniform(13.0, 13.8, PART).round(6),
                    "lat": rng.uniform(52.3, 52.7, PART).round(6),
                }
            )
            _append_csv(table, file)


def read_visits(path: Path) -> Iterator[pd.DataFrame]:
    """Read and check visits, as the graph's first step does."""
    from mora.tables import check_visits, read_batches

    columns = {name: name for name in ("user", "time", "lon", "lat")}
    for frame in read_batches(path, columns, "visits"):
        yield check_visits(frame, timezone=None)[0]


def _append_csv(table: pa.Table, file: IO[bytes]) -> None:
    """Write rows of a table, below a header if they are the first."""
    pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=not file.tell()))


# -------------------------------------------------------------------- LODES


def write_lodes(path: Path, megabytes: float) -> None:
    """Write jobs between made-up blocks, gzipped, as the Census Bureau does."""
    rng = np.random.default_rng(0)
    names = [*(f"S{kind}0{i}" for kind in "AEI" for i in (1, 2, 3)), "createdate"]
    with path.open("wb") as packed, gzip.GzipFile(fileobj=packed, mode="wb") as file:
        while packed.tell() < megabytes * MB:
            ends = rng.integers(10_010_200_000_000, 10_051_999_999_999, (2, PART))
            codes = [pa.array(end).cast("string") for end in ends]
            codes = [pa.compute.utf8_lpad(code, 15, "0") for code in codes]
            jobs = {"S000": rng.geometric(0.8, PART)}
            others = {name: rng.integers(0, 2, PART) for name in names}
            blocks = dict(zip(("w_geocode", "h_geocode"), codes, strict=True))
            _append_csv(pa.table(blocks | jobs | others), file)


def read_lodes(path: Path) -> Iterator[pd.DataFrame]:
    """Stream jobs by block."""
    from mora.sources import stream_lodes_blocks

    return stream_lodes_blocks(path)


# ----------------------------------------------------------------- Overture


def write_overture(path: Path, megabytes: float) -> None:
    """Write made-up places in the form of the places theme."""
    rng = np.random.default_rng(0)
    kinds = np.array(["cafe", "bakery", "school", "park", "hotel"])
    writer = None
    with path.open("wb") as file:
        while file.tell() < megabytes * MB:
            lon, lat = rng.uniform([13, 52], [14, 53], (PART, 2)).T
            numbers = rng.integers(0, 10**15, PART)
            kind = pa.array(kinds[rng.integers(0, len(kinds), PART)])
            names = pa.array([f"place {number}" for number in numbers])
            sides = {"xmin": lon, "xmax": lon, "ymin": lat, "ymax": lat}
            box = [pa.array(side.astype(np.float32)) for side in sides.values()]
            table = pa.table(
                {
                    "id": pa.array(numbers).cast("string"),
                    "geometry": shapely.to_wkb(shapely.points(lon, lat)),
                    "bbox": pa.StructArray.from_arrays(box, list(sides)),
                    "names": pa.StructArray.from_arrays([names], ["primary"]),
                    "basic_category": kind,
                    "taxonomy": pa.StructArray.from_arrays([kind], ["primary"]),
                    "confidence": rng.random(PART),
                }
            )
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer:
            writer.close()


def read_overture(path: Path) -> Iterator[pd.DataFrame]:
    """Stream places."""
    from mora.sources import read_overture_places

    return read_overture_places(path)


# ------------------------------------------------------------------ GeoTIFF


def write_geotiff(path: Path, megabytes: float) -> None:
    """Write people per pixel in tiles, one pixel in four inhabited."""
    import rasterio
    from rasterio.windows import Window

    rng = np.random.default_rng(0)
    row_of_tiles = RASTER_WIDTH * BLOCK * 4
    height = BLOCK * max(1, round(megabytes * MB / row_of_tiles))
    pixel = 60 / max(height, RASTER_WIDTH)  # degrees
    about = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
    about |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "BIGTIFF": "YES"}
    about |= {
        "transform": rasterio.Affine(pixel, 0, 0, 0, -pixel, 60),
        "nodata": -99999,
    }
    shape = {"width": RASTER_WIDTH, "height": height}
    with rasterio.open(path, "w", **about, **shape) as file:
        for row in range(0, height, BLOCK):
            drawn = rng.random((BLOCK, RASTER_WIDTH), dtype=np.float32)
            people = np.where(drawn < 0.25, drawn * 40, 0)
            file.write(people, 1, window=Window(0, row, RASTER_WIDTH, BLOCK))


def read_geotiff(path: Path) -> Iterator[pd.DataFrame]:
    """Stream inhabited pixels."""
    from mora.sources import read_population_raster

    return read_population_raster(path)


FILES = {
    "visits": BigFile("visits.csv", write_visits, read_visits),
    "lodes": BigFile("xx_od_main_JT00_2021.csv.gz", write_lodes, read_lodes),
    "overture": BigFile("places.parquet", write_overture, read_overture),
    "geotiff": BigFile("people.tif", write_geotiff, read_geotiff),
}

if __name__ == "__main__":
    main()
