"""Distilled encoders as folders: weights, settings, and a card that tells of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mora.config.section import Section
from mora.distill.config import Convention, Wavelength
from mora.distill.network import DistilledModel
from mora.distill.released import DistilledFileError, read_released
from mora.errors import MissingFileError
from mora.training.weights import write_weights

WEIGHTS, SETTINGS, CARD = "model.safetensors", "config.json", "README.md"


class SavedSettings(Section):
    """What ``config.json`` holds: the shape of a network, and where it is from.

    Attributes:
        model_type: of every distilled encoder of Mora.
        degree: bands of spherical harmonics.
        convention: of the harmonics.
        widths: outputs of each linear layer.
        wavelengths_km: of finer inputs.
        waves: directions of each wavelength.
        provenance: what it was distilled from; plain values.
    """

    model_type: str = Field("mora_distilled", pattern="^mora_distilled$")
    degree: int = Field(ge=1)
    convention: Convention
    widths: tuple[int, ...] = Field(min_length=1)
    wavelengths_km: tuple[Wavelength, ...] = ()
    waves: int = Field(64, ge=1)
    provenance: dict[str, Any] = Field(default_factory=dict)


def load(path: Path | str, device: str = "cpu") -> DistilledModel:
    """Load a distilled encoder: ours, or the released checkpoint of the paper.

    Args:
        path: a folder that :func:`save` wrote, or a file of PyTorch with
            ``model_state_dict``. No code in them is run.
        device: where the weights go, such as ``cpu`` or ``cuda``.

    Returns:
        The network in float64, ready to use. ``model(c.double())`` of lon/lat in
        degrees gives the vectors; the released file begins with 1.1620, -3.7438,
        3.1581 at lon 104.057273, lat 30.665787.

    Raises:
        MissingFileError: if a file is missing.
        DistilledFileError: if it holds another model, or is broken.
    """
    path = Path(path)
    model = _read_folder(path) if path.is_dir() else read_released(path)
    return model.to(device).eval()


def save(
    model: DistilledModel,
    folder: Path | str,
    *,
    dtype: torch.dtype = torch.float32,
    provenance: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> None:
    """Write a distilled encoder as a folder.

    Args:
        model: to write.
        folder: for ``model.safetensors``, ``config.json`` and ``README.md``.
        dtype: of the weights in the file; float64 doubles its size.
        provenance: what it was distilled from; plain values.
        card: text of ``README.md``; a short one by default.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = SavedSettings(
        degree=model.degree,
        convention=model.convention,
        widths=model.widths,
        wavelengths_km=model.wavelengths_km,
        waves=model.waves_each,
        provenance=dict(provenance or {}),
    )
    weights = {
        name: value.detach().cpu().to(dtype)
        if name.startswith("network.")
        else value.cpu()
        for name, value in model.state_dict().items()
    }
    (folder / SETTINGS).write_text(settings.model_dump_json(indent=1) + "\n")
    (folder / CARD).write_text(card or short_card(model))
    write_weights(folder / WEIGHTS, weights, {"format": "pt"})


def short_card(model: DistilledModel, about: str = "") -> str:
    """Write how a distilled encoder is used.

    Args:
        model: that the card is of.
        about: Markdown that follows, such as how well it does.
    """
    parameters = sum(p.numel() for p in model.network.parameters())
    usage = "\n".join(
        [
            "```python",
            "import numpy as np",
            "from mora.distill import CoordinateEncoder",
            "",
            'encoder = CoordinateEncoder.load("this/folder")',
            "vectors = encoder.encode(np.array([[-74.0, 40.7]]))  # lon, lat",
            "```",
        ]
    )
    return (
        f"# Distilled Mora encoder\n\n"
        f"Longitude and latitude in, a vector of {model.dim} numbers out. Degree "
        f"{model.degree} ({model.convention} harmonics), {len(model.widths)} linear "
        f"layers, {parameters:,} parameters.\n\n{usage}\n\n"
        f"It knows the places it was distilled from; anywhere else its vectors mean "
        f"nothing.\n\n{about}"
    ).rstrip() + "\n"


def _read_folder(folder: Path) -> DistilledModel:
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingFileError(folder / name, "distilled encoder")
    settings = _read_settings(folder / SETTINGS)
    model = DistilledModel(
        settings.widths,
        degree=settings.degree,
        convention=settings.convention,
        wavelengths_km=settings.wavelengths_km,
        waves=settings.waves,
    )
    _set_weights(model, _read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    return model


def _read_settings(path: Path) -> SavedSettings:
    try:
        return SavedSettings(**json.loads(path.read_text()))
    except (ValidationError, TypeError, json.JSONDecodeError) as error:
        reason = str(error).replace("\n", " ")[:200]
        raise DistilledFileError(
            f"{path} is not the configuration of a distilled encoder ({reason}); "
            f"expected what mora.distill.save wrote. Is it another model's folder?"
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DistilledFileError(
            f"{path} cannot be read ({error}); expected a whole file of safetensors. "
            f"Get it again."
        ) from error


def _set_weights(
    model: DistilledModel, weights: dict[str, Float[Tensor, "..."]], source: str
) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if found != own:
        other = sorted(
            name for name in {**own, **found} if own.get(name) != found.get(name)
        )
        first = other[0]
        raise DistilledFileError(
            f"{source}: {len(other)} weights do not fit config.json (first: {first} is "
            f"{found.get(first, 'missing')}, expected {own.get(first, 'none')}). Keep "
            f"the files of one folder together."
        )
    broken = [n for n, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise DistilledFileError(
            f"{source}: {len(broken)} weights hold values that are not finite (first: "
            f"{broken[0]}); expected trained weights. Get the file again."
        )
    model.load_state_dict({name: value.double() for name, value in weights.items()})
