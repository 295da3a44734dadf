"""People on a grid: WorldPop and GHS-POP GeoTIFFs, read window by window."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mora.errors import (
    ConfigError,
    MissingFileError,
    TableError,
    examples,
)
from mora.sources.pixels import stream_pixels
from mora.sources.registry import source
from mora.sources.selection import Bounds, require_bounds, require_rows

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

    def people_of(
        block: np.ndarray, corner: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _inhabited(block, corner, parts, path)

    return stream_pixels(path, bounds, "population", people_of)


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
