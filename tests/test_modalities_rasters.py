import numpy as np
import pytest
from PIL import Image

from mora.errors import MissingFileError
from mora.modalities import rasters
from mora.modalities.rasters import (
    KM_PER_DEGREE,
    Raster,
    RasterError,
    read_raster,
    square_images,
    window_pixels,
)


def world(width: int = 36, height: int = 18, channels: int = 1) -> Raster:
    """Noise over the whole Earth; 10-degree pixels by default."""
    rng = np.random.default_rng(0)
    return Raster(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))


def region() -> Raster:
    """Pixels of one degree between 0..10 E and 0..5 N."""
    return Raster(np.arange(50.0).reshape(5, 10, 1), (0, 0, 10, 5))


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
    assert raster.bounds == (-180, -90, 180, 90)


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
    assert read_raster(path, [5, 45, 15.5, 55]).bounds == (5, 45, 15.5, 55)
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


@pytest.mark.parametrize(
    "bounds", [(0, 5, 10, 0), (0, 0, 0, 5), (-200, 0, 200, 5), (0, 0, 10, 95)]
)
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(RasterError, match="do not enclose a part of the Earth"):
        Raster(np.zeros((2, 2, 1)), bounds)


def test_positions_by_hand():
    row, column = region().positions(np.array([[0.5, 4.5], [10.0, 0.0], [-1.0, 6.0]]))
    np.testing.assert_allclose(row, [0, 4.5, -1.5])
    np.testing.assert_allclose(column, [0, 9.5, -1.5])


def test_positions_across_the_antimeridian():
    pacific = Raster(np.zeros((2, 20, 1)), (170, 0, -170, 2))
    assert pacific.width_degrees == 20
    _, column = pacific.positions(np.array([[179.5, 1.0], [-179.5, 1.0]]))
    np.testing.assert_allclose(column, [9, 10])
    _, column = Raster(np.zeros((2, 360, 1)), (0, -90, 360, 90)).positions(
        np.array([[-0.5, 1.0]])
    )
    np.testing.assert_allclose(column, [359])


def test_covers():
    points = np.array([[0.0, 0.0], [10.0, 5.0], [10.1, 1.0], [1.0, -0.1], [365.0, 1.0]])
    np.testing.assert_array_equal(
        region().covers(points), [True, True, False, False, True]
    )
    assert world().covers(np.array([[180.0, 90.0], [-180.0, -90.0]])).all()


def listed(raster: Raster, lon: float, lat: float, radius_km: float) -> list[int]:
    """Window of one point, checked to hold no pixel twice."""
    counts, pixels = window_pixels(
        raster, np.array([[lon, lat]], dtype=float), np.array([radius_km], dtype=float)
    )
    assert counts.tolist() == [len(pixels)] == [len(set(pixels.tolist()))]
    return sorted(pixels.tolist())


def expected_window(
    raster: Raster, lon: float, lat: float, radius_km: float
) -> list[int]:
    """Look at every pixel of the raster."""
    height, width = raster.values.shape[:2]
    west, _, _, north = raster.bounds
    y = north - (np.arange(height)[:, None] + 0.5) * raster.row_degrees
    x = west + (np.arange(width) + 0.5) * raster.column_degrees
    north_south, east_west = abs(y - lat), abs((x - lon + 180) % 360 - 180)
    reach = radius_km / KM_PER_DEGREE
    in_row = (north_south <= raster.row_degrees / 2) | (north_south <= reach)
    in_column = (east_west <= raster.column_degrees / 2) | (
        east_west * np.cos(np.radians(y)) <= reach
    )
    return np.flatnonzero(in_row & in_column).tolist()


def test_window_by_hand():
    # Row 8 lies at 5 N, column 18 at 5 E; 1113 km reach one pixel in each direction.
    assert listed(world(), 5, 5, 100) == [8 * 36 + 18]
    assert listed(world(), 5, 5, 1125) == [
        row * 36 + column for row in (7, 8, 9) for column in (17, 18, 19)
    ]


@pytest.mark.parametrize("radius_km", [50.0, 1500.0, 4000.0])
def test_windows_agree_with_looking_at_every_pixel(radius_km):
    rng = np.random.default_rng(0)
    lonlat = np.column_stack([rng.uniform(-180, 180, 40), rng.uniform(-89, 89, 40)])
    lonlat[:3] = [[179.9, 1], [-179.9, -58], [3, 88.9]]
    for lon, lat in lonlat:
        expected = expected_window(world(), lon, lat, radius_km)
        assert listed(world(), lon, lat, radius_km) == expected


def test_windows_of_a_region_end_at_its_edges():
    for lon, lat in [(0.2, 0.3), (9.9, 4.9), (-0.7, 2.0), (5.0, 5.9), (4.1, 2.2)]:
        expected = expected_window(region(), lon, lat, 120.0)
        assert listed(region(), lon, lat, 120.0) == expected
    assert listed(region(), 30, 2, 120) == []


def test_every_place_on_earth_has_a_pixel():
    for lon, lat in [(0, 90), (0, -90), (180, 0), (-180, -90), (180, 90)]:
        assert listed(world(), lon, lat, 1) != []
        assert listed(world(35, 17), lon, lat, 1) != []


def test_windows_widen_towards_the_poles():
    fine = world(3600, 1800)
    equator, north = (len(listed(fine, 0, lat, 200)) for lat in (0, 60))
    assert north == pytest.approx(2 * equator, rel=0.1)
    polar = listed(world(), 0, 89.9, 2000)
    assert polar[:36] == list(range(36))  # the whole first row, once


def test_square_images_by_hand():
    # At the equator one row is one column: a 3 x 3 cut around the pixel at 4.5 E, 0.5 N
    # of a raster astride the equator.
    astride = Raster(np.arange(50.0).reshape(5, 10, 1), (0, -2.5, 10, 2.5))
    image = square_images(astride, np.array([[4.5, 0.0]]), 3)[0, :, :, 0] * 49
    np.testing.assert_allclose(
        image, [[13, 14, 15], [23, 24, 25], [33, 34, 35]], rtol=1e-5
    )


def test_square_images_are_square_on_the_ground():
    columns = Raster(np.tile(np.arange(250, dtype=np.uint8), (125, 1))[:, :, None])
    equator, north = (
        square_images(columns, np.array([[0.72, lat]]), 5)[0, 2, :, 0] * 255
        for lat in (0, 60)
    )
    np.testing.assert_allclose(np.diff(equator), 1, atol=1e-4)
    np.testing.assert_allclose(np.diff(north), 2, atol=1e-4)


def test_square_images_go_around_the_earth_and_stop_at_poles_and_edges():
    image = square_images(world(), np.array([[179.0, 5.0]]), 4)[0, :, :, 0] * 255
    rows = world().values[:, :, 0].astype(float)
    np.testing.assert_allclose(image[1], rows[8, [34, 35, 0, 1]], atol=1e-4)
    polar = square_images(world(), np.array([[0.0, 89.0]]), 4)[0, :, :, 0]
    np.testing.assert_array_equal(polar[0], polar[1])
    corner = square_images(region(), np.array([[0.4, 4.6]]), 3)[0, :, :, 0]
    np.testing.assert_array_equal(corner[0], corner[1])
    np.testing.assert_array_equal(corner[:, 0], corner[:, 1])


def test_square_images_scale_to_one_and_fill_holes():
    values = np.array([[100.0, 300.0, np.nan]]).reshape(1, 3, 1)
    raster = Raster(values, (0, -0.5, 3, 0.5))
    image = square_images(raster, np.array([[1.5, 0.0]]), 3)
    np.testing.assert_array_equal(image[0, 1, :, 0], [0, 1, 0])
    assert Raster(np.full((1, 3, 1), np.nan)).value_range == (0, 1)
    assert Raster(np.full((1, 3, 1), 7.0)).value_range == (7, 8)
    assert world().value_range == (0, 255)
