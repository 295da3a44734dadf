"""From a table of place vectors to a network that knows them by their coordinates."""

import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mora.config import TrainingConfig
from mora.distill.config import DISTILL_TRAINING, DistillConfig
from mora.distill.fast import FastNetwork
from mora.distill.harmonic_layer import convention_scale
from mora.distill.held_out import HeldOut, hold_out
from mora.distill.network import DistilledModel, make_network
from mora.distill.report import NETWORK, DistillReport, Score, score
from mora.distill.saved import save, short_card
from mora.distill.task import DistillTask, Scale
from mora.distill.trivial import TRIVIAL
from mora.embeddings import Embeddings
from mora.errors import MoraError, examples
from mora.harmonics import spherical_harmonics
from mora.progress import Progress, silent
from mora.training import TrainingState, fit

CHECKPOINTS = "training"  # folder within that of the encoder


def distill(
    embeddings: Embeddings,
    config: DistillConfig | None = None,
    training: TrainingConfig = DISTILL_TRAINING,
    folder: Path | str = "distilled",
    progress: Progress = silent,
    *,
    cell_weights: Float[np.ndarray, " tokens"] | None = None,
) -> DistillReport:
    """Train a network that gives the vectors of places from their coordinates.

    Source: MoRA, the distilled model: mean squared error between the network at the
    middle of a cell and the cell's vector. Departs from it in the order of training
    (batches, a falling rate, 100 epochs in place of 5,000) and by testing on cells
    that were held out. A run that was stopped goes on from its last checkpoint.

    Args:
        embeddings: what to distil.
        config: network, loss and test; the paper's network by default.
        training: optimiser and epochs; ``validation_share`` of the cells chooses the
            best epoch.
        folder: where the encoder is written, see :func:`mora.distill.save`, with
            ``report.json`` and the checkpoints.
        progress: told the batches done and the most there can be.
        cell_weights: of each cell in the loss, >= 0, in place of those of ``config``.

    Returns:
        How near the network comes to the vectors of cells it knows and of cells it
        does not, beside trivial methods.

    Raises:
        MoraError: if vectors or weights cannot be learned from, or the cells are too
            few.
        RunError: if the loss is not finite.
    """
    config, folder = config or DistillConfig(), Path(folder)
    began = time.monotonic()
    cells = _prepare(embeddings, config, cell_weights)
    held_out = hold_out(embeddings.tokens, config, training.validation_share)
    steps = math.ceil(len(held_out.training) / training.batch_size) * training.epochs

    home = folder / CHECKPOINTS / cells.fingerprint(config, training)
    model, state = _train(
        cells, held_out.training, held_out.validation, config, training, home, progress
    )
    scores = _scores(model, cells, held_out)
    if config.refit:
        every = np.arange(len(embeddings))
        model, _ = _train(
            *(cells, every, every, config, training, home / "all"),
            lambda done, total: progress(steps + done, steps + total),
        )
        scores.append(_score_network(model, cells, "all", every))

    seconds = round(time.monotonic() - began, 1)
    report = _report(scores, state, model, config, training, seconds)
    save(
        model,
        folder,
        dtype=getattr(torch, config.dtype),
        provenance=embeddings.provenance,
        card=short_card(model, report.to_markdown()),
    )
    report.write(folder)
    return report


@dataclass(frozen=True, eq=False)
class _Cells:
    """What is learned from: places, their vectors, and how much each counts."""

    lonlat: Float[np.ndarray, "cells 2"]
    vectors: Float[np.ndarray, "cells dim"]
    weights: Float[np.ndarray, " cells"]

    def fingerprint(self, config: DistillConfig, training: TrainingConfig) -> str:
        """Name a training by all that it depends on: no other goes on from it."""
        digest = hashlib.sha256()
        digest.update((config.model_dump_json() + training.model_dump_json()).encode())
        for array in (self.lonlat, self.vectors, self.weights):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def _prepare(
    embeddings: Embeddings,
    config: DistillConfig,
    cell_weights: Float[np.ndarray, " tokens"] | None,
) -> _Cells:
    bad = np.flatnonzero(~np.isfinite(embeddings.vectors).all(axis=1))
    if len(bad):
        names = [embeddings.tokens.name(i) for i in embeddings.tokens.ids[bad[:3]]]
        raise MoraError(
            f"{len(bad)} of {len(embeddings)} vectors hold values that are not finite "
            f"({examples(names)}); expected numbers. Leave these places out."
        )
    weights = np.ones(len(embeddings))
    if cell_weights is not None:
        weights = np.asarray(cell_weights, dtype=np.float64)
    elif config.cell_weights == "area":
        weights = embeddings.tokens.areas_km2()
    if len(weights) != len(embeddings) or not (weights >= 0).all():
        raise MoraError(
            f"{len(weights)} weights, {(~(weights >= 0)).sum()} of them negative or "
            f"missing, for {len(embeddings)} cells; expected one >= 0 each."
        )
    if not 0 < weights.sum() < np.inf:
        raise MoraError(
            f"the weights of {len(embeddings)} cells add up to {weights.sum():g}; "
            f"expected a positive number."
        )
    lonlat = embeddings.tokens.centroids()
    return _Cells(lonlat, embeddings.vectors, weights / weights.mean())


def _train(
    cells: _Cells,
    rows: Int[np.ndarray, " training"],
    validation: Int[np.ndarray, " validation"],
    config: DistillConfig,
    training: TrainingConfig,
    folder: Path,
    progress: Progress,
) -> tuple[DistilledModel, TrainingState]:
    """Train a new network on some cells; it gives vectors in their own units."""
    dtype = getattr(torch, config.dtype)
    if dtype == torch.float64:
        training = training.model_copy(update={"precision": "64-true"})
    model = make_network(config, cells.vectors.shape[1])
    inputs = network_inputs(model, cells.lonlat, dtype)
    scale = Scale.of(cells.vectors[rows], config.standardise)
    model.network.to(dtype)
    task = DistillTask(
        model.network,
        inputs,
        torch.from_numpy(cells.vectors),
        scale,
        torch.from_numpy(cells.weights),
        torch.from_numpy(rows),
        torch.from_numpy(validation),
        config,
        training.batch_size,
    )
    state = fit(task, training, folder, progress=progress)
    model = model.double().cpu().eval()
    scale.move_into(model.network[-1])
    return model, state


def network_inputs(
    model: DistilledModel, lonlat: Float[np.ndarray, "n 2"], dtype: torch.dtype
) -> Float[Tensor, "n inputs"]:
    """Give what the linear layers read, worked out once by the compiled kernel.

    Args:
        model: whose inputs.
        lonlat: degrees.
        dtype: of the result; float32 takes 4 kB a place at degree 32.

    Returns:
        The same as ``model.inputs``, up to rounding.
    """
    harmonics = torch.from_numpy(
        spherical_harmonics(
            np.asarray(lonlat, dtype=np.float64),
            model.degree,
            dtype=np.float64 if dtype == torch.float64 else np.float32,
            threads=torch.get_num_threads(),
        )
    )
    scale = convention_scale(model.degree, model.convention)
    harmonics *= torch.from_numpy(scale).to(dtype)
    if model.waves is None:
        return harmonics
    waves = model.waves(torch.from_numpy(np.asarray(lonlat, dtype=np.float64)))
    return torch.cat([harmonics, waves.to(dtype)], dim=1)


def _report(
    scores: list[Score],
    state: TrainingState,
    model: DistilledModel,
    config: DistillConfig,
    training: TrainingConfig,
    seconds: float,
) -> DistillReport:
    settings = {
        "network": config.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
    }
    return DistillReport(
        tuple(scores),
        training_loss=scores[0].mse,
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        parameters=sum(p.numel() for p in model.network.parameters()),
        seconds=seconds,
        settings=settings,
    )


def _scores(model: DistilledModel, cells: _Cells, held_out: HeldOut) -> list[Score]:
    """Score the network, and trivial methods that know the same cells."""
    known = held_out.training
    scores = [
        _score_network(model, cells, "training", known),
        _score_network(model, cells, "validation", held_out.validation),
    ]
    for name, rows in held_out.tests.items():
        scores.append(_score_network(model, cells, name, rows))
        for method, predict in TRIVIAL.items():
            asked = (cells.lonlat[known], cells.vectors[known], cells.lonlat[rows])
            scores.append(score(method, name, predict(*asked), cells.vectors[rows]))
    return scores


def _score_network(
    model: DistilledModel, cells: _Cells, name: str, rows: Int[np.ndarray, " _"]
) -> Score:
    predicted = FastNetwork(model)(cells.lonlat[rows], threads=torch.get_num_threads())
    return score(NETWORK, name, predicted, cells.vectors[rows])
