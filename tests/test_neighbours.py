import h3
import numpy as np
import pytest
import shapely

from mora.errors import NoGeometryError
from mora.graph.neighbours import build_neighbour_graph
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

# Four unit squares in a block and one far away.
SQUARES = shapely.box(
    [0, 0, 1, 1, 9], [0, 1, 0, 1, 9], [1, 1, 2, 2, 10], [1, 2, 1, 2, 10]
)


def kinds():
    grid = np.column_stack(np.divmod(np.arange(30), 6)) + 1
    return [
        H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(10, 20, 5), 3)),
        GridTokens.from_xy(grid, width=5, height=6),
        ZoneTokens.from_zones(list("abcde"), SQUARES),
    ]


def test_a_block_of_squares_by_hand():
    tokens = ZoneTokens.from_zones(list("abcde"), SQUARES)
    graph = build_neighbour_graph(tokens)
    joined = {
        frozenset(tokens.ids[[i, j]])
        for i, j in zip(graph.rows(), graph.neighbour, strict=True)
    }
    assert joined == set(map(frozenset, ["ab", "cd", "ac", "bd"]))
    assert graph.weight.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("tokens", kinds())
def test_edges_are_the_pairs_that_touch(tokens):
    graph = build_neighbour_graph(tokens)
    first, second = tokens.neighbours()
    expected = np.zeros((len(tokens), len(tokens)))
    expected[first, second] = expected[second, first] = 1
    np.testing.assert_array_equal(graph.symmetric().toarray(), expected)
    np.testing.assert_array_equal(graph.outflow, expected.sum(axis=1) / 2)
    assert graph.weight.dtype == np.uint32
    assert not graph.within.any()
    assert len(graph.users) == 0


def test_an_inner_cell_has_six_neighbours():
    graph = build_neighbour_graph(kinds()[0])
    degree, count = np.unique(graph.degree(), return_counts=True)
    assert dict(zip(degree, count, strict=True)) == {3: 6, 4: 12, 6: 19}


def test_a_token_without_neighbours_keeps_an_empty_row():
    tokens = ZoneTokens.from_zones(list("abcde"), SQUARES)
    graph = build_neighbour_graph(tokens)
    assert graph.degree()[tokens.encode(["e"])].tolist() == [0]
    alone = build_neighbour_graph(H3Tokens.from_cells([h3.latlng_to_cell(1, 2, 5)]))
    assert (len(alone), alone.edges) == (1, 0)


def test_zones_without_outlines_have_no_neighbours():
    with pytest.raises(NoGeometryError, match="no known outlines"):
        build_neighbour_graph(ZoneTokens.from_zones(["a", "b"]))
