import sys

import numpy as np
import pytest

from mora.errors import MissingExtraError, MissingFileError
from mora.memory import MemoryLimitError
from mora.modalities import file_raster, geotiff
from mora.modalities.file_raster import FileRaster
from mora.modalities.geotiff import (
    grid_of,
    is_georeferenced,
    open_geotiff,
    require_whole,
)
from mora.modalities.grids import DegreeGrid, MapGrid, RasterError
from mora.modalities.rasters import CHANNELS, MemoryRaster, read_raster
from mora.modalities.window_statistics import window_shares, window_statistics
from mora.modalities.windows import reading_order, square_images

rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")

BOUNDS = (4, 44, 10, 48)
UTM = {"crs": "EPSG:32633", "corner": (400_000, 5_600_000), "pixel": 500}
TILES = {"tiled": True, "blockxsize": 32, "blockysize": 16}


def noise(channels: int = 3, dtype="uint8", height: int = 100, width: int = 150):
    rng = np.random.default_rng(0)
    return rng.integers(0, 200, (height, width, channels)).astype(dtype)


def write(path, values, crs="EPSG:4326", corner=None, pixel=None, **options):
    """Write pixels as GeoTIFF within BOUNDS, or from a corner on in square pixels."""
    height, width, count = values.shape
    if pixel is None:
        west, south, east, north = BOUNDS
        corner, pixel = (west, north), (east - west) / width
        assert pixel == (north - south) / height
    transform = rasterio.Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    descriptions = options.pop("descriptions", ())
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        **options,
    ) as file:
        file.write(np.moveaxis(values, -1, 0))
        for band, description in enumerate(descriptions, 1):
            file.set_band_description(band, description)
    return path


def places(n: int = 150):
    """Draw points in and around BOUNDS, and radii."""
    rng = np.random.default_rng(1)
    lonlat = np.column_stack([rng.uniform(3.5, 10.5, n), rng.uniform(43.5, 48.5, n)])
    return lonlat, rng.uniform(2, 40, n)


def in_reading_order(raster, describe, lonlat, radius_km):
    """Describe points batch by batch, in the order of the raster's pieces."""
    rows = {}
    for batch in reading_order(raster, lonlat, radius_km, 20):
        for token, row in zip(
            batch.tolist(),
            describe(raster, lonlat[batch], radius_km[batch]),
            strict=True,
        ):
            assert token not in rows
            rows[token] = row
    return np.array([rows[token] for token in range(len(lonlat))])


LAYOUTS = {
    "tiles": TILES,
    "strips": {"tiled": False},
    "one strip": {"tiled": False, "blockysize": 100, "compress": "deflate"},
    "compressed BigTIFF": {**TILES, "compress": "deflate", "BIGTIFF": "YES"},
    "planes": {**TILES, "interleave": "band"},
    "big-endian": {**TILES, "ENDIANNESS": "BIG"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("strip_pixels", [1, 2**20])
def test_statistics_are_those_of_the_whole_raster(
    tmp_path, monkeypatch, layout, strip_pixels
):
    monkeypatch.setattr(file_raster, "STRIP_PIXELS", strip_pixels)
    path = write(tmp_path / "a.tif", noise(), photometric="RGB", **LAYOUTS[layout])
    assert is_georeferenced(path)
    streamed, whole = open_geotiff(path), read_raster(path, BOUNDS)
    assert streamed.grid == whole.grid
    assert streamed.channels == whole.channels
    lonlat, radius_km = places()
    np.testing.assert_array_equal(
        in_reading_order(streamed, window_statistics, lonlat, radius_km),
        window_statistics(whole, lonlat, radius_km),
    )
    np.testing.assert_array_equal(
        square_images(streamed, lonlat, 12), square_images(whole, lonlat, 12)
    )
    streamed.close()


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_other_numbers_than_bytes(tmp_path, dtype):
    path = write(tmp_path / "a.tif", noise(1, dtype), **TILES)
    streamed, whole = open_geotiff(path), read_raster(path, BOUNDS)
    assert streamed.value_range == whole.value_range == (0, 199)
    lonlat, _ = places()
    np.testing.assert_array_equal(
        square_images(streamed, lonlat, 12), square_images(whole, lonlat, 12)
    )


def test_classes_are_shared_out_alike(tmp_path):
    codes = noise(1) % 5
    path = write(tmp_path / "a.tif", codes, **TILES)
    lonlat, radius_km = places()

    def shares(raster, lonlat, radius_km):
        return window_shares(raster, lonlat, radius_km, 4)

    np.testing.assert_array_equal(
        in_reading_order(open_geotiff(path, classes=True), shares, lonlat, radius_km),
        shares(read_raster(path, BOUNDS, classes=True), lonlat, radius_km),
    )


def test_a_raster_around_the_earth_goes_on_across_the_antimeridian(tmp_path):
    values = noise(1, height=90, width=180)
    path = write(tmp_path / "a.tif", values, corner=(-180, 90), pixel=2, **TILES)
    lonlat = np.array([[179.9, 10.0], [-179.9, -60.0], [0.0, 89.0]])
    radius_km = np.array([700.0, 900.0, 500.0])
    streamed = open_geotiff(path)
    assert streamed.grid.wraps
    np.testing.assert_array_equal(
        window_statistics(streamed, lonlat, radius_km),
        window_statistics(MemoryRaster.in_degrees(values), lonlat, radius_km),
    )


def on_utm(values, **changes) -> MapGrid:
    place = UTM | changes
    size = (place["pixel"], place["pixel"])
    return MapGrid(*values.shape[:2], place["corner"], size, place["crs"])


def test_a_map_in_metres_is_read_around_the_same_places(tmp_path):
    values = noise(3)
    path = write(tmp_path / "a.tif", values, photometric="RGB", **UTM, **TILES)
    streamed = open_geotiff(path)
    whole = MemoryRaster(values, on_utm(values), CHANNELS[3])
    np.testing.assert_allclose(streamed.grid.corner, whole.grid.corner)
    rng = np.random.default_rng(2)
    lonlat = np.column_stack([rng.uniform(13.4, 14.8, 60), rng.uniform(50, 50.6, 60)])
    radius_km = rng.uniform(0.1, 6, 60)
    found = in_reading_order(streamed, window_statistics, lonlat, radius_km)
    np.testing.assert_array_equal(found, window_statistics(whole, lonlat, radius_km))
    assert np.isfinite(found[:, 0]).sum() > 20
    np.testing.assert_array_equal(
        square_images(streamed, lonlat, 8), square_images(whole, lonlat, 8)
    )


def test_a_slope_is_the_same_in_degrees_and_on_a_map(tmp_path):
    # Both files show the latitude; the mean of a window is that of its middle.
    grid = on_utm(noise(1))
    rows, columns = np.indices((100, 150))
    x = UTM["corner"][0] + (columns + 0.5) * UTM["pixel"]
    y = UTM["corner"][1] - (rows + 0.5) * UTM["pixel"]
    lat = grid._unproject(x.ravel().astype(float), y.ravel().astype(float))[:, 1]
    path = write(tmp_path / "a.tif", lat.reshape(100, 150, 1), **UTM)
    lonlat = np.column_stack([np.linspace(14, 14.5, 20), np.linspace(50.2, 50.4, 20)])
    found = window_statistics(open_geotiff(path), lonlat, np.full(20, 5.0))
    np.testing.assert_allclose(found[:, 0], lonlat[:, 1], atol=0.003)  # half a row
    south = 48 - (rows + 0.5) * 0.04
    path = write(tmp_path / "b.tif", south[:, :, None])
    found = window_statistics(open_geotiff(path), lonlat - [7, 4], np.full(20, 5.0))
    np.testing.assert_allclose(found[:, 0], lonlat[:, 1] - 4, atol=0.021)


class CountingDataset:
    """A dataset that remembers which windows were read."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.windows = []

    def __getattr__(self, name):
        return getattr(self.dataset, name)

    def read(self, bands, window, masked):
        self.windows.append(window)
        return self.dataset.read(bands, window=window, masked=masked)


def counted(path, memory_gb: float = 1.0) -> tuple[FileRaster, list]:
    dataset = CountingDataset(rasterio.open(path))
    raster = FileRaster(dataset, grid_of(dataset), memory_gb=memory_gb)
    return raster, dataset.windows


def test_each_block_is_read_once_however_many_tokens_lie_in_it(tmp_path):
    path = write(tmp_path / "a.tif", noise(1), **TILES)
    raster, windows = counted(path)
    lonlat, radius_km = places(600)
    in_reading_order(raster, window_statistics, lonlat, radius_km)
    assert len(windows) == len(set(map(str, windows))) == 7 * 5
    assert {(w.width, w.height) for w in windows} == {
        (32, 16), (22, 16), (32, 4), (22, 4)
    }  # fmt: skip
    assert all(w.col_off % 32 == w.row_off % 16 == 0 for w in windows)
    assert raster.facts() == {
        "grid": "degrees, lon 4..10, lat 44..48",
        "pieces": 35,
        "pieces_used": 35,
        "pieces_read": 35,
    }


def test_blocks_without_tokens_are_not_read(tmp_path):
    path = write(tmp_path / "a.tif", noise(1), **TILES)
    raster, windows = counted(path)
    window_statistics(raster, np.array([[4.6, 47.7]]), np.array([3.0]))
    assert [(w.col_off, w.row_off) for w in windows] == [(0, 0)]
    assert raster.facts()["pieces_used"] == 1


def test_less_memory_reads_more_and_gives_the_same(tmp_path):
    path = write(tmp_path / "a.tif", noise(1), **TILES)
    lonlat, radius_km = places(60)
    found, reads = [], []
    for pieces in (40, 12, 3):
        raster, windows = counted(path, memory_gb=pieces * 512 / 1e9)
        assert raster._piece.cache_info().maxsize == pieces
        found.append(in_reading_order(raster, window_statistics, lonlat, radius_km))
        assert raster._piece.cache_info().currsize <= pieces
        reads.append(len(windows))
        used = raster.facts()["pieces_used"]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert reads[0] == used <= reads[1] < reads[2]


def test_a_block_that_does_not_fit_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", noise(1), **TILES)
    with pytest.raises(
        MemoryLimitError, match=r"blocks of 16 x 32 pixels.*memory_gb is 1e-07.*TILED"
    ):
        open_geotiff(path, memory_gb=1e-7)


def test_pieces_are_dropped_on_closing(tmp_path):
    raster, _ = counted(write(tmp_path / "a.tif", noise(1), **TILES))
    raster.take(np.array([0]), np.array([0]))
    raster.close()
    assert raster._piece.cache_info().currsize == 0
    assert raster.dataset.closed


@pytest.mark.parametrize("reach", [(1, 1), (15, 31), (40, 70), (100, 150)])
def test_take_puts_pieces_together(tmp_path, reach):
    values = noise()
    raster = open_geotiff(write(tmp_path / "a.tif", values, **TILES))
    rng = np.random.default_rng(0)
    for _ in range(20):
        top, left = rng.integers(101 - reach[0]), rng.integers(151 - reach[1])
        rows = rng.integers(top, top + reach[0], (4, 2, 3))
        columns = rng.integers(left, left + reach[1], (4, 2, 3))
        found = raster.take(rows, columns)
        np.testing.assert_array_equal(found, values[rows, columns])
    nothing = np.zeros((0, 2), dtype=int)
    assert raster.take(nothing, nothing).shape == (0, 2, 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float64"])
def test_pixels_without_data_are_missing(tmp_path, dtype):
    values = noise(1, dtype)
    values[:50] = 200
    path = write(tmp_path / "a.tif", values, nodata=200, **TILES)
    raster = open_geotiff(path)
    expected = np.where(values == 200, np.nan, values)
    np.testing.assert_array_equal(raster.take(*np.indices((100, 150))), expected)
    found = window_statistics(
        raster, np.array([[7.0, 47.5], [7.0, 44.5]]), np.full(2, 10.0)
    )
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert raster.value_range == ((0, 255) if dtype == "uint8" else (0, 199))


def test_transparent_pixels_are_missing(tmp_path):
    values = noise(4)
    values[:, :, 3] = np.where(np.arange(150) < 75, 0, 255)
    path = write(tmp_path / "a.tif", values, photometric="RGB", ALPHA="YES", **TILES)
    raster = open_geotiff(path)
    assert raster.channels == ("red", "green", "blue")
    found = raster.take(np.array([0, 0]), np.array([0, 149]))
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], values[0, 149, :3])


def test_infinite_numbers_are_missing(tmp_path):
    values = noise(1, "float32")
    values[0, 0], values[0, 1] = np.inf, np.nan
    raster = open_geotiff(write(tmp_path / "a.tif", values))
    assert np.isnan(raster.take(np.array([0, 0]), np.array([0, 1]))).all()
    assert raster.value_range == (0, 199)


def test_bands_are_picked_and_named(tmp_path):
    values = noise(5, "uint16")
    path = write(tmp_path / "a.tif", values, **TILES)
    raster = open_geotiff(path, bands=[4, 2])
    assert raster.channels == ("band 4", "band 2")
    first = np.zeros(100, dtype=int), np.arange(100)
    np.testing.assert_array_equal(raster.take(*first), values[first][:, [3, 1]])
    assert len(open_geotiff(path).channels) == 5
    names = ("blue", "green", "red", "near infrared", "quality")
    path = write(tmp_path / "b.tif", values, descriptions=names, **TILES)
    assert open_geotiff(path, bands=[4, 3]).channels == ("near infrared", "red")
    for bands in ([0], [6], []):
        with pytest.raises(RasterError, match=r"bands \[.*expected some of 1..5"):
            open_geotiff(path, bands=bands)
    with pytest.raises(RasterError, match="5 colour channels; expected one channel"):
        open_geotiff(path, classes=True)
    assert open_geotiff(path, classes=True, bands=[5]).channels == ("quality",)


def test_numbers_that_are_not_real_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", noise(1, "complex64"))
    with pytest.raises(RasterError, match="bands of complex64; expected real numbers"):
        open_geotiff(path)


def test_palettes_are_classes_and_nothing_else(tmp_path):
    path = write(tmp_path / "a.tif", noise(1), photometric="palette")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {i: (i, i, i, 255) for i in range(256)})
    assert open_geotiff(path, classes=True).channels == ("palette",)
    with pytest.raises(RasterError, match=r"indices of a palette.*-expand rgb"):
        open_geotiff(path)


def test_files_that_are_cut_short_are_refused_before_any_work(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", noise(), **TILES)
    content = path.read_bytes()
    require_whole(rasterio.open(path))
    path.write_bytes(content[:-1000])
    with pytest.raises(RasterError, match=r"cut short: it has .* bytes.*reach to byte"):
        open_geotiff(path)
    monkeypatch.setattr(geotiff, "BLOCKS_CHECKED", 1)  # the first block is there
    with pytest.raises(RasterError, match=r"rows 96..100, columns 128..150 cannot be"):
        open_geotiff(path).take(np.array([99]), np.array([149]))
    path.write_bytes(content[:100])
    with pytest.raises(RasterError, match="cannot be opened as a GeoTIFF"):
        open_geotiff(path)


def test_missing_files_and_packages_are_named(tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match=r"imagery: no file at .*none\.tif"):
        open_geotiff(tmp_path / "none.tif")
    path = write(tmp_path / "a.tif", noise(1))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"without `bounds`.*mora\[geo\]"):
        open_geotiff(path)


def rewritten(path, **changes):
    with rasterio.open(path, "r+") as file:
        for name, value in changes.items():
            setattr(file, name, value)
    return path


def test_places_that_are_not_supported_are_refused(tmp_path):
    turned = rasterio.Affine(0.01, 0.002, 4, 0.002, -0.01, 48)
    path = rewritten(write(tmp_path / "a.tif", noise(1)), transform=turned)
    with pytest.raises(RasterError, match="is turned or upside down"):
        open_geotiff(path)
    upwards = rasterio.Affine(0.01, 0, 4, 0, 0.01, 44)
    path = rewritten(write(tmp_path / "b.tif", noise(1)), transform=upwards)
    with pytest.raises(RasterError, match="is turned or upside down"):
        open_geotiff(path)
    path = write(tmp_path / "c.tif", noise(1), crs=None)
    assert is_georeferenced(path)
    with pytest.raises(RasterError, match=r"c.tif has no map.*gdal_translate -a_srs"):
        open_geotiff(path)
    path = write(tmp_path / "d.tif", noise(1), crs="EPSG:4978")
    with pytest.raises(RasterError, match="no degrees from Greenwich and no map"):
        open_geotiff(path)
    paris = write(tmp_path / "e.tif", noise(1), crs="EPSG:4807")
    with pytest.raises(RasterError, match=r"NTF \(Paris\).*no degrees from Greenwich"):
        open_geotiff(paris)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4258", "EPSG:4269"])
def test_degrees_of_any_datum_that_is_the_same_place(tmp_path, crs):
    path = write(tmp_path / "a.tif", noise(1), crs=crs)
    assert isinstance(open_geotiff(path).grid, DegreeGrid)


def test_files_that_do_not_say_where_they_lie(tmp_path):
    (tmp_path / "text.tif").write_text("not an image")
    (tmp_path / "torn.tif").write_bytes(b"II*\0\xff\xff\xff\x7f")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name in ("text.tif", "torn.tif", "empty.tif"):
        assert not is_georeferenced(tmp_path / name)
    from PIL import Image

    Image.new("L", (4, 4)).save(tmp_path / "plain.tif")
    assert not is_georeferenced(tmp_path / "plain.tif")
