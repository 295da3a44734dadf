"""The 180 regions of Manhattan as input for baselines, and Mora trained on them."""

import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from mora.baselines import BaselineInput, Volume
from mora.config import EncoderConfig, HeadConfig, SampleConfig, TrainingConfig
from mora.config.loading import read_preset
from mora.graph.sampling import normalise, sample_edges
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


def mora_vectors(given: BaselineInput, epochs: int | None = None) -> np.ndarray:
    """Train Mora with the default preset on all regions at once."""
    from mora.encoder.alignment import align, embed_tokens

    preset = read_preset("default")
    settings = {**preset["training"], "accelerator": "cpu"}
    settings |= {} if epochs is None else {"epochs": epochs}
    sample = SampleConfig(**preset.get("sample", {}))
    graph = MobilityGraph.from_matrix(given.require_flows())
    kept = sample_edges(
        graph, sample.share, by=sample.by, ends=sample.ends, seed=given.seed
    )
    rows = {}
    for name, values in given.require_features().items():
        columns = [str(column) for column in range(values.shape[1])]
        present = np.isfinite(values).all(axis=1)
        scaled = Features.from_values(values, present, columns).standardised()
        rows[name] = (scaled.values, np.asarray(scaled.present))
    with tempfile.TemporaryDirectory() as folder:
        model, _ = align(
            given.require_line(),
            normalise(graph.select(kept)),
            rows,
            {name: HeadConfig() for name in rows},
            EncoderConfig(**preset.get("encoder", {})),
            TrainingConfig(**settings),
            Path(folder),
            seed=given.seed,
        )
    return embed_tokens(model, rows)
