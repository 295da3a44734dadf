"""GeoTIFFs of any size: found, opened, placed and checked without reading pixels."""

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mora.errors import MissingExtraError, MissingFileError
from mora.modalities.file_raster import GDAL_CACHE_BYTES, FileRaster
from mora.modalities.grids import DegreeGrid, Grid, MapGrid, RasterError
from mora.modalities.rasters import require_one_channel

TIFF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
PLACE_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transform, CRS
BLOCKS_CHECKED = 10_000  # whether they lie within the file
SAME_PLACE_DEGREES = 0.01  # what a datum may shift and still count as WGS84


def is_georeferenced(path: Path | str) -> bool:
    """Say whether a file is a TIFF that tells where it lies; no extra is needed."""
    with Path(path).open("rb") as file:
        begin = file.read(4)
        if begin not in TIFF_BEGINS:
            return False
        header = begin + file.read(12 if b"+" in begin else 4)
        with warnings.catch_warnings():  # of a torn file, which is none of ours
            warnings.simplefilter("ignore")
            try:
                directory = ImageFileDirectory_v2(header)
                file.seek(directory.next)
                directory.load(file)
            except (OSError, ValueError, SyntaxError, EOFError, struct.error):
                return False
        return any(tag in directory for tag in PLACE_TAGS)


def open_geotiff(
    path: Path | str,
    *,
    classes: bool = False,
    bands: Sequence[int] | None = None,
    memory_gb: float = 1.0,
) -> FileRaster:
    """Open a GeoTIFF, tiled or striped, of any size (BigTIFF too).

    Its grid may be in degrees (WGS84 or another datum that is the same place) or on a
    map that is true to shape (UTM, Mercator, conic maps where they are used), north
    up. Pixels without data (nodata value, mask or transparency) are missing.

    Args:
        path: a GeoTIFF.
        classes: whether one channel of class codes is expected.
        bands: to read, counted from 1; all but transparency if not given.
        memory_gb: GB that blocks may take that are kept, > 0.

    Raises:
        MissingFileError: if there is no file.
        MissingExtraError: if rasterio is not installed.
        MemoryLimitError: if one block does not fit into ``memory_gb``.
        RasterError: if the file is damaged, cut short or of a kind not supported.
    """
    if not Path(path).is_file():
        raise MissingFileError(path, "imagery")
    try:
        import rasterio
    except ImportError as error:
        raise MissingExtraError(
            "rasterio", "geo", f"reading the GeoTIFF {path} without `bounds`"
        ) from error
    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(path, driver="GTiff")
    except rasterio.errors.RasterioError as error:
        raise RasterError(
            f"{path} cannot be opened as a GeoTIFF ({error}); the file is damaged or "
            f"cut short. Get it again."
        ) from error
    require_whole(dataset)
    raster = FileRaster(dataset, grid_of(dataset), bands=bands, memory_gb=memory_gb)
    if classes:
        require_one_channel(len(raster.channels), str(path))
    elif "palette" in [dataset.colorinterp[b - 1].name for b in raster.bands]:
        raise RasterError(
            f"{path} holds indices of a palette; expected quantities or colours. Set "
            f"`classes` if they are classes, or write colours with: gdal_translate "
            f"-expand rgb"
        )
    return raster


def require_whole(dataset: Any) -> None:
    """Refuse a file that ends before its last pixels, without reading any.

    Raises:
        RasterError: saying how long the file is and should be.
    """
    size = Path(dataset.name).stat().st_size
    rows, columns = dataset.block_shapes[0]
    across, down = -(-dataset.width // columns), -(-dataset.height // rows)
    last, end = across * down - 1, 0
    for block in np.linspace(0, last, min(last + 1, BLOCKS_CHECKED)).astype(int):
        place = f"{block % across}_{block // across}"
        for band in {1, dataset.count}:
            begin, length = (
                int(dataset.get_tag_item(f"BLOCK_{what}_{place}", "TIFF", band) or 0)
                for what in ("OFFSET", "SIZE")
            )
            end = max(end, begin + length)
    if end > size:
        raise RasterError(
            f"{dataset.name} is cut short: it has {size:,} bytes, and its pixels reach "
            f"to byte {end:,}. Get it again."
        )


def grid_of(dataset: Any) -> Grid:
    """Find where a file's pixels lie.

    Raises:
        RasterError: if it does not say, or not in a way that is supported.
    """
    from pyproj import CRS

    transform, name = dataset.transform, dataset.name
    if dataset.crs is None or transform.is_identity:
        raise RasterError(
            f"{name} has no {'map' if dataset.crs is None else 'regular grid'}: it "
            f"does not say where its pixels lie. Give its `bounds` in degrees, or "
            f"write them into it: gdal_translate -a_srs EPSG:4326 -a_ullr WEST NORTH "
            f"EAST SOUTH"
        )
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise RasterError(
            f"{name} is turned or upside down ({tuple(transform)[:6]}); expected rows "
            f"from north to south. Turn it with: gdalwarp"
        )
    crs = CRS.from_wkt(dataset.crs.to_wkt())
    corner = (transform.c, transform.f)
    if crs.is_projected:
        pixel = (transform.a, -transform.e)
        return MapGrid(dataset.height, dataset.width, corner, pixel, crs.to_wkt())
    west, south, east, north = (float(edge) for edge in dataset.bounds)
    middle = ((west + east) / 2, (south + north) / 2)
    if not crs.is_geographic or not _is_wgs84(crs, middle):
        raise RasterError(
            f"{name} lies in {crs.name!r}, whose coordinates are no degrees from "
            f"Greenwich and no map; expected either. Bring it into degrees with: "
            f"gdalwarp -t_srs EPSG:4326"
        )
    return DegreeGrid(dataset.height, dataset.width, (west, south, east, north))


def _is_wgs84(crs: Any, lonlat: tuple[float, float]) -> bool:
    """Say whether coordinates are, to about a kilometre, degrees in WGS84."""
    from pyproj import Transformer

    lon, lat = lonlat
    moved = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(lon, lat)
    turn = abs((moved[0] - lon + 180) % 360 - 180) * np.cos(np.radians(lat))
    return bool(max(turn, abs(moved[1] - lat)) < SAME_PLACE_DEGREES)
