"""Vectors of regions, made of the vectors of the users who were seen in them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import shapely
from jaxtyping import Float, Float64, Int, Shaped
from scipy import sparse

from mora.embeddings import Embeddings
from mora.errors import MoraError
from mora.tokens import Tokens, ZoneTokens
from mora.trajectories.traces import Traces

Pooling: TypeAlias = Literal["sum", "mean"]


@dataclass(frozen=True, eq=False)
class Presence:
    """Which distinct users were seen in each region.

    Attributes:
        tokens: the regions.
        users: own id of each user.
        offsets: users of the region at row ``i`` are ``user[offsets[i]:offsets[i+1]]``.
        user: positions in ``users``, ascending within a region, none twice.
    """

    tokens: Tokens
    users: Shaped[np.ndarray, " users"]
    offsets: Int[np.ndarray, " bounds"]
    user: Int[np.ndarray, " seen"]

    def counts(self) -> Int[np.ndarray, " tokens"]:
        """Give the number of distinct users of each region."""
        return np.diff(self.offsets)


def find_users(traces: Traces, tokens: Tokens, batch_users: int = 10_000) -> Presence:
    """Find the distinct users who were seen in each region.

    Args:
        traces: points of the users; those of users without a vector must be left out
            first (:meth:`Traces.of_users`).
        tokens: cells, or zones of any shape. Where zones overlap, a point counts in
            all of them.
        batch_users: users located at a time, >= 1; memory grows with their points.

    Returns:
        Users by region; a region where nobody was seen has none.

    Raises:
        MoraError: if no point lies in a region, or ``batch_users`` is below 1.
        NoGeometryError: if it is not known where the regions are.
    """
    if batch_users < 1:
        raise MoraError(f"batch_users is {batch_users}; expected at least 1.")
    tree = (
        shapely.STRtree(tokens.polygons()) if isinstance(tokens, ZoneTokens) else None
    )
    parts = []
    for first in range(0, len(traces.users), batch_users):
        last = min(first + batch_users, len(traces.users))
        rows = slice(traces.offsets[first], traces.offsets[last])
        user = np.repeat(np.arange(first, last), traces.counts()[first:last])
        point, token = _locate(traces.lonlat[rows], tokens, tree)
        # One number a pair: sorting it is faster than sorting two columns.
        parts.append(np.unique(token * len(traces.users) + user[point]))
    pairs = np.sort(np.concatenate(parts))
    token, user = np.divmod(pairs, len(traces.users))
    if len(token) == 0:
        raise MoraError(
            f"none of {len(traces)} points lies in one of {len(tokens)} regions; "
            f"expected some. Are both in lon/lat, and of the same city?"
        )
    counts = np.bincount(token, minlength=len(tokens))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Presence(tokens, traces.users, offsets, user)


def pool_regions(
    presence: Presence,
    vectors: Float[np.ndarray, "users dim"] | Iterable[np.ndarray],
    pooling: Pooling = "sum",
    *,
    min_users: int = 2,
) -> Embeddings:
    """Give each region the sum or the mean of its users' vectors.

    Source: Regions are Who Walk Them (2023), which takes the sum. Its released code
    adds into the first user's vector and so spoils every later region; here the users'
    vectors are only read.

    Args:
        presence: the distinct users of each region.
        vectors: of ``presence.users``, in their order: one array, or blocks of it that
            need not be in memory together.
        pooling: a ``sum`` grows with the number of users, and mostly tells it; a
            ``mean`` does not.
        min_users: regions with fewer distinct users are left out, >= 1. A region of one
            user would give that user's vector away. Take 5 for what is published.

    Returns:
        Embeddings whose provenance says how they were pooled and how many regions were
        left out.

    Raises:
        MoraError: if a vector is missing, there are not as many as users, or no region
            has enough users.
    """
    shown = np.flatnonzero(presence.counts() >= min_users)
    if min_users < 1 or len(shown) == 0:
        raise MoraError(
            f"none of {len(presence.tokens)} regions has min_users = {min_users} "
            f"distinct users (at most {presence.counts().max()}); expected a threshold "
            f"of at least 1 that some reach. Use larger regions or a lower one."
        )
    pooled = _sums(presence, _blocks(vectors))[shown]
    if pooling == "mean":
        pooled /= presence.counts()[shown, None]
    provenance = {
        "model": "raw",
        "pooling": pooling,
        "users": len(presence.users),
        "min_users": min_users,
        "regions_hidden": len(presence.tokens) - len(shown),
    }
    tokens = presence.tokens.take(shown)
    return Embeddings(tokens, pooled.astype(np.float32), provenance=provenance)


def _locate(
    lonlat: Float64[np.ndarray, "points 2"],
    tokens: Tokens,
    tree: shapely.STRtree | None,
) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, " found"]]:
    """Give the rows of the points that lie in a region, and the regions."""
    if tree is not None:  # zones may overlap: locate() would give the first alone
        point, token = tree.query(shapely.points(lonlat), "intersects")
        return point, token
    token = tokens.locate(lonlat)
    point = np.flatnonzero(token >= 0)
    return point, token[point]


def _blocks(
    vectors: np.ndarray | Iterable[np.ndarray], rows: int = 8192
) -> Iterator[np.ndarray]:
    """Cut one array into blocks, so that no second copy of it is made."""
    if not isinstance(vectors, np.ndarray):
        yield from vectors
        return
    for first in range(0, len(vectors), rows):
        yield vectors[first : first + rows]


def _sums(
    presence: Presence, blocks: Iterable[np.ndarray]
) -> Float64[np.ndarray, "tokens dim"]:
    """Add up the vectors of each region's users, block by block of users."""
    users, done = len(presence.users), 0
    seen = sparse.csr_array(
        (np.ones(len(presence.user)), presence.user, presence.offsets),
        shape=(len(presence.tokens), users),
    ).tocsc()
    total: np.ndarray | None = None
    for block in blocks:
        if not np.isfinite(block).all():
            bad = (~np.isfinite(block).all(axis=1)).sum()
            raise MoraError(
                f"{bad} of {len(block)} user vectors are not finite; expected numbers. "
                f"Was the model trained without trouble?"
            )
        if done + len(block) <= users:
            part = seen[:, done : done + len(block)] @ block.astype(np.float64)
            total = part if total is None else total + part
        done += len(block)
    if done != users or total is None:
        raise MoraError(
            f"{done} vectors for {users} users; expected one each, in the order of "
            f"presence.users. Find the users of the same traces that were embedded."
        )
    return total
