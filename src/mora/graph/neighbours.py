"""The graph of adjacent tokens, for places without mobility data."""

import numpy as np
import scipy.sparse as sp

from mora.graph.storage import MobilityGraph
from mora.tokens import Tokens


def build_neighbour_graph(tokens: Tokens) -> MobilityGraph:
    """Join tokens that touch, each edge with weight 1.

    Args:
        tokens: cells, or zones with outlines.

    Returns:
        The graph; a token without neighbours keeps an empty row.
    """
    first, second = tokens.neighbours()
    shape = (len(tokens), len(tokens))
    ends = (np.concatenate([first, second]), np.concatenate([second, first]))
    return MobilityGraph.from_matrix(
        sp.csr_array((np.full(len(ends[0]), 0.5), ends), shape=shape)
    )
