"""A finished run of a few places with everything that publishing reads."""

import json

import h3
import numpy as np
import scipy.sparse as sp

from mora.config import TrainingConfig
from mora.distill import DistillConfig
from mora.embeddings import Embeddings
from mora.graph.storage import MobilityGraph
from mora.publish.config import PublishConfig
from mora.tokens import H3Tokens

CONFIG = PublishConfig(
    licence="cc-by-4.0",
    period=("2024-01-01", "2024-03-31"),
    min_users=3,
    attack_pairs=300,
    caliper=0.5,
)
SMALL = DistillConfig(degree=8, width=64, depth=2, protocol="random")
BRIEF = TrainingConfig(
    optimizer="adam",
    learning_rate=0.02,
    weight_decay=0.0,
    batch_size=64,
    epochs=15,
    patience=15,
    accelerator="cpu",
)
REPORT = {
    "tasks": {
        "wealth": {
            "mora": {
                "blocked": {"mean": 0.5, "std": 0.02, "scores": [0.48, 0.52]},
                "random": {"mean": 0.9, "std": None, "scores": [0.9]},
            },
            "lonlat": {"blocked": {"mean": 0.1, "std": None, "scores": [0.1]}},
        }
    },
    "leaky": {"crowd": "the flows count it"},
}


def country(rings=8, seed=0):
    """Make places, a graph by chance in which the first place knows few people."""
    cells = list(h3.grid_disk(h3.latlng_to_cell(52.5, 13.4, 5), rings))
    tokens = H3Tokens.from_cells(cells)
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((len(tokens), len(tokens))) < 0.2, 1)
    weight = sp.csr_array(upper * rng.integers(4, 9, upper.shape).astype(float))
    users = sp.csr_array((weight.data - 1, weight.indices, weight.indptr))
    users = users.tolil()
    users[0] = users[0].minimum(2)
    users = sp.csr_array(users)
    graph = MobilityGraph.from_matrix(weight, users + users.T)
    return tokens, graph


def memory_of(graph):
    """Give vectors that keep every edge: a row of the graph and the place itself."""
    dense = (graph.symmetric().toarray() > 0) + 3.0 * np.eye(len(graph))
    return dense.astype(np.float32)


def smooth(tokens):
    """Give vectors that tell where a place is and no more."""
    x, y = tokens.centroids().T
    waves = [f(k * a) for a in (x, y) for k in (1, 2) for f in (np.sin, np.cos)]
    return np.column_stack(waves).astype(np.float32)


def write_run(folder, vectors=None, *, kind="visits", applied=2, counted=True, **parts):
    """Write what a run leaves: graph, embeddings, manifests, report."""
    tokens, graph = country()
    if not counted:
        graph = MobilityGraph.from_matrix(sp.triu(graph.symmetric()))
    (folder / "graph").mkdir(parents=True)
    tokens.write(folder / "graph" / "tokens.parquet")
    graph.write(folder / "graph" / "edges")
    vectors = smooth(tokens) if vectors is None else vectors
    provenance = {"run": "city", "modalities": ["poi"], "notes": ["Made up."]}
    people = np.arange(len(tokens), dtype=float)
    embeddings = Embeddings(tokens, vectors, people, provenance)
    embeddings.write(folder / "embeddings.parquet")
    facts = {"tokens": len(tokens), "edges": graph.edges}
    if kind == "visits":
        facts["tables"] = [{"kind": "visits", "rows_read": 1200, "rows_kept": 1000}]
        facts["privacy"] = {
            "min_users": applied,
            "thresholds": sorted({1, 2, 5, 10, applied}),
            "places": [250, 217, 200, 100, 90],
            "edges": [9000, 5000, 4000, 100, 90],
            "weight": [9, 8, 7, 6, 5],
        }
    manifest = {
        "settings": {"mobility": {"kind": kind}},
        "inputs": {"mobility.table.path[0]": "abc123"},
        "facts": {**facts, **parts},
    }
    (folder / "graph" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "train").mkdir()
    train = {"facts": {"sampled_edges": 777}}
    (folder / "train" / "manifest.json").write_text(json.dumps(train))
    (folder / "report.json").write_text(json.dumps(REPORT))
    return tokens, graph, embeddings
