"""The proximity medoid: a user's own past visits, weighted, decoded for nearness."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from mora.errors import MoraError
from mora.kernels import kernel
from mora.trajectories.events import (
    DAYS_A_WEEK,
    Events,
    is_weekend,
    plane_coordinates,
)
from mora.trajectories.humob.histories import VisitedCells, known_visits, visited_cells
from mora.trajectories.humob.proximity import nearest_in_expectation

NEGLIGIBLE = -40.0  # log of a share that rounding of the sum 1 swallows
BLOCK_ENTRIES = 5_000_000  # weights held at a time when whole cities are predicted


@dataclass(frozen=True)
class MedoidOptions:
    """How much a past visit says about a wanted event, and how nearness counts.

    Attributes:
        slot_width: standard deviation in slots of the bell over the time of day, > 0;
            0.5 of half-hours gives the slot beside 14 % of the weight.
        decay: factor for each day between the visit and the event, in (0, 1]; 1
            forgets nothing.
        same_day_type: factor where both are on weekend days or both are not, > 0.
        same_weekday: factor where both are on the same day of the week, > 0.
        circular: take 23:30 and 0:00 as one slot apart, as the clock does, not as 47.
            A place where the night is spent is then known on both sides of midnight.
        beta: how fast nearness falls with the distance in cells, >= 0, as in GEO-BLEU.
    """

    slot_width: float | int = 0.5
    decay: float | int = 0.985
    same_day_type: float | int = 4.0
    same_weekday: float | int = 1.5
    circular: bool = True
    beta: float | int = 0.5

    def __post_init__(self) -> None:
        for name in ("slot_width", "decay", "same_day_type", "same_weekday"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise MoraError(f"{name} is {value}; expected a number above 0.")
        if self.decay > 1:
            raise MoraError(f"decay is {self.decay}; expected a number in (0, 1].")
        if not 0 <= self.beta < np.inf:
            raise MoraError(f"beta is {self.beta}; expected a number from 0 up.")


@dataclass(frozen=True, eq=False)
class WeightedCells:
    """Cells with weights for each of many events.

    Attributes:
        offsets: cells of event ``i`` are ``offsets[i]:offsets[i + 1]``.
        tokens: the cells, ascending within an event.
        weights: >= 0; they sum to 1 within an event that has cells.
    """

    offsets: Int[np.ndarray, " bounds"]
    tokens: Int[np.ndarray, " entries"]
    weights: Float[np.ndarray, " entries"]


def histogram_weights(
    history: Events, wanted: Events, options: MedoidOptions | None = None
) -> WeightedCells:
    """Weigh, for each wanted event, the cells that its user has visited.

    The weight of a past visit is exp(-1/2 (slots between / slot_width)^2) times
    decay^(days between) times ``same_day_type`` and ``same_weekday`` where they hold;
    a cell has the sum over its visits. Each pair of an event and a cell takes 12 bytes:
    about 0.5 MB a user in HuMob, so take the users of a city in parts.

    Args:
        history: what is known; masked events are left out.
        wanted: user, day and slot of the events; their tokens are not read.
        options: of the weights; ``beta`` plays no part.

    Returns:
        All cells of the user's history with their shares. A cell of no visit near the
        time may have the weight 0; an event of a user without history has no cells.

    Raises:
        MoraError: as :func:`known_visits`.
    """
    visits = known_visits(history, wanted)
    users = (0, len(wanted.users))
    return _weigh_users(
        visits, visited_cells(visits), wanted, users, options or MedoidOptions()
    )


def predict_medoid(
    history: Events, wanted: Events, options: MedoidOptions | None = None
) -> Int[np.ndarray, " events"]:
    """Predict the visited cell that is nearest in expectation.

    The arguments and errors are those of :func:`histogram_weights`. Users are taken in
    blocks, so that the weights of a whole city are never held at once.

    Returns:
        Tokens; -1 for the events of users without history.
    """
    options = options or MedoidOptions()
    visits = known_visits(history, wanted)
    cells = visited_cells(visits)
    plane = plane_coordinates(wanted.tokens)
    found = [np.empty(0, np.int32)]
    for users in _blocks(np.diff(cells.offsets) * wanted.counts()):
        block = _weigh_users(visits, cells, wanted, users, options)
        found.append(
            nearest_in_expectation(
                block.offsets, block.tokens, block.weights, plane, beta=options.beta
            )
        )
    return np.concatenate(found)


def _blocks(entries: Int[np.ndarray, " users"]) -> list[tuple[int, int]]:
    """Cut the users into runs of about ``BLOCK_ENTRIES`` weights."""
    block = np.cumsum(entries) // BLOCK_ENTRIES
    cuts = np.flatnonzero(np.diff(block)) + 1
    bounds = [0, *cuts.tolist(), len(entries)]
    return list(pairwise(bounds))


def _weigh_users(
    visits: Events,
    cells: VisitedCells,
    wanted: Events,
    users: tuple[int, int],
    options: MedoidOptions,
) -> WeightedCells:
    """Weigh the cells for the wanted events of the users ``users[0]:users[1]``."""
    first, last = users
    each = slice(wanted.offsets[first], wanted.offsets[last])
    events = np.diff(wanted.offsets[first : last + 1])
    bounds = wanted.offsets[first : last + 1] - wanted.offsets[first]
    sizes = np.repeat(np.diff(cells.offsets[first : last + 1]), events)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    tokens = np.empty(offsets[-1], np.int32)
    weights = np.zeros(offsets[-1])
    _weigh(
        visits.offsets[first : last + 1],
        *(visits.day, visits.slot, cells.places),
        *(cells.offsets[first : last + 1], cells.tokens),
        *(bounds, wanted.day[each], wanted.slot[each]),
        _log_slots(wanted.slots_a_day, options),
        _log_weekdays(options),
        np.log(options.decay),
        *(offsets, tokens, weights),
    )
    return WeightedCells(offsets, tokens, weights)


def _log_slots(slots: int, options: MedoidOptions) -> Float[np.ndarray, " slots"]:
    """Give the log weight of each number of slots between two events."""
    apart = np.arange(slots)
    if options.circular:
        apart = np.minimum(apart, slots - apart)
    return -0.5 * (apart / options.slot_width) ** 2


def _log_weekdays(options: MedoidOptions) -> Float[np.ndarray, "weekdays weekdays"]:
    """Give the log weight of each pair of days of the week."""
    weekend = is_weekend(np.arange(DAYS_A_WEEK))
    same_type = weekend[:, None] == weekend
    return same_type * np.log(options.same_day_type) + np.eye(DAYS_A_WEEK) * np.log(
        options.same_weekday
    )


@kernel()
def _weigh(
    visit_offsets: Int[np.ndarray, " bounds"],
    visit_day: Int[np.ndarray, " visits"],
    visit_slot: Int[np.ndarray, " visits"],
    places: Int[np.ndarray, " visits"],
    cell_offsets: Int[np.ndarray, " bounds"],
    cells: Int[np.ndarray, " cells"],
    event_offsets: Int[np.ndarray, " bounds"],
    day: Int[np.ndarray, " events"],
    slot: Int[np.ndarray, " events"],
    log_slots: Float[np.ndarray, " slots"],
    log_weekdays: Float[np.ndarray, "weekdays weekdays"],
    log_decay: float,
    offsets: Int[np.ndarray, " event_bounds"],
    tokens: Int[np.ndarray, " entries"],
    weights: Float[np.ndarray, " entries"],
) -> None:
    """Write the cells of each event and their shares.

    Logs are summed and the largest is taken off before exp, so that a user who was
    never out near the time of the event still has weights.
    """
    for user in range(len(visit_offsets) - 1):
        first, last = visit_offsets[user], visit_offsets[user + 1]
        own = cells[cell_offsets[user] : cell_offsets[user + 1]]
        by_day = np.empty(last - first)
        logs = np.empty(last - first)
        for event in range(event_offsets[user], event_offsets[user + 1]):
            if event == event_offsets[user] or day[event] != day[event - 1]:
                for i in range(last - first):
                    then = visit_day[first + i]
                    by_day[i] = log_decay * abs(day[event] - then)
                    by_day[i] += log_weekdays[day[event] % 7, then % 7]
            for i in range(last - first):
                logs[i] = (
                    by_day[i] + log_slots[abs(slot[event] - visit_slot[first + i])]
                )
            shares = weights[offsets[event] : offsets[event + 1]]
            tokens[offsets[event] : offsets[event + 1]] = own
            _add_shares(logs, places[first:last], shares)


@kernel()
def _add_shares(
    logs: Float[np.ndarray, " visits"],
    places: Int[np.ndarray, " visits"],
    shares: Float[np.ndarray, " cells"],
) -> None:
    """Sum exp(logs) by cell and divide by the total."""
    top = -np.inf
    for log in logs:
        top = max(top, log)
    total = 0.0
    for i in range(len(logs)):
        if logs[i] - top > NEGLIGIBLE:
            weight = np.exp(logs[i] - top)
            shares[places[i]] += weight
            total += weight
    for i in range(len(shares)):
        shares[i] /= total
