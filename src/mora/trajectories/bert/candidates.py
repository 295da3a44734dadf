"""Where a user may be: places of the own past, those around them, and how likely."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from scipy.spatial import cKDTree

from mora.config.section import Section
from mora.trajectories.bert.inputs import NO_CANDIDATE
from mora.trajectories.bert.vocabulary import Vocabulary
from mora.trajectories.bert.windows import Windows
from mora.trajectories.events import MASKED, Events, plane_coordinates
from mora.trajectories.humob.medoid import MedoidOptions, histogram_weights


class CandidateConfig(Section):
    """Which places are a user's candidates.

    Attributes:
        neighbour_cells: places at most so many cells from a visited one are candidates
            too; 0 for the visited ones alone.
        prior_floor: share of the past weight at which a place has a prior of log(2);
            see :func:`mora.trajectories.bert.inputs.log_prior`.
        histograms: ways to weigh past visits. The network has a prior from each, and
            mixes them event by event; ``beta`` plays no part.
    """

    neighbour_cells: float = Field(0.0, ge=0)
    prior_floor: float = Field(0.01, gt=0)
    histograms: tuple[MedoidOptions, ...] = Field((MedoidOptions(),), min_length=1)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Locations that each of some windows may answer.

    Attributes:
        locations: of each window, ascending; :data:`NO_CANDIDATE` fills up.
        shares: of the user's past weight that each candidate has at each event to
            come, by each histogram; 0 for one that was not visited.
    """

    locations: Int[np.ndarray, "windows candidates"]
    shares: Float[np.ndarray, "windows predict candidates histograms"]


@dataclass(frozen=True, eq=False)
class CandidateFinder:
    """What is needed to find candidates of any window of a city.

    Attributes:
        vocabulary: its places can be candidates.
        slots_a_day: slots that a day has.
        config: how far around visited places to look, and how to weigh past visits.
    """

    vocabulary: Vocabulary
    slots_a_day: int
    config: CandidateConfig

    @cached_property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Give, for every token, the tokens near it: offsets and tokens."""
        if self.config.neighbour_cells == 0:
            return None
        plane = plane_coordinates(self.vocabulary.tokens)
        tree = cKDTree(plane)
        near = tree.query_ball_point(plane, self.config.neighbour_cells)
        counts = np.array([len(tokens) for tokens in near])
        return np.append(0, np.cumsum(counts)), np.concatenate(near).astype(np.int64)

    def find(self, windows: Windows, rows: Int[np.ndarray, " batch"]) -> Candidates:
        """Find the candidates of some windows, from the known places of each alone.

        Args:
            windows: all events of a window's user before ``known_end`` are its past,
                however many days the network looks back.
            rows: positions among the windows.

        Returns:
            The candidates; a window whose past has no place of the vocabulary has none.
        """
        past = self._past(windows, rows)
        wanted = self._wanted(windows, rows)
        length, histograms = windows.predict_length, self.config.histograms
        if len(past) == 0:
            empty = np.full((len(rows), 1), NO_CANDIDATE)
            nothing = np.zeros((len(rows), length, 1, len(histograms)))
            return Candidates(empty, nothing)
        # All have the same cells in the same order: those that were visited.
        by_histogram = [histogram_weights(past, wanted, each) for each in histograms]
        weighted = by_histogram[0]
        first_events = np.arange(len(rows)) * length
        starts, ends = (weighted.offsets[first_events + i] for i in (0, 1))
        cells = _ranges(starts, ends - starts)
        window = np.repeat(np.arange(len(rows)), ends - starts)
        window, token = self._spread(window, weighted.tokens[cells])
        locations, column = _table(
            window, self.vocabulary.encode(token), len(rows), len(self.vocabulary)
        )
        entries = (len(rows) * length, locations.shape[1], len(histograms))
        shares = np.zeros(entries)
        event = np.repeat(np.arange(len(rows) * length), np.diff(weighted.offsets))
        location = self.vocabulary.encode(weighted.tokens)
        weights = np.column_stack([each.weights for each in by_histogram])
        shares[event, column(event // length, location)] = weights
        return Candidates(locations, shares.reshape(len(rows), length, *entries[1:]))

    def _past(self, windows: Windows, rows: Int[np.ndarray, " batch"]) -> Events:
        """Give the known events of each window, as if each were a user."""
        columns = windows.columns
        start = columns.offsets[columns.user[windows.target[rows]]]
        counts = windows.known_end[rows] - start
        events = _ranges(start, counts)
        past = self._events(
            counts,
            columns.day[events],
            columns.slot[events],
            self.vocabulary.decode(columns.location[events]),
        )
        return past.select(~past.masked())

    def _wanted(self, windows: Windows, rows: Int[np.ndarray, " batch"]) -> Events:
        """Give the events to come; where there are too few, the last one again."""
        future = windows.target[rows, None] + np.arange(windows.predict_length)
        future = np.minimum(future, windows.end[rows, None] - 1).ravel()
        return self._events(
            np.full(len(rows), windows.predict_length),
            windows.columns.day[future],
            windows.columns.slot[future],
            np.full(len(future), MASKED),
        )

    def _events(
        self, counts: np.ndarray, day: np.ndarray, slot: np.ndarray, token: np.ndarray
    ) -> Events:
        return Events(
            np.arange(len(counts)),
            np.append(0, np.cumsum(counts)),
            day,
            slot,
            token.astype(np.int32),
            self.vocabulary.tokens,
            self.slots_a_day,
        )

    def _spread(
        self, window: Int[np.ndarray, " n"], token: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Add the places near visited ones, as far as the vocabulary has them."""
        if self.neighbours is None:
            return window, token
        offsets, near = self.neighbours
        counts = np.diff(offsets)[token]
        window, token = np.repeat(window, counts), near[_ranges(offsets[token], counts)]
        location = self.vocabulary.encode(token)
        known = self.vocabulary.decode(location) == token
        return window[known], token[known]


def _table(
    window: Int[np.ndarray, " n"],
    location: Int[np.ndarray, " n"],
    windows: int,
    locations: int,
) -> tuple[Int[np.ndarray, "windows candidates"], Callable[..., np.ndarray]]:
    """Lay the distinct locations of each window in a row.

    Returns:
        The table, and a function that finds the column of a location in a window.
    """
    keys = np.unique(window * locations + location)
    row = keys // locations
    counts = np.bincount(row, minlength=windows)
    starts = np.cumsum(counts) - counts
    table = np.full((windows, max(int(counts.max()), 1)), NO_CANDIDATE)
    table[row, np.arange(len(keys)) - starts[row]] = keys % locations

    def column(
        window: Int[np.ndarray, " m"], location: Int[np.ndarray, " m"]
    ) -> Int[np.ndarray, " m"]:
        return np.searchsorted(keys, window * locations + location) - starts[window]

    return table, column


def _ranges(
    starts: Int[np.ndarray, " n"], counts: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " total"]:
    """Give the ``count`` numbers from ``start`` on of each pair, one after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
