"""Random numbers in place of LINE: what the pre-encoding is measured against."""

import numpy as np
from jaxtyping import Float32

from mora.errors import GraphError
from mora.graph.storage import MobilityGraph


def random_vectors(
    graph: MobilityGraph, *, dim: int = 128, scale: float = 0.1, seed: int = 0
) -> Float32[np.ndarray, "tokens dim"]:
    """Draw a vector for each token, whatever its edges.

    Source: MoRA, section 4.4, "w/o LINE"; the normal draw is that of LightGCN (He et
    al. 2020, section 4.1.2).

    Args:
        graph: gives the number of tokens.
        dim: length of the vectors, >= 1.
        scale: standard deviation of each number, > 0.
        seed: the same seed gives the same vectors.

    Raises:
        GraphError: if the scale is not above 0.
    """
    if not scale > 0:
        raise GraphError(f"scale is {scale}; expected above 0, such as 0.1.")
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((len(graph), dim))).astype(np.float32)
