import numpy as np
import pytest

from mora.modalities.grids import KM_PER_DEGREE, DegreeGrid, MapGrid, RasterError

REGION = DegreeGrid(5, 10, (0, 0, 10, 5))  # pixels of one degree


@pytest.mark.parametrize(
    "bounds", [(0, 5, 10, 0), (0, 0, 0, 5), (-200, 0, 200, 5), (0, 0, 10, 95)]
)
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(RasterError, match="do not enclose a part of the Earth"):
        DegreeGrid(2, 2, bounds)


def test_rows_may_have_their_middle_at_the_poles():
    grid = DegreeGrid(181, 360, (-180, -90.5, 180, 90.5))
    row, _ = grid.positions(np.array([[0.0, 90.0], [0.0, -90.0]]))
    np.testing.assert_allclose(row, [0, 180])
    with pytest.raises(RasterError, match="do not enclose"):
        DegreeGrid(180, 360, (-180, -90, 180, 90.7))


def test_positions_by_hand():
    row, column = REGION.positions(np.array([[0.5, 4.5], [10.0, 0.0], [-1.0, 6.0]]))
    np.testing.assert_allclose(row, [0, 4.5, -1.5])
    np.testing.assert_allclose(column, [0, 9.5, -1.5])


def test_positions_across_the_antimeridian():
    pacific = DegreeGrid(2, 20, (170, 0, -170, 2))
    assert pacific.width_degrees == 20
    _, column = pacific.positions(np.array([[179.5, 1.0], [-179.5, 1.0]]))
    np.testing.assert_allclose(column, [9, 10])
    whole = DegreeGrid(2, 360, (0, -90, 360, 90))
    _, column = whole.positions(np.array([[-0.5, 1.0]]))
    np.testing.assert_allclose(column, [359])


def test_covers():
    points = np.array([[0.0, 0.0], [10.0, 5.0], [10.1, 1.0], [1.0, -0.1], [365.0, 1.0]])
    np.testing.assert_array_equal(
        REGION.covers(points), [True, True, False, False, True]
    )
    assert DegreeGrid(18, 36).covers(np.array([[180.0, 90.0], [-180.0, -90.0]])).all()


def test_columns_wrap_around_the_earth_only():
    columns = np.array([-1, 3, 36])
    np.testing.assert_array_equal(DegreeGrid(18, 36).fit_columns(columns), [35, 3, 0])
    np.testing.assert_array_equal(REGION.fit_columns(columns), [0, 3, 9])
    nearly = DegreeGrid(18, 36, (-180.0, -90.0, 180.0 - 1e-9, 90.0))
    assert nearly.wraps  # as files store it


def test_lengths_on_the_ground_in_degrees():
    points = np.array([[0.0, 60.0], [5.0, 0.0]])
    np.testing.assert_allclose(REGION.km_per_row(points), KM_PER_DEGREE)
    columns = DegreeGrid(180, 360).columns_per_row(np.array([29, 89]))
    np.testing.assert_allclose(columns, 1 / np.cos(np.radians([60.5, 0.5])))
    assert not DegreeGrid(180, 360).distortion(points).any()


def utm(crs: str = "EPSG:32633", pixel: tuple[int, int] = (1000, 1000)) -> MapGrid:
    """300 x 200 km around 15 E 50 N, on the middle meridian of zone 33."""
    return MapGrid(200, 300, (350_000.0, 5_638_000.0), pixel, crs)


def test_positions_on_a_map_by_hand():
    # 15 E is x = 500 km in zone 33: 150 pixels from the left edge, a half more to the
    # middle of a pixel.
    row, column = utm().positions(np.array([[15.0, 50.0], [15.0, 51.0]]))
    np.testing.assert_allclose(column, 149.5, atol=1e-6)
    # a degree of latitude is 111.2 km here, 0.9996 of it on the map
    np.testing.assert_allclose(row[0] - row[1], 111.24 * 0.9996, atol=0.03)
    half = utm(pixel=(500, 2000)).positions(np.array([[15.0, 50.0]]))
    np.testing.assert_allclose(half[1] + 0.5, 300)
    np.testing.assert_allclose(half[0] + 0.5, (row[0] + 0.5) / 2)


def test_points_that_a_map_cannot_show_are_outside():
    # 90 degrees beside the middle meridian, the map has no end
    points = np.array([[15.0, 50.0], [-165.0, -50.0], [105.0, 0.0], [15.0, -50.0]])
    np.testing.assert_array_equal(utm().covers(points), [True, False, False, False])
    row, column = utm().positions(points)
    assert np.isfinite(row).all()
    assert np.isfinite(column).all()
    assert utm().km_per_row(points)[2] == 1


def test_lengths_on_the_ground_of_maps():
    # Web Mercator stretches by 1 / cos(latitude), UTM hardly at all in its zone.
    mercator = MapGrid(10, 10, (0, 8_400_000), (1000, 1000), "EPSG:3857")
    points = np.array([[0.05, 60.0], [0.05, 0.1]])
    np.testing.assert_allclose(mercator.km_per_row(points), [0.5, 1], rtol=0.01)
    np.testing.assert_allclose(
        utm().km_per_row(np.array([[15.0, 50.0]])), 1, rtol=0.005
    )
    assert utm(pixel=(500, 2000)).columns_per_row(np.array([0, 1])).tolist() == [4, 4]


@pytest.mark.parametrize(
    ("crs", "lonlat", "distortion"),
    [
        ("EPSG:32633", [15, 50], 0.01),
        ("EPSG:3857", [15, 60], 0.01),
        ("EPSG:5070", [-100, 40], 0.03),  # Albers, United States
        ("EPSG:3035", [10, 52], 0.03),  # Lambert, Europe
    ],
)
def test_maps_that_are_true_to_shape(crs, lonlat, distortion):
    grid = MapGrid(10, 10, (0, 0), (1000, 1000), crs)
    assert grid.distortion(np.array([lonlat], dtype=float))[0] < distortion


@pytest.mark.parametrize(
    ("crs", "lonlat"),
    [
        ("ESRI:54009", [140, 50]),  # Mollweide, slanted
        ("EPSG:6933", [0, 60]),  # equal-area cylinder, flattened
        ("EPSG:32633", [105, 0]),  # off the map
    ],
)
def test_maps_that_are_not(crs, lonlat):
    grid = MapGrid(10, 10, (0, 0), (1000, 1000), crs)
    assert grid.distortion(np.array([lonlat], dtype=float))[0] > 0.2


def test_grids_say_where_they_lie():
    assert REGION.describe() == "degrees, lon 0..10, lat 0..5"
    assert utm().describe() == "WGS 84 / UTM zone 33N, pixels of 1000"
