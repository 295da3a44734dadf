import sys

import h3
import numpy as np
import pytest
import shapely

from mora import nearest
from mora.embeddings import Embeddings
from mora.errors import MissingExtraError, MoraError, NoGeometryError, UnknownTokenError
from mora.explore.search import PlaceSearch
from mora.geometry import bounding_box
from mora.nearest import along_from, highest, most_similar, unit_rows
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

RNG = np.random.default_rng(0)


def of_cells(dim=6, rings=4, vectors=None):
    tokens = H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(48.86, 2.35, 6), rings))
    if vectors is None:
        vectors = np.random.default_rng(1).normal(size=(len(tokens), dim))
    return Embeddings(tokens, vectors.astype(np.float32))


def of_four():
    """Four zones: north, east, between the two, and south."""
    tokens = ZoneTokens.from_zones(["a", "b", "c", "d"])
    vectors = [[0, 2], [3, 0], [1, 1], [0, -1]]
    return Embeddings(tokens, np.array(vectors, dtype=np.float32))


def names(index, found):
    return [index.tokens.names()[row] for row in found.tokens]


def dense(embeddings, query):
    """All places by falling cosine, one by one."""
    cosine = [
        v @ query / (np.linalg.norm(v) * np.linalg.norm(query))
        for v in embeddings.vectors.astype(np.float64)
    ]
    return sorted(range(len(cosine)), key=lambda row: -cosine[row]), cosine


# The nearest rows


def test_cosines_by_hand():
    found = PlaceSearch(of_four()).nearest(np.array([0.0, 5.0]), 4)
    np.testing.assert_array_equal(found.tokens, [0, 2, 1, 3])
    np.testing.assert_allclose(found.scores, [1, np.sqrt(0.5), 0, -1], atol=1e-7)


@pytest.mark.parametrize("k", [1, 7, 61, 100])
def test_nearest_are_those_of_a_dense_search(k):
    embeddings, query = of_cells(), RNG.normal(size=6)
    order, cosine = dense(embeddings, query)
    found = PlaceSearch(embeddings).nearest(query, k)
    assert found.tokens.tolist() == order[:k]
    np.testing.assert_allclose(found.scores, [cosine[r] for r in order[:k]], atol=1e-6)


@pytest.mark.parametrize(("queries", "places"), [(1, 1), (2, 7), (3, 60)])
def test_blocks_do_not_change_the_answer(monkeypatch, queries, places):
    unit = unit_rows(of_cells().vectors)
    asked = RNG.normal(size=(5, 6)).astype(np.float32)
    whole = most_similar(unit, asked, 9)
    monkeypatch.setattr(nearest, "QUERY_BLOCK", queries)
    monkeypatch.setattr(nearest, "PLACE_BLOCK", places)
    parts = most_similar(unit, asked, 9)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], atol=1e-6)


@pytest.mark.parametrize("block", [3, 100])
def test_ties_are_answered_in_token_order(monkeypatch, block):
    monkeypatch.setattr(nearest, "PLACE_BLOCK", block)
    unit = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)
    query = np.array([[1, 0]], dtype=np.float32)
    for k, expected in [(3, [0, 2, 4]), (5, [0, 2, 4, 5, 1])]:
        assert most_similar(unit, query, k)[0][0].tolist() == expected


def test_highest_by_hand():
    columns, values = highest(np.array([[1.0, 3.0, 3.0, 2.0], [4.0, 0.0, 0.0, 0.0]]), 2)
    np.testing.assert_array_equal(columns, [[1, 2], [0, 1]])
    np.testing.assert_array_equal(values, [[3, 3], [4, 0]])


def test_length_of_the_query_does_not_matter():
    index, query = PlaceSearch(of_cells()), RNG.normal(size=6)
    short, long = index.nearest(query, 5), index.nearest(query * 1000, 5)
    np.testing.assert_array_equal(short.tokens, long.tokens)


def test_a_query_of_zeros_is_equally_far_from_all():
    found = PlaceSearch(of_four()).nearest(np.zeros(2), 3)
    assert found.tokens.tolist() == [0, 1, 2]
    assert found.scores.tolist() == [0, 0, 0]


def test_zero_rows_stay_zero():
    unit = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0]])


# Places


def test_a_place_is_not_among_its_answers():
    index = PlaceSearch(of_four())
    assert names(index, index.nearest("c", 10)) == ["a", "b", "d"]
    assert len(index.nearest("c", 2)) == 2
    assert (len(index), index.dim) == (4, 2)


def test_cells_are_asked_as_text_or_numbers():
    embeddings = of_cells()
    index, cell = PlaceSearch(embeddings), embeddings.tokens.ids[5]
    by_number, by_name = index.nearest(cell), index.nearest(f"{cell:x}")
    np.testing.assert_array_equal(by_number.tokens, by_name.tokens)


def test_arithmetic_by_hand():
    index = PlaceSearch(of_four())
    # a + b points between the two, where c is.
    found = index.combined(["a", "b"])
    assert names(index, found) == ["c", "d"]
    np.testing.assert_allclose(found.scores, [1, -np.sqrt(0.5)], atol=1e-6)
    # c - a leaves (0.71, -0.29): east, and then south.
    assert names(index, index.combined(["c"], ["a"])) == ["b", "d"]


def test_sets_count_by_their_mean_and_by_direction_alone():
    embeddings = of_four()
    scale = np.array([[9], [1], [2], [1]], dtype=np.float32)
    longer = Embeddings(embeddings.tokens, embeddings.vectors * scale)
    first = PlaceSearch(embeddings).combined(["a", "b"], ["d"])
    for index, plus in [
        (PlaceSearch(longer), ["b", "a"]),
        (PlaceSearch(embeddings), ["a", "b", "a", "b"]),
    ]:
        same = index.combined(plus, ["d"])
        np.testing.assert_allclose(first.scores, same.scores, atol=1e-6)


def test_no_place_to_be_like_is_refused():
    with pytest.raises(MoraError, match="plus has 0 places; expected at least one"):
        PlaceSearch(of_four()).combined([], ["a"])


# Areas


def test_answers_come_from_within_an_area():
    embeddings = of_cells()
    index, query = PlaceSearch(embeddings), RNG.normal(size=6)
    middles = embeddings.tokens.centroids()
    west = bounding_box(-10, 40, float(np.median(middles[:, 0])), 60)
    found = index.nearest(query, 1000, within=west)
    inside = [p.within(west) for p in shapely.points(middles)]
    assert sorted(found.tokens) == np.flatnonzero(inside).tolist()
    order, _ = dense(embeddings, query)
    assert found.tokens.tolist() == [row for row in order if inside[row]]


def test_answers_come_from_a_set_of_places():
    index = PlaceSearch(of_four())
    assert names(index, index.nearest("a", 5, within=["d", "b", "a"])) == ["b", "d"]
    assert names(index, index.combined(["a"], k=5, within=["c"])) == ["c"]


@pytest.mark.parametrize("within", [shapely.box(0, 0, 1, 1), shapely.Polygon(), []])
def test_an_area_without_places_gives_none(within):
    assert len(PlaceSearch(of_cells()).nearest(RNG.normal(size=6), 3, within)) == 0


def test_a_box_may_cross_the_antimeridian():
    box = bounding_box(170, -10, -170, 10)
    assert shapely.contains_xy(box, [175, -175, 0], [0, 0, 0]).tolist() == [1, 1, 0]
    assert bounding_box(0, 1, 2, 3).bounds == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "box", [(0, 1, 0, 2), (0, 2, 1, 1), (0, 0, 181, 1), (-181, 0, 1, 1), (0, -91, 1, 1)]
)
def test_other_boxes_are_refused(box):
    with pytest.raises(MoraError, match="expected west, south, east, north in degrees"):
        bounding_box(*box)


def test_places_without_geometry_have_no_area():
    xy = np.column_stack(np.divmod(np.arange(12), 4)) + 1
    tokens = GridTokens.from_xy(xy, width=3, height=4, cell_km=0.5)
    index = PlaceSearch(Embeddings(tokens, np.eye(12, dtype=np.float32)))
    with pytest.raises(NoGeometryError):
        index.nearest(np.ones(12), 1, within=shapely.box(0, 0, 1, 1))


# What cannot be asked


def test_unknown_places_are_refused():
    index = PlaceSearch(of_four())
    for ask in (
        lambda: index.nearest("z"),
        lambda: index.combined(["a"], ["z"]),
        lambda: index.nearest("a", within=["z"]),
    ):
        with pytest.raises(UnknownTokenError, match="1 of 1 places are not among"):
            ask()


def test_fewer_than_one_answer_is_refused():
    with pytest.raises(MoraError, match="k must be at least 1, got 0"):
        PlaceSearch(of_four()).nearest("a", 0)


@pytest.mark.parametrize("query", [np.ones(3), np.array([np.nan, 1])])
def test_vectors_of_another_space_are_refused(query):
    with pytest.raises(MoraError, match="expected 2 finite numbers"):
        PlaceSearch(of_four()).nearest(query)


def test_vectors_that_are_not_finite_are_refused():
    vectors = of_four().vectors.copy()
    vectors[1, 0] = np.nan
    broken = Embeddings(of_four().tokens, vectors)
    with pytest.raises(MoraError, match=r"1 of 4 vectors are not finite \(first: b\)"):
        PlaceSearch(broken)


def test_words_need_an_encoder():
    with pytest.raises(MoraError, match="this index knows no words"):
        PlaceSearch(of_four()).words("airport")
    with pytest.raises(MoraError, match="this index knows no words"):
        PlaceSearch(of_four()).text_match("airport")


def test_the_graph_finds_most_of_the_nearest():
    pytest.importorskip("faiss", reason="needs the extra `ann`")
    embeddings = of_cells()
    exact = PlaceSearch(embeddings)
    graph = PlaceSearch(embeddings, approximate=True)
    place = embeddings.tokens.names()[7]
    first, second = (search.nearest(place, 10) for search in (exact, graph))
    assert len(set(first.tokens) & set(second.tokens)) >= 9
    assert embeddings.tokens.find([place])[0] not in second.tokens
    np.testing.assert_allclose(second.scores, np.sort(second.scores)[::-1])
    area = bounding_box(-180, -90, 180, 90)
    within = graph.nearest(place, 10, area)  # exact
    np.testing.assert_array_equal(within.tokens, exact.nearest(place, 10, area).tokens)


def test_the_graph_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"faiss-cpu.*mora\[ann\]"):
        PlaceSearch(of_four(), approximate=True)


def test_cosines_seen_from_a_point():
    rows = np.array([[3.0, 4], [1, 1], [0, 0], [np.nan, 0]])
    got = along_from(rows, np.array([1.0, 1]), np.array([0.0, 1]))
    np.testing.assert_allclose(got[0], 3 / np.sqrt(13))
    assert got[1] == 0
    np.testing.assert_allclose(got[2], -np.sqrt(0.5))
    assert np.isnan(got[3])
