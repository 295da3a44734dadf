"""What is known of each user before a prediction: the visits, the cells, the counts."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from mora.errors import MoraError
from mora.kernels import kernel
from mora.trajectories.events import Events


@dataclass(frozen=True, eq=False)
class VisitedCells:
    """The distinct cells of each user, those of one user together.

    Attributes:
        offsets: cells of the user at position ``i`` are ``offsets[i]:offsets[i + 1]``.
        tokens: the cells, ascending within a user.
        counts: visits of each cell.
        places: of each visit, the position of its cell among the cells of its user.
    """

    offsets: Int[np.ndarray, " bounds"]
    tokens: Int[np.ndarray, " cells"]
    counts: Int[np.ndarray, " cells"]
    places: Int[np.ndarray, " visits"]


def known_visits(history: Events, wanted: Events) -> Events:
    """Give the visits with a known place of those users who are asked for.

    Args:
        history: what is known; masked events are left out.
        wanted: the events to be predicted; only their users matter here.

    Returns:
        Visits by user, exactly the users of ``wanted``; a user without history has
        none.

    Raises:
        MoraError: if both are not over the same places and slots, or no event of the
            history has a known place.
    """
    _check(history, wanted)
    known = history.select(~history.masked())
    position = np.searchsorted(known.users, wanted.users).clip(max=len(known.users) - 1)
    found = known.users[position] == wanted.users
    counts = np.where(found, known.counts()[position], 0)
    return replace(
        known.take_users(position[found]),
        users=wanted.users,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
    )


def visited_cells(visits: Events) -> VisitedCells:
    """Count each user's visits by cell.

    Args:
        visits: without masked events, as from :func:`known_visits`.

    Returns:
        The histograms; a user without visits has no cells.
    """
    users, visits_in_all = len(visits.users), len(visits)
    offsets = np.zeros(users + 1, np.int64)
    tokens = np.empty(visits_in_all, np.int32)
    counts = np.zeros(visits_in_all, np.int64)
    places = np.empty(visits_in_all, np.int32)
    _count_cells(visits.offsets, visits.token, offsets, tokens, counts, places)
    cells = offsets[-1]
    return VisitedCells(offsets, tokens[:cells], counts[:cells], places)


@kernel()
def _count_cells(
    visit_offsets: Int[np.ndarray, " bounds"],
    token: Int[np.ndarray, " visits"],
    offsets: Int[np.ndarray, " bounds"],
    tokens: Int[np.ndarray, " visits"],
    counts: Int[np.ndarray, " visits"],
    places: Int[np.ndarray, " visits"],
) -> None:
    """Write the distinct cells of one user after the other, in ascending order."""
    cell = -1  # row of the cell that is being counted
    for user in range(len(visit_offsets) - 1):
        first, last = visit_offsets[user], visit_offsets[user + 1]
        order = first + np.argsort(token[first:last])
        begin = cell + 1
        for i in range(len(order)):
            if i == 0 or token[order[i]] != token[order[i - 1]]:
                cell += 1
                tokens[cell] = token[order[i]]
            counts[cell] += 1
            places[order[i]] = cell - begin
        offsets[user + 1] = cell + 1


def _check(history: Events, wanted: Events) -> None:
    same = history.tokens is wanted.tokens or np.array_equal(
        history.tokens.ids, wanted.tokens.ids
    )
    if not same or history.slots_a_day != wanted.slots_a_day:
        raise MoraError(
            f"the history is over {len(history.tokens)} places and "
            f"{history.slots_a_day} slots a day, the wanted events over "
            f"{len(wanted.tokens)} and {wanted.slots_a_day}; expected the same places "
            f"in the same order. Build both from one set of tokens."
        )
    if history.masked().all():
        raise MoraError(
            f"none of the {len(history)} events of the history has a known place; "
            f"expected at least one. Give the events before the masked days."
        )
