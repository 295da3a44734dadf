"""SecondOrderLINE of the package ensmallen, on our graphs."""

import importlib.util

import numpy as np
import pandas as pd

from mora.graph.storage import MobilityGraph

NEGATIVES = 1  # it draws one for each edge


def open_ensmallen(graph: MobilityGraph) -> "EnsmallenLine | None":
    """Give the peer; None, and a line that says so, where it is not installed."""
    if importlib.util.find_spec("ensmallen") is None:
        print('ensmallen is not installed (pip install "mora[bench]"): left out')
        return None
    return EnsmallenLine(graph)


class EnsmallenLine:
    """The peer, with its graph built: building is not what is measured.

    Args:
        graph: the mobility graph.
    """

    def __init__(self, graph: MobilityGraph) -> None:
        import ensmallen

        self.model = ensmallen.models.SecondOrderLINE
        edges = pd.DataFrame(
            {
                "source": graph.rows().astype(str),
                "target": graph.neighbour.astype(str),
                "weight": np.asarray(graph.weight, dtype=np.float32),
            }
        )
        self.tokens = len(graph)
        self.graph = ensmallen.Graph.from_pd(
            edges_df=edges,
            edge_src_column="source",
            edge_dst_column="target",
            edge_weight_column="weight",
            directed=False,
        )
        self.samples = self.graph.get_number_of_directed_edges()  # of an epoch
        self.rows = np.array(self.graph.get_node_names()).astype(int)

    def embed(self, dim: int, epochs: int) -> np.ndarray:
        """Train for some epochs; zero for places without an edge."""
        model = self.model(
            embedding_size=dim, epochs=epochs, verbose=False, random_state=0
        )
        vectors = np.zeros((self.tokens, dim), np.float32)
        vectors[self.rows] = model.fit_transform(self.graph)[0]
        return vectors
