"""The rasters that an imagery modality names: found, opened and checked."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mora.errors import ConfigError, MissingFileError, examples
from mora.modalities.geotiff import is_georeferenced, open_geotiff
from mora.modalities.grids import WORLD, Degrees, Grid, RasterError
from mora.modalities.rasters import Raster, read_raster
from mora.modalities.tiles import ZOOM, is_tiles, open_tiles
from mora.tokens import Tokens

MOST_DISTORTION = 0.1  # of lengths and right angles; UTM has 0.001 in its zone


@dataclass(frozen=True)
class RasterSource:
    """One raster of an imagery modality, as a configuration names it.

    Attributes:
        path: image file, MBTiles, or a folder of tiles ``{z}/{x}/{y}.png``.
        name: begins the names of its columns; the file's name if not given.
        classes: number of classes if the pixels are class codes from 0; codes beyond
            them (fill values) are left out. None for pictures and other quantities.
        bounds: west, south, east, north in degrees. If not given, a GeoTIFF lies where
            it says, and any other image shows the whole Earth.
        bands: channels to use, counted from 1; all if not given.
        value_range: values that become 0 and 1 for random convolution; if not given,
            the raster's lowest and highest (0 and 255 for 8 bits), for which a GeoTIFF
            of more than 8 bits is read once more.
        zoom: of the tiles to read, for tiles alone; 14 if not given.
    """

    path: Path | str
    name: str | None = None
    classes: int | None = None
    bounds: Sequence[Degrees] | None = None
    bands: Sequence[int] | None = None
    value_range: Sequence[float | int] | None = None
    zoom: int | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "RasterSource":
        """Read one entry of ``rasters``.

        Raises:
            ConfigError: if it has no path, a key that does not exist, no classes, or a
                range that is none.
        """
        unknown = set(options) - set(cls.__dataclass_fields__)
        classes, ends = options.get("classes"), options.get("value_range") or (0, 1)
        no_range = len(ends) != 2 or ends[0] >= ends[1]
        no_classes = classes is not None and classes < 1
        if unknown or "path" not in options or no_classes or no_range:
            raise ConfigError(
                f"imagery: raster {dict(options)}; expected `path` and optionally "
                f"`name`, `classes` (at least 1), `bounds`, `bands`, `value_range` "
                f"(low, high) and `zoom`, nothing else."
            )
        return cls(**options)

    @property
    def label(self) -> str:
        """Give the name that begins the columns."""
        return self.name or Path(self.path).stem

    def open(self, memory_gb: float) -> Raster:
        """Read a picture whole, or open what is read piece by piece.

        Args:
            memory_gb: GB of a GeoTIFF or of tiles that are kept.
        """
        if is_tiles(self.path):
            return self._open_tiles(memory_gb)
        if not Path(self.path).is_file():
            raise MissingFileError(self.path, "imagery")
        if self.zoom is not None:
            raise ConfigError(
                f"imagery: zoom {self.zoom} for {self.path}; expected it for tiles "
                f"alone (a folder or .mbtiles). Leave it out."
            )
        classes = self.classes is not None
        if self.bounds is None and is_georeferenced(self.path):
            return open_geotiff(
                self.path, classes=classes, bands=self.bands, memory_gb=memory_gb
            )
        bounds = WORLD if self.bounds is None else self.bounds
        return read_raster(self.path, bounds, classes=classes, bands=self.bands)

    def _open_tiles(self, memory_gb: float) -> Raster:
        if self.classes is not None or self.bounds is not None:
            raise ConfigError(
                f"imagery: `classes` or `bounds` for the tiles {self.path}; expected "
                f"neither: tiles are pictures that lie where their numbers say."
            )
        zoom = ZOOM if self.zoom is None else self.zoom
        return open_tiles(self.path, zoom=zoom, bands=self.bands, memory_gb=memory_gb)


def check_rasters(
    tokens: Tokens, *, rasters: Sequence[Mapping[str, Any]], memory_gb: float = 1.0
) -> None:
    """Open every raster, so that hours of work do not end at one that is no good.

    Args:
        tokens: that the rasters are to describe.
        rasters: see :func:`build_imagery`.
        memory_gb: see :func:`build_imagery`.

    Raises:
        MissingFileError: if a file does not exist.
        RasterError: if one cannot be read or placed, or shows no token.
    """
    centroids = tokens.centroids()
    for source in map(RasterSource.from_options, rasters):
        with closing(source.open(memory_gb)) as raster:
            inside = raster.grid.covers(centroids)
            if not inside.any():
                west, south = centroids.min(axis=0).round(3)
                east, north = centroids.max(axis=0).round(3)
                raise RasterError(
                    f"none of {len(tokens)} tokens lies in {source.path} "
                    f"({raster.grid.describe()}); they lie in lon {west}..{east}, lat "
                    f"{south}..{north}. Check its bounds, or leave it out."
                )
            require_square(raster.grid, centroids[inside], str(source.path))


def require_square(grid: Grid, lonlat: Float[np.ndarray, "n 2"], source: str) -> None:
    """Refuse a map that is not true to shape around points.

    Raises:
        RasterError: if lengths or right angles are wrong by more than a tenth.
    """
    wrong = grid.distortion(lonlat) > MOST_DISTORTION
    if wrong.any():
        raise RasterError(
            f"{source}: squares on its map ({grid.describe()}) are none on the ground "
            f"around {wrong.sum()} of {len(lonlat)} places (first: "
            f"{examples(lonlat[wrong].round(3).tolist())}); expected a map that is "
            f"true to shape there, such as UTM. Bring the raster into degrees with: "
            f"gdalwarp -t_srs EPSG:4326"
        )
