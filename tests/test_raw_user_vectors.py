from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.periodic_users import MINUTES, make_steps, periodic_users

from mora.errors import MissingFileError, MoraError, TableError
from mora.personal import MARKER
from mora.tables.visits import hash_users
from mora.trajectories.raw.inputs import make_inputs
from mora.trajectories.raw.network import make_network
from mora.trajectories.raw.presets import raw_preset
from mora.trajectories.raw.user_vectors import (
    VECTORS,
    embed_users,
    mean_state,
    pool_states,
    read_user_vectors,
    write_user_vectors,
)

SALT = b"a secret"


def network(seed=0, **changes):
    given = {"minutes": MINUTES, "box": (139.6, 35.6, 139.9, 35.9), "dropout": 0.5}
    return make_network(raw_preset("test", **given | changes), seed)


def with_gaps(steps, seed=0):
    known = np.random.default_rng(seed).random(steps.known.shape) < 0.5
    return replace(steps, known=known)


def test_mean_by_hand():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [8.0, 1.0]]])
    assert mean_state(states).tolist() == [[4.0, 3.0]]
    counted = torch.tensor([[True, True, False]])
    assert mean_state(states, counted).tolist() == [[2.0, 4.0]]


def test_nobody_counted_gives_the_mean_of_all():
    states = torch.tensor([[[1.0], [3.0]]])
    assert mean_state(states, torch.tensor([[False, False]])).tolist() == [[2.0]]


def test_mean_and_deviation_by_hand():
    states = torch.tensor([[[1.0], [5.0], [9.0]]])
    counted = torch.tensor([[True, True, False]])
    assert pool_states(states, counted, "mean_std").tolist() == [[3.0, 2.0]]
    assert pool_states(states, counted).tolist() == [[3.0]]
    assert pool_states(states[:, :1], None, "mean_std").tolist() == [[1.0, 0.0]]


def test_pooling_changes_the_vectors_and_the_file(tmp_path):
    made, steps = network(), periodic_users(4)
    both = embed_users(made, steps, pooling="mean_std")
    np.testing.assert_allclose(both[:, :32], embed_users(made, steps), rtol=1e-5)
    assert (both[:, 32:] > 0).all()
    write_user_vectors(made, steps, tmp_path, SALT, pooling="mean_std")
    assert read_user_vectors(tmp_path)[1].shape == (4, 64)


@pytest.mark.parametrize("known_only", [False, True])
def test_vectors_are_means_of_states(known_only):
    made, steps = network().eval(), with_gaps(periodic_users(7))
    vectors = embed_users(made, steps, known_only=known_only)
    for user in range(7):
        inputs = make_inputs(steps.take_users([user]), made.config)
        states = made.states(*inputs)[0].detach().numpy()
        counted = steps.known[user] if known_only else slice(None)
        expected = states[counted].mean(axis=0)
        np.testing.assert_allclose(vectors[user], expected, rtol=1e-4, atol=1e-5)


def test_known_only_changes_the_vectors():
    made, steps = network(), with_gaps(periodic_users(4))
    every = embed_users(made, steps)
    assert not np.allclose(every, embed_users(made, steps, known_only=True))


def test_size_of_the_pieces_changes_nothing():
    made, steps = network(), periodic_users(9)
    whole = embed_users(made, steps)
    for batch_users in (1, 4):
        pieces = embed_users(made, steps, batch_users=batch_users)
        np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("gap_mask", [False, True])
def test_vectors_of_any_length_are_finite(length, gap_mask):
    # The released code slices all states away and averages nothing.
    lonlat = np.full((2, length, 2), [139.7, 35.7])
    steps = make_steps(lonlat, minutes=MINUTES)
    steps.known[1] = False
    made = network(gap_mask=gap_mask)
    for known_only in (False, True):
        vectors = embed_users(made, steps, known_only=known_only)
        assert vectors.shape == (2, 32)
        assert np.isfinite(vectors).all()
        assert np.abs(vectors).max() > 0


def test_trajectories_longer_than_the_network_are_refused():
    steps = make_steps(np.full((1, 33, 2), 139.7), minutes=MINUTES)
    with pytest.raises(MoraError, match="33 steps each"):
        embed_users(network(), steps)


def test_pieces_of_nobody_are_refused():
    with pytest.raises(MoraError, match="batch_users is 0"):
        embed_users(network(), periodic_users(2), batch_users=0)


def test_files_hold_hashed_users_and_a_warning(tmp_path):
    made, steps, told = network(), with_gaps(periodic_users(10)), []
    folder = tmp_path / "users"
    path = write_user_vectors(
        made,
        steps,
        folder,
        SALT,
        known_only=True,
        batch_users=4,
        progress=lambda *at: told.append(at),
    )
    assert path == folder / VECTORS
    assert sorted(p.name for p in folder.iterdir()) == sorted([MARKER, VECTORS])
    assert "personal data" in (folder / MARKER).read_text()
    users, vectors = read_user_vectors(folder)
    hashed = hash_users(steps.users, SALT)
    order = np.argsort(hashed)
    assert (users == hashed[order]).all()
    expected = embed_users(made, steps, known_only=True)[order]
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-6)
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_another_salt_gives_other_users(tmp_path):
    made, steps = network(), periodic_users(3)
    for salt in (SALT, b"another"):
        write_user_vectors(made, steps, tmp_path / salt.decode(), salt)
    first, second = (
        read_user_vectors(tmp_path / s)[0] for s in ("a secret", "another")
    )
    assert not np.isin(first, second).any()


def test_the_file_is_written_in_pieces(tmp_path):
    path = write_user_vectors(
        network(), periodic_users(6), tmp_path, SALT, batch_users=2
    )
    assert pq.ParquetFile(path).num_row_groups == 3


def test_an_empty_salt_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TableError, match="salt has 0 bytes"):
        write_user_vectors(network(), periodic_users(2), tmp_path / "x", b"")
    assert not (tmp_path / "x").exists()


def test_reading_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="user vectors"):
        read_user_vectors(tmp_path)
