"""One vector per place and period, in one space, and which periods stand out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float, Float32

from mora.benchmark.drift import (
    Noise,
    Snapshot,
    align,
    cosine_change,
    median_of_known,
    quiet_noise,
    times_noise,
    usual,
)
from mora.errors import GraphError, MoraError, examples
from mora.graph.periods import PeriodFlows, volume_of
from mora.graph.storage import MobilityGraph
from mora.line.closed_form import closed_form, truncated_svd
from mora.line.pmi import ShiftedPmi
from mora.tokens import Tokens

METHODS = ("anchored", "procrustes")


@dataclass(frozen=True, eq=False)
class Anchor:
    """The right factor of closed-form LINE of one graph, which other graphs share.

    Attributes:
        context: right singular vectors over the roots of their singular values.
        shift: of the matrix, see :class:`mora.line.pmi.ShiftedPmi`.
    """

    context: Float32[np.ndarray, "tokens dim"]
    shift: float

    @classmethod
    def from_graph(
        cls, graph: MobilityGraph, *, dim: int, shift: float = 0.25, seed: int = 0
    ) -> "Anchor":
        """Factorise the matrix of the graph that all others are seen from.

        Args:
            graph: of a reference period, or of all periods together.
            dim: length of the vectors, >= 1.
            shift: see :func:`mora.line.closed_form.closed_form`.
            seed: of the sketch.

        Raises:
            GraphError: if an argument is out of its range, or there is no edge.
        """
        matrix = ShiftedPmi(graph, shift)
        left, value = truncated_svd(matrix, dim, seed=seed)
        scale = np.zeros_like(value)
        np.divide(1, value, out=scale, where=value > 0)
        right = matrix.multiply(left) * scale
        return cls((right * np.sqrt(scale)).astype(np.float32), shift)

    def embed(self, graph: MobilityGraph) -> Float32[np.ndarray, "tokens dim"]:
        """Give the best left factor of a graph's matrix beside the shared right one.

        Returns:
            The vectors of closed-form LINE for the anchor's own graph; zero for tokens
            without an edge above the shift, and all zero without edges.
        """
        if graph.edges == 0:
            return np.zeros_like(self.context)
        return ShiftedPmi(graph, self.shift).multiply(self.context)


@dataclass(frozen=True, eq=False)
class PeriodEmbeddings:
    """Vectors of the same places in several periods, in one space.

    Attributes:
        tokens: the places.
        periods: names, in the order of time.
        vectors: with whom each place exchanged people; they do not tell how many.
        log_volume: log of 1 + all movement of the place, a mean per date.
    """

    tokens: Tokens
    periods: tuple[str, ...]
    vectors: Float32[np.ndarray, "periods tokens dim"]
    log_volume: Float[np.ndarray, "periods tokens"]

    def at(self, period: str) -> Snapshot:
        """Give the places as they were in a period.

        Raises:
            MoraError: if there is no such period.
        """
        if period not in self.periods:
            raise MoraError(
                f"no period {period!r} among {len(self.periods)}; expected one of "
                f"{self.periods[0]} to {self.periods[-1]}."
            )
        row = self.periods.index(period)
        return Snapshot(self.tokens, self.vectors[row], self.log_volume[row])


def embed_periods(
    flows: PeriodFlows,
    *,
    dim: int = 16,
    shift: float = 0.25,
    reference: str | None = None,
    method: str = "anchored",
    seed: int = 0,
) -> PeriodEmbeddings:
    """Embed places in each period, so that vectors of different periods compare.

    Args:
        flows: of each period.
        dim: length of the vectors, >= 1; well below the number of places.
        shift: see :func:`mora.line.closed_form.closed_form`.
        reference: period whose space is used; all periods together by default.
        method: ``anchored`` keeps the right factor of the reference's closed-form LINE
            and lets the places move; ``procrustes`` embeds each period by itself and
            rotates it onto the reference, see :func:`mora.benchmark.drift.align`.
        seed: of the sketch.

    Returns:
        Vectors and volumes; equal vectors in periods whose flows are proportional.

    Raises:
        GraphError: if the reference or the method is unknown, or an argument is out of
            its range.
        MoraError: if too few places have a vector to be rotated.
    """
    if method not in METHODS:
        raise GraphError(f"no method {method!r}; expected {' or '.join(METHODS)}.")
    space = flows.graph(reference)
    graphs = [flows.graph(period) for period in flows.periods]
    if method == "anchored":
        anchor = Anchor.from_graph(space, dim=dim, shift=shift, seed=seed)
        vectors = [anchor.embed(graph) for graph in graphs]
    else:
        settings = {"dim": dim, "shift": shift, "seed": seed}
        onto = closed_form(space, **settings)
        vectors = [align(closed_form(graph, **settings), onto) for graph in graphs]
    return PeriodEmbeddings(
        flows.tokens, flows.periods, np.stack(vectors), np.log1p(flows.volume())
    )


def bootstrap_noise(
    flows: PeriodFlows,
    period: str,
    *,
    draws: int = 20,
    dim: int = 16,
    shift: float = 0.25,
    reference: str | None = None,
    seed: int = 0,
) -> Noise:
    """Give the change that counting other people of the same habits would bring.

    Each draw replaces every count by a Poisson number of the same mean (Hanley &
    MacGibbon 2006, Poisson bootstrap). Counts that were scaled up look surer than they
    are, and weeks differ by more than chance: prefer quiet periods where there are
    some.

    Args:
        flows: counts of people or trips, of each period.
        period: to draw again.
        draws: >= 1.
        dim: as in :func:`embed_periods`, and so are the others.
        shift: of the matrix.
        reference: period whose space is used.
        seed: of the draws and the sketch.

    Returns:
        Root mean square change of each place between the period and its draws, for
        vectors of the method ``anchored``.

    Raises:
        GraphError: if ``draws`` is below 1 or there is no such period.
    """
    if draws < 1:
        raise GraphError(f"draws is {draws}; expected at least 1, such as 20.")
    matrix = flows.flows(period)
    dates = flows.dates[flows.periods.index(period)]
    anchor = Anchor.from_graph(flows.graph(reference), dim=dim, shift=shift, seed=seed)
    rng = np.random.default_rng(seed)
    parts = [matrix.data, *(rng.poisson(matrix.data) for _ in range(draws))]
    shots = []
    for counts in parts:
        drawn = sp.csr_array(
            (counts.astype(float), matrix.indices, matrix.indptr), shape=matrix.shape
        )
        vectors = anchor.embed(MobilityGraph.from_matrix(drawn))
        volume = np.log1p(volume_of(drawn) / dates)
        shots.append(Snapshot(flows.tokens, vectors, volume))
    return quiet_noise([(shots[0], shot) for shot in shots[1:]], rotate=False)


def rank_periods(
    embedded: PeriodEmbeddings, quiet: Sequence[str], *, threshold: float | int = 3
) -> pd.DataFrame:
    """List periods by how much their places changed from the period before.

    The noise of each place is its usual change into the quiet periods; a quiet period
    is compared with the others, never with itself.

    Args:
        embedded: the periods.
        quiet: at least three periods in which nothing happened; those with no period
            before them tell nothing.
        threshold: times the noise at which a period stands out, > 0.

    Returns:
        ``period``, ``pattern`` and ``volume`` (median over places of the change, the
        volume with its sign), ``times_noise`` (median over places) and ``stands_out``;
        the most changed first. The first period is not listed.

    Raises:
        MoraError: if a quiet period is unknown, there are too few, or the threshold is
            not positive.
    """
    unknown = sorted(set(quiet) - set(embedded.periods))
    still = [name in set(quiet) for name in embedded.periods[1:]]
    if unknown or sum(still) < 3 or not threshold > 0:
        raise MoraError(
            f"{sum(still)} quiet periods with one before them, {len(unknown)} unknown "
            f"(first: {examples(unknown)}), threshold {threshold}; expected three or "
            f"more of {embedded.periods[1]} to {embedded.periods[-1]}, and more than 0."
        )
    pattern = cosine_change(embedded.vectors[:-1], embedded.vectors[1:])
    volume = np.diff(embedded.log_volume, axis=0)
    rows = []
    for step, period in enumerate(embedded.periods[1:]):
        others = np.array(still)
        others[step] = False
        levels = usual(pattern[others]), usual(volume[others])
        times = median_of_known(times_noise(pattern[step], volume[step], *levels))
        middle = (median_of_known(x[step]) for x in (pattern, volume))
        rows.append((period, *middle, times, times > threshold))
    columns = ["period", "pattern", "volume", "times_noise", "stands_out"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(
        "times_noise", ascending=False, kind="stable", ignore_index=True
    )
