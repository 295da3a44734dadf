"""The stage that makes the product: one vector a place, in a table."""

from pathlib import Path
from typing import Any

import numpy as np

from mora.embeddings import Embeddings
from mora.fusion import fuse
from mora.graph.storage import MobilityGraph
from mora.modalities import read_features
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import read_mobility


def run_embed(context: RunContext, folder: Path) -> dict[str, Any]:
    """Write the product, ``embeddings.parquet``, into the run's folder."""
    mobility = read_mobility(context.folder / "graph")
    config = context.config
    vectors, sections = _exported(context, mobility.graph)
    np.save(folder / "vectors.npy", vectors)
    provenance = {
        "model": "mora",
        "run": config.name,
        "preset": config.preset,
        "seed": config.seed,
        "mobility": config.mobility.kind,
        "modalities": list(config.modalities),
        "sections": sections,
        "notes": list(config.notes),
    }
    embeddings = Embeddings(mobility.tokens, vectors, mobility.population, provenance)
    embeddings.write(context.folder / "embeddings.parquet")
    (folder / "provenance.txt").write_text(f"{provenance}\n")
    context.display.say(f"  wrote {context.folder / 'embeddings.parquet'}")
    return {"tokens": len(embeddings), "dim": embeddings.dim, "sections": sections}


def _exported(
    context: RunContext, graph: MobilityGraph
) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """Give the vectors to export, and which columns say what."""
    aligned = np.load(context.folder / "train" / "vectors.npy", allow_pickle=False)
    config = context.config
    if config.export.kind == "anchor":
        return aligned, {"aligned": (0, aligned.shape[1])}
    features = {
        name: read_features(context.folder / "features", name)
        for name in config.modalities
    }
    with context.display.bar("Fusing", "edges") as progress:
        fused = fuse(
            graph,
            aligned,
            features,
            config.export,
            dim=config.line.dim,
            seed=config.seed,
            progress=progress,
        )
    for name, count in fused.filled.items():
        context.display.say(f"  {name}: predicted for {count:,} places without it")
    return fused.vectors, fused.sections
