"""The distilled encoder as one ONNX file: coordinates in, vectors out, anywhere."""

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from mora.distill.network import DistilledModel
from mora.errors import MissingExtraError, MissingFileError, MoraError

INPUT, OUTPUT = "lonlat", "vectors"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ERROR_KEY = "mora:error"


@dataclass(frozen=True)
class OnnxError:
    """How far an ONNX file is from the network in PyTorch.

    Attributes:
        largest: largest difference of a number.
        mean_share: mean length of the difference, as a share of the vector's.
        largest_share: the largest such share.
        places: how many were compared.
    """

    largest: float
    mean_share: float
    largest_share: float
    places: int


def export_onnx(
    model: DistilledModel,
    path: Path | str,
    *,
    name: str = "mora-distilled",
    licence: str = "",
    provenance: Mapping[str, Any] | None = None,
    input_dtype: Literal["float64", "float32"] = "float64",
    layer_dtype: Literal["float64", "float32"] = "float32",
) -> OnnxError:
    """Write a distilled encoder as one ONNX file, harmonics included.

    The file takes ``lonlat`` (places, 2) in degrees and gives ``vectors``. It does not
    check the places: beyond a pole its answers mean nothing.

    Args:
        model: to write; it is not changed.
        path: of the file.
        name: kept in the metadata.
        licence: of the weights, such as ``CC-BY-4.0``; kept in the metadata.
        provenance: what it was distilled from; kept in the metadata.
        input_dtype: of ``lonlat``; float32 loses a metre.
        layer_dtype: of the linear layers; float64 doubles file and time. Harmonics
            are float64 in both.

    Returns:
        The difference from the network in float64 on a thousand places. It is kept in
        the metadata too.

    Raises:
        MissingExtraError: if a package of the extra ``onnx`` is not installed.
    """
    _require_packages("Writing ONNX")
    import onnx

    exported = _export(_OneType(model, layer_dtype).eval(), input_dtype)
    # Nodes say where in which file of this machine they were traced; and shapes that
    # are noted, not worked out, are wrong as soon as another tool turns a matrix.
    for node in exported.graph.node:
        del node.metadata_props[:]
    del exported.metadata_props[:], exported.graph.value_info[:]
    about = {
        "name": name,
        "licence": licence,
        "degree": str(model.degree),
        "convention": model.convention,
        "dim": str(model.dim),
        "input": f"{INPUT}: lon, lat in degrees (WGS84), {input_dtype}",
        "provenance": json.dumps(dict(provenance or {}), sort_keys=True),
    }
    onnx.helper.set_model_props(exported, about)
    onnx.checker.check_model(exported)
    return _write_measured(exported, Path(path), model)


def quantise_onnx(
    source: Path | str,
    target: Path | str,
    model: DistilledModel,
    lonlat: Float64[np.ndarray, "n 2"] | None = None,
) -> OnnxError:
    """Write a copy of an ONNX file whose layers are int8: a quarter of the size.

    Source: dynamic quantisation of ONNX Runtime: weights are rounded to int8 once, one
    scale a column, and what enters a layer to uint8 when it runs. Harmonics stay
    float64.

    Args:
        source: file of :func:`export_onnx` with float32 layers.
        target: of the copy.
        model: what the source was made from, to measure the copy.
        lonlat: where, in degrees: best the places that the model was distilled from,
            because elsewhere the error is several times as large. Without them, a
            thousand spread over the Earth.

    Returns:
        The difference from the network in float64, which is kept in the metadata.

    Raises:
        MissingExtraError: if a package of the extra ``onnx`` is not installed.
        MissingFileError: if there is no source.
        MoraError: if the source has float64 layers.
    """
    _require_packages("Writing int8")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not Path(source).is_file():
        raise MissingFileError(source, "ONNX file")
    if onnx.load(source).graph.output[0].type.tensor_type.elem_type != 1:
        raise MoraError(
            f"{source} has layers of float64; expected float32. Export it with "
            f"layer_dtype='float32' first."
        )
    part = Path(f"{target}.part")
    # It warns that float64 is not quantised, which is what is wanted.
    with _quiet("root"):
        quantize_dynamic(
            str(source), str(part), weight_type=QuantType.QInt8, per_channel=True
        )
    quantised = onnx.load(part)
    part.unlink()
    return _write_measured(quantised, Path(target), model, lonlat)


def measure_onnx(
    path: Path | str,
    model: DistilledModel,
    lonlat: Float64[np.ndarray, "n 2"] | None = None,
) -> OnnxError:
    """Compare an ONNX file with the network in float64.

    Args:
        path: of the file.
        model: the network.
        lonlat: where, in degrees; by default a thousand places evenly spread over the
            Earth, always the same.

    Returns:
        The differences; 0 for the same numbers.

    Raises:
        MissingExtraError: if a package of the extra ``onnx`` is not installed.
    """
    _require_packages("Running ONNX")
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    places = _spread_places() if lonlat is None else lonlat
    wanted_type = session.get_inputs()[0].type
    dtype = np.float32 if wanted_type == "tensor(float)" else np.float64
    got = session.run(None, {INPUT: places.astype(dtype)})[0]
    with torch.no_grad():
        expected = model(torch.from_numpy(places)).numpy()
    apart = np.linalg.norm(got - expected, axis=1)
    share = apart / np.linalg.norm(expected, axis=1).clip(np.finfo(float).tiny)
    largest = float(np.abs(got - expected).max())
    return OnnxError(largest, float(share.mean()), float(share.max()), len(places))


class _OneType(nn.Module):
    """The network with inputs of any type and layers of one."""

    def __init__(self, model: DistilledModel, layer_dtype: str) -> None:
        super().__init__()
        self.dtype = getattr(torch, layer_dtype)
        self.model = copy.deepcopy(model).cpu()
        self.model.network.to(self.dtype)

    def forward(self, lonlat: Float[Tensor, "n 2"]) -> Float[Tensor, "n dim"]:
        return self.model.network(self.model.inputs(lonlat.double()).to(self.dtype))


def _export(network: nn.Module, input_dtype: str) -> Any:
    """Trace a network; the number of places stays open."""
    example = torch.zeros(2, 2, dtype=getattr(torch, input_dtype))
    places = {0: torch.export.Dim("places")}
    # The exporter warns of its own use of PyTorch, and that torchvision is missing.
    with _quiet("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(places,),
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.deg2rad.default: _deg2rad},
        )
    assert program is not None  # only with the older exporter
    return program.model_proto


def _deg2rad(degrees: Any) -> Any:
    """Turn degrees to radians; the exporter's own has pi / 180 in float32."""
    import onnx
    from onnxscript import opset18

    share = onnx.numpy_helper.from_array(np.array(np.pi / 180))
    return opset18.Mul(degrees, opset18.Constant(value=share))


def _write_measured(
    exported: Any,
    path: Path,
    model: DistilledModel,
    lonlat: Float64[np.ndarray, "n 2"] | None = None,
) -> OnnxError:
    """Write a file that says how exact it is; it appears when it is whole."""
    import onnx

    part = Path(f"{path}.part")
    onnx.save(exported, part)
    error = measure_onnx(part, model, lonlat)
    known = {item.key: item.value for item in exported.metadata_props}
    known[ERROR_KEY] = json.dumps(asdict(error))
    onnx.helper.set_model_props(exported, known)
    onnx.save(exported, part)
    part.replace(path)
    return error


def _spread_places(count: int = 1000) -> Float64[np.ndarray, "places 2"]:
    """Give points evenly spread over the Earth, always the same."""
    rng = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    return np.column_stack([rng.uniform(-180, 180, count), lat])


def _require_packages(purpose: str) -> None:
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "onnx", purpose)


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Leave out the warnings of a package for a while."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
