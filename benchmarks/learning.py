"""Mora's vectors from arrays in memory, as a run with the default preset makes them."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mora.config import (
    EncoderConfig,
    ExportConfig,
    HeadConfig,
    SampleConfig,
    TrainingConfig,
)
from mora.config.loading import read_preset
from mora.fusion import fuse
from mora.graph.sampling import normalise, sample_edges
from mora.graph.storage import MobilityGraph
from mora.modalities import Features


def align_places(
    graph: MobilityGraph,
    line: np.ndarray,
    features: Mapping[str, Features],
    heads: Mapping[str, HeadConfig],
    *,
    seed: int = 0,
    epochs: int | None = None,
) -> np.ndarray:
    """Train the default preset and give the vectors that it aligned.

    Args:
        graph: of movement.
        line: the pre-encoding of its places.
        features: of every modality.
        heads: of every modality.
        seed: of everything drawn.
        epochs: at most; as the preset has it by default.
    """
    from mora.encoder.alignment import align, embed_tokens

    preset = read_preset("default")
    settings = {**preset["training"], "accelerator": "cpu"}
    settings |= {} if epochs is None else {"epochs": epochs}
    sample = SampleConfig(**preset.get("sample", {}))
    kept = sample_edges(graph, sample.share, by=sample.by, ends=sample.ends, seed=seed)
    rows = {}
    for name, found in features.items():
        scaled = found.standardised()
        rows[name] = (scaled.values, np.asarray(scaled.present))
    with tempfile.TemporaryDirectory() as folder:
        model, _ = align(
            line,
            normalise(graph.select(kept)),
            rows,
            heads,
            EncoderConfig(**preset.get("encoder", {})),
            TrainingConfig(**settings),
            Path(folder),
            seed=seed,
        )
    return embed_tokens(model, rows)


def fuse_places(
    graph: MobilityGraph,
    aligned: np.ndarray,
    features: Mapping[str, Features],
    *,
    seed: int = 0,
) -> np.ndarray:
    """Give the default preset's export."""
    config = ExportConfig(**read_preset("default")["export"])
    fused = fuse(graph, aligned, features, config, dim=aligned.shape[1], seed=seed)
    return fused.vectors


def hide(features: Features, hidden: np.ndarray) -> Features:
    """Take the features of some places away."""
    present = np.asarray(features.present) & ~hidden
    values = np.where(present[:, None], features.values, 0).astype(np.float32)
    return replace(features, values=values, present=present)
