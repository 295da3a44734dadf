"""Checkpoints: the released form, our folders, and every way to be wrong."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mora.distill.network import DistilledModel
from mora.distill.released import (
    RELEASED_PLACE,
    RELEASED_VECTOR,
    DistilledFileError,
    from_weights,
    read_released,
)
from mora.distill.saved import load, save, short_card
from mora.errors import MissingFileError

GOLDEN = Path(__file__).parent / "golden" / "spherical_harmonics_L32.npz"


def released_weights(widths=(512,) * 8 + (128,), inputs=1024, seed=0):
    """Random weights under the names of the released file, float64."""
    rng = np.random.default_rng(seed)
    weights = {}
    for layer, width in enumerate(widths):
        matrix = rng.standard_normal((width, inputs)) * np.sqrt(2 / inputs)
        weights[f"network.{2 * layer}.weight"] = torch.from_numpy(matrix)
        bias = torch.from_numpy(rng.standard_normal(width) * 0.1)
        weights[f"network.{2 * layer}.bias"] = bias
        inputs = width
    return weights


def plain_network(harmonics, weights):
    """The network without PyTorch: the reference that a checkpoint is held against."""
    x, layers = harmonics, len(weights) // 2
    for layer in range(layers):
        weight = weights[f"network.{2 * layer}.weight"].numpy()
        x = x @ weight.T + weights[f"network.{2 * layer}.bias"].numpy()
        if layer < layers - 1:
            x = np.where(x > 0, x, 0)
    return x


@pytest.fixture
def weights():
    return released_weights((8, 6, 4), 16)


def write(path, content):
    torch.save(content, path)
    return path


# --- theirs ---


def test_released_form_agrees_with_a_plain_reference_on_golden_harmonics(tmp_path):
    golden, weights = np.load(GOLDEN), released_weights()
    path = write(tmp_path / "model.pth", {"model_state_dict": weights, "epoch": 5000})
    model = load(path)
    places = torch.from_numpy(golden["lonlat"]).requires_grad_()
    got = model(places.double())
    assert got.shape == (64, 128)
    assert got.dtype == torch.float64
    expected = plain_network(golden["mora_released_analytic"], weights)
    np.testing.assert_allclose(got.detach(), expected, rtol=0, atol=1e-11)
    got.sum().backward()
    assert places.grad.isfinite().all()
    assert (places.grad != 0).any()
    assert model.convention == "mora_released_analytic"
    assert (model.degree, model.dim, model.training) == (32, 128, False)


@pytest.mark.skipif(
    "MORA_RELEASED_CHECKPOINT" not in os.environ,
    reason="MORA_RELEASED_CHECKPOINT does not name the authors' released checkpoint",
)
def test_released_checkpoint_gives_the_published_vector():
    model = load(os.environ["MORA_RELEASED_CHECKPOINT"])
    with torch.no_grad():
        got = model(torch.tensor([RELEASED_PLACE]).double())[0, :3]
    np.testing.assert_allclose(got, RELEASED_VECTOR, rtol=0, atol=1e-4)


def test_float32_weights_are_read_as_float64(tmp_path, weights):
    halved = {name: value.float() for name, value in weights.items()}
    model = read_released(write(tmp_path / "m.pt", {"model_state_dict": halved}))
    assert model.network[0].weight.dtype == torch.float64


def test_convention_is_that_of_the_caller(weights):
    place = torch.tensor([[3.0, 4.0]]).double()
    ours, theirs = (
        from_weights(weights, convention, source="here")(place)
        for convention in ("orthonormal", "mora_released_analytic")
    )
    assert not torch.allclose(ours, theirs)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="distilled encoder: no file at"):
        load(tmp_path / "none.pth")


def test_file_without_the_state_dict(tmp_path, weights):
    path = write(tmp_path / "m.pt", weights)
    with pytest.raises(DistilledFileError, match=r"no 'model_state_dict' \(its keys: "):
        load(path)


def test_file_of_something_else(tmp_path):
    path = write(tmp_path / "m.pt", [1, 2])
    with pytest.raises(DistilledFileError, match="holds a list; expected a dictionary"):
        load(path)


def test_wrong_names_are_named(weights):
    weights["head.weight"] = weights.pop("network.2.weight")
    message = (
        r"here: 1 weights are missing \(network.2.weight\) and 1 are unknown "
        r"\(head.weight\); expected network.0.weight"
    )
    with pytest.raises(DistilledFileError, match=message):
        from_weights(weights, "orthonormal", source="here")


def test_state_dict_that_is_none(tmp_path):
    path = write(tmp_path / "m.pt", {"model_state_dict": 3})
    with pytest.raises(DistilledFileError, match="2 weights are missing"):
        load(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("network.2.weight", (6, 7)),  # takes 7 of 8
        ("network.0.weight", (8, 15)),  # 15 inputs are no square
        ("network.4.bias", (3,)),
    ],
)
def test_wrong_shapes_are_shown(weights, name, shape):
    weights[name] = torch.zeros(shape)
    with pytest.raises(DistilledFileError, match=r"the layers have shapes .*\(4, 6\)"):
        from_weights(weights, "orthonormal", source="here")


@pytest.mark.parametrize("value", [torch.zeros(3), 7])
def test_weight_that_is_no_matrix(weights, value):
    weights["network.2.weight"] = value
    with pytest.raises(DistilledFileError, match=r"network.2.weight is .*2 dimensions"):
        from_weights(weights, "orthonormal", source="here")


def test_values_that_are_not_finite(weights):
    weights["network.2.bias"][0] = torch.nan
    with pytest.raises(DistilledFileError, match=r"network.2.bias holds values that"):
        from_weights(weights, "orthonormal", source="here")


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_pickle_with_code_is_refused_and_not_run(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "m.pt", {"model_state_dict": weights, "more": Harmful()})
    with pytest.raises(DistilledFileError, match="cannot be read as tensors and plain"):
        load(path)
    assert not Path("harm").exists()


# --- ours ---


@pytest.fixture
def model():
    return DistilledModel((9, 7, 5), degree=4, wavelengths_km=(300.0,), waves=3, seed=2)


PLACES = torch.tensor([[-74.0, 40.7], [10.0, 50.0]]).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folder_gives_the_same_network(tmp_path, model, dtype):
    save(model, tmp_path, dtype=dtype)
    back = load(tmp_path)
    error = (back(PLACES) - model(PLACES)).abs().max().item()
    assert error < (1e-15 if dtype == torch.float64 else 1e-6)
    assert (error == 0) == (dtype == torch.float64)
    assert back.waves_each == 3
    assert back.wavelengths_km == (300.0,)
    assert not back.training


def test_folder_holds_settings_provenance_and_a_card(tmp_path, model):
    save(model, tmp_path, provenance={"model": "mora"}, card="# Mine\n")
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["provenance"] == {"model": "mora"}
    assert settings["widths"] == [9, 7, 5]
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    save(model, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "Degree 4 (orthonormal harmonics), 3 linear layers, 317 parameters" in card
    assert short_card(model, "Well.").endswith("\n\nWell.\n")


def test_same_network_gives_the_same_bytes(tmp_path, model):
    for name in ("a", "b"):
        save(model, tmp_path / name)
    files = [(tmp_path / n / "model.safetensors").read_bytes() for n in "ab"]
    assert files[0] == files[1]


def test_device_takes_the_weights(tmp_path, model):
    save(model, tmp_path)
    assert load(tmp_path, device="meta").network[0].weight.device.type == "meta"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_folder_without_a_file(tmp_path, model, name):
    save(model, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingFileError, match=f"no file at .*{name}"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "bert"}'])
def test_settings_of_another_model(tmp_path, model, text):
    save(model, tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DistilledFileError, match="is not the configuration of a dist"):
        load(tmp_path)


def test_weights_that_are_broken(tmp_path, model):
    save(model, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(
        DistilledFileError, match=r"cannot be read .* whole file of safe"
    ):
        load(tmp_path)


def test_weights_of_another_folder(tmp_path, model):
    save(model, tmp_path)
    save(DistilledModel((9, 8, 5), degree=4), tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "model.safetensors")
    message = r"5 weights do not fit config.json \(first: network.0.weight is \(9, 16\)"
    with pytest.raises(DistilledFileError, match=message):
        load(tmp_path)


def test_weights_that_are_not_finite(tmp_path, model):
    save(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["network.0.bias"][1] = torch.inf
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(DistilledFileError, match=r"1 weights hold .*network.0.bias"):
        load(tmp_path)
