import numpy as np
import pytest

from mora.modalities.grids import KM_PER_DEGREE, MapGrid
from mora.modalities.rasters import MemoryRaster
from mora.modalities.windows import (
    reading_order,
    square_images,
    window_pixels,
    window_sizes,
)


def world(width: int = 36, height: int = 18, channels: int = 1) -> MemoryRaster:
    """Noise over the whole Earth; 10-degree pixels by default."""
    rng = np.random.default_rng(0)
    return MemoryRaster.in_degrees(
        rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    )


def region() -> MemoryRaster:
    """Pixels of one degree between 0..10 E and 0..5 N."""
    return MemoryRaster.in_degrees(np.arange(50.0).reshape(5, 10, 1), (0, 0, 10, 5))


def listed(raster: MemoryRaster, lon: float, lat: float, radius_km: float) -> list[int]:
    """Window of one point, checked to hold no pixel twice."""
    counts, rows, columns = window_pixels(
        raster, np.array([[lon, lat]], dtype=float), np.array([radius_km], dtype=float)
    )
    pixels = rows * raster.grid.width + columns
    assert counts.tolist() == [len(pixels)] == [len(set(pixels.tolist()))]
    return sorted(pixels.tolist())


def expected_window(
    raster: MemoryRaster, lon: float, lat: float, radius_km: float
) -> list[int]:
    """Look at every pixel of the raster."""
    height, width = raster.values.shape[:2]
    west, _, _, north = raster.grid.bounds
    y = north - (np.arange(height)[:, None] + 0.5) * raster.grid.row_degrees
    x = west + (np.arange(width) + 0.5) * raster.grid.column_degrees
    north_south, east_west = abs(y - lat), abs((x - lon + 180) % 360 - 180)
    reach = radius_km / KM_PER_DEGREE
    in_row = (north_south <= raster.grid.row_degrees / 2) | (north_south <= reach)
    in_column = (east_west <= raster.grid.column_degrees / 2) | (
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
    astride = MemoryRaster.in_degrees(
        np.arange(50.0).reshape(5, 10, 1), (0, -2.5, 10, 2.5)
    )
    image = square_images(astride, np.array([[4.5, 0.0]]), 3)[0, :, :, 0] * 49
    np.testing.assert_allclose(
        image, [[13, 14, 15], [23, 24, 25], [33, 34, 35]], rtol=1e-5
    )


def test_square_images_are_square_on_the_ground():
    columns = MemoryRaster.in_degrees(
        np.tile(np.arange(250, dtype=np.uint8), (125, 1))[:, :, None]
    )
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
    raster = MemoryRaster.in_degrees(values, (0, -0.5, 3, 0.5))
    image = square_images(raster, np.array([[1.5, 0.0]]), 3)
    np.testing.assert_array_equal(image[0, 1, :, 0], [0, 1, 0])
    assert MemoryRaster.in_degrees(np.full((1, 3, 1), np.nan)).value_range == (0, 1)
    assert MemoryRaster.in_degrees(np.full((1, 3, 1), 7.0)).value_range == (7, 8)
    assert world().value_range == (0, 255)


def test_pictures_of_a_given_range():
    raster = MemoryRaster.in_degrees(np.full((5, 5, 1), 30.0), (0, 0, 5, 5))
    picture = square_images(raster, np.array([[2.5, 2.5]]), 3, value_range=(10, 50))
    np.testing.assert_array_equal(picture, 0.5)


@pytest.mark.parametrize(
    ("crs", "corner", "lat", "reach"),
    [
        ("EPSG:32633", (480_000, 5_560_000), 50.0, 2),  # 1 km is 1 km
        ("EPSG:3857", (1_650_000, 8_440_000), 60.1, 4),  # 1 km of the map is 0.5 km
    ],
)
def test_windows_on_a_map_by_hand(crs, corner, lat, reach):
    # 40 x 40 km of the map; windows of 2.2 km to each side of the pixel at 15 E
    grid = MapGrid(40, 40, corner, (1000, 1000), crs)
    raster = MemoryRaster(np.zeros((40, 40, 1)), grid, ("grey",))
    row, column = (np.rint(x[0]) for x in grid.positions(np.array([[15.0, lat]])))
    middle = int(row * 40 + column)
    shift = np.arange(-reach, reach + 1)
    expected = middle + 40 * shift[:, None] + shift
    centre = grid._unproject(
        np.array([corner[0] + (column + 0.5) * 1000.0]),
        np.array([corner[1] - (row + 0.5) * 1000.0]),
    )
    assert listed(raster, *centre[0], 2.2) == sorted(expected.ravel())


def test_sizes_of_windows_are_about_those_of_their_pixels():
    lonlat = np.array([[0.0, 0.0], [5.0, 60.0], [0.0, 89.0]])
    rows, columns = window_sizes(world(360, 180), lonlat, np.full(3, 500.0))
    np.testing.assert_allclose(rows, 1000 / KM_PER_DEGREE + 1)
    np.testing.assert_allclose(columns[:2], [11, 21], atol=0.5)
    assert columns[2] == 360


class Pieces(MemoryRaster):
    """A raster in memory that pretends to come in pieces."""

    piece_shape = (3, 4)


def test_reading_order_goes_piece_by_piece():
    rng = np.random.default_rng(0)
    lonlat = np.column_stack([rng.uniform(-150, 150, 500), rng.uniform(-60, 60, 500)])
    raster = Pieces(world().values, world().grid, ("grey",))
    radius_km = rng.uniform(1, 1500, 500)
    batches = list(reading_order(raster, lonlat, radius_km, 20))
    order = np.concatenate(batches)
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    row, column = raster.grid.positions(lonlat)
    rows, columns = window_sizes(raster, lonlat, radius_km)
    down = np.floor(row - rows / 2 + 0.5) // 3
    across = np.floor(column - columns / 2 + 0.5).clip(0) // 4
    first = down * 9 + across
    assert (np.diff(first[order]) >= 0).all()
    assert all(len(set(first[batch])) == 1 for batch in batches)
    few = reading_order(raster, lonlat, radius_km, 7)
    assert max(len(batch) for batch in few) == 7


def test_a_raster_in_memory_is_read_in_the_order_of_the_points():
    lonlat = np.random.default_rng(0).uniform(-80, 80, (10, 2))
    batches = list(reading_order(world(), lonlat, np.full(10, 50.0), 4))
    assert [batch.tolist() for batch in batches] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert not list(reading_order(world(), lonlat[:0], np.zeros(0), 4))
