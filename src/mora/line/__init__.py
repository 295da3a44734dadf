"""LINE, second order: a vector for each token from whom it exchanges people with.

Two ways to the same vectors: ``closed_form`` factorises the matrix that the sampling
approaches, in seconds; ``sampled`` is the published algorithm.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32

from mora.errors import ConfigError
from mora.graph.storage import MobilityGraph
from mora.line import closed_form, random_vectors, sampled

METHODS = {
    "closed_form": closed_form.closed_form,
    "sampled": sampled.sampled,
    "random": random_vectors.random_vectors,
}


def embed(
    graph: MobilityGraph,
    method: str = "closed_form",
    *,
    dim: int = 128,
    seed: int = 0,
    **settings: Any,
) -> Float32[np.ndarray, "tokens dim"]:
    """Embed the tokens of a mobility graph by LINE, second order.

    Args:
        graph: the mobility graph.
        method: ``closed_form`` or ``sampled``, or ``random`` numbers instead.
        dim: length of the vectors, >= 1.
        seed: the same seed gives the same vectors.
        settings: the method's own, see :func:`mora.line.closed_form.closed_form` and
            :func:`mora.line.sampled.sampled`; ``random`` has ``scale``.

    Returns:
        One vector a token, not normalised; zero for tokens without edges.

    Raises:
        ConfigError: if there is no such method.
        GraphError: if the graph has no edge, or a setting is out of its range.
    """
    if method not in METHODS:
        raise ConfigError(
            f"no LINE method {method!r}; expected one of {', '.join(METHODS)}."
        )
    return METHODS[method](graph, dim=dim, seed=seed, **settings)
