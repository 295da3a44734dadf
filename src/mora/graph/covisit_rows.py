"""Rows of the co-visit graph: (places x user-weeks) times its transpose."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Int64, UInt32

from mora.kernels import kernel

TALLY = np.dtype([("weight", "u4"), ("users", "u4"), ("latest", "u4"), ("", "u4")])
FETCHED = 64  # user-weeks looked up at once: their waits for memory overlap
# The product with a power of two begins with six bits that no other power gives.
DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
BIT_OF = np.argsort((np.uint64(1) << np.arange(64, dtype=np.uint64)) * DE_BRUIJN)


class Incidence(NamedTuple):
    """Which place is in which user-week, from both sides.

    Attributes:
        start: where each user-week begins in ``place``; one more closes the last.
        place: the places of each user-week, ascending.
        user: the user of each user-week, equal ones together.
        first: where each place begins in ``week``; one more closes the last.
        week: the user-weeks of each place, ascending.
    """

    start: Int64[np.ndarray, " weeks_and_one"]
    place: Int32[np.ndarray, " records"]
    user: Int32[np.ndarray, " weeks"]
    first: Int64[np.ndarray, " places_and_one"]
    week: Int[np.ndarray, " records"]


class Edges(NamedTuple):
    """Edges of a block of rows; the first three hold more room than edges.

    Attributes:
        neighbour: the other end of each edge, in the numbers of the kept places.
        weight: user-weeks of each edge.
        users: distinct users of each edge.
        of_row: edges of each row of the block; their sum are the edges.
        by_users: how many edges there were before any was hidden, and their weight, by
            their number of users; the last level takes all with more.
    """

    neighbour: Int32[np.ndarray, " room"]
    weight: UInt32[np.ndarray, " room"]
    users: UInt32[np.ndarray, " room"]
    of_row: Int64[np.ndarray, " rows"]
    by_users: Int64[np.ndarray, "levels 2"]


@kernel()
def count_places(
    start: np.ndarray, place: np.ndarray, places: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count the user-weeks of each place, and the pairs with places behind it."""
    weeks, pairs = np.zeros(places, np.int64), np.zeros(places, np.int64)
    for week in range(len(start) - 1):
        for k in range(start[week], start[week + 1]):
            weeks[place[k]] += 1
            pairs[place[k]] += start[week + 1] - k - 1
    return weeks, pairs


@kernel()
def weeks_of_places(
    start: np.ndarray, place: np.ndarray, first: np.ndarray, weeks: np.ndarray
) -> None:
    """List the user-weeks of each place, ascending; ``first`` is where each begins."""
    at = first[:-1].copy()
    for week in range(len(start) - 1):
        for k in range(start[week], start[week + 1]):
            weeks[at[place[k]]] = week
            at[place[k]] += 1


@kernel()
def count_rows(
    first_row: int,
    incidence: Incidence,
    number: np.ndarray,
    min_users: int,
    edges: Edges,
) -> None:
    """Fill ``edges`` with those of the block of rows that begins at ``first_row``.

    Source: Gustavson 1978, row-wise sparse product, upper triangle only; the distinct
    users come along because the user-weeks of a place are in the order of the users.
    """
    tally = np.zeros(len(number), TALLY)
    # Partners are marked in bits, and 4,096 of them in a byte, so that they are found
    # again in ascending order without sorting.
    busy = np.zeros(len(number) // 4096 + 1, np.bool_)
    marks = np.zeros(64 * len(busy), np.uint64)
    found = 0
    for local in range(len(edges.of_row)):
        _tally_partners(first_row + local, incidence, tally, marks, busy)
        before = found
        found = _take_partners(found, tally, marks, busy, number, min_users, edges)
        edges.of_row[local] = found - before


@kernel()
def _tally_partners(
    row: int,
    incidence: Incidence,
    tally: np.ndarray,
    marks: np.ndarray,
    busy: np.ndarray,
) -> None:
    """Add the user-weeks of one place to the tallies of the places behind it."""
    start, place, user, first, week = incidence
    end, who = np.empty(FETCHED, np.int64), np.empty(FETCHED, np.uint32)
    last_place = np.empty(FETCHED, np.int32)
    for begin in range(first[row], first[row + 1], FETCHED):
        some = week[begin : min(begin + FETCHED, first[row + 1])]
        for k in range(len(some)):
            end[k] = start[some[k] + 1]
            who[k] = user[some[k]] + 1  # 0 is nobody
        for k in range(len(some)):
            last_place[k] = place[end[k] - 1]
        for k in range(len(some)):
            if last_place[k] > row:
                _tally_week(row, end[k], who[k], place, tally, marks, busy)


@kernel()
def _tally_week(
    row: int,
    end: int,
    who: int,
    place: np.ndarray,
    tally: np.ndarray,
    marks: np.ndarray,
    busy: np.ndarray,
) -> None:
    """Add one user-week, from its last place back to the row's own."""
    j = end - 1
    while place[j] > row:
        partner = np.uint64(place[j])  # unsigned: no check for negative rows
        cell = tally[partner]
        # No branches: the processor could not foresee them.
        cell.users += np.uint32(cell.latest != who)
        cell.latest = who
        cell.weight += np.uint32(1)
        marks[partner >> np.uint64(6)] |= np.uint64(1) << (partner & np.uint64(63))
        busy[partner >> np.uint64(12)] = True
        j -= 1


@kernel()
def _take_partners(
    found: int,
    tally: np.ndarray,
    marks: np.ndarray,
    busy: np.ndarray,
    number: np.ndarray,
    min_users: int,
    edges: Edges,
) -> int:
    """Write the edges of one row behind the ``found`` ones and clear its tallies."""
    top = np.uint32(len(edges.by_users) - 1)
    for block in range(len(busy)):
        if not busy[block]:
            continue
        busy[block] = False
        for word in range(64 * block, 64 * block + 64):
            while marks[word]:
                partner = 64 * word + _lowest_bit(marks[word])
                marks[word] &= marks[word] - np.uint64(1)
                cell = tally[partner]
                level = min(cell.users, top)
                edges.by_users[level, 0] += 1
                edges.by_users[level, 1] += cell.weight
                edges.neighbour[found] = number[partner]
                edges.weight[found] = cell.weight
                edges.users[found] = cell.users
                found += cell.users >= min_users  # or the next one overwrites it
                cell.weight = cell.users = cell.latest = 0
    return found


@kernel()
def _lowest_bit(bits: int) -> int:
    """Give the position of the lowest bit that is set.

    Source: Leiserson, Prokop and Randall 1998, de Bruijn sequences.
    """
    lowest = bits & (~bits + np.uint64(1))
    return BIT_OF[(lowest * DE_BRUIJN) >> np.uint64(58)]


@kernel()
def add_degrees(row: np.ndarray, edges: Edges, degree: np.ndarray) -> None:
    """Add the weight of each edge to its ends; ``row`` numbers the block's rows."""
    k = 0
    for local in range(len(row)):
        for _ in range(edges.of_row[local]):
            degree[row[local]] += edges.weight[k]
            degree[edges.neighbour[k]] += edges.weight[k]
            k += 1
