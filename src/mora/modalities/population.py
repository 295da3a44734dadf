"""People per token, from rasters that count them per pixel."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float

from mora.errors import ConfigError, TableError
from mora.progress import Progress, silent
from mora.sources.worldpop import stream_people
from mora.tokens import Tokens

MARGIN_DEGREES = 0.01  # straight outlines may cut off a little of what lies in a token


def count_people(
    tokens: Tokens, path: Path | str, *, parts: int = 1
) -> Float[np.ndarray, " tokens"]:
    """Sum the people of a raster whose pixels have their middles in each token.

    Args:
        tokens: H3 cells or zones.
        path: see :func:`mora.sources.worldpop.read_population_raster`.
        parts: pieces a pixel is cut into on each side, >= 1; more where tokens are not
            much larger than pixels.

    Returns:
        People; 0 where no inhabited pixel has its middle. Tokens that cover the raster
        sum to all of its people.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if the file cannot be used.
    """
    west, south, east, north = shapely.total_bounds(tokens.polygons())
    bounds = (
        max(float(west) - MARGIN_DEGREES, -180),
        max(float(south) - MARGIN_DEGREES, -90),
        min(float(east) + MARGIN_DEGREES, 180),
        min(float(north) + MARGIN_DEGREES, 90),
    )
    people = np.zeros(len(tokens))
    for frame in stream_people(path, bounds, parts):
        token = tokens.locate(frame[["lon", "lat"]].to_numpy())
        inside = token >= 0
        counts = frame["population"].to_numpy()[inside]
        people += np.bincount(token[inside], counts, len(tokens))
    return people


def count_age_sex(
    tokens: Tokens,
    rasters: Mapping[tuple[str, int], Path],
    *,
    parts: int = 1,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Sum the people of each token by sex and age.

    Args:
        tokens: H3 cells or zones.
        rasters: sex (f, m) and first age of the group -> raster, as
            :func:`mora.sources.worldpop.find_age_sex_rasters` finds them.
        parts: see :func:`count_people`.
        progress: called with rasters read and their number.

    Returns:
        ``token`` and a column ``home_{sex}_{age}`` a raster, for
        :func:`mora.modalities.demographics40.build_demographics40`.

    Raises:
        ConfigError: if there are no rasters.
        TableError: if one cannot be used, or nobody lives in any token.
    """
    if not rasters:
        raise ConfigError("no age and sex rasters; expected at least one a sex.")
    columns = {}
    for done, ((sex, age), path) in enumerate(rasters.items(), 1):
        columns[f"home_{sex}_{age}"] = count_people(tokens, path, parts=parts)
        progress(done, len(rasters))
    if not any(people.any() for people in columns.values()):
        raise TableError(
            f"nobody in {len(rasters)} rasters lives in any of {len(tokens)} tokens; "
            f"expected rasters of their region. Tokens smaller than a pixel need "
            f"`parts`."
        )
    return pd.DataFrame({"token": tokens.names(), **columns})
