"""Graphs with held-out links, and the area under the curve of what tells them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mora.graph.storage import MobilityGraph
from mora.graph.synthetic import build_gravity_graph, make_country
from mora.line.link_prediction import hold_out, link_auc

DIM = 128


@dataclass(frozen=True)
class Links:
    """A graph without two random per cent of its edges, and these edges.

    Attributes:
        train: what the methods see.
        validation: ends and weights of the per cent that settings are chosen on.
        test: ends and weights of the per cent that is reported.
    """

    train: MobilityGraph
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def auc(self, vectors: np.ndarray, part: str = "test") -> float:
        """Score links by weight against pairs drawn by degree."""
        pairs, weights = getattr(self, part)
        return link_auc(vectors, pairs, weights, self.train.degree())

    def unweighted_auc(self, vectors: np.ndarray) -> float:
        """Score the test links, all alike, against pairs drawn by degree."""
        pairs, weights = self.test
        return link_auc(vectors, pairs, np.ones_like(weights), self.train.degree())

    def degree_product_auc(self) -> float:
        """Score the product of the degrees: what knows only how busy places are."""
        # The logarithm of a product is a dot product; cosines do not allow for it.
        degree = self.train.degree()
        chance = np.random.default_rng(0).choice(
            len(degree), (100_000, 2), p=degree / degree.sum()
        )
        chance = np.sort(degree[chance].prod(axis=1))
        pairs, weights = self.test
        below = np.searchsorted(chance, degree[pairs].prod(axis=1)) / len(chance)
        return float(np.average(below, weights=weights))


def make_links(places: int, edges: int, seed: int = 0) -> Links:
    """Draw a gravity graph and hold out twice one per cent of its edges."""
    with tempfile.TemporaryDirectory() as folder:
        country = make_country(places, seed=seed)
        graph = build_gravity_graph(country, edges, Path(folder), seed=seed)
        graph = graph.select(np.ones(graph.edges, bool))  # into memory
    rest, *test = hold_out(graph, 0.01, seed=seed)
    train, *validation = hold_out(rest, 0.01, seed=seed + 1)
    print(f"{len(graph):,} places, {graph.edges:,} edges; 1 % held out twice")
    return Links(train, tuple(validation), tuple(test))
