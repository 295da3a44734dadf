"""Rasters in exactly the form in which their publishers give them."""

import numpy as np
import pytest
import shapely

from mora.modalities import build_imagery
from mora.modalities.geotiff import open_geotiff
from mora.tokens import ZoneTokens

rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")

CORNER = (390_000, 5_820_000)  # UTM 33 N, Berlin
SIZE = 64


@pytest.fixture
def block():
    """One square of 64 pixels of 10 m, and one beside it."""
    pyproj = pytest.importorskip("pyproj", reason="needs the extra `geo`")
    to_lonlat = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    squares = []
    for column in (20, 400):
        x = CORNER[0] + 10 * np.array([column, column + 20])
        y = CORNER[1] - 10 * np.array([40, 20])
        lon, lat = to_lonlat.transform(x, y)
        squares.append(shapely.box(lon[0], lat[0], lon[1], lat[1]))
    return ZoneTokens.from_zones(["in", "out"], np.array(squares))


def write(path, bands, pixel=10, **options):
    bands = np.asarray(bands)
    about = {"driver": "GTiff", "crs": "EPSG:32633", "dtype": bands.dtype}
    about["transform"] = rasterio.Affine(pixel, 0, CORNER[0], 0, -pixel, CORNER[1])
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, **about | options
    ) as file:
        file.write(bands)
    return path


def mean_of(features, column, row):
    return features.values[row][features.columns.index(column)]


def test_sentinel_2_bands_of_16_bits(tmp_path, block):
    """A file a band, as in a .SAFE folder; 0 is no data only where it is declared."""
    rng = np.random.default_rng(0)
    red = rng.integers(1000, 4000, (1, SIZE, SIZE)).astype(np.uint16)
    infrared = rng.integers(2000, 9000, (1, SIZE, SIZE)).astype(np.uint16)
    red[0, :30] = 0
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": 0}
    rasters = [
        {"name": "B04", "path": write(tmp_path / "T33_B04_10m.tif", red, **tiles)},
        {"name": "B08", "path": write(tmp_path / "T33_B08_10m.tif", infrared, **tiles)},
    ]
    features = build_imagery(block, rasters=rasters, radii_km=[0.1])
    row = block.find(["in"])[0]
    assert features.present.tolist() == [r == row for r in range(2)]
    middle = red[0, 20:40, 20:40]
    measured = mean_of(features, "B04 0.1km grey mean", row)
    assert measured == pytest.approx(middle[middle > 0].mean(), rel=0.03)
    assert 2000 < mean_of(features, "B08 0.1km grey mean", row) < 9000


def test_sentinel_2_bands_in_one_file_are_picked_and_scaled(tmp_path, block):
    rng = np.random.default_rng(1)
    bands = rng.integers(0, 10_000, (12, SIZE, SIZE)).astype(np.uint16)
    path = write(tmp_path / "s2.tif", bands)
    options = {"method": "random_convolution", "filters": 4, "patch_pixels": 8}
    picked = {"path": path, "bands": [4, 3, 2], "value_range": [1000, 4000]}
    features = build_imagery(block, rasters=[picked], **options)
    other = build_imagery(block, rasters=[picked | {"bands": [8, 4, 3]}], **options)
    assert not np.array_equal(features.values, other.values)
    raster = open_geotiff(path, bands=[4, 3, 2])
    assert raster.channels == ("band 4", "band 3", "band 2")
    taken = raster.take(np.array([0]), np.array([0]))
    assert taken[0].tolist() == bands[[3, 2, 1], 0, 0].tolist()
    raster.close()


def test_naip_has_infrared_as_its_fourth_band(tmp_path, block):
    """Not transparency: 0 in the fourth band is a dark pixel, not a missing one."""
    rng = np.random.default_rng(2)
    bands = rng.integers(0, 256, (4, SIZE, SIZE)).astype(np.uint8)
    bands[3, 20:40, 20:40] = 0
    path = write(tmp_path / "naip.tif", bands, photometric="RGB", alpha="NO")
    raster = open_geotiff(path)
    assert len(raster.channels) == 4
    assert raster.value_range == (0.0, 255.0)
    raster.close()
    rasters = [{"path": path, "name": "naip", "bands": [4, 1]}]
    features = build_imagery(block, rasters=rasters, radii_km=[0.05])
    row = block.find(["in"])[0]
    assert mean_of(features, "naip 0.05km band 4 mean", row) == 0
    assert mean_of(features, "naip 0.05km band 1 mean", row) > 50
