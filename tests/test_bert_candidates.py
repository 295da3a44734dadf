"""Where a user may be, from the past of the window alone; and which place is chosen."""

import numpy as np
import pytest
import torch
from bert_events import grid, regular_events, tiny

from mora.errors import MoraError
from mora.trajectories.bert.candidates import CandidateConfig, CandidateFinder
from mora.trajectories.bert.decoding import DecodingConfig, decode
from mora.trajectories.bert.inputs import NO_CANDIDATE
from mora.trajectories.bert.vocabulary import build_vocabulary
from mora.trajectories.bert.windows import WindowConfig, build_windows
from mora.trajectories.events import plane_coordinates
from mora.trajectories.humob.medoid import MedoidOptions, histogram_weights


@pytest.fixture
def events():
    return regular_events()


@pytest.fixture
def vocabulary(events):
    return build_vocabulary(events.tokens, events.token)


def find(events, vocabulary, rows, **config):
    windows, _ = build_windows(
        events, vocabulary, tiny(), WindowConfig(window_stride=9)
    )
    finder = CandidateFinder(vocabulary, 48, CandidateConfig(**config))
    return windows, finder.find(windows, np.asarray(rows))


def test_candidates_are_the_places_before_the_window(events, vocabulary):
    rows = np.array([5, 0, 13])
    windows, found = find(events, vocabulary, rows)
    for row, locations in zip(rows, found.locations, strict=True):
        target = windows.target[row]
        start = events.offsets[events.user_rows()[target]]
        past = vocabulary.encode(np.unique(events.token[start:target]))
        np.testing.assert_array_equal(locations[locations != NO_CANDIDATE], past)


def test_shares_are_those_of_the_medoid(events, vocabulary):
    windows, found = find(events, vocabulary, [7])
    target = windows.target[7]
    user = events.user_rows()[target]
    rows = np.arange(len(events))
    past = events.select((rows >= events.offsets[user]) & (rows < target))
    wanted = events.select((rows >= target) & (rows < target + 4)).take_users(
        [int(user)]
    )
    direct = histogram_weights(past, wanted)
    np.testing.assert_allclose(found.shares[0].ravel(), direct.weights)
    np.testing.assert_allclose(found.shares.sum(axis=2), 1)


def test_later_places_change_nothing(events, vocabulary):
    windows, found = find(events, vocabulary, [3])
    rows = np.arange(len(events))
    own = (rows >= windows.target[3]) & (events.user_rows() == 0)
    changed = events.with_tokens(np.where(own, 0, events.token).astype(np.int32))
    _, again = find(changed, vocabulary, [3])
    np.testing.assert_array_equal(found.locations, again.locations)
    np.testing.assert_array_equal(found.shares, again.shares)


def test_neighbours_join_with_no_share(events, vocabulary):
    _, alone = find(events, vocabulary, [2])
    _, more = find(events, vocabulary, [2], neighbour_cells=1.0)
    plane = plane_coordinates(events.tokens)
    visited = plane[vocabulary.decode(alone.locations[0])]
    known = vocabulary.decode(np.flatnonzero(vocabulary.places()))
    apart = np.linalg.norm(plane[known][:, None] - visited, axis=2).min(axis=1)
    np.testing.assert_array_equal(
        vocabulary.decode(more.locations[0]), known[apart <= 1]
    )
    new = ~np.isin(more.locations[0], alone.locations[0])
    assert new.any()
    assert (more.shares[0][:, new] == 0).all()
    np.testing.assert_allclose(more.shares[0][:, ~new], alone.shares[0])


def test_every_histogram_has_shares_of_its_own(events, vocabulary):
    ways = [MedoidOptions(decay=decay, slot_width=9.0) for decay in (0.5, 1.0)]
    _, both = find(events, vocabulary, [6], histograms=tuple(ways))
    for column, way in enumerate(ways):
        _, one = find(events, vocabulary, [6], histograms=(way,))
        np.testing.assert_array_equal(both.shares[..., [column]], one.shares)
    assert not np.allclose(both.shares[..., 0], both.shares[..., 1])


def test_unknown_places_leave_no_candidate(events):
    other = np.setdiff1d(np.arange(len(events.tokens)), events.token[:60])
    vocabulary = build_vocabulary(events.tokens, other)
    _, found = find(events.take_users([0]), vocabulary, [0])
    np.testing.assert_array_equal(found.locations, [[NO_CANDIDATE]])
    np.testing.assert_array_equal(found.shares, 0)


def row_of_cells():
    """Give a vocabulary of nine cells in a row, and the location of each x."""
    tokens = grid(9)
    cells = tokens.encode_xy(np.column_stack([np.arange(1, 10), np.ones(9, int)]))
    vocabulary = build_vocabulary(tokens, cells)
    return vocabulary, vocabulary.encode(cells)


def score(vocabulary, probabilities):
    logits = torch.full((1, 1, len(vocabulary)), -30.0)
    for location, p in probabilities.items():
        logits[0, 0, location] = np.log(p)
    return logits


def test_argmax_answers_places_only():
    vocabulary, at = row_of_cells()
    logits = score(vocabulary, {0: 1.0, at[2]: 0.3, at[5]: 0.2})
    assert decode(logits, vocabulary, DecodingConfig()).item() == at[2]


def test_proximity_prefers_the_middle():
    vocabulary, at = row_of_cells()
    # Two small places side by side beat a larger one far off.
    logits = score(vocabulary, {at[0]: 0.4, at[6]: 0.3, at[7]: 0.3})
    near = DecodingConfig(decoding="proximity")
    assert decode(logits, vocabulary, DecodingConfig()).item() == at[0]
    assert decode(logits, vocabulary, near).item() in (at[6], at[7])
    sharp = DecodingConfig(decoding="proximity", beta=50.0)
    assert decode(logits, vocabulary, sharp).item() == at[0]
    one = DecodingConfig(decoding="proximity", support=1)
    assert decode(logits, vocabulary, one).item() == at[0]


def test_proximity_is_that_of_all_pairs():
    vocabulary, _ = row_of_cells()
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 12)))
    found = decode(logits, vocabulary, DecodingConfig(decoding="proximity"))
    places = logits[:, :, 3:].softmax(dim=-1).numpy()
    x = plane_coordinates(vocabulary.tokens)[vocabulary.decode(np.arange(3, 12))]
    near = np.exp(-0.5 * np.linalg.norm(x[:, None] - x, axis=2))
    np.testing.assert_array_equal(found, (places @ near).argmax(axis=2) + 3)


@pytest.mark.parametrize("decoding", ["argmax", "proximity"])
def test_restricted_answers_are_candidates(decoding):
    vocabulary, at = row_of_cells()
    logits = score(vocabulary, {at[0]: 0.4, at[6]: 0.3, at[7]: 0.3})
    candidates = torch.tensor([[at[1], at[8], NO_CANDIDATE]])
    config = DecodingConfig(decoding=decoding, restrict=True)
    assert decode(logits, vocabulary, config, candidates).item() in (at[1], at[8])


def test_restriction_needs_candidates():
    vocabulary, at = row_of_cells()
    with pytest.raises(MoraError, match="no candidates were given"):
        decode(
            score(vocabulary, {at[0]: 1.0}), vocabulary, DecodingConfig(restrict=True)
        )
