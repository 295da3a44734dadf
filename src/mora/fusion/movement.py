"""How a place moves: its volumes, and factors of the flows themselves."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from mora.fusion.section import Section
from mora.graph.storage import MobilityGraph
from mora.graph.streaming import stream_product
from mora.line.closed_form import truncated_svd
from mora.progress import Progress, silent

# Flows range over many powers of ten; each scale shows other differences.
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": np.log1p,
    "sqrt": np.sqrt,
    "count": lambda flows: flows,
}
# Two sets of factors: counts drown the many small flows, which the log alone shows.
FACTORS = (("log",), ("log", "sqrt", "count"))
FARTHEST = 4.0  # deviations


def movement_view(
    graph: MobilityGraph, dim: int, *, seed: int = 0, progress: Progress = silent
) -> Section:
    """Describe each token by its volumes and by whom it exchanges how many people with.

    LINE and a normalised graph hide how much moves; these columns keep it. First
    log(1 + outflow), log(1 + inflow) and log(1 + flow within), so direction and stay
    are told apart, as far as they differ; then factors of the flows, spectrum kept:
    half of log(1 + flow), half of log, root and count side by side.

    Args:
        graph: the mobility graph.
        dim: columns, >= 1.
        seed: of the sketch of the factors.
        progress: told the edges streamed and in all.

    Returns:
        Columns clipped at 4 deviations; volumes and each set of factors have total
        variance 1. Fewer than ``dim`` where the graph has a lower rank. Tokens without
        any flow lack the section.
    """
    volumes, present = _volumes(graph)
    parts = [_bounded(volumes, present)[:, :dim]]
    more = dim - parts[0].shape[1]
    if graph.edges:
        counts = (more - more // 2, more // 2)
        for number, (scales, count) in enumerate(zip(FACTORS, counts, strict=True)):
            if count:
                told = _part(progress, number, len(FACTORS))
                factors = _factors(SquaredFlows(graph, scales), count, seed, told)
                parts.append(_bounded(factors, present))
    scaled = [Section(part, present).with_variance(1.0).values for part in parts]
    return Section(np.hstack(scaled), present)


class SquaredFlows:
    """The sum over scales of squared flow matrices, each scaled to unit size.

    Its eigenvectors are the left singular vectors of the flows on each scale set side
    by side, flows within a token on the diagonal.

    Args:
        graph: the mobility graph, with at least one edge.
        scales: keys of :data:`SCALES`.
    """

    def __init__(self, graph: MobilityGraph, scales: Sequence[str]) -> None:
        self.graph = graph
        self.within = np.asarray(graph.within, np.float64)
        self.size = {name: self._squared_size(name) for name in scales}

    def __len__(self) -> int:
        return len(self.graph)

    def multiply(
        self, x: Float32[np.ndarray, "tokens columns"], progress: Progress = silent
    ) -> Float32[np.ndarray, "tokens columns"]:
        """Multiply it by a dense matrix, streaming the graph twice for each scale."""
        total = np.zeros(x.shape, np.float32)
        passes = 2 * len(self.size)
        for number, name in enumerate(self.size):
            once = self._times(name, x, _part(progress, 2 * number, passes))
            twice = self._times(name, once, _part(progress, 2 * number + 1, passes))
            total += twice / np.float32(self.size[name])
        return total

    def _times(
        self, name: str, x: Float32[np.ndarray, "tokens columns"], progress: Progress
    ) -> Float32[np.ndarray, "tokens columns"]:
        """Multiply the flows of one scale by a dense matrix."""
        scale = SCALES[name]
        product = stream_product(
            self.graph,
            x,
            lambda first, indptr, neighbour, weight: (  # noqa: ARG005
                scale(weight.astype(np.float64)).astype(np.float32)
            ),
            progress,
        )
        return product + scale(self.within)[:, None].astype(np.float32) * x

    def _squared_size(self, name: str) -> float:
        """Sum the squares of all entries, both directions of every edge."""
        scale = SCALES[name]
        blocks = (self.graph.block(*rows)[2] for rows in self.graph.row_blocks())
        edges = sum(float((scale(w.astype(np.float64)) ** 2).sum()) for w in blocks)
        return 2 * edges + float((scale(self.within) ** 2).sum())


def _volumes(
    graph: MobilityGraph,
) -> tuple[Float[np.ndarray, "tokens volumes"], Bool[np.ndarray, " tokens"]]:
    """Give the logs of the volumes that vary, none twice, and who has any flow."""
    totals = [np.asarray(graph.outflow), np.asarray(graph.within)]
    if not np.array_equal(graph.inflow, graph.outflow):  # directed
        totals.insert(1, np.asarray(graph.inflow))
    present = np.sum(totals, axis=0) > 0
    logs = [np.log1p(t.astype(np.float64)) for t in totals if np.ptp(t) > 0]
    return np.column_stack([np.zeros((len(graph), 0)), *logs]), present


def _factors(
    matrix: SquaredFlows, count: int, seed: int, progress: Progress
) -> Float[np.ndarray, "tokens factors"]:
    """Give left singular vectors times singular values, those above zero."""
    left, squares = truncated_svd(
        matrix, count, power_iterations=2, seed=seed, progress=progress
    )
    return (left[:, squares > 0] * np.sqrt(squares[squares > 0])).astype(np.float64)


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """Tell how far one of some equal parts has brought the whole."""
    return lambda done, total: progress(number * total + done, parts * total)


def _bounded(
    columns: Float[np.ndarray, "tokens columns"], present: np.ndarray
) -> Float[np.ndarray, "tokens columns"]:
    """Centre over the tokens that move and clip; the others become zero."""
    rows = columns[present]
    if not len(rows):
        return np.zeros_like(columns)
    middle, spread = rows.mean(axis=0), rows.std(axis=0)
    bounded = np.clip(columns - middle, -FARTHEST * spread, FARTHEST * spread)
    return np.where(present[:, None], bounded, 0.0)
