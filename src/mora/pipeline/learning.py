"""The stages between graph and embedding: LINE, features, alignment."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mora.config import LineConfig, ModalityConfig
from mora.errors import ConfigError
from mora.graph.sampling import normalise, sample_edges
from mora.line import METHODS, embed
from mora.memory import require_memory
from mora.modalities import (
    FROM_RASTERS,
    MODALITIES,
    Features,
    check_rasters,
    read_features,
)
from mora.modalities.text import check_text_encoder
from mora.pipeline.inputs import RunContext, locate, read_array
from mora.pipeline.mobility import read_mobility
from mora.pipeline.rows import read_modality
from mora.sources import find_age_sex_rasters
from mora.tokens import H3Tokens, Tokens

Facts = dict[str, Any]

# Of the operator while it is built; of a place's features, gradients, moments, layers
# and best weights, for each of its columns.
ENTRY_BYTES = 12
VECTOR_BYTES = 44


def run_line(context: RunContext, folder: Path) -> Facts:
    """Pre-encode the full graph; leaves ``vectors.npy``."""
    config = context.config.line
    mobility = read_mobility(context.folder / "graph")
    if config.method == "given":
        vectors = _in_token_order(context, config.path, mobility.tokens)
        if vectors.shape[1] != config.dim:
            raise ConfigError(
                f"{config.path} has {vectors.shape[1]} columns; line.dim is "
                f"{config.dim}. Set it to the width of the file."
            )
    else:
        unit = "samples" if config.method == "sampled" else "edges"
        with context.display.bar("LINE", unit) as progress:
            offered = {
                "dim": config.dim,
                "seed": context.config.seed,
                "memory_gb": context.config.memory_gb,
                "folder": folder,
                "progress": progress,
            }
            known = inspect.signature(METHODS[config.method]).parameters
            settings = {key: offered[key] for key in offered if key in known}
            settings |= config.options
            vectors = embed(mobility.graph, config.method, **settings)
    np.save(folder / "vectors.npy", vectors)
    for kept in folder.glob("sketch-*.npy"):
        kept.unlink()
    norm = float(np.sqrt(np.mean(vectors.astype(np.float64) ** 2)))
    return {"dim": vectors.shape[1], "root_mean_square": norm}


def run_features(context: RunContext, folder: Path) -> Facts:
    """Build the features of every modality, a file each."""
    tokens = read_mobility(context.folder / "graph").tokens
    facts: Facts = {}
    for name, config in context.config.modalities.items():
        features = _build_features(context, name, config, tokens, folder)
        features.write(folder, name)
        missing = int((~features.present).sum())
        context.display.say(
            f"  {name}: {len(features.columns):,} columns, {missing:,} of "
            f"{len(tokens):,} tokens have none"
        )
        if outside := features.notes.get("dropped"):
            context.display.say(
                f"    {outside:,} rows lie in no token and count nowhere"
            )
        facts[name] = {"missing": missing, **features.notes}
    return facts


def _build_features(
    context: RunContext, name: str, config: ModalityConfig, tokens: Tokens, folder: Path
) -> Features:
    if config.kind == "array":
        values = _in_token_order(context, config.path, tokens)
        present = np.isfinite(values).all(axis=1)
        columns = [f"{name}_{i:04d}" for i in range(values.shape[1])]
        return Features.from_values(values, present, columns)
    options = {key: _located(value, key) for key, value in config.options.items()}
    builder = MODALITIES[config.kind]
    frame = read_modality(context, name, config, tokens)
    known = inspect.signature(builder).parameters
    unit = "texts" if "cache_folder" in known else "tokens"
    with context.display.bar(f"Building {name}", unit) as progress:
        offered = {"cache_folder": folder / "text_cache", "progress": progress}
        if context.config.memory_gb is not None:
            offered["memory_gb"] = context.config.memory_gb
        settings = {key: offered[key] for key in offered if key in known}
        return builder(tokens, frame, **{**settings, **options})


def check_features(context: RunContext) -> None:
    """Open the rasters, so that one that is no good is found before LINE.

    Raises:
        MoraError: saying which and why.
    """
    tokens = read_mobility(context.folder / "graph").tokens
    for config in context.config.modalities.values():
        options = {key: _located(v, key) for key, v in config.options.items()}
        if config.kind in FROM_RASTERS:
            known = inspect.signature(check_rasters).parameters
            check_rasters(tokens, **{k: options[k] for k in options if k in known})
        elif config.kind == "demographics40" and "path" in options.get("rasters", {}):
            find_age_sex_rasters(options["rasters"]["path"])


def check_line(config: LineConfig) -> None:
    """Refuse unknown options before any work is done.

    Raises:
        ConfigError: naming what exists.
    """
    if config.method == "given":
        known = set()
    else:
        known = {*inspect.signature(METHODS[config.method]).parameters}
        known -= {"graph", "dim", "seed", "progress", "folder", "memory_gb"}
    unknown = [key for key in config.options if key not in known]
    if unknown:
        raise ConfigError(
            f"line.options: {', '.join(unknown)} unknown for method "
            f"{config.method!r}; expected some of {', '.join(sorted(known)) or 'none'}."
        )


def check_modalities(modalities: Mapping[str, ModalityConfig]) -> None:
    """Refuse unknown kinds and options before any work is done.

    Raises:
        ConfigError: naming what exists.
    """
    for name, config in modalities.items():
        if config.kind == "array":
            continue
        if config.kind not in MODALITIES:
            raise ConfigError(
                f"modalities.{name}.kind: {config.kind!r} is unknown; expected one of "
                f"{', '.join([*MODALITIES, 'array'])}."
            )
        parameters = [*inspect.signature(MODALITIES[config.kind]).parameters.values()]
        known = [p.name for p in parameters[2:] if p.name != "progress"]
        unknown = [key for key in config.options if key not in known]
        if unknown:
            raise ConfigError(
                f"modalities.{name}.options: {', '.join(unknown)} unknown for kind "
                f"{config.kind!r}; expected some of {', '.join(known)}."
            )
        needed = [p.name for p in parameters[2:] if p.default is p.empty]
        missing = [key for key in needed if key not in config.options]
        if missing:
            raise ConfigError(
                f"modalities.{name}.options: kind {config.kind!r} needs "
                f"{', '.join(missing)}; got {', '.join(config.options) or 'none'}."
            )
        if config.kind == "poi" and isinstance(config.options.get("encoder"), str):
            check_text_encoder(config.options["encoder"])


def _located(value: Any, key: str) -> Any:
    """Turn paths inside options into files."""
    if isinstance(value, Mapping):
        return {k: _located(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_located(v, key) for v in value]
    return str(locate(value)) if key == "path" else value


def _in_token_order(
    context: RunContext, path: str | None, tokens: Tokens
) -> Float[np.ndarray, "tokens columns"]:
    """Load one row a token from ``.npy``; rows in the order of ``mobility.cells``.

    Raises:
        ConfigError: if no path is given or it holds anything but a row of numbers for
            each token.
    """
    if path is None:
        raise ConfigError("a ready array needs `path:` to an .npy file; got none.")
    values = read_array(path)
    if values.ndim != 2 or len(values) != len(tokens) or values.dtype.kind not in "fiu":
        raise ConfigError(
            f"{path} holds {values.dtype} numbers of shape {values.shape} for "
            f"{len(tokens)} tokens; expected one row of numbers a token."
        )
    values = values.astype(np.float32)
    cells = getattr(context.config.mobility, "cells", None)
    if cells is None or not isinstance(tokens, H3Tokens):
        return values
    given = read_array(cells)
    ordered = np.empty_like(values)
    ordered[tokens.encode(given)] = values
    return ordered


def check_training(context: RunContext) -> None:
    """Refuse a graph that training could not hold, whatever edges are chosen.

    Raises:
        MemoryLimitError: saying what it would need at least.
    """
    graph = read_mobility(context.folder / "graph").graph
    # A node chooses that share of its edges, and an edge has two ends.
    fewest = int(context.config.sample.share * graph.edges)
    _require_training_memory(context, len(graph), fewest)


def _require_training_memory(context: RunContext, tokens: int, edges: int) -> None:
    needed = 2 * edges * ENTRY_BYTES + tokens * context.config.line.dim * VECTOR_BYTES
    work = f"Training on {tokens:,} places and {edges:,} sampled edges"
    require_memory(needed, work, context.config.memory_gb)


def run_train(context: RunContext, folder: Path) -> Facts:
    """Align the modalities with mobility; leaves weights, losses and vectors.

    Where several processes do it together, the first one leaves them.
    """
    # Imported here: no other stage should wait for torch.
    from mora.encoder.alignment import align, embed_tokens
    from mora.training.loop import CHECKPOINT
    from mora.training.processes import process_rank
    from mora.training.weights import write_weights

    config = context.config
    graph = read_mobility(context.folder / "graph").graph
    line = np.load(context.folder / "line" / "vectors.npy", allow_pickle=False)
    sample = config.sample
    kept = sample_edges(
        graph, sample.share, by=sample.by, ends=sample.ends, seed=config.seed
    )
    sampled = int(kept.sum())
    _require_training_memory(context, len(graph), sampled)
    operator = normalise(graph.select(kept), by=config.encoder.normalisation)
    del kept  # as many bytes as the full graph has edges
    aligned = {k: m for k, m in config.modalities.items() if m.align}
    features = {
        name: _training_features(context, name, m) for name, m in aligned.items()
    }
    with context.display.bar("Training", "steps") as progress:
        model, state = align(
            line,
            operator,
            features,
            {name: modality.head for name, modality in aligned.items()},
            config.encoder,
            config.training,
            folder,
            seed=config.seed,
            objectives=config.objectives,
            graph=graph,
            progress=progress,
        )
    if process_rank() > 0:
        return {}
    np.save(folder / "vectors.npy", embed_tokens(model, features))
    write_weights(folder / "model.safetensors", model.state_dict())
    (folder / CHECKPOINT).unlink(missing_ok=True)  # nothing to align leaves none
    pd.DataFrame(state.history).to_csv(folder / "losses.csv", index_label="epoch")
    training = (
        f"best validation loss {state.best_loss:.4f} at epoch {state.best_epoch} of "
        f"{state.epoch}"
        if state.epoch
        else "no modality to align: the mobility side as it begins"
    )
    context.display.say(
        f"  {training}; {sampled:,} of {graph.edges:,} edges propagated"
    )
    return {
        "sampled_edges": sampled,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "best_validation_loss": state.best_loss if state.epoch else None,
    }


def _training_features(
    context: RunContext, name: str, config: ModalityConfig
) -> tuple[Float[np.ndarray, "tokens columns"], Bool[np.ndarray, " tokens"]]:
    features = read_features(context.folder / "features", name)
    features = features.standardised() if config.standardise else features
    return features.values, np.asarray(features.present)
