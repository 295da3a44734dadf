"""Windows over the events of users: a history, and the events right after it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped
from pydantic import Field

from mora.config.section import Section
from mora.errors import MoraError, examples
from mora.trajectories.bert.presets import BertConfig
from mora.trajectories.bert.vocabulary import Vocabulary
from mora.trajectories.events import Events, day_of_week, is_weekend


class WindowConfig(Section):
    """How events are cut into windows.

    The released code calls two things ``look_back_len``: days of history in its
    README, and events between two windows in its code. Here they have two names.

    Attributes:
        window_stride: events from one window of a user to the next.
        look_back_days: days before the first predicted event that the history may
            reach back; None for any number.
        minimum_history: events of history without which a user has no window; fewer
            than ``history_length`` are filled up with padding. The released code
            leaves out users with fewer than ``history_length``.
        repeat_target_users: how often a window of a user with masked events counts;
            2 in the released code.
        gap_events: events between the history and the first predicted one in training,
            at most; the windows of a user have 0, ``predict_length``, twice as many
            and so on. 0 as released: the network then always predicts what comes right
            after its history, its own answers in it. With gaps it learns to look ahead
            as far as it will have to, and predicts all from what is known.
    """

    window_stride: int = Field(50, ge=1)
    look_back_days: int | None = Field(None, ge=1)
    minimum_history: int = Field(1, ge=1)
    repeat_target_users: int = Field(1, ge=1)
    gap_events: int = Field(0, ge=0)


@dataclass(frozen=True, eq=False)
class EventColumns:
    """Events as the network reads them, one array a column; users stay together.

    Attributes:
        offsets: events of the user at position ``i`` are rows
            ``offsets[i]:offsets[i + 1]``.
        user: position of the user of each event.
        day: from 0.
        slot: of the day, from 0.
        delta: slots since the user's previous event; 0 at the first.
        location: number of the place in the vocabulary.
    """

    offsets: Int[np.ndarray, " bounds"]
    user: Int[np.ndarray, " events"]
    day: Int[np.ndarray, " events"]
    slot: Int[np.ndarray, " events"]
    delta: Int[np.ndarray, " events"]
    location: Int[np.ndarray, " events"]

    def features(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n features"]:
        """Give day, slot, user, day of the week, weekend and delta of some events."""
        day = self.day[rows]
        parts = [day, self.slot[rows], self.user[rows], day_of_week(day)]
        return np.stack([*parts, is_weekend(day), self.delta[rows]], axis=-1)


@dataclass(frozen=True, eq=False)
class SkippedUsers:
    """Users who have too few events for a window.

    Attributes:
        users: their own ids.
        total: users in all.
        needed: events that a user must have.
    """

    users: Shaped[np.ndarray, " skipped"]
    total: int
    needed: int

    def __len__(self) -> int:
        return len(self.users)

    def message(self) -> str:
        """Say how many there are, and name up to three."""
        return (
            f"{len(self)} of {self.total} users have fewer than {self.needed} known "
            f"events, which a window needs (first: {examples(self.users.tolist())})"
        )


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Some windows, filled up to equal length with zeros.

    Attributes:
        history_features: as :meth:`EventColumns.features`; the padding comes first.
        history_locations: its places; PAD (0) where there is no event.
        history_known: where there is an event.
        future_features: features of the events to predict; the padding comes last.
        future_locations: their places, for the loss.
        future_known: where there is an event.
        future_rows: their rows among the events; valid where ``future_known``.
    """

    history_features: Int[np.ndarray, "batch history features"]
    history_locations: Int[np.ndarray, "batch history"]
    history_known: Bool[np.ndarray, "batch history"]
    future_features: Int[np.ndarray, "batch predict features"]
    future_locations: Int[np.ndarray, "batch predict"]
    future_known: Bool[np.ndarray, "batch predict"]
    future_rows: Int[np.ndarray, "batch predict"]


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows as row numbers; their contents are gathered when they are needed.

    Attributes:
        columns: the events.
        first: first row that the history of each window may hold.
        target: first row that is predicted.
        history_end: row after the last of the history; ``target`` unless there is a
            gap.
        known_end: row after the last whose place is recorded, not predicted.
        end: row after the last that may be predicted: the end of the user's events.
        history_length: events of history, padding included.
        predict_length: events to predict, padding included.
    """

    columns: EventColumns
    first: Int[np.ndarray, " windows"]
    target: Int[np.ndarray, " windows"]
    history_end: Int[np.ndarray, " windows"]
    known_end: Int[np.ndarray, " windows"]
    end: Int[np.ndarray, " windows"]
    history_length: int
    predict_length: int

    def __len__(self) -> int:
        return len(self.target)

    def gather(self, windows: Int[np.ndarray, " batch"]) -> WindowBatch:
        """Give the contents of some windows.

        Args:
            windows: positions among the windows, repeats allowed.
        """
        target = self.target[windows, None]
        history = self.history_end[windows, None] + np.arange(-self.history_length, 0)
        future = target + np.arange(self.predict_length)
        seen = history >= self.first[windows, None]
        known = future < self.end[windows, None]
        return WindowBatch(
            *self._contents(history, seen), seen, *self._contents(future, known),
            known, future,
        )  # fmt: skip

    def _contents(
        self, rows: Int[np.ndarray, "batch n"], known: Bool[np.ndarray, "batch n"]
    ) -> tuple[Int[np.ndarray, "batch n features"], Int[np.ndarray, "batch n"]]:
        rows = np.where(known, rows, 0)
        features = self.columns.features(rows.ravel()).reshape(*rows.shape, -1)
        location = self.columns.location[rows].astype(np.int64)
        return features.astype(np.int64) * known[:, :, None], location * known


def build_columns(
    events: Events, location: Int[np.ndarray, " events"] | None = None
) -> EventColumns:
    """Compute what the network reads of each event.

    Args:
        events: whole sequences of the users, so that no delta starts anew in the
            middle.
        location: of each event, in a vocabulary; zeros by default.
    """
    delta = np.diff(events.time(), prepend=0)
    delta[events.offsets[:-1][events.counts() > 0]] = 0
    if location is None:
        location = np.zeros(len(events), np.int32)
    return EventColumns(
        events.offsets,
        events.user_rows().astype(np.int32),
        events.day,
        events.slot,
        delta.astype(np.int32),
        location.astype(np.int32),
    )


def build_windows(
    events: Events, vocabulary: Vocabulary, network: BertConfig, config: WindowConfig
) -> tuple[Windows, SkippedUsers]:
    """Cut the known events of users into windows for training.

    Source: released ST-MoE-BERT code; departing from it, the last window that still
    fits counts too, and short histories are filled up.

    Args:
        events: of users; masked events are used for nothing but to tell whose windows
            are repeated.
        vocabulary: gives the locations.
        network: how many events it sees and predicts.
        config: stride and repeats.

    Returns:
        The windows by user and time, and the users who have none.

    Raises:
        MoraError: if no user has enough events for a window.
    """
    masked = events.masked()
    target_users = np.bincount(events.user_rows()[masked], minlength=len(events.users))
    known = events.select(~masked) if masked.any() else events
    columns = build_columns(known, vocabulary.encode(known.token))
    counts = known.counts()
    needed = config.minimum_history + network.predict_seq_length
    enough = counts >= needed
    skipped = SkippedUsers(events.users[~enough], len(counts), needed)
    if not enough.any():
        raise MoraError(f"{skipped.message()}; lower predict_length or give more data.")
    users = np.flatnonzero(enough)
    repeats = np.where(target_users[users] > 0, config.repeat_target_users, 1)
    target, windows = _targets(known.offsets[users], counts[users], network, config)
    ends = target - _gaps(target, known.offsets[users], windows, network, config)
    repeats = np.repeat(repeats, windows)
    target, ends = np.repeat(target, repeats), np.repeat(ends, repeats)
    return windows_at(columns, target, network, config, ends), skipped


def windows_at(
    columns: EventColumns,
    target: Int[np.ndarray, " windows"],
    network: BertConfig,
    config: WindowConfig,
    known_end: Int[np.ndarray, " windows"] | None = None,
) -> Windows:
    """Make the windows that predict from given rows on.

    Args:
        columns: the events.
        target: first row to predict of each window.
        network: how many events it sees and predicts.
        config: how many days the history may reach back.
        known_end: row after the last recorded place, if it is not ``target``. With
            gaps the history ends there; without, what was answered since is part of it.
    """
    known_end = target if known_end is None else known_end
    user = columns.user[target].astype(np.int64)
    first = columns.offsets[user]
    if config.look_back_days is not None and len(target):
        days = int(columns.day.max()) + 1
        key = columns.user.astype(np.int64) * days + columns.day
        earliest = np.maximum(columns.day[target] - config.look_back_days, 0)
        first = np.searchsorted(key, user * days + earliest)
    return Windows(
        columns,
        first,
        target,
        known_end if config.gap_events else target,
        known_end,
        columns.offsets[user + 1],
        network.input_seq_length,
        network.predict_seq_length,
    )


def _targets(
    start: Int[np.ndarray, " users"],
    counts: Int[np.ndarray, " users"],
    network: BertConfig,
    config: WindowConfig,
) -> tuple[Int[np.ndarray, " windows"], Int[np.ndarray, " users"]]:
    """Give the first predicted row of each window, and the windows of each user."""
    longest = counts - network.predict_seq_length
    before = np.minimum(network.input_seq_length, longest)
    windows = (longest - before) // config.window_stride + 1
    number = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    return np.repeat(start + before, windows) + number * config.window_stride, windows


def _gaps(
    target: Int[np.ndarray, " windows"],
    start: Int[np.ndarray, " users"],
    windows: Int[np.ndarray, " users"],
    network: BertConfig,
    config: WindowConfig,
) -> Int[np.ndarray, " windows"]:
    """Give the events between history and target: longer from window to window.

    They never leave fewer than ``minimum_history`` events of the user before them.
    """
    number = np.arange(len(target)) - np.repeat(np.cumsum(windows) - windows, windows)
    gap = number * network.predict_seq_length % (config.gap_events + 1)
    return np.minimum(gap, target - np.repeat(start, windows) - config.minimum_history)
