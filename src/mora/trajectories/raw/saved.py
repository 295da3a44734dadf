"""A pretrained RAW network as two files: its weights, and a card that describes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from mora.errors import MissingFileError
from mora.training.weights import write_weights
from mora.trajectories.raw.network import RawNetwork, make_network
from mora.trajectories.raw.presets import RawConfig

WEIGHTS, CARD = "model.safetensors", "model.json"


def save_raw(network: RawNetwork, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write weights and a card that says what they are.

    Args:
        network: any of this package.
        folder: made if it is missing.
        facts: further entries of the card; plain values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.cpu() for k, v in network.state_dict().items()}
    write_weights(folder / WEIGHTS, weights)
    card = {"model": "RAW", "config": network.config.model_dump(), **facts}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def load_raw(folder: Path) -> RawNetwork:
    """Read a network that :func:`pretrain_raw` left.

    Raises:
        MissingFileError: if weights or card are missing.
    """
    for name in (WEIGHTS, CARD):
        if not (folder / name).exists():
            raise MissingFileError(folder / name, "a pretrained RAW network")
    card = json.loads((folder / CARD).read_text())
    network = make_network(RawConfig(**card["config"]), seed=0)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval()
