"""Likeness of fused vectors: every kind of section counts the same."""

import h3
import numpy as np
import pytest

from mora.embeddings import Embeddings, read_embeddings
from mora.explore.explorer_data import write_explorer
from mora.explore.explorer_run import ExplorerRun
from mora.explore.search import PlaceSearch
from mora.likeness import likeness_of
from mora.nearest import unit_rows
from mora.tokens import H3Tokens, ZoneTokens

SECTIONS = {"own poi": (0, 2), "own people": (2, 3), "movement": (3, 6)}
RNG = np.random.default_rng(0)
VECTORS = RNG.normal([5, 0, 0, 1, 1, 1], [1, 2, 0.1, 30, 20, 10], (40, 6)).astype("f4")


def embeddings(sections, tokens=None):
    tokens = tokens or ZoneTokens.from_zones([f"{i:02}" for i in range(len(VECTORS))])
    return Embeddings(tokens, VECTORS, None, {"sections": sections})


def test_each_kind_has_mean_0_and_variance_1():
    made = likeness_of(VECTORS, SECTIONS).of(VECTORS)
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-5)
    assert made[:, :3].var(axis=0).sum() == pytest.approx(1, rel=1e-4)
    assert made[:, 3:].var(axis=0).sum() == pytest.approx(1, rel=1e-4)


def test_columns_of_a_kind_keep_their_ratio():
    made = likeness_of(VECTORS, SECTIONS).of(VECTORS)
    for kind in (slice(0, 3), slice(3, 6)):
        ratio = made[:, kind].std(axis=0) / VECTORS[:, kind].std(axis=0)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


@pytest.mark.parametrize("sections", [{}, {"aligned": (0, 6)}])
def test_vectors_of_one_kind_stay_as_they_are(sections):
    np.testing.assert_array_equal(likeness_of(VECTORS, sections).of(VECTORS), VECTORS)


def test_a_kind_that_does_not_vary_counts_for_nothing():
    flat = VECTORS.copy()
    flat[:, 3:] = 7
    made = likeness_of(flat, SECTIONS).of(flat)
    assert np.isfinite(made).all()
    assert not made[:, 3:].any()


def test_search_and_embeddings_agree_and_see_both_kinds():
    made, plain = embeddings(SECTIONS), embeddings({})
    first, _ = made.nearest(VECTORS[:5], k=8)
    assert first[:, 0].tolist() == list(range(5))
    index = PlaceSearch(made)
    for row in range(5):
        found = index.nearest(VECTORS[row].astype(float), 8)
        np.testing.assert_array_equal(found.tokens, first[row])
        others = index.nearest(made.tokens.names()[row], 7)
        np.testing.assert_array_equal(others.tokens, first[row, 1:])
    own = np.abs(VECTORS[first, :3] - VECTORS[:5, None, :3]).mean()
    far, _ = plain.nearest(VECTORS[:5], k=8)
    assert own < np.abs(VECTORS[far, :3] - VECTORS[:5, None, :3]).mean()


def test_sections_survive_the_file(tmp_path):
    made = embeddings(SECTIONS)
    made.write(tmp_path / "e.parquet")
    again = read_embeddings(tmp_path / "e.parquet")
    np.testing.assert_array_equal(again.comparable(), made.comparable())


def test_the_explorer_compares_the_same(tmp_path):
    disk = h3.grid_disk(h3.latlng_to_cell(48.86, 2.35, 6), 4)
    made = embeddings(SECTIONS, H3Tokens.from_cells(list(disk)[: len(VECTORS)]))
    folder = write_explorer(ExplorerRun("likeness", made), tmp_path)
    shape = (len(VECTORS), -1)
    shown = np.fromfile(folder / "vectors.i8", np.int8).reshape(shape).astype(float)
    cosine = unit_rows(shown) @ unit_rows(shown).T
    wanted = unit_rows(made.comparable())
    np.testing.assert_allclose(cosine, wanted @ wanted.T, atol=0.03)
