"""Train ST-MoE-BERT on the events of a city, or tune it to those of another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from mora.errors import ConfigError
from mora.progress import Progress, silent
from mora.training import TrainingState, fit
from mora.trajectories.bert.held_out import hold_out
from mora.trajectories.bert.network import MobilityBERT, make_model
from mora.trajectories.bert.task import BertTask, LearningConfig
from mora.trajectories.bert.trained import (
    WEIGHTS,
    EventReader,
    TrainedBert,
    place_table,
    read_settings,
)
from mora.trajectories.bert.vocabulary import build_vocabulary
from mora.trajectories.bert.windows import SkippedUsers, build_windows
from mora.trajectories.events import Events

LOCATION_TABLES = ("location_embedding.", "output_projection.")


@dataclass(frozen=True, eq=False)
class LearnedBert:
    """What training gives.

    Attributes:
        trained: the network with the best weights.
        state: the losses of every epoch.
        skipped: users who had too few events.
    """

    trained: TrainedBert
    state: TrainingState
    skipped: SkippedUsers


def train_bert(
    events: Events,
    config: LearningConfig,
    folder: Path,
    *,
    place_features: Float[np.ndarray, "tokens features"] | None = None,
    progress: Progress = silent,
) -> LearnedBert:
    """Train a network on the known events of a city.

    Args:
        events: of all users; masked events are not learned from.
        config: network and training.
        folder: of the checkpoint and, at the end, of the trained network.
        place_features: of every place, if the network reads them.
        progress: told the batches done and the most there can be.

    Returns:
        The network with the best weights, which :func:`read_bert` reads from the folder
        again.

    Raises:
        MoraError: if no user has enough events, or nobody's last days can be held out.
    """
    return _learn(events, config, folder, None, place_features, progress)


def finetune_bert(
    pretrained: Path,
    events: Events,
    config: LearningConfig,
    folder: Path,
    *,
    place_features: Float[np.ndarray, "tokens features"] | None = None,
    progress: Progress = silent,
) -> LearnedBert:
    """Go on training a network of one city on the events of another.

    All weights are tuned. Those of locations are only begun with if
    ``config.reuse_locations`` says so: otherwise the places of this city are learned
    anew, or known by their features.

    Args:
        pretrained: folder of the trained network, whose shape is kept.
        events: as in :func:`train_bert`.
        config: training; its ``network`` plays no part.
        folder: as in :func:`train_bert`.
        place_features: as in :func:`train_bert`, from heads shared by both cities.
        progress: as in :func:`train_bert`.

    Raises:
        ConfigError: if location tables are to be reused without a full vocabulary, or
            are of another size.
        MissingFileError: if there is no trained network in the folder.
    """
    network, _ = read_settings(pretrained)
    config = config.model_copy(update={"network": network})
    weights = load_file(pretrained / WEIGHTS)
    return _learn(events, config, folder, weights, place_features, progress)


def _learn(
    events: Events,
    config: LearningConfig,
    folder: Path,
    weights: Mapping[str, Tensor] | None,
    place_features: Float[np.ndarray, "tokens features"] | None,
    progress: Progress,
) -> LearnedBert:
    held_out = hold_out(
        events, config.validation_share, config.held_out_days, config.seed
    )
    visited = held_out.training.token
    vocabulary = build_vocabulary(events.tokens, visited, config.vocabulary)
    sizes = {
        "num_location_ids": len(vocabulary),
        "prior_histograms": len(config.candidates.histograms),
    }
    network = config.network.model_copy(update=sizes)
    reader = EventReader(
        network,
        config.windows,
        config.candidates,
        vocabulary,
        events.slots_a_day,
        place_table(vocabulary, place_features),
    )
    model = make_model(network, config.seed)
    if weights is not None:
        _begin_with(model, weights, config)
    windows, skipped = build_windows(
        held_out.training, vocabulary, network, config.windows
    )
    trained = TrainedBert(model, reader)
    task = BertTask(trained, windows, held_out, config)
    untrained = _untrained(task) if config.keep_untrained else None
    state = fit(task, config.training, folder, progress=progress)
    if untrained is not None and untrained.loss <= state.best_loss:
        model.load_state_dict(untrained.weights)
    model.eval()
    trained.write(folder)
    return LearnedBert(trained, state, skipped)


@dataclass(frozen=True, eq=False)
class _Untrained:
    """The network before the first step."""

    loss: float
    weights: dict[str, Tensor]


def _untrained(task: BertTask) -> _Untrained:
    model = task.trained.model.eval()
    with torch.no_grad():
        loss = task.validation_loss(model)
    model.train()
    return _Untrained(loss, {k: v.clone() for k, v in model.state_dict().items()})


def _begin_with(
    model: MobilityBERT, weights: Mapping[str, Tensor], config: LearningConfig
) -> None:
    """Load weights of another city, without its locations unless they are reused."""
    own = model.state_dict()
    tables = [name for name in own if name.startswith(LOCATION_TABLES)]
    if not config.reuse_locations:
        weights = {k: v for k, v in weights.items() if k not in tables}
        model.load_state_dict({**own, **weights})
        return
    if config.vocabulary != "full":
        raise ConfigError(
            "reuse_locations with the compact vocabulary, whose ids are those of one "
            "city; expected vocabulary: full. Set it, or leave reuse_locations off."
        )
    changed = [name for name in tables if own[name].shape != weights[name].shape]
    if changed:
        raise ConfigError(
            f"reuse_locations, and {changed[0]} is {tuple(weights[changed[0]].shape)} "
            f"there and {tuple(own[changed[0]].shape)} here; expected a grid of the "
            f"same size and a full vocabulary in both cities."
        )
    model.load_state_dict(dict(weights))
