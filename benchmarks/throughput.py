"""Features of many places: text against encoding every row, imagery against windows.

``python -m benchmarks.throughput [--quick]``
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.windows import Window

from benchmarks.measure import in_turn, print_costs, print_ratio, quick_mode, ratio
from mora.geometry import cells_at
from mora.modalities import Features, build_imagery, build_poi
from mora.modalities.geotiff import open_geotiff
from mora.modalities.text import HashingEncoder
from mora.tokens import H3Tokens, ZoneTokens

REPEATED = 20  # times that a POI's name occurs, on average
NO_REPEAT = "ours, no name twice"
ZONES = 200
BATCH = 256
TILE = 256
PIXEL_M = 10
CORNER = (500_000, 5_600_000)  # of the raster, in UTM zone 33
RADII_KM = (0.1, 0.3)  # one and three times about the size of a cell
CACHE_SHARE = 5  # the raster is so many times larger than what may be kept of it


def pois(distinct: int, repeated: int) -> pd.DataFrame:
    """Make POIs whose names occur again and again, some much more than others."""
    rng = np.random.default_rng(0)
    words = ["Café", "Bäckerei", "School", "City", "Old", "Market", "Bank", "Park"]
    names = [f"{' '.join(rng.choice(words, 2))} {i}" for i in range(distinct)]
    often = (distinct ** rng.random(distinct * (repeated - 1))).astype(int)
    rows = rng.permutation(np.concatenate([np.arange(distinct), often % distinct]))
    zone = rng.integers(0, ZONES, len(rows)).astype(str)
    return pd.DataFrame({"token": zone, "name": np.array(names, dtype=object)[rows]})


def every_row(frame: pd.DataFrame) -> np.ndarray:
    """Encode names as they come, batch by batch, and average them by zone."""
    encoder, texts = HashingEncoder(), frame["name"].tolist()
    batches = range(0, len(texts), BATCH)
    vectors = np.concatenate([encoder.encode(texts[i : i + BATCH]) for i in batches])
    means = pd.DataFrame(vectors).groupby(frame["token"].astype(int)).mean()
    return means.sort_index().to_numpy()


def compare_text(distinct: int, repeats: int) -> None:
    """Compare on names that repeat; then ask how much longer more rows take."""
    many, once = pois(distinct, REPEATED), pois(distinct, 1)
    tokens = ZoneTokens.from_zones([str(zone) for zone in range(ZONES)])
    build = partial(build_poi, tokens, encoder=HashingEncoder(), batch_size=BATCH)
    sides = {
        "ours": partial(build, many),
        "every row": partial(every_row, many),
        NO_REPEAT: partial(build, once),
    }
    results, costs = in_turn(sides, repeats)
    ours: Features = results["ours"]
    order = [int(zone) for zone in tokens.names()]
    if np.abs(ours.values - results["every row"][order]).max() > 1e-6:
        raise SystemExit("text: the means differ.")
    print(f"{len(many):,} POIs with {ours.notes['distinct_texts']:,} names:\n")
    print_costs(costs)
    ratios = {name: ratio(costs[name], costs["ours"]) for name in sides}
    more = 1 / ratios[NO_REPEAT]
    print(f"With {REPEATED} times the rows, ours takes {more:.1f} times as long.")
    print_ratio("text", ratios["every row"], 5)


def write_raster(path: Path, side: int) -> None:
    """Write a compressed GeoTIFF in tiles; smooth colours with some noise."""
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": side,
        "width": side,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1]),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "deflate",
        "zlevel": 1,
        "photometric": "RGB",
    }
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, TILE):
            rows = np.arange(top, top + TILE)[:, None]
            waves = np.sin(rows / 70) + np.cos(np.arange(side) / 90) + 2
            noise = rng.integers(0, 16, (3, TILE, side))
            band = (waves * 50 + noise).astype(np.uint8)
            file.write(band, window=Window(0, top, side, TILE))


def places(raster: Path, tokens: int) -> H3Tokens:
    """Draw cells of about 0.1 km2 well inside the raster, in the order of tokens."""
    grid = open_geotiff(raster).grid
    rng = np.random.default_rng(1)
    pixels = rng.uniform(100, grid.height - 100, (tokens, 2)) * PIXEL_M
    lonlat = grid._unproject(CORNER[0] + pixels[:, 0], CORNER[1] - pixels[:, 1])
    return H3Tokens.from_cells(np.unique(cells_at(lonlat, 9)))


def by_windows(
    raster: Path, lonlat: np.ndarray, order: np.ndarray, cache_bytes: int
) -> np.ndarray:
    """Read a window for each place and radius, and describe it with numpy.

    Args:
        raster: a GeoTIFF.
        lonlat: of the places.
        order: in which they are read.
        cache_bytes: that GDAL may keep.
    """
    grid = open_geotiff(raster).grid
    (row, column), height = grid.positions(lonlat), grid.km_per_row(lonlat)
    found = np.empty((len(lonlat), len(RADII_KM), 18))
    with rasterio.Env(GDAL_CACHEMAX=cache_bytes), rasterio.open(raster) as file:
        for i in order:
            for which, radius in enumerate(RADII_KM):
                half = radius / height[i]
                top, left = (int(np.ceil(x - half)) for x in (row[i], column[i]))
                bottom, right = (int(np.floor(x + half)) for x in (row[i], column[i]))
                around = Window(left - 1, top - 1, right - left + 3, bottom - top + 3)
                found[i, which] = describe(file.read(window=around).astype(float))
    return found.reshape(len(lonlat), -1)


def describe(around: np.ndarray) -> np.ndarray:
    """Give our statistics of a window, which has one more pixel on each side."""
    inner = around[:, 1:-1, 1:-1].reshape(3, -1)
    down = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]) / 2
    right = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]) / 2
    percentiles = np.percentile(inner, [10, 50, 90], axis=1)
    steepness = np.hypot(down, right).mean(axis=(1, 2))
    columns = [inner.mean(axis=1), inner.std(axis=1), *percentiles, steepness]
    return np.array(columns).T.ravel()


def compare_imagery(side: int, count: int, repeats: int) -> None:
    """Compare on a compressed raster much larger than what may be kept of it."""
    with tempfile.TemporaryDirectory() as folder:
        raster = Path(folder) / "raster.tif"
        write_raster(raster, side)
        tokens = places(raster, count)
        whole = side * side * 3
        kept = whole // CACHE_SHARE
        sides = {
            "ours": partial(
                build_imagery,
                tokens,
                rasters=[{"path": raster}],
                radii_km=list(RADII_KM),
                memory_gb=kept / 1e9,
            ),
            "windows, in our order": partial(
                by_windows, raster, tokens.centroids(), np.arange(len(tokens)), kept
            ),
            "windows, in any order": partial(
                by_windows,
                raster,
                tokens.centroids(),
                np.random.default_rng(2).permutation(len(tokens)),
                kept,
            ),
        }
        results, costs = in_turn(sides, repeats)
    ours: Features = results["ours"]
    if not np.allclose(ours.values, results["windows, in our order"], rtol=1e-5):
        raise SystemExit("imagery: the statistics differ.")
    used, read = ours.notes["raster pieces_used"], ours.notes["raster pieces_read"]
    print(
        f"{len(tokens):,} places in {side:,} x {side:,} pixels of 3 bands ("
        f"{whole / 1e6:.0f} MB, {kept / 1e6:.0f} MB kept); {used:,} blocks needed, "
        f"{read:,} reads:\n"
    )
    print_costs(costs)
    ratios = {name: ratio(costs[name], costs["ours"]) for name in sides}
    print_ratio("imagery_blocks_read_once", used / read, 0.99)
    print_ratio("imagery_same_order", ratios["windows, in our order"], 1)
    print_ratio("imagery", ratios["windows, in any order"], 1.5)


def main() -> None:
    """Measure text, then imagery."""
    quick = quick_mode(__doc__)
    compare_text(distinct=1000 if quick else 10_000, repeats=3 if quick else 5)
    if quick:
        compare_imagery(side=3072, count=1500, repeats=2)
    else:
        compare_imagery(side=8192, count=20_000, repeats=3)


if __name__ == "__main__":
    main()
