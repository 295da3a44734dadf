import numpy as np
import pytest
from PIL import Image

from mora.errors import MissingFileError
from mora.modalities import rasters
from mora.modalities.rasters import (
    MemoryRaster,
    RasterError,
    read_raster,
    value_range,
)


def save(tmp_path, image: Image.Image, name: str = "image.png"):
    image.save(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    ("mode", "name", "channels"),
    [
        ("RGB", "a.png", 3),
        ("RGB", "a.tif", 3),
        ("RGB", "a.jpg", 3),
        ("RGBA", "a.png", 3),
        ("P", "a.png", 3),
        ("L", "a.png", 1),
        ("LA", "a.png", 1),
        ("1", "a.png", 1),
        ("I;16", "a.tif", 1),
        ("F", "a.tif", 1),
    ],
)
def test_images_of_every_kind(tmp_path, mode, name, channels):
    raster = read_raster(save(tmp_path, Image.new(mode, (6, 3)), name))
    assert raster.values.shape == (3, 6, channels)
    assert raster.grid.bounds == (-180, -90, 180, 90)


def test_values_survive_reading(tmp_path):
    heights = np.array([[-3.5, np.nan], [np.inf, 8848.0]], dtype=np.float32)
    raster = read_raster(save(tmp_path, Image.fromarray(heights), "a.tif"))
    np.testing.assert_array_equal(
        raster.values[:, :, 0], [[-3.5, np.nan], [np.nan, 8848]]
    )
    deep = np.array([[0, 60000]], dtype=np.uint16)
    raster = read_raster(save(tmp_path, Image.fromarray(deep), "b.tif"))
    np.testing.assert_array_equal(raster.values[:, :, 0], [[0, 60000]])


def test_palette_is_read_as_colours_or_as_classes(tmp_path):
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    path = save(tmp_path, image)
    np.testing.assert_array_equal(read_raster(path).values[0, 0], [10, 20, 30])
    np.testing.assert_array_equal(read_raster(path, classes=True).values[0, 0], [1])


def test_bounds_are_kept(tmp_path):
    path = save(tmp_path, Image.new("L", (2, 1)))
    assert read_raster(path, [5, 45, 15.5, 55]).grid.bounds == (5, 45, 15.5, 55)
    with pytest.raises(RasterError, match="expected west, south, east, north"):
        read_raster(path, [5, 45, 15])


def test_unreadable_files_are_reported(tmp_path):
    with pytest.raises(MissingFileError, match=r"imagery: no file at .*none\.png"):
        read_raster(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(RasterError, match="cannot be read as an image"):
        read_raster(tmp_path / "text.png")
    path = save(tmp_path, Image.effect_noise((64, 64), 9))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(RasterError, match="cannot be read as an image"):
        read_raster(path)


def test_colours_are_no_classes(tmp_path):
    path = save(tmp_path, Image.new("RGB", (2, 1)))
    with pytest.raises(RasterError, match="3 colour channels; expected one channel"):
        read_raster(path, classes=True)


def test_large_images_open_up_to_our_own_limit(tmp_path, monkeypatch):
    path = save(tmp_path, Image.new("L", (40, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert read_raster(path).values.shape == (20, 40, 1)
    assert Image.MAX_IMAGE_PIXELS == 500
    for most in (500, 300):  # Pillow only warns up to twice its limit
        monkeypatch.setattr(rasters, "MAX_PIXELS", most)
        with pytest.raises(RasterError, match=f"at most {most} pixels"):
            read_raster(path)


def test_bands_are_picked(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9, (3, 4, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(pixels))
    raster = read_raster(path, bands=[3, 1])
    assert raster.channels == ("blue", "red")
    np.testing.assert_array_equal(raster.values, pixels[:, :, [2, 0]])
    assert read_raster(path, bands=[2], classes=True).channels == ("green",)
    with pytest.raises(RasterError, match=r"bands \[4\]; expected some of 1..3"):
        read_raster(path, bands=[4])


def test_pixels_are_taken_by_position_in_any_shape():
    values = np.arange(24.0).reshape(3, 4, 2)
    raster = MemoryRaster.in_degrees(values, (0, 0, 4, 3))
    assert raster.channels == ("band 1", "band 2")
    rows, columns = np.array([[0, 1], [2, 1]]), np.array([[0, 1], [3, 1]])
    np.testing.assert_array_equal(
        raster.take(rows, columns), [[[0, 1], [10, 11]], [[22, 23], [10, 11]]]
    )
    assert raster.facts() == {"grid": "degrees, lon 0..4, lat 0..3"}


def test_value_range_over_pieces():
    pieces = [np.array([3.0, np.nan]), np.array([np.nan]), np.array([-2.0, np.inf])]
    assert value_range(pieces, np.dtype(float)) == (-2, 3)
    assert value_range([], np.dtype(float)) == (0, 1)
    assert value_range([np.full(2, 7)], np.dtype(int)) == (7, 8)
    assert value_range([np.full(2, 7)], np.dtype(np.uint8)) == (0, 255)
