import h3
import h3ronpy.vector
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from mora.errors import MoraError
from mora.geometry import (
    EARTH_RADIUS_KM,
    PlaceIndex,
    cells_at,
    change_level,
    cover_with_cells,
    great_circle_km,
    hilbert_order,
    hilbert_position,
    polygon_areas_km2,
    shared_borders,
)
from mora.tokens import H3Tokens

QUARTER_KM = EARTH_RADIUS_KM * np.pi / 2


def random_points(n=200, seed=0):
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return np.column_stack([rng.uniform(-180, 180, n), lat])


def unit_vectors(lonlat):
    lon, lat = np.radians(lonlat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def objects(*geometries):
    return np.array(geometries, dtype=object)


# great_circle_km


def test_a_quarter_of_the_equator_and_of_a_meridian():
    start = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 0.0]])
    end = np.array([[90.0, 0.0], [70.0, 90.0], [180.0, 0.0]])
    expected = [QUARTER_KM, QUARTER_KM, 2 * QUARTER_KM]
    np.testing.assert_allclose(great_circle_km(start, end), expected)


def test_distance_agrees_with_the_angle_between_vectors():
    start, end = random_points(seed=1), random_points(seed=2)
    a, b = unit_vectors(start), unit_vectors(end)
    angle = np.arctan2(np.linalg.norm(np.cross(a.T, b.T), axis=1), (a * b).sum(axis=0))
    np.testing.assert_allclose(great_circle_km(start, end), angle * EARTH_RADIUS_KM)


def test_short_distances_keep_their_precision():
    start = np.array([[10.0, 50.0]])
    end = np.array([[10.0, 50.0 + 1e-9]])
    expected = np.radians(1e-9) * EARTH_RADIUS_KM
    np.testing.assert_allclose(great_circle_km(start, end), expected, rtol=1e-4)


def test_turning_the_earth_or_the_way_changes_no_distance():
    start, end, turn = random_points(seed=1), random_points(seed=2), np.array([77, 0])
    distance = great_circle_km(start, end)
    np.testing.assert_allclose(great_circle_km(end, start), distance)
    np.testing.assert_allclose(great_circle_km(start + turn, end + turn), distance)
    assert not great_circle_km(start, start).any()


def test_points_that_do_not_pair_up_are_refused():
    with pytest.raises(TypeCheckError, match="n=3"):
        great_circle_km(np.zeros((3, 2)), np.zeros((2, 2)))


# polygon_areas_km2


def band_km2(west, south, east, north):
    """Give the area between two meridians and two parallels, in closed form."""
    height = np.sin(np.radians(north)) - np.sin(np.radians(south))
    return EARTH_RADIUS_KM**2 * np.radians(east - west) * height


@pytest.mark.parametrize(
    "bounds",
    [(0, 0, 1, 1), (-100, 35, -90, 45), (170, -90, 180, 90), (-180, -1, -179, 1)],
)
def test_boxes_have_the_area_of_the_formula(bounds):
    area = polygon_areas_km2(objects(shapely.box(*bounds)))
    np.testing.assert_allclose(area, band_km2(*bounds), rtol=1e-10)


def test_the_whole_earth():
    area = polygon_areas_km2(objects(shapely.box(-180, -90, 180, 90)))
    np.testing.assert_allclose(area, 4 * np.pi * EARTH_RADIUS_KM**2)


def test_cells_have_the_area_that_h3_gives():
    cells = sorted(h3.grid_disk(h3.latlng_to_cell(60.0, -150.0, 4), 3))
    expected = [h3.cell_area(cell, unit="km^2") for cell in cells]
    areas = polygon_areas_km2(H3Tokens.from_cells(cells).polygons())
    np.testing.assert_allclose(areas, expected, rtol=1e-4)


def test_area_does_not_depend_on_the_longitude():
    # One long side against many short ones, far from Greenwich: a county's outline.
    outline = [(0, 40), (0, 42), (1, 41.5), (0.5, 41), (1, 40.5)]
    here = shapely.Polygon(outline)
    there = shapely.Polygon([(lon - 120, lat) for lon, lat in outline])
    first, second = polygon_areas_km2(objects(here, there))
    assert second == pytest.approx(first, rel=1e-10)


def test_holes_are_taken_off_parts_added_and_empty_is_zero():
    box, hole = shapely.box(0, 0, 3, 3), shapely.box(1, 1, 2, 2)
    ring = shapely.difference(box, hole)
    parts = shapely.MultiPolygon([hole, shapely.box(10, 10, 11, 11)])
    areas = polygon_areas_km2(objects(ring, parts, shapely.Polygon()))
    expected = [
        band_km2(0, 0, 3, 3) - band_km2(1, 1, 2, 2),
        band_km2(1, 1, 2, 2) + band_km2(10, 10, 11, 11),
        0,
    ]
    np.testing.assert_allclose(areas, expected)


# shared_borders


def squares(columns=2, rows=2):
    x, y = np.divmod(np.arange(columns * rows), rows)
    return shapely.box(x, y, x + 1, y + 1)


def test_squares_touch_along_sides_and_not_at_corners():
    pairs = shared_borders(squares())
    assert pairs.T.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]


def test_borders_of_a_random_patchwork_agree_with_its_pixels():
    label = np.random.default_rng(0).integers(0, 9, (7, 7))
    pixels = squares(7, 7).reshape(7, 7)
    zones = objects(*(shapely.union_all(pixels[label == k]) for k in range(9)))
    beside = zip(label[:-1].ravel(), label[1:].ravel(), strict=True)
    above = zip(label[:, :-1].ravel(), label[:, 1:].ravel(), strict=True)
    expected = {tuple(sorted(p)) for p in (*beside, *above) if p[0] != p[1]}
    assert set(map(tuple, shared_borders(zones).T)) == expected


def test_an_enclave_borders_on_what_surrounds_it():
    hole = shapely.box(1, 1, 2, 2)
    zones = objects(shapely.difference(shapely.box(0, 0, 3, 3), hole), hole)
    assert shared_borders(zones).tolist() == [[0], [1]]


def test_tolerance_bridges_two_drawings_of_one_border():
    zones = objects(shapely.box(0, 0, 1, 1), shapely.box(1.0001, 0, 2, 1))
    assert shared_borders(zones).shape == (2, 0)
    assert shared_borders(zones, tolerance=1e-3).tolist() == [[0], [1]]


def test_order_of_zones_does_not_change_who_touches():
    zones, shuffle = squares(4, 3), np.random.default_rng(0).permutation(12)
    pairs = shuffle[shared_borders(zones[shuffle])]
    expected = set(map(frozenset, shared_borders(zones).T))
    assert set(map(frozenset, pairs.T)) == expected


@pytest.mark.parametrize("count", [0, 1])
def test_zones_without_others_touch_none(count):
    assert shared_borders(squares()[:count]).shape == (2, 0)


# cover_with_cells

COUNTY = shapely.Polygon([(-74.4, 40.4), (-73.6, 40.5), (-73.5, 41.1), (-74.2, 41.2)])


def exact_shares(polygon, resolution):
    """Give the share of the polygon in each cell by intersecting the outlines."""
    inside = shapely.buffer(polygon, 1.0)
    cells = h3ronpy.vector.geometry_to_cells(inside, resolution)
    tokens = H3Tokens.from_cells(np.asarray(cells, dtype=np.uint64))
    parts = polygon_areas_km2(shapely.intersection(tokens.polygons(), polygon))
    shares = parts / polygon_areas_km2(objects(polygon))[0]
    return dict(zip(tokens.ids.tolist(), shares, strict=True))


def largest_difference(polygon, resolution, finer):
    expected = exact_shares(polygon, resolution)
    _, cells, shares = cover_with_cells(objects(polygon), resolution, finer)
    got = dict(zip(cells.tolist(), shares, strict=True))
    return max(abs(expected[cell] - got.get(cell, 0)) for cell in expected)


def test_shares_agree_with_intersections_and_more_so_when_finer():
    errors = [largest_difference(COUNTY, 5, finer) for finer in (0, 2, 4)]
    assert errors[1] < 0.003
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3  # children do not fill their parent to the very edge


def test_shares_of_each_polygon_sum_to_one():
    polygons = objects(COUNTY, shapely.box(-70, 40, -69, 40.3), COUNTY.centroid)
    polygons[2] = shapely.buffer(polygons[2], 0.3)
    rows, cells, shares = cover_with_cells(polygons, 5)
    np.testing.assert_allclose(np.bincount(rows, shares), 1)
    assert (shares > 0).all()
    assert len(set(zip(rows.tolist(), cells.tolist(), strict=True))) == len(rows)


def test_resolution_is_that_of_the_cells():
    for resolution in (3, 6):
        _, cells, _ = cover_with_cells(objects(COUNTY), resolution)
        assert {h3.get_resolution(h3.int_to_str(cell)) for cell in cells} == {
            resolution
        }


def test_a_polygon_smaller_than_a_cell_takes_the_cell_it_lies_in():
    tiny = shapely.box(10, 50, 10 + 1e-6, 50 + 1e-6)
    rows, cells, shares = cover_with_cells(objects(tiny), 6)
    assert (rows.tolist(), shares.tolist()) == ([0], [1.0])
    assert h3.int_to_str(cells[0]) == h3.latlng_to_cell(50, 10, 6)


def test_finest_level_is_15():
    _, cells, shares = cover_with_cells(objects(shapely.box(0, 0, 1e-4, 1e-4)), 15)
    assert len(cells) > 10
    np.testing.assert_allclose(shares, shares[0], rtol=1e-3)


def test_a_polygon_cut_at_the_antimeridian_is_covered_on_both_sides():
    west, east = shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)
    _, cells, shares = cover_with_cells(objects(shapely.MultiPolygon([west, east])), 4)
    lon = H3Tokens(cells).centroids()[:, 0]
    assert np.abs(lon).min() > 178
    assert shares[lon > 0].sum() == pytest.approx(0.5, abs=0.1)


def test_edges_of_more_than_half_the_earth_go_the_drawn_way():
    wide = shapely.box(-175, 10, 175, 12)
    _, cells, shares = cover_with_cells(objects(wide), 2)
    held_km2 = shares * band_km2(-175, 10, 175, 12)
    assert (held_km2 < 1.01 * H3Tokens(cells).areas_km2()).all()


@pytest.mark.parametrize(
    "bounds", [(179, -17, 181, -16), (-181, 0, -179, 1), (0, 89, 1, 91)]
)
def test_polygons_beyond_the_earth_are_refused(bounds):
    polygons = objects(COUNTY, shapely.box(*bounds))
    with pytest.raises(MoraError, match=r"1 of 2 polygons .*\(first bounds: .* Cut"):
        cover_with_cells(polygons, 5)


# PlaceIndex and cells_at

EDGES = [
    *[(180.0, 0.0), (-180.0, 0.0), (180.0, 51.2), (-180.0, 51.2), (179.99999, -16.0)],
    *[(0.0, 90.0), (77.0, 90.0), (0.0, -90.0), (-0.0, -0.0), (0.0, 0.0)],
]


def one_by_one(lonlat, resolution):
    """Index points with the scalar function of the H3 library."""
    cells = [h3.latlng_to_cell(lat, lon, resolution) for lon, lat in lonlat]
    return [h3.str_to_int(cell) for cell in cells]


@pytest.mark.parametrize("resolution", [0, 5, 9, 15])
def test_cells_agree_with_the_scalar_loop(resolution):
    points = np.concatenate([random_points(), EDGES])
    cells = cells_at(points, resolution)
    assert cells.tolist() == one_by_one(points, resolution)


@given(
    points=st.lists(
        st.tuples(st.integers(-180, 180), st.integers(-90, 90)), min_size=1, max_size=30
    )
)
@settings(deadline=None, max_examples=50)
def test_cells_agree_with_the_scalar_loop_for_any_points(points):
    lonlat = np.array(points, dtype=float)
    assert cells_at(lonlat, 4).tolist() == one_by_one(lonlat, 4)


def test_each_distinct_place_is_indexed_once_across_batches():
    points, index = random_points(50), PlaceIndex(7)
    rng = np.random.default_rng(0)
    for _ in range(5):
        batch = points[rng.integers(0, 50, 200)]
        assert index.find(batch).tolist() == one_by_one(batch, 7)
    index.find(points)
    assert index.indexed == 50


def test_minus_zero_is_zero():
    index = PlaceIndex(7)
    first, second = index.find(np.array([[0.0, -0.0], [-0.0, 0.0]]))
    assert (first, index.indexed) == (second, 1)


def test_points_beyond_the_most_are_not_remembered_and_cells_are_the_same():
    points = random_points(40)
    few, many = PlaceIndex(6, most=25), PlaceIndex(6)
    for index in (few, many):
        for batch in (points[:20], points[20:], points):
            assert index.find(batch).tolist() == one_by_one(batch, 6)
    assert (few.indexed, many.indexed) == (60, 40)


def test_no_points_have_no_cells():
    index = PlaceIndex(6)
    assert index.find(np.zeros((0, 2))).shape == (0,)
    assert index.indexed == 0


def test_points_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="got NaN"):
        cells_at(np.array([[np.nan, 0.0]]), 6)


# change_level


def test_ancestors_are_those_of_h3():
    cells = cells_at(random_points(), 8)
    for level in (0, 5, 8):
        expected = [h3.cell_to_parent(h3.int_to_str(cell), level) for cell in cells]
        assert change_level(cells, level).tolist() == list(map(h3.str_to_int, expected))


# Hilbert curve


def test_first_curve_goes_up_across_and_down():
    column, row = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    assert hilbert_position(column, row, 1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_curve_visits_every_cell_once_by_single_steps(bits):
    column, row = np.divmod(np.arange(4**bits), 2**bits)
    position = hilbert_position(column, row, bits)
    assert sorted(position) == list(range(4**bits))
    order = np.argsort(position)
    steps = np.abs(np.diff(column[order])) + np.abs(np.diff(row[order]))
    assert (steps == 1).all()


def test_order_follows_the_curve_and_ignores_units():
    column, row = np.divmod(np.random.default_rng(0).permutation(64), 8)
    order = hilbert_order(column.astype(float), row.astype(float), bits=3)
    np.testing.assert_array_equal(order, np.argsort(hilbert_position(column, row, 3)))
    scaled = hilbert_order(column * 1e3 - 7.0, row * 1e-3, bits=3)
    np.testing.assert_array_equal(scaled, order)


def test_bits_tell_near_points_apart():
    x, y = np.array([0.2, 0.1, 0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])
    assert hilbert_order(x, y, bits=1).tolist() == [0, 1, 2, 3]  # ties keep their order
    assert hilbert_order(x, y).tolist() == [2, 1, 0, 3]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_points_at_one_place_keep_their_order(count):
    same = np.full(count, 4.0)
    assert hilbert_order(same, same).tolist() == list(range(count))
