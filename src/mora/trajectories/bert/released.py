"""Weights of ST-MoE-BERT from a file, under the names of the released code."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mora.baselines.checkpoints import CheckpointError, read_checkpoint
from mora.errors import ConfigError, MissingFileError, examples
from mora.trajectories.bert.network import MobilityBERT, make_model
from mora.trajectories.bert.presets import BertConfig

Weights = Mapping[str, Float[Tensor, "..."]]

PARALLEL_PREFIX = "module."  # what DataParallel puts before every name
# BERT's parts that the released forward pass never reaches.
UNUSED = frozenset(
    {
        "bert.embeddings.word_embeddings.weight",
        "bert.embeddings.position_ids",
        "bert.embeddings.token_type_ids",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
)
# Options that the released network does not have: they may be missing from its files.
ADDED = ("mask_token", "prior_scale", "place_projection.", "place_output.")


def load_released(
    path: Path | str, config: BertConfig | None = None, seed: int = 0, **changes: Any
) -> MobilityBERT:
    """Build a network and give it the weights of a file.

    Args:
        path: a state dict (``.pt``, ``.pth``, ``.bin``), ``.safetensors`` or ``.npz``.
        config: of the network; None takes the sizes from the file.
        seed: of weights that belong to options which the file does not know.
        changes: options beside the sizes, when ``config`` is None; heads leave no
            trace in a file, so ``attention_heads`` must be among them. The network
            with experts was released with 12 heads in BERT, whatever it was told,
            and those it was told before BERT (``self_attention_heads``).

    Returns:
        The network, ready to predict (no dropout).

    Raises:
        MissingFileError: if there is no file.
        CheckpointError: if it cannot be read, or a weight is missing, unknown, of
            another shape or not finite.
        ConfigError: if neither ``config`` nor ``attention_heads`` is given, or both
            ``config`` and changes.
    """
    if (config is None) == ("attention_heads" not in changes) or (config and changes):
        raise ConfigError(
            f"a configuration ({'given' if config else 'none'}) and the options "
            f"{sorted(changes)}; expected either a configuration or options with "
            f"attention_heads, which no file tells."
        )
    weights = read_weights(path)
    if config is None:
        config = BertConfig(**{**sizes_of(weights, str(path)), **changes})
    model = make_model(config, seed)
    set_weights(model, weights, str(path))
    return model.eval()


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read the weights of a file; no code in it is run.

    Args:
        path: a state dict (``.pt``, ``.pth``, ``.bin``), ``.safetensors`` or ``.npz``.

    Returns:
        Tensors by name, without the prefix of ``DataParallel`` and without the parts
        of BERT that the network does not use.

    Raises:
        MissingFileError: if there is no file.
        CheckpointError: if it is none of these, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(path, "weights of ST-MoE-BERT")
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz}
    found = readers.get(path.suffix, _read_state_dict)(path)
    bare = {str(n).removeprefix(PARALLEL_PREFIX): v for n, v in found.items()}
    strangers = [n for n, v in bare.items() if not isinstance(v, Tensor)]
    if strangers or len(bare) < len(found):
        raise CheckpointError(
            f"{path}: {len(strangers)} of {len(found)} entries are no tensors "
            f"({examples(strangers) or 'but names repeat'}); expected the weights "
            f"alone. Save model.state_dict()."
        )
    return {name: v for name, v in bare.items() if name not in UNUSED}


def set_weights(model: MobilityBERT, weights: Weights, source: str = "weights") -> None:
    """Give a network the weights of another; all of them are checked first.

    Args:
        model: what they are for. Weights of options that the released network does
            not have keep their values where ``weights`` has none.
        weights: by their released names.
        source: where they are from, for messages.

    Raises:
        CheckpointError: if one is missing, unknown, of another shape or not finite.
    """
    own = model.state_dict()
    optional = {name for name in own if name.startswith(ADDED)}
    _check_names(set(weights), set(own), optional, source)
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(value.shape)}; this network "
                f"expects {tuple(own[name].shape)}. Give the configuration the sizes "
                f"that the weights were trained with."
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{source}: {name} holds values that are not finite; expected trained "
                f"weights. Get the file again."
            )
    model.load_state_dict({**own, **weights})


def sizes_of(weights: Weights, source: str = "weights") -> dict[str, Any]:
    """Give the options of a configuration that the shapes of the weights tell.

    Args:
        weights: by their released names.
        source: where they are from, for messages.

    Returns:
        All sizes but the numbers of heads, which leave no trace.

    Raises:
        CheckpointError: if a weight that tells them is missing.
    """
    layer = "bert.encoder.layer."
    tables = {
        "day_embedding_size": ("day_embedding", 1),
        "days": ("day_embedding", 0),
        "time_embedding_size": ("time_embedding", 1),
        "slots": ("time_embedding", 0),
        "day_of_week_embedding_size": ("day_of_week_embedding", 1),
        "weekday_embedding_size": ("weekday_embedding", 1),
        "location_embedding_size": ("location_embedding", 1),
        "num_location_ids": ("output_projection", 0),
        "hidden_size": ("output_projection", 1),
        "max_seq_length": ("bert.embeddings.position_embeddings", 0),
        "bert_intermediate_size": (f"{layer}0.intermediate.dense", 0),
    }
    lost = sorted({n for n, _ in tables.values() if f"{n}.weight" not in weights})
    if lost:
        raise CheckpointError(
            f"{source}: {len(lost)} weights that tell the sizes are missing "
            f"({examples(lost)}); expected the names of the released code. Is it "
            f"another model's file?"
        )
    sizes: dict[str, Any] = {
        option: weights[f"{name}.weight"].shape[axis]
        for option, (name, axis) in tables.items()
    }
    numbers = {n[len(layer) :].split(".")[0] for n in weights if n.startswith(layer)}
    sizes["hidden_layers"] = len(numbers)
    sizes["model_name"] = "MobilityBERT"
    if "moe.gate.weight" in weights:
        sizes["model_name"] = "MobilityBERTMoE"
        sizes["experts"] = len(weights["moe.gate.weight"])
    return sizes


def _check_names(
    found: set[str], own: set[str], optional: set[str], source: str
) -> None:
    missing, unknown = sorted(own - found - optional), sorted(found - own)
    if missing or unknown:
        raise CheckpointError(
            f"{source}: {len(missing)} weights are missing "
            f"({examples(missing) or 'none'}) and {len(unknown)} are unknown "
            f"({examples(unknown) or 'none'}); expected the {len(own)} weights of this "
            f"network. Check model_name and hidden_layers."
        )


def _read_state_dict(path: Path) -> Mapping[str, Any]:
    return read_checkpoint(path, str(path))


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _unreadable(path, error) from error


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({error}); expected a whole file of arrays. Get it "
        f"again."
    )
