"""What every kind of token holds, and what each kind adds."""

import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mora.errors import MoraError, NoGeometryError, UnknownTokenError
from mora.geometry import great_circle_km
from mora.tokens import (
    GridTokens,
    H3Tokens,
    ZoneTokens,
    parse_cells,
    read_tokens,
    tokens_from_table,
)

CENTRE = h3.latlng_to_cell(35.68, 139.76, 7)
PENTAGON = h3.get_pentagons(4)[3]


def disk(centre, rings):
    return H3Tokens.from_cells(h3.grid_disk(centre, rings))


def scattered_grid():
    ids = np.random.default_rng(0).choice(35, 25, replace=False)
    xy = np.column_stack(np.divmod(ids, 5)) + 1
    return GridTokens.from_xy(xy, width=7, height=5, cell_km=2.0)


def squares(columns=4, rows=3):
    x, y = np.divmod(np.arange(columns * rows), rows)
    return shapely.box(x + 10, y + 50, x + 11, y + 51)


def zones():
    names = [f"zone {'x' * (i % 5)}{i}" for i in range(12)]
    return ZoneTokens.from_zones(names, squares())


def named_zones():
    return ZoneTokens.from_zones(["b", "abcdef", "c"])


PLACED = [
    pytest.param(disk(CENTRE, 2), id="h3"),
    pytest.param(disk(PENTAGON, 2), id="h3 pentagon"),
    pytest.param(zones(), id="zone"),
]
WITH_NEIGHBOURS = [*PLACED, pytest.param(scattered_grid(), id="grid")]
EVERY = [*WITH_NEIGHBOURS, pytest.param(named_zones(), id="zone without outlines")]

every_kind = pytest.mark.parametrize("tokens", EVERY)
every_kind_with_neighbours = pytest.mark.parametrize("tokens", WITH_NEIGHBOURS)
every_placed_kind = pytest.mark.parametrize("tokens", PLACED)


def stranger(tokens):
    """Name a place that is not among the tokens."""
    names = {
        "h3": h3.latlng_to_cell(-33.9, 151.2, 7),
        "grid": 34_000,
        "zone": "nowhere",
    }
    return names[tokens.kind]


# What every kind holds


@every_kind
@given(places=st.lists(st.integers(0, 10**6), max_size=30))
@settings(deadline=None, max_examples=30)
def test_encode_inverts_decode(tokens, places):
    rows = np.array(places, dtype=np.int64) % len(tokens)
    ids = tokens.decode(rows)
    np.testing.assert_array_equal(tokens.encode(ids), rows)
    np.testing.assert_array_equal(tokens.decode(tokens.encode(ids)), ids)


@every_kind
def test_find_gives_minus_one_for_strangers(tokens):
    ids = [tokens.name(tokens.ids[-1]), stranger(tokens), tokens.name(tokens.ids[0])]
    assert tokens.find(ids).tolist() == [len(tokens) - 1, -1, 0]
    assert tokens.find([]).tolist() == []


@every_kind
def test_strangers_are_named(tokens):
    ids = [tokens.name(tokens.ids[0]), *[stranger(tokens)] * 5]
    message = (
        rf"^5 of 6 places are not among the {len(tokens)} known {tokens.kind} tokens "
        rf"\(first: ({stranger(tokens)}, ){{3}}\.\.\.\)\. Check the resolution"
    )
    with pytest.raises(UnknownTokenError, match=message) as caught:
        tokens.encode(ids)
    assert caught.value.missing == [str(stranger(tokens))] * 5


@every_kind
def test_names_are_text_in_row_order_and_can_be_looked_up(tokens):
    names = tokens.names()
    assert all(type(name) is str for name in names)
    assert len(set(names)) == len(names) == len(tokens)
    assert tokens.encode(names).tolist() == list(range(len(tokens)))


@every_kind
def test_what_is_written_is_read_back(tokens, tmp_path):
    tokens.write(tmp_path / "tokens.parquet")
    again = read_tokens(tmp_path / "tokens.parquet")
    assert type(again) is type(tokens)
    assert again.ids.dtype == tokens.ids.dtype
    assert again.names() == tokens.names()
    assert again.to_table().equals(tokens.to_table(), check_metadata=True)


@every_kind
def test_written_again_the_bytes_are_the_same(tokens, tmp_path):
    tokens.write(tmp_path / "a")
    tokens.write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@every_kind_with_neighbours
def test_neighbours_are_each_pair_once_in_order(tokens):
    pairs = list(map(tuple, tokens.neighbours().T.tolist()))
    assert len(pairs) > len(tokens) / 2
    assert pairs == sorted(set(pairs))
    assert all(0 <= first < second < len(tokens) for first, second in pairs)


@every_kind_with_neighbours
def test_neighbours_are_those_whose_outlines_share_a_side(tokens):
    outlines = tokens.polygons()
    grown = shapely.buffer(outlines, 1e-7)
    first, second = np.triu_indices(len(tokens), 1)
    common = shapely.length(shapely.intersection(grown[first], grown[second]))
    expected = np.stack([first, second])[:, common > 1e-4]
    np.testing.assert_array_equal(tokens.neighbours(), expected)


@every_kind_with_neighbours
def test_distance_is_symmetric_and_zero_to_itself(tokens):
    every = np.arange(len(tokens))
    first, second = np.meshgrid(every, every)
    there = tokens.distance_km(first.ravel(), second.ravel())
    back = tokens.distance_km(second.ravel(), first.ravel())
    np.testing.assert_allclose(there, back, rtol=1e-12)
    matrix = there.reshape(len(every), len(every))
    assert (np.diag(matrix) == 0).all()
    assert (matrix[~np.eye(len(every), dtype=bool)] > 0).all()


@every_placed_kind
def test_the_middle_of_a_token_lies_in_it(tokens):
    np.testing.assert_array_equal(
        tokens.locate(tokens.centroids()), np.arange(len(tokens))
    )
    points = shapely.points(tokens.centroids())
    assert shapely.contains(tokens.polygons(), points).all()


@every_placed_kind
def test_points_outside_all_tokens_are_nowhere(tokens):
    points = np.array([[151.2, -33.9], tokens.centroids()[3]])
    assert tokens.locate(points).tolist() == [-1, 3]
    assert tokens.locate(points[:0]).tolist() == []


@every_placed_kind
def test_distance_of_placed_tokens_is_that_of_their_middles(tokens):
    middles = tokens.centroids()
    first, second = np.array([0, 1, 2]), np.array([5, 1, 0])
    expected = great_circle_km(middles[first], middles[second])
    np.testing.assert_allclose(tokens.distance_km(first, second), expected)


@pytest.mark.parametrize("tokens", [zones(), scattered_grid(), named_zones()])
def test_only_cells_of_h3_have_parents(tokens):
    message = f"{tokens.kind} tokens have no known H3 parent at level 3.*Use H3 tokens"
    with pytest.raises(NoGeometryError, match=message):
        tokens.parents(3)


def test_a_table_of_another_kind_is_refused(tmp_path):
    pq.write_table(pa.table({"cell": [1]}), tmp_path / "a.parquet")
    with pytest.raises(MoraError, match=r"a.parquet has token kind ''; expected h3,"):
        read_tokens(tmp_path / "a.parquet")
    table = pa.table({"cell": [1]}).replace_schema_metadata({"mora:kind": "s2"})
    with pytest.raises(MoraError, match="here has token kind 's2'"):
        tokens_from_table(table, "here")


# H3 cells


def test_cells_ascend_whatever_their_order_and_spelling():
    cells = h3.grid_disk(CENTRE, 2)
    as_numbers = [h3.str_to_int(cell) for cell in cells]
    expected = sorted(as_numbers)
    spellings = [cells, cells[::-1], as_numbers * 2, [c.upper() for c in cells]]
    for given_cells in (*spellings, np.array(as_numbers, np.uint64), np.array(cells)):
        assert H3Tokens.from_cells(given_cells).ids.tolist() == expected


def test_names_of_cells_are_those_h3_tools_print():
    tokens = H3Tokens.from_cells([CENTRE])
    assert tokens.names() == [CENTRE]
    assert (tokens.resolution, tokens.kind) == (7, "h3")


def test_geometry_of_cells_agrees_with_the_h3_library():
    tokens = disk(PENTAGON, 1)
    middles = [h3.cell_to_latlng(name)[::-1] for name in tokens.names()]
    np.testing.assert_allclose(tokens.centroids(), middles)
    areas = [h3.cell_area(name, unit="km^2") for name in tokens.names()]
    np.testing.assert_allclose(tokens.areas_km2(), areas)
    for name, outline in zip(tokens.names(), tokens.polygons(), strict=True):
        corners = [(lon, lat) for lat, lon in h3.cell_to_boundary(name)]
        assert shapely.equals_exact(
            shapely.normalize(outline),
            shapely.normalize(shapely.Polygon(corners)),
            tolerance=1e-9,
        )


def test_neighbours_of_cells_agree_with_the_h3_library():
    tokens = disk(PENTAGON, 2)
    names = tokens.names()
    expected = [
        [a, b]
        for a, name in enumerate(names)
        for b in range(a + 1, len(names))
        if h3.are_neighbor_cells(name, names[b])
    ]
    assert tokens.neighbours().T.tolist() == expected


def test_parents_agree_with_the_h3_library():
    tokens = disk(CENTRE, 3)
    for level in (2, 6, 7):
        expected = [h3.cell_to_parent(name, level) for name in tokens.names()]
        got = [h3.int_to_str(parent) for parent in tokens.parents(level)]
        assert got == expected


def test_a_lonely_cell_has_no_neighbours():
    assert H3Tokens.from_cells([CENTRE]).neighbours().shape == (2, 0)


def test_no_cells_make_no_tokens():
    with pytest.raises(MoraError, match="no cells to build tokens from"):
        H3Tokens.from_cells([])


def test_cells_of_several_levels_are_refused():
    mixed = [CENTRE, h3.cell_to_parent(CENTRE, 5)]
    with pytest.raises(MoraError, match=r"H3 levels \[5, 7\]; expected one level"):
        H3Tokens.from_cells(mixed)


@pytest.mark.parametrize("bad", [5, -1, "zz", "", None, "852834"])
def test_values_that_are_no_cells_are_shown(bad):
    good = h3.str_to_int(CENTRE) if isinstance(bad, int) else CENTRE
    message = rf"1 of 2 values are not H3 cells \(first: {bad}\); expected 64-bit"
    with pytest.raises(MoraError, match=message):
        parse_cells([bad, good])


# Cells of a square grid


def test_grid_ids_follow_humob():
    # 200 (x - 1) + (y - 1)
    xy = np.array([[1, 1], [3, 5], [200, 200]])
    tokens = GridTokens.from_xy(xy)
    assert sorted(tokens.ids.tolist()) == [0, 404, 39_999]
    np.testing.assert_array_equal(tokens.xy()[tokens.encode_xy(xy)], xy)


def test_rows_of_a_grid_follow_single_steps():
    xy = np.stack(np.meshgrid(np.arange(1, 17), np.arange(1, 17)), axis=-1)
    tokens = GridTokens.from_xy(xy.reshape(-1, 2), 16, 16)
    assert (np.abs(np.diff(tokens.xy(), axis=0)).sum(axis=1) == 1).all()


def test_width_bounds_x_height_the_numbering_and_cell_km_the_distances():
    xy = np.array([[1, 2], [3, 1]])
    tokens = GridTokens.from_xy(xy, width=3, height=2, cell_km=0.5)
    ends = tokens.encode_xy(xy)[:1], tokens.encode_xy(xy)[1:]
    assert tokens.distance_km(*ends) == pytest.approx([0.5 * 5**0.5])
    assert tokens.areas_km2().tolist() == [0.25, 0.25]
    doubled = GridTokens.from_xy(xy, width=3, height=2, cell_km=1.0)
    assert doubled.distance_km(*ends) == pytest.approx([5**0.5])
    assert doubled.areas_km2().tolist() == [1.0, 1.0]
    taller = GridTokens.from_xy(xy, width=3, height=9)
    assert sorted(taller.ids.tolist()) == [1, 18]
    with pytest.raises(MoraError, match="1 of 2 cells lie outside the 2 x 2 grid"):
        GridTokens.from_xy(xy, width=2, height=2)


def test_the_last_of_a_column_does_not_touch_the_first_of_the_next():
    xy = np.array([[1, 3], [2, 1], [2, 2]])  # ids 2, 3 and 4
    tokens = GridTokens.from_xy(xy, width=2, height=3)
    beside = tokens.decode(tokens.neighbours().ravel())
    assert sorted(beside.tolist()) == [3, 4]


@pytest.mark.parametrize("cell", [[0, 1], [1, 0], [8, 1], [1, 6]])
def test_cells_outside_the_grid_are_refused(cell):
    message = rf"1 of 2 cells lie outside the 7 x 5 grid \(first: \[\[{cell[0]}, "
    xy = np.array([[1, 1], cell])
    with pytest.raises(MoraError, match=message):
        GridTokens.from_xy(xy, width=7, height=5)
    with pytest.raises(MoraError, match=message):
        scattered_grid().encode_xy(xy)


def test_a_grid_of_no_cells_is_refused():
    with pytest.raises(MoraError, match="no cells to build tokens from"):
        GridTokens.from_xy(np.zeros((0, 2), np.int64))


def test_a_grid_does_not_know_where_it_lies():
    tokens = scattered_grid()
    with pytest.raises(NoGeometryError, match=r"grid tokens have no known lon/lat"):
        tokens.centroids()
    with pytest.raises(NoGeometryError, match=r"place for 4 points.*Use distance_km"):
        tokens.locate(np.zeros((4, 2)))


# Zones


def test_near_zones_get_near_rows():
    tokens = ZoneTokens.from_zones([str(i) for i in range(64)], squares(8, 8))
    steps = great_circle_km(tokens.centroids()[1:], tokens.centroids()[:-1])
    assert steps.max() < 112  # one degree: always the next square


def test_order_of_the_input_does_not_matter():
    names, shuffle = zones().ids, np.random.default_rng(0).permutation(12)
    again = ZoneTokens.from_zones(names[shuffle], zones().outlines[shuffle])
    assert again.names() == zones().names()
    assert shapely.equals(again.polygons(), zones().polygons()).all()


def test_zones_without_outlines_are_ordered_by_name_and_have_no_place():
    tokens = named_zones()
    assert tokens.names() == ["abcdef", "b", "c"]
    questions = [tokens.polygons, tokens.centroids, tokens.areas_km2, tokens.neighbours]
    for question in (*questions, lambda: tokens.locate(np.zeros((1, 2)))):
        with pytest.raises(
            NoGeometryError, match=r"zone tokens have no known outlines"
        ):
            question()


def test_where_zones_overlap_the_first_row_is_found():
    boxes = shapely.box([0.0, 1.0], 0, [2.0, 3.0], 1)
    tokens = ZoneTokens.from_zones(["a", "b"], boxes)
    points = np.array([[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [3.5, 0.5]])
    token = tokens.locate(points)
    assert token[1] == 0
    assert set(token[[0, 2]]) == {0, 1}
    assert token[3] == -1


def test_long_names_are_not_cut_to_the_longest_known():
    tokens = ZoneTokens.from_zones(["a", "ab"])
    assert tokens.find(["abc", "ab"]).tolist() == [-1, 1]


@pytest.mark.parametrize("names", [["a", "b", "a"], []])
def test_zones_need_names_of_their_own(names):
    with pytest.raises(MoraError, match=rf"{len(names)} zones with . names that occur"):
        ZoneTokens.from_zones(names)


@pytest.mark.parametrize(
    ("outlines", "message"),
    [
        ([squares()[0], None], "1 of 2 outlines are empty, for 2 zones"),
        ([squares()[0], shapely.Polygon()], "1 of 2 outlines are empty"),
        ([squares()[0]], "0 of 1 outlines are empty, for 2 zones"),
    ],
)
def test_each_zone_needs_an_outline(outlines, message):
    with pytest.raises(MoraError, match=message):
        ZoneTokens.from_zones(["a", "b"], np.array(outlines, dtype=object))


def test_some_tokens_are_themselves_in_their_order():
    cells = H3Tokens.from_cells(["871f18ace" + end for end in ("ffffff",)])
    assert cells.take(np.array([0])).names() == cells.names()
    squares = [shapely.box(x, 0, x + 1, 1) for x in range(4)]
    zones = ZoneTokens.from_zones(["a", "b", "c", "d"], np.array(squares, object))
    part = zones.take(np.array([1, 3]))
    assert part.ids.tolist() == zones.ids[[1, 3]].tolist()
    assert (part.polygons() == zones.polygons()[[1, 3]]).all()
    assert ZoneTokens.from_zones(["a", "b"]).take(np.array([1])).names() == ["b"]
    grid = GridTokens.from_xy(np.array([[1, 1], [2, 5], [3, 9]]), 10, 10)
    assert grid.take(np.array([0, 2])).ids.tolist() == grid.ids[[0, 2]].tolist()
