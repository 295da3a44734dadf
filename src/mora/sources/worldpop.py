"""People on a grid: WorldPop and GHS-POP GeoTIFFs, read window by window."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mora.errors import (
    ConfigError,
    MissingExtraError,
    MissingFileError,
    TableError,
    examples,
)
from mora.sources.registry import source
from mora.sources.selection import Bounds, misplaced, require_bounds, require_rows

WINDOW_PIXELS = 2**19  # read together; a few tens of MB with their coordinates
FILLS = (-99999.0, -200.0)  # no data at WorldPop and GHS-POP, where undeclared
AGE_SEX_NAME = re.compile(r"^[a-z]{3}_([fmt])_(\d{1,2})_(\d{4})(?=[_.])", re.IGNORECASE)


@source(
    "population_raster",
    gives="numbers",
    licence="WorldPop CC BY 4.0; GHS-POP CC BY 4.0 (European Commission)",
    size="a country at 100 m 1 MB to 2 GB, at 1 km a hundredth",
    home="https://hub.worldpop.org and https://human-settlement.emergency.copernicus.eu",
)
def read_population_raster(
    path: Path | str,
    *,
    bounds: Bounds | None = None,
    parts: int = 1,
) -> Iterator[pd.DataFrame]:
    """Read the inhabited pixels of a grid of people, a window of the file at a time.

    Args:
        path: GeoTIFF of people per pixel in its first band (not people per km2), on
            any map, north or south up. Pixels without data are left out.
        bounds: west, south, east, north in degrees; other windows are not read.
        parts: a pixel's people stand at the middles of ``parts`` x ``parts`` equal
            pieces, for places not much larger than a pixel; >= 1.

    Returns:
        Frames with lon, lat, population (> 0); their sum is the raster's sum within
        the bounds.

    Raises:
        MissingFileError: if there is no such file.
        MissingExtraError: if rasterio is not installed.
        ConfigError: if the bounds are none or ``parts`` is below 1.
        TableError: if the file cannot be read, does not say where it lies, holds a
            negative population, or nobody lives within the bounds.
    """
    require_bounds(bounds)
    if parts < 1:
        raise ConfigError(f"parts is {parts}; expected 1 or more.")
    if not Path(path).is_file():
        raise MissingFileError(path, "population raster")
    return require_rows(stream_people(path, bounds, parts), path)


def stream_people(
    path: Path | str, bounds: Bounds | None, parts: int
) -> Iterator[pd.DataFrame]:
    """Read like :func:`read_population_raster`; that nobody is found is no error."""
    try:
        import rasterio
        from pyproj import Transformer
    except ImportError as error:
        raise MissingExtraError("rasterio", "geo", f"reading {path}") from error
    try:
        with closing(rasterio.open(path)) as dataset:
            if dataset.crs is None or dataset.transform.is_identity:
                raise TableError(f"{path} does not say where it lies; expected a map.")
            to_degrees = Transformer.from_crs(
                dataset.crs.to_wkt(), "EPSG:4326", always_xy=True
            )
            for window in _windows(dataset, bounds):
                people = dataset.read(1, window=window, masked=True)
                people = people.astype(np.float64).filled(np.nan)
                corner = (window.row_off, window.col_off)
                rows, columns, people = _inhabited(people, corner, parts, path)
                x, y = dataset.transform @ (columns, rows)
                lon, lat = to_degrees.transform(x, y)
                frame = pd.DataFrame({"lon": lon, "lat": lat, "population": people})
                wrong = np.any(list(misplaced(frame, bounds).values()), axis=0)
                yield frame[~wrong].reset_index(drop=True)
    except rasterio.errors.RasterioError as error:
        raise TableError(
            f"{path} cannot be read as a GeoTIFF ({error}); the file is damaged or cut "
            f"short. Get it again."
        ) from error


def _inhabited(
    people: np.ndarray, corner: tuple[int, int], parts: int, path: Path | str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the rows, columns (in the raster, at pixel middles .5) and people > 0."""
    people[np.isin(people, FILLS) | ~np.isfinite(people)] = 0
    if (people < 0).any():
        wrong = people[people < 0].tolist()
        raise TableError(
            f"{path}: {len(wrong)} pixels hold fewer than 0 people (first: "
            f"{examples(wrong)}); expected people, or the value for no data in the "
            f"file's header. Write it there: gdal_edit.py -a_nodata"
        )
    row, column = np.nonzero(people)
    inner = (np.arange(parts) + 0.5) / parts
    down, right = (axis.ravel() for axis in np.meshgrid(inner, inner, indexing="ij"))
    count = np.repeat(people[row, column] / parts**2, parts**2)
    rows = (corner[0] + row[:, None] + down).ravel()
    columns = (corner[1] + column[:, None] + right).ravel()
    return rows, columns, count


def _windows(dataset: Any, bounds: Bounds | None) -> Iterator[Any]:
    """List windows of whole blocks that meet the bounds, about as large as allowed."""
    from rasterio.windows import Window

    height, width = dataset.block_shapes[0]
    height *= max(1, WINDOW_PIXELS // (height * width))
    top, left, bottom, right = _reach(dataset, bounds)
    for row in range(top // height * height, bottom, height):
        for column in range(left // width * width, right, width):
            rows = min(height, dataset.height - row)
            yield Window(column, row, min(width, dataset.width - column), rows)


def _reach(dataset: Any, bounds: Bounds | None) -> tuple[int, int, int, int]:
    """Give the rows and columns around the bounds; all where the map cannot tell."""
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    whole = (0, 0, dataset.height, dataset.width)
    if bounds is None or bounds[0] > bounds[2]:
        return whole
    try:
        west, south, east, north = transform_bounds("EPSG:4326", dataset.crs, *bounds)
    except RasterioError:
        return whole
    x, y = np.array([west, west, east, east]), np.array([south, north, south, north])
    columns, rows = ~dataset.transform @ (x, y)
    if not np.isfinite([*columns, *rows]).all():
        return whole
    top, left = max(0, int(rows.min()) - 1), max(0, int(columns.min()) - 1)
    bottom, right = int(rows.max()) + 2, int(columns.max()) + 2
    return top, left, min(bottom, dataset.height), min(right, dataset.width)


def find_age_sex_rasters(folder: Path | str) -> dict[tuple[str, int], Path]:
    """Find WorldPop's age and sex rasters by their names.

    They are called ``{iso3}_{f|m|t}_{age}_{year}...tif``, where the age is the first
    year of a group (0, 1, 5, 10, ..., 90); both sexes together (t) are left out.

    Args:
        folder: with the rasters of one country and one year, or a name with ``*`` that
            they have.

    Returns:
        Sex and first age -> file, by sex and age.

    Raises:
        TableError: if there are none, a sex is missing, the sexes have other ages, or
            a group is there twice (another year or country).
    """
    found: dict[tuple[str, int], Path] = {}
    named = Path(folder) if "*" in Path(folder).name else Path(folder) / "*.tif*"
    for path in sorted(named.parent.glob(named.name)):
        name = AGE_SEX_NAME.match(path.name)
        if name is None or name[1].lower() == "t":
            continue
        group = (name[1].lower(), int(name[2]))
        if group in found:
            raise TableError(
                f"{folder}: {found[group].name} and {path.name} are of one sex and "
                f"age; expected one country, year and release in a folder."
            )
        found[group] = path
    ages = {sex: [age for s, age in sorted(found) if s == sex] for sex in "fm"}
    if not found or ages["f"] != ages["m"]:
        raise TableError(
            f"{folder}: {len(ages['f'])} rasters of women and {len(ages['m'])} of men "
            f"(ages {examples(ages['f'])} and {examples(ages['m'])}); expected "
            f"the same ages of both, named like abc_f_10_2025_CN_100m.tif."
        )
    return dict(sorted(found.items()))
