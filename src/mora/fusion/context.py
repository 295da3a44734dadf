"""What the places are like that a place exchanges people with."""

import numpy as np

from mora.fusion.section import Section
from mora.graph.storage import MobilityGraph
from mora.graph.streaming import stream_product


def neighbour_means(
    graph: MobilityGraph, section: Section, power: float | int = 1
) -> Section:
    """Average a section over each token's neighbours in the graph.

    Source: one step of simplified graph convolution (Wu et al. 2019), row-normalised,
    without the token itself.

    Args:
        graph: the mobility graph.
        section: what is averaged; neighbours that lack it do not count.
        power: of the edge weights, >= 0: 1 averages over people, 0 over places.

    Returns:
        As many columns; zero, and marked as missing, where no neighbour has any.
    """
    known = section.present[:, None]
    columns = np.hstack([np.where(known, section.values, 0), known])
    sums = stream_product(
        graph,
        np.ascontiguousarray(columns, np.float32),
        lambda first, indptr, neighbour, weight: _powers(weight, power),  # noqa: ARG005
    )
    total = sums[:, -1].astype(np.float64)
    present = total > 0
    means = sums[:, :-1] / np.where(present, total, 1.0)[:, None]
    return Section(np.where(present[:, None], means, 0.0), present)


def _powers(weight: np.ndarray, power: float | int) -> np.ndarray:
    return (weight.astype(np.float64) ** power).astype(np.float32)
