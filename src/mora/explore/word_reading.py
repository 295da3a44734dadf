"""Search in words, rebuilt from what a finished run left."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from mora.errors import RunError
from mora.explore.words import Head, WordSearch
from mora.graph.storage import read_graph
from mora.modalities import read_features
from mora.modalities.poi import build_poi
from mora.modalities.text import TextEncoder, load_text_encoder
from mora.personal import require_not_personal


def read_word_search(
    folder: Path | str, encoder: TextEncoder | None = None
) -> WordSearch:
    """Rebuild from a finished run what brings texts into the space of its places.

    Args:
        folder: of the run, with ``graph``, ``features`` and ``train``.
        encoder: the text encoder, if it is loaded already; by default the one that
            the run names.

    Raises:
        PersonalDataError: if the folder holds personal data.
        GraphError: if the run's graph cannot be read.
        RunError: if the run aligned no texts of places, or is not finished.
        MissingExtraError: if the package of the encoder is not installed.
    """
    folder = Path(folder)
    require_not_personal(folder)
    name, config = _aligned_texts(folder)
    features = read_features(folder / "features", name)
    places = _aligned_places(folder)
    head = _read_head(folder, name, config, len(features.columns), places.shape[1])
    if encoder is None:
        default = inspect.signature(build_poi).parameters["encoder"].default
        encoder = load_text_encoder(config["options"].get("encoder", default))
    movement = read_graph(folder / "graph" / "edges").degree()
    return WordSearch(encoder, features, head, config["standardise"], places, movement)


def has_words(folder: Path | str) -> bool:
    """Say whether a run can be searched in words."""
    try:
        _aligned_texts(Path(folder))
    except RunError:
        return False
    return True


def _aligned_texts(folder: Path) -> tuple[str, dict[str, Any]]:
    """Find the modality of texts that the run aligned, and its settings."""
    path = folder / "train" / "manifest.json"
    try:
        modalities = json.loads(path.read_text())["settings"]["modalities"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); expected the folder of a finished run. "
            f"Finish it with `mora run`."
        ) from error
    for name, config in modalities.items():
        if config["kind"] == "poi" and config["align"]:
            return name, config
    raise RunError(
        f"{folder} aligned {', '.join(modalities) or 'no modality'}; expected one of "
        f"kind 'poi', which knows texts. Search in words needs POIs in the run."
    )


def _aligned_places(folder: Path) -> Float[np.ndarray, "tokens dim"]:
    """Read the vectors that training aligned; the exported ones may hold more."""
    path = folder / "train" / "vectors.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); expected what training left. Run it "
            f"again with `mora run`."
        ) from error


def _read_head(
    folder: Path, name: str, config: dict[str, Any], columns: int, dim: int
) -> Head:
    """Rebuild the head with the weights that training left."""
    # Imported here: other searches do not wait for torch.
    import torch
    from safetensors.torch import load_file

    from mora.encoder.heads import make_head

    path = folder / "train" / "model.safetensors"
    prefix = f"heads.{name}."
    try:
        weights = {
            key.removeprefix(prefix): value
            for key, value in load_file(path).items()
            if key.startswith(prefix)
        }
        head = make_head(config["head"]["kind"], columns, dim, torch.Generator())
        head.load_state_dict(weights)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"{path}: no head of {columns} columns for {name!r} ({error}); expected "
            f"what training left. Run it again with `mora run`."
        ) from error

    def apply(rows: Float32[np.ndarray, "n columns"]) -> np.ndarray:
        with torch.no_grad():
            return head(torch.from_numpy(rows)).numpy()

    return apply
