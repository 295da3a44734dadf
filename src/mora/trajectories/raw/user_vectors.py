"""One vector a user: what the states along the trajectory have in common."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Float32, UInt64
from torch import Tensor

from mora.errors import MissingFileError, MoraError
from mora.personal import mark_personal
from mora.progress import Progress, silent
from mora.tables.visits import hash_users
from mora.trajectories.raw.inputs import make_inputs, require_fit
from mora.trajectories.raw.network import RawNetwork
from mora.trajectories.raw.steps import Steps

UserPooling: TypeAlias = Literal["mean", "mean_std"]

VECTORS = "user_vectors.parquet"
NOTE = """The vectors in this folder are personal data: one row describes how one person
moves. The users' ids are keyed hashes, and the rows are in the order of the hashes;
who has the trajectories can still tell who is who. Do not publish them. Pool them over
regions first.
"""


def mean_state(
    states: Float[Tensor, "users steps width"],
    counted: Bool[Tensor, "users steps"] | None = None,
) -> Float[Tensor, "users width"]:
    """Average the states of each user.

    Source: RAW, section 4.6. The released code cuts the states off before it averages
    them, and gets NaN.

    Args:
        states: of at least one step.
        counted: which steps count; by default all.

    Returns:
        Finite for any number of steps: a user of whose steps none counts has the mean
        of all, one with a single step has its state.
    """
    if counted is None:
        return states.mean(dim=1)
    weight = (counted | ~counted.any(dim=1, keepdim=True)).to(states.dtype)[..., None]
    return (states * weight).sum(dim=1) / weight.sum(dim=1)


def pool_states(
    states: Float[Tensor, "users steps width"],
    counted: Bool[Tensor, "users steps"] | None = None,
    pooling: UserPooling = "mean",
) -> Float[Tensor, "users columns"]:
    """Make one vector of the states of each user.

    Args:
        states: of at least one step.
        counted: which steps count; by default all.
        pooling: ``mean`` as in the paper; ``mean_std`` puts the standard deviation of
            the states behind it, for a mean does not tell one who stays in the middle
            from one who goes to and fro.

    Returns:
        ``width`` columns, or twice as many. The deviation of a single step is 0.
    """
    mean = mean_state(states, counted)
    if pooling == "mean":
        return mean
    variance = mean_state((states - mean[:, None]) ** 2, counted)
    return torch.cat([mean, variance.sqrt()], dim=1)


def embed_users(
    network: RawNetwork,
    steps: Steps,
    *,
    known_only: bool = False,
    pooling: UserPooling = "mean",
    batch_users: int = 64,
) -> Float32[np.ndarray, "users columns"]:
    """Give every user's vector.

    Args:
        network: pretrained.
        steps: of the users.
        known_only: average over the steps at which a user was seen; else over all, as
            in the paper.
        pooling: of the states, see :func:`pool_states`.
        batch_users: how many are in memory at a time; changes nothing else.

    Returns:
        Vectors in the order of ``steps.users``.

    Raises:
        MoraError: if the steps do not fit the network.
    """
    pieces = _vectors_in_pieces(network, steps, known_only, pooling, batch_users)
    return np.concatenate(list(pieces))


def write_user_vectors(
    network: RawNetwork,
    steps: Steps,
    folder: Path,
    salt: bytes,
    *,
    known_only: bool = False,
    pooling: UserPooling = "mean",
    batch_users: int = 64,
    progress: Progress = silent,
) -> Path:
    """Write every user's vector to a folder that is marked as personal.

    Users are hashed, and written in the order of their hashes, since the order of the
    ids would tell of the ids. Memory holds ``batch_users`` users at a time.

    Args:
        network: pretrained.
        steps: of the users.
        folder: made if it is missing.
        salt: secret of the run, see :func:`~mora.tables.visits.hash_users`.
        known_only: as in :func:`embed_users`.
        pooling: as in :func:`embed_users`.
        batch_users: as in :func:`embed_users`.
        progress: told the users done and all of them.

    Returns:
        The Parquet file: columns ``user`` and ``vector``.

    Raises:
        TableError: if the salt is empty or too long.
        MoraError: if the steps do not fit the network.
    """
    hashed = hash_users(steps.users, salt)
    order = np.argsort(hashed)
    pieces = _vectors_in_pieces(
        network, steps.take_users(order), known_only, pooling, batch_users
    )
    mark_personal(folder, NOTE)
    columns = network.config.width * (2 if pooling == "mean_std" else 1)
    kind = pa.list_(pa.float32(), columns)
    schema = pa.schema([("user", pa.uint64()), ("vector", kind)])
    part, done = folder / f"{VECTORS}.part", 0
    with pq.ParquetWriter(part, schema) as file:
        for vectors in pieces:
            users = hashed[order[done : done + len(vectors)]]
            lists = pa.FixedSizeListArray.from_arrays(vectors.ravel(), type=kind)
            file.write_table(pa.table([users, lists], schema=schema))
            done += len(vectors)
            progress(done, len(order))
    return part.replace(folder / VECTORS)


def read_user_vectors(
    folder: Path,
) -> tuple[UInt64[np.ndarray, " users"], Float32[np.ndarray, "users columns"]]:
    """Read hashed users and their vectors, in ascending order of the hashes.

    Raises:
        MissingFileError: if there are none in the folder.
    """
    if not (folder / VECTORS).exists():
        raise MissingFileError(folder / VECTORS, "user vectors")
    table = pq.read_table(folder / VECTORS).combine_chunks()
    vectors = table["vector"].combine_chunks().flatten().to_numpy()
    return table["user"].to_numpy(), vectors.reshape(len(table), -1)


def _vectors_in_pieces(
    network: RawNetwork,
    steps: Steps,
    known_only: bool,
    pooling: UserPooling,
    batch_users: int,
) -> Iterator[Float32[np.ndarray, "piece columns"]]:
    """Check before the first piece is asked for, then embed one piece at a time."""
    if batch_users < 1:
        raise MoraError(f"batch_users is {batch_users}; expected at least 1.")
    require_fit(steps, network.config)
    network.eval()
    return (
        _vectors(
            network,
            steps.take_users(slice(first, first + batch_users)),
            known_only,
            pooling,
        )
        for first in range(0, len(steps), batch_users)
    )


@torch.no_grad()
def _vectors(
    network: RawNetwork, steps: Steps, known_only: bool, pooling: UserPooling
) -> Float32[np.ndarray, "users columns"]:
    inputs = make_inputs(steps, network.config)
    weight = network.position.weight
    inputs = inputs.to(weight.device, weight.dtype)
    counted = inputs.known if known_only else None
    vectors = pool_states(network.states(*inputs), counted, pooling)
    return vectors.float().cpu().numpy()
