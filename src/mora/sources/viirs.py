"""Night lights seen by VIIRS: radiance per pixel, or its mean per H3 cell."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mora.errors import ConfigError, MissingFileError
from mora.geometry import cells_at
from mora.sources.pixels import stream_pixels
from mora.sources.registry import source
from mora.sources.selection import Bounds, require_bounds, require_rows
from mora.tokens import H3Tokens

FINEST = 15  # level of H3


@source(
    "viirs_night_lights",
    gives="numbers",
    licence="open access with a free account; credit the Earth Observation Group",
    size="the world at 15 arc seconds 11.6 GB unpacked",
    home="https://eogdata.mines.edu/products/vnl/",
    use='write_source("viirs_night_lights", "lights.parquet", "average.tif", '
    "bounds=[west, south, east, north], resolution=7)",
)
def read_viirs(
    path: Path | str,
    *,
    bounds: Bounds | None = None,
    resolution: int | None = None,
    log: bool = False,
) -> Iterator[pd.DataFrame]:
    """Read the radiance of night lights, a window of the file at a time.

    Pixels that are dark count with their 0, so that a mean over them is the mean over
    the ground. Monthly files hold radiances a little below 0, which are noise.

    Args:
        path: GeoTIFF with the average radiance in its first band, unpacked.
        bounds: west, south, east, north in degrees; other windows are not read.
        resolution: H3 level, 0..15, of the cells whose pixels (by their middles) are
            averaged; then one frame comes at the end. A cell smaller than a pixel may
            hold none. None gives a row a pixel.
        log: give log(1 + radiance) instead, of the mean where there is one, and 0
            below 0.

    Returns:
        Frames with ``lon``, ``lat`` (middle of the pixel or cell) and ``radiance`` in
        nW/cm2/sr; with a resolution also ``id``, the H3 cell as text. A cell without
        light has 0.

    Raises:
        MissingFileError: if there is no such file.
        MissingExtraError: if rasterio is not installed.
        ConfigError: if the bounds are none or there is no such H3 level.
        TableError: if the file cannot be read, does not say where it lies, or has no
            pixel within the bounds.
    """
    require_bounds(bounds)
    if resolution is not None and not 0 <= resolution <= FINEST:
        raise ConfigError(f"resolution {resolution}; expected 0..{FINEST}, or None.")
    if not Path(path).is_file():
        raise MissingFileError(path, "VIIRS night lights")
    frames = stream_pixels(path, bounds, "radiance", _lit)
    if resolution is not None:
        frames = _cell_means(frames, resolution)
    if log:
        frames = map(_logged, frames)
    return require_rows(frames, path)


def _lit(
    light: np.ndarray, corner: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the middles of the pixels that have data, dark ones too."""
    row, column = np.nonzero(np.isfinite(light))
    return corner[0] + row + 0.5, corner[1] + column + 0.5, light[row, column]


def _cell_means(
    frames: Iterator[pd.DataFrame], resolution: int
) -> Iterator[pd.DataFrame]:
    """Average pixels per cell; only the cells stay in memory."""
    empty = np.empty((0, 2))
    whole = pd.DataFrame(empty, pd.Index([], dtype=np.uint64), ["light", "pixels"])
    for frame in frames:
        if len(frame):
            cells = cells_at(frame[["lon", "lat"]].to_numpy(), resolution)
            light = frame["radiance"].groupby(cells)
            part = pd.DataFrame({"light": light.sum(), "pixels": light.count()})
            whole = whole.add(part, fill_value=0.0)
    tokens = H3Tokens(whole.index.to_numpy(np.uint64))
    lon, lat = tokens.centroids().T
    mean = (whole["light"] / whole["pixels"]).to_numpy()
    ids = pd.Series(tokens.names(), dtype="str")
    yield pd.DataFrame({"id": ids, "lon": lon, "lat": lat, "radiance": mean})


def _logged(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(radiance=np.log1p(frame["radiance"].clip(lower=0)))
