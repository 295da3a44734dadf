"""Vectors of places as a modality."""

import h3
import numpy as np
import pytest

from mora.embeddings import Embeddings
from mora.errors import (
    MissingColumnError,
    MissingFileError,
    PersonalDataError,
    TableError,
)
from mora.modalities.vectors import build_vectors
from mora.personal import mark_personal
from mora.tokens import GridTokens, H3Tokens

CELLS = sorted(h3.grid_disk(h3.latlng_to_cell(40.7, -74.0, 8), 2))
TOKENS = H3Tokens.from_cells(CELLS)


@pytest.fixture
def file(tmp_path):
    """Vectors of five cells, of which four are tokens."""
    own = H3Tokens.from_cells([*CELLS[3:7], h3.latlng_to_cell(0, 0, 8)])
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    Embeddings(own, vectors).write(tmp_path / "v.parquet")
    return own, vectors, tmp_path / "v.parquet"


def test_tokens_get_the_vectors_of_their_places(file):
    own, vectors, path = file
    features = build_vectors(TOKENS, path=path)
    assert features.columns == ("v000", "v001")
    assert features.present.sum() == 4
    for row in np.flatnonzero(features.present):
        expected = vectors[own.find([TOKENS.ids[row]])[0]]
        np.testing.assert_array_equal(features.values[row], expected)


def test_files_without_such_places_are_refused(file, tmp_path):
    with pytest.raises(TableError, match="none of its 5 h3 places is one of 1 grid"):
        build_vectors(GridTokens.from_xy(np.array([[1, 1]])), path=file[2])
    far = H3Tokens.from_cells([h3.latlng_to_cell(10, 10, 7)])
    with pytest.raises(TableError, match="the same resolution"):
        build_vectors(far, path=file[2])
    with pytest.raises(MissingFileError, match="vectors: no file at"):
        build_vectors(TOKENS, path=tmp_path / "none.parquet")


def test_a_table_without_vectors_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"cell": [1]}), tmp_path / "t.parquet")
    with pytest.raises(MissingColumnError, match="embedding"):
        build_vectors(TOKENS, path=tmp_path / "t.parquet")


def test_vectors_of_people_are_refused(file, tmp_path):
    folder = mark_personal(tmp_path / "users", "")
    file[2].rename(folder / "v.parquet")
    with pytest.raises(PersonalDataError):
        build_vectors(TOKENS, path=folder / "v.parquet")
