"""CSP: waves of places through a network whose weights are read from a file."""

import math
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from scipy.special import erf, expit

from mora.baselines.checkpoints import (
    Weights,
    linear_names,
    read_checkpoint,
    require_file,
    require_settings,
    take_weights,
)
from mora.baselines.registry import BaselineInput, Reproduction, baseline
from mora.baselines.waves import (
    Encode,
    embed_in_blocks,
    geometric_radii,
    plane_waves,
    sphere_waves,
)

Activation = Callable[[Float64[np.ndarray, "n dim"]], Float64[np.ndarray, "n dim"]]

WHERE = "a CSP checkpoint (model_*_gridcell_*.pth.tar, gengchenmai/csp)"
EPSILON = 1e-5  # of its layer normalisation
ACTIVATIONS: dict[str, Activation] = {
    "relu": lambda x: np.maximum(x, 0),
    "leakyrelu": lambda x: np.where(x > 0, x, 0.2 * x),
    "sigmoid": expit,
    "tanh": np.tanh,
    "gelu": lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
}
PLANES = {"gridcell": "grid", "theory": "theory"}
SPHERES = {"sphere": "sphereC", "spheregrid": "sphereC+"}


@baseline(
    "csp",
    group="pretrained",
    source="Mai et al. 2023, CSP",
    needs=("lonlat",),
    needs_file=True,
    reproduction=Reproduction(
        "greatest difference from CSP's layers in PyTorch (float32) with drawn weights "
        "(published weights not at hand: its accuracies are not reproduced)",
        0.0,
        4.6e-5,
        1e-4,
        "pytest tests/test_baselines_pretrained.py -k csp",
    ),
)
def csp(
    given: BaselineInput, *, path: Path | str | None = None
) -> Float32[np.ndarray, "tokens dim"]:
    """Give CSP's vectors of the tokens' middles, learned from photos or satellites.

    Source: Mai et al. 2023, CSP: waves of Space2Vec (or Sphere2Vec) through a network
    with layer normalisation, as in the published code.

    Args:
        given: needs ``lonlat``.
        path: a checkpoint as published (``model_inat_2018_gridcell_*.pth.tar``), with
            ``state_dict`` and ``params``.

    Returns:
        256 columns.

    Raises:
        MissingInputError: if the tokens have no known place or no file is named.
        MissingFileError: if there is no such file.
        CheckpointError: if it holds another model.
    """
    lonlat = given.require_lonlat()
    file = require_file(path, "csp", WHERE)
    checkpoint = read_checkpoint(file, str(file))
    settings = require_settings(
        checkpoint.get("params"),
        {
            "spa_enc_type": {*PLANES, *SPHERES},
            "freq_init": {"geometric"},
            "spa_f_act": {*ACTIVATIONS},
            "frequency_num": (int,),
            "min_radius": (int, float),
            "max_radius": (int, float),
            "num_hidden_layer": (int,),
            "use_layn": (bool,),
            "skip_connection": (bool,),
        },
        str(file),
    )
    waves = _waves(settings)
    prefixes = ("loc_enc.spa_enc.ffn.", "spa_enc.ffn.")
    weights = take_weights(checkpoint.get("state_dict"), prefixes, str(file))
    inputs = waves(np.zeros((1, 2))).shape[1]
    network = _network(weights, inputs, settings)
    return embed_in_blocks(lambda places: network(waves(places)), lonlat)


def _waves(settings: Mapping[str, Any]) -> Encode:
    kind = settings["spa_enc_type"]
    radii = geometric_radii(
        settings["frequency_num"], settings["min_radius"], settings["max_radius"]
    )
    if kind in PLANES:
        return lambda lonlat: plane_waves(lonlat, PLANES[kind], radii)
    return lambda lonlat: sphere_waves(lonlat, SPHERES[kind], radii)


def _network(weights: Weights, inputs: int, settings: Mapping[str, Any]) -> Activation:
    """Build the layers: linear, activation, sum with the input, normalisation."""
    activation = ACTIVATIONS[settings["spa_f_act"]]
    names = [f"layers.{i}" for i in range(settings["num_hidden_layer"] + 1)]
    hidden = names[:-1] if settings["use_layn"] else []
    norms = [f"{name}.layernorm" for name in hidden]
    lines = [f"{name}.linear" for name in names]
    weights.require_names(linear_names([*lines, *norms]))
    linears = weights.linears(lines, inputs)
    scales = [
        [weights.array(f"{norm}.{kind}", layer.outputs) for kind in ("weight", "bias")]
        for norm, layer in zip(norms, linears, strict=False)
    ]

    def network(x: Float64[np.ndarray, "n inputs"]) -> Float64[np.ndarray, "n dim"]:
        for layer, scale in zip_longest(linears, scales):
            out = activation(layer(x))
            if settings["skip_connection"] and out.shape == x.shape:
                out = out + x
            x = out if scale is None else _normalised(out) * scale[0] + scale[1]
        return x

    return network


def _normalised(x: Float64[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n dim"]:
    """Bring each row to mean 0 and variance 1."""
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
