"""Which days of which users are held out of training, to choose the weights by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mora.errors import MoraError
from mora.trajectories.bert.prediction import join_events
from mora.trajectories.bert.trained import EventReader
from mora.trajectories.bert.windows import Windows, build_columns, windows_at
from mora.trajectories.events import Events


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Events divided by what may be learned from.

    Attributes:
        training: all but the last days of the held-out users.
        history: what is known of the held-out users before those days.
        wanted: their last days.
    """

    training: Events
    history: Events
    wanted: Events


def hold_out(events: Events, share: float, days: int, seed: int) -> HeldOut:
    """Hold out the last days of some users, who stay in training with the days before.

    This is how the users to be predicted are known too.

    Args:
        events: masked events are left out.
        share: of the users who have events both in the last days and before; at least
            one of them.
        days: counted back from the last day that has a known event.
        seed: of who is drawn.

    Raises:
        MoraError: if no user has events in the last days and before.
    """
    known = events.select(~events.masked())
    start = int(known.day.max()) + 1 - days if len(known) else 0
    late = known.day >= start
    user, users = known.user_rows(), len(known.users)
    possible = np.flatnonzero(
        (np.bincount(user[late], minlength=users) > 0)
        & (np.bincount(user[~late], minlength=users) > 0)
    )
    if len(possible) == 0:
        raise MoraError(
            f"none of {users} users has known events both before day {start} and from "
            f"then on; expected some whose last {days} days can be held out. Set fewer "
            f"held_out_days."
        )
    count = max(round(share * len(possible)), 1)
    drawn = np.random.default_rng(seed).choice(possible, count, replace=False)
    chosen = np.isin(user, drawn)
    return HeldOut(
        events.select(_keep_but(events, chosen & late)),
        known.select(chosen & ~late).take_users(drawn),
        known.select(chosen & late).take_users(drawn),
    )


def validation_windows(reader: EventReader, held_out: HeldOut) -> Windows:
    """Cut the held-out days into windows that hold every one of their events once.

    Args:
        reader: of the network that is trained.
        held_out: users and days.

    Returns:
        Windows whose histories are what really happened, as in training; with gaps,
        what happened before the held-out days. The last of a user may be short.
    """
    joined, asked = join_events(held_out.history, held_out.wanted)
    late, vocabulary = joined.masked(), reader.vocabulary
    location = np.zeros(len(joined), np.int64)
    location[~late] = vocabulary.encode(joined.token[~late])
    location[late] = vocabulary.encode(held_out.wanted.token)
    length = reader.network.predict_seq_length
    blocks = -(-asked // length)
    number = np.arange(blocks.sum()) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    target = np.repeat(joined.offsets[1:] - asked, blocks) + number * length
    columns = build_columns(joined, location)
    known_end = np.repeat(joined.offsets[1:] - asked, blocks)
    if not reader.windows.gap_events:
        known_end = target  # the history is what really happened, as in training
    return windows_at(columns, target, reader.network, reader.windows, known_end)


def _keep_but(
    events: Events, dropped: Bool[np.ndarray, " known"]
) -> Bool[np.ndarray, " events"]:
    """Mark all events but the dropped ones of those whose place is known."""
    keep = np.ones(len(events), bool)
    keep[np.flatnonzero(~events.masked())[dropped]] = False
    return keep
