"""A network with what it needs to read events: batches of windows, and its files."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from mora.errors import MissingFileError, MoraError
from mora.tokens import Tokens
from mora.training.weights import write_weights
from mora.trajectories.bert.candidates import CandidateConfig, CandidateFinder
from mora.trajectories.bert.inputs import (
    FEATURE_COLUMNS,
    NO_TARGET,
    EventInputs,
    log_prior,
    reachable_targets,
)
from mora.trajectories.bert.network import make_model
from mora.trajectories.bert.presets import BertConfig
from mora.trajectories.bert.vocabulary import Vocabulary, read_vocabulary
from mora.trajectories.bert.windows import WindowConfig, Windows

WEIGHTS, SETTINGS = "model.safetensors", "bert.json"
VOCABULARY, PLACES = "vocabulary.parquet", "places.safetensors"


@dataclass(frozen=True, eq=False)
class EventBatch:
    """Some windows as tensors.

    Attributes:
        inputs: what the network reads.
        targets: locations to answer; ``NO_TARGET`` where there is none, or where the
            network cannot answer it.
        candidates: locations that may be answered, if they were asked for.
        rows: row of each event to come among the events.
        known: where there is an event to come.
    """

    inputs: EventInputs
    targets: Int[Tensor, "batch predict"]
    candidates: Int[Tensor, "batch candidates"] | None
    rows: Int[Tensor, "batch predict"]
    known: Bool[Tensor, "batch predict"]


@dataclass(frozen=True, eq=False)
class EventReader:
    """How windows become what one network reads.

    Attributes:
        network: its sizes and options.
        windows: how far the history may reach back.
        candidates: which places a user may be at.
        vocabulary: the locations.
        slots_a_day: slots that a day has.
        place_features: features of every location, if the network reads them.
    """

    network: BertConfig
    windows: WindowConfig
    candidates: CandidateConfig
    vocabulary: Vocabulary
    slots_a_day: int = 48
    place_features: Float[Tensor, "locations features"] | None = None

    @cached_property
    def finder(self) -> CandidateFinder:
        """Give what finds the candidates of a window."""
        return CandidateFinder(self.vocabulary, self.slots_a_day, self.candidates)

    @cached_property
    def places(self) -> Bool[Tensor, " locations"]:
        """Say which locations are places."""
        return torch.from_numpy(self.vocabulary.places())

    def read(
        self,
        windows: Windows,
        rows: Int[Tensor, " batch"],
        *,
        candidates: bool = False,
    ) -> EventBatch:
        """Read some windows.

        Args:
            windows: of the same lengths as the network's.
            rows: positions among the windows.
            candidates: find candidates even if the network does not read them.
        """
        batch = windows.gather(rows.numpy())
        columns = self._columns()
        inputs = EventInputs(
            torch.from_numpy(batch.history_features[:, :, columns]),
            torch.from_numpy(batch.history_locations),
            torch.from_numpy(batch.future_features[:, :, columns]),
            history_padding=torch.from_numpy(~batch.history_known),
            future_padding=torch.from_numpy(~batch.future_known),
            place_features=self.place_features,
        )
        targets = torch.from_numpy(batch.future_locations)
        known = torch.from_numpy(batch.future_known)
        targets = targets.masked_fill(~(known & self.places[targets]), NO_TARGET)
        found = None
        if candidates or self.network.prior or self.network.restrict_to_candidates:
            found = self._add_candidates(inputs, windows, rows)
        if self.network.restrict_to_candidates:
            targets = reachable_targets(targets, inputs.candidates)
        return EventBatch(
            inputs, targets, found, torch.from_numpy(batch.future_rows), known
        )

    def _add_candidates(
        self, inputs: EventInputs, windows: Windows, rows: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch candidates"]:
        found = self.finder.find(windows, rows.numpy())
        inputs.candidates = torch.from_numpy(found.locations)
        if self.network.prior:
            shares = torch.from_numpy(found.shares).float()
            inputs.prior = log_prior(shares, self.candidates.prior_floor)
        return inputs.candidates

    def _columns(self) -> list[int]:
        """Give the columns of the features that this network reads."""
        every = FEATURE_COLUMNS["MobilityBERTMoE"]
        return [every.index(name) for name in FEATURE_COLUMNS[self.network.model_name]]


def place_table(
    vocabulary: Vocabulary, features: Float[np.ndarray, "tokens features"] | None
) -> Float[Tensor, "locations features"] | None:
    """Bring features of tokens into the order of the locations.

    Args:
        vocabulary: the locations.
        features: of every token, such as place vectors shared by cities.

    Returns:
        The features; zeros for locations that are no places.

    Raises:
        MoraError: if there is not one row a token.
    """
    if features is None:
        return None
    if len(features) != len(vocabulary.tokens):
        raise MoraError(
            f"{len(features)} rows of place features for {len(vocabulary.tokens)} "
            f"places; expected one row a place, in the order of the tokens."
        )
    places = vocabulary.places()
    rows = features[np.where(places, vocabulary.token_of, 0)] * places[:, None]
    return torch.from_numpy(rows).float()


@dataclass(frozen=True, eq=False)
class TrainedBert:
    """A trained network of a city.

    Attributes:
        model: the network.
        reader: what it needs to read events.
    """

    model: nn.Module
    reader: EventReader

    def write(self, folder: Path) -> None:
        """Write weights, settings, vocabulary and place features."""
        folder.mkdir(parents=True, exist_ok=True)
        reader = self.reader
        write_weights(folder / WEIGHTS, self.model.state_dict())
        reader.vocabulary.write(folder / VOCABULARY)
        if reader.place_features is not None:
            write_weights(folder / PLACES, {"places": reader.place_features})
        settings = {
            "network": reader.network.model_dump(),
            "windows": reader.windows.model_dump(),
            "candidates": reader.candidates.model_dump(),
            "slots_a_day": reader.slots_a_day,
        }
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")


def read_bert(folder: Path, tokens: Tokens) -> TrainedBert:
    """Read what :meth:`TrainedBert.write` wrote.

    Args:
        folder: of the trained network.
        tokens: the places of its city.

    Raises:
        MissingFileError: if there is no trained network in the folder.
        UnknownTokenError: if the network knows places that ``tokens`` do not have.
    """
    network, settings = read_settings(folder)
    places = None
    if (folder / PLACES).exists():
        places = load_file(folder / PLACES)["places"]
    reader = EventReader(
        network,
        WindowConfig(**settings["windows"]),
        CandidateConfig(**settings["candidates"]),
        read_vocabulary(folder / VOCABULARY, tokens),
        settings["slots_a_day"],
        places,
    )
    model = make_model(network)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return TrainedBert(model.eval(), reader)


def read_settings(folder: Path) -> tuple[BertConfig, dict[str, Any]]:
    """Read the shape of a trained network, and the other settings.

    Raises:
        MissingFileError: if there is no trained network in the folder.
    """
    path = folder / SETTINGS
    if not path.exists():
        raise MissingFileError(path, "settings of a trained network")
    settings = json.loads(path.read_text())
    return BertConfig(**settings["network"]), settings
