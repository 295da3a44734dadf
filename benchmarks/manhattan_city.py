"""The 180 regions of Manhattan as input for baselines, and Mora trained on them."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from benchmarks.learning import align_places, fuse_places
from mora.baselines import BaselineInput, Volume
from mora.config import HeadConfig
from mora.graph.storage import MobilityGraph
from mora.line import embed
from mora.modalities import Features

DIM = 128  # of LINE and Mora
BLOCKS = {"poi": "poi_counts", "landuse": "landuse_counts", "imagery": "image_emb"}
LABELS = {"check-in": "label_checkin", "crime": "label_crime"}


def read_city(file: Path, seed: int = 0) -> tuple[BaselineInput, dict[str, np.ndarray]]:
    """Read the regions and their labels.

    Args:
        file: ``regions.npz``.
        seed: of LINE.

    Returns:
        What every method is given, and the labels by name.
    """
    with np.load(file, allow_pickle=False) as city:
        flows = sp.csr_array(city["od"].astype(np.float64))
        ends = city["neighbour_edges"].T
        features = {name: city[key].astype(float) for name, key in BLOCKS.items()}
        labels = {name: city[key].astype(float) for name, key in LABELS.items()}
        lonlat = city["centroid"]
    graph = MobilityGraph.from_matrix(flows)
    touching = sp.csr_array((np.ones(len(ends[0])), tuple(ends)), flows.shape)
    touching = sp.csr_array(touching + touching.T)
    touching.setdiag(0)
    touching.eliminate_zeros()
    touching.data[:] = 1.0
    given = BaselineInput(
        lonlat=lonlat,
        line=embed(graph, "closed_form", dim=DIM, seed=seed),
        volume=Volume(graph.outflow, graph.inflow, graph.within),
        features=features,
        flows=flows,
        neighbours=touching,
        seed=seed,
    )
    return given, labels


def mora_vectors(
    given: BaselineInput, epochs: int | None = None, export: str = "fused"
) -> np.ndarray:
    """Train Mora with the default preset on all regions at once.

    Args:
        given: flows, features, LINE and seed.
        epochs: at most; as the preset has it by default.
        export: ``fused``, or ``anchor`` for the aligned vector alone.
    """
    graph = MobilityGraph.from_matrix(given.require_flows())
    features = {}
    for name, values in given.require_features().items():
        columns = [str(column) for column in range(values.shape[1])]
        present = np.isfinite(values).all(axis=1)
        features[name] = Features.from_values(values, present, columns)
    heads = {name: HeadConfig() for name in features}
    line = given.require_line()
    aligned = align_places(graph, line, features, heads, seed=given.seed, epochs=epochs)
    if export == "anchor":
        return aligned
    return fuse_places(graph, aligned, features, seed=given.seed)
