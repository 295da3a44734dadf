"""Locations and places, both ways."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mora.errors import MoraError, RunError, UnknownTokenError
from mora.tokens import GridTokens, ZoneTokens
from mora.trajectories.bert.vocabulary import (
    MASK,
    SPECIAL,
    UNKNOWN,
    build_vocabulary,
    read_vocabulary,
)
from mora.trajectories.events import MASKED


@pytest.fixture
def tokens():
    return GridTokens.from_xy(np.array([[1, 1], [1, 2], [2, 1], [3, 2], [4, 4]]))


def test_compact_numbers_visited_tokens_after_the_special_ones(tokens):
    vocabulary = build_vocabulary(tokens, np.array([3, 1, MASKED, 3]))
    assert len(vocabulary) == SPECIAL + 2
    np.testing.assert_array_equal(
        vocabulary.encode(np.array([1, 3, 0, MASKED])), [3, 4, UNKNOWN, MASK]
    )
    np.testing.assert_array_equal(
        vocabulary.decode(np.arange(5)), [MASKED, MASKED, MASKED, 1, 3]
    )
    np.testing.assert_array_equal(vocabulary.places(), [False] * 3 + [True] * 2)


def test_full_is_the_released_id(tokens):
    vocabulary = build_vocabulary(tokens, np.array([0]), "full")
    xy = tokens.xy()
    rows = np.arange(len(tokens))
    np.testing.assert_array_equal(
        vocabulary.encode(rows), 200 * (xy[:, 0] - 1) + xy[:, 1] - 1
    )
    np.testing.assert_array_equal(vocabulary.decode(vocabulary.encode(rows)), rows)
    assert len(vocabulary) == 40_000
    assert vocabulary.places().sum() == len(tokens)  # others cannot be decoded


def test_repeats_and_order_do_not_matter(tokens):
    one = build_vocabulary(tokens, np.array([4, 2, 0]))
    other = build_vocabulary(tokens, np.array([0, 0, 2, 4, 2]))
    np.testing.assert_array_equal(one.token_of, other.token_of)


@pytest.mark.parametrize("kind", ["compact", "full"])
def test_reads_back_what_it_wrote(tokens, tmp_path, kind):
    vocabulary = build_vocabulary(tokens, np.array([1, 3]), kind)
    vocabulary.write(tmp_path / "vocabulary.parquet")
    again = read_vocabulary(tmp_path / "vocabulary.parquet", tokens)
    assert again.kind == kind
    np.testing.assert_array_equal(again.token_of, vocabulary.token_of)
    np.testing.assert_array_equal(again.location_of, vocabulary.location_of)


def test_reads_back_among_more_places(tokens, tmp_path):
    corner = tokens.encode_xy(np.array([[4, 4]]))
    build_vocabulary(tokens, corner).write(tmp_path / "v.parquet")
    more = GridTokens.from_xy(np.array([[9, 9], [4, 4], [1, 1]]))
    again = read_vocabulary(tmp_path / "v.parquet", more)
    np.testing.assert_array_equal(more.xy()[again.decode(np.array([3]))], [[4, 4]])
    fewer = GridTokens.from_xy(np.array([[9, 9]]))
    with pytest.raises(UnknownTokenError, match="1 of 1 places are not among"):
        read_vocabulary(tmp_path / "v.parquet", fewer)


def test_refuses_what_it_cannot_number(tokens, tmp_path):
    with pytest.raises(MoraError, match="none of 2 events has a known place"):
        build_vocabulary(tokens, np.array([MASKED, MASKED]))
    zones = ZoneTokens.from_zones(np.array(["a", "b"]))
    with pytest.raises(MoraError, match="these are 2 zone tokens"):
        build_vocabulary(zones, np.array([0]), "full")
    full = build_vocabulary(tokens, np.array([0]), "full")
    with pytest.raises(MoraError, match="1 of 2 events are masked"):
        full.encode(np.array([0, MASKED]))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(RunError, match="no vocabulary"):
        read_vocabulary(tmp_path / "other.parquet", tokens)
