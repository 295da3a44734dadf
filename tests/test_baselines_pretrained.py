"""Encoders read from files, against the same layers in plain numpy or PyTorch."""

import importlib
import math
import os
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mora.baselines.checkpoints import CheckpointError, read_checkpoint
from mora.baselines.csp import csp
from mora.baselines.pretrained import (
    EQUAL_EARTH_SCALE,
    equal_earth,
    geoclip,
    harmonic_factors,
    satclip,
)
from mora.baselines.registry import BASELINES, BaselineInput, MissingInputError
from mora.baselines.waves import geometric_radii, plane_waves, sphere_waves
from mora.errors import MissingFileError
from mora.harmonics import spherical_harmonics

GOLDEN = Path(__file__).parent / "golden" / "spherical_harmonics_L32.npz"
WEIGHTS = "geoclip/model/weights/location_encoder_weights.pth"
RUN = {"geoclip": geoclip, "satclip": satclip, "csp": csp}


@pytest.fixture
def given():
    rng = np.random.default_rng(0)
    lonlat = np.column_stack([rng.uniform(-180, 180, 30), rng.uniform(-90, 90, 30)])
    return BaselineInput(lonlat=lonlat)


def save(folder, content, name="weights.pth"):
    torch.save(content, folder / name)
    return folder / name


# GeoCLIP


def geoclip_state(directions=5, hidden=7, outputs=4, seed=0):
    """Draw a state dict of GeoCLIP's layout, only narrower."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {
        "capsule.0.b": (directions, 2),
        "capsule.1": (hidden, 2 * directions),
        "capsule.3": (hidden, hidden),
        "capsule.5": (hidden, hidden),
        "head.0": (outputs, hidden),
    }
    state = {}
    for part in ("LocEnc0", "LocEnc1", "LocEnc2"):
        for name, shape in shapes.items():
            if name == "capsule.0.b":
                state[f"{part}.{name}"] = torch.randn(shape, generator=rng)
                continue
            state[f"{part}.{name}.weight"] = torch.randn(shape, generator=rng)
            state[f"{part}.{name}.bias"] = torch.randn(shape[0], generator=rng)
    return state


def geoclip_by_hand(lonlat, state):
    """GeoCLIP's location encoder in plain numpy, place by place."""
    weights = {name: tensor.numpy().astype(float) for name, tensor in state.items()}
    rows = []
    for lon, lat in lonlat:
        theta = math.asin(math.sqrt(3) / 2 * math.sin(math.radians(lat)))
        a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
        slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
        x = 2 * math.sqrt(3) * math.radians(lon) * math.cos(theta) / (3 * slope)
        y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
        place = np.array([x, y]) * 66.50336 / 180
        row = 0
        for part in ("LocEnc0", "LocEnc1", "LocEnc2"):
            phase = 2 * math.pi * weights[f"{part}.capsule.0.b"] @ place
            h = np.concatenate([np.cos(phase), np.sin(phase)])
            for layer in (1, 3, 5):
                name = f"{part}.capsule.{layer}"
                h = np.maximum(
                    0, weights[f"{name}.weight"] @ h + weights[f"{name}.bias"]
                )
            name = f"{part}.head.0"
            row = row + weights[f"{name}.weight"] @ h + weights[f"{name}.bias"]
        rows.append(row)
    return np.array(rows)


def test_geoclip_is_its_layers_written_out(tmp_path, given):
    state = geoclip_state()
    got = geoclip(given, path=save(tmp_path, state))
    assert got.dtype == np.float32
    by_hand = geoclip_by_hand(given.lonlat, state)
    np.testing.assert_allclose(got, by_hand, rtol=1e-5, atol=1e-4)


def test_geoclip_reads_a_wheel_as_it_reads_its_file(tmp_path, given):
    path = save(tmp_path, geoclip_state())
    with zipfile.ZipFile(tmp_path / "geoclip-1.3.0-py3-none-any.whl", "w") as wheel:
        wheel.write(path, WEIGHTS)
    np.testing.assert_array_equal(
        geoclip(given, path=tmp_path / "geoclip-1.3.0-py3-none-any.whl"),
        geoclip(given, path=str(path)),
    )


def test_geoclip_takes_the_installed_package_without_importing_it(
    tmp_path, given, monkeypatch
):
    folder = tmp_path / "geoclip"
    (folder / "model" / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('was imported')")
    path = save(tmp_path, geoclip_state(), WEIGHTS)
    monkeypatch.syspath_prepend(tmp_path)
    assert "geoclip" not in sys.modules
    np.testing.assert_array_equal(geoclip(given), geoclip(given, path=path))


def test_geoclip_without_package_or_path_is_left_out(given, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingInputError, match=r"no file for 'geoclip'. Give its `pa"):
        geoclip(given)


def test_geoclip_refuses_a_wheel_without_weights(tmp_path, given):
    path = tmp_path / "other-1.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("other.py", "")
    with pytest.raises(CheckpointError, match="is no wheel with model/weights"):
        geoclip(given, path=path)


def test_geoclip_refuses_capsules_of_two_widths(tmp_path, given):
    narrower = geoclip_state(outputs=3)
    last = {k: v for k, v in narrower.items() if k.startswith("LocEnc2")}
    path = save(tmp_path, geoclip_state() | last)
    with pytest.raises(
        CheckpointError, match=r"LocEnc2.head.0.bias has shape \(3,\); "
    ):
        geoclip(given, path=path)


@pytest.fixture
def wheel():
    """Give the published wheel, which MORA_GEOCLIP names."""
    named = os.environ.get("MORA_GEOCLIP")
    if not named or not Path(named).is_file():
        pytest.skip("MORA_GEOCLIP names no wheel of geoclip (pip download geoclip)")
    return Path(named)


def test_geoclip_with_the_real_weights(tmp_path, given, wheel):
    got = geoclip(given, path=wheel)
    assert got.shape == (30, 512)
    path = zipfile.ZipFile(wheel).extract(WEIGHTS, tmp_path)
    by_hand = geoclip_by_hand(given.lonlat, torch.load(path, weights_only=True))
    np.testing.assert_allclose(got, by_hand, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own code
def test_geoclip_is_what_its_own_code_gives(tmp_path, wheel, monkeypatch):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    # the package imports torchvision and transformers, its location encoder does not
    folders = {"geoclip": "geoclip", "geoclip.model": "geoclip/model"}
    for name, folder in folders.items():
        module = types.ModuleType(name)
        module.__path__ = [str(tmp_path / folder)]
        monkeypatch.setitem(sys.modules, name, module)
    misc = types.ModuleType("geoclip.model.misc")
    misc.file_dir = str(tmp_path / "geoclip/model")
    monkeypatch.setitem(sys.modules, misc.__name__, misc)
    theirs = importlib.import_module("geoclip.model.location_encoder")
    for name in list(sys.modules):
        if name.startswith("geoclip"):  # so that each is forgotten afterwards
            monkeypatch.setitem(sys.modules, name, sys.modules[name])
    rng = np.random.default_rng(0)
    lonlat = np.column_stack([rng.uniform(-180, 180, 2000), rng.uniform(-90, 90, 2000)])
    with torch.no_grad():
        latlon = torch.from_numpy(lonlat[:, ::-1].astype(np.float32))
        expected = theirs.LocationEncoder().eval()(latlon).numpy()
    got = geoclip(BaselineInput(lonlat=lonlat), path=wheel)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_equal_earth_at_known_places():
    places = np.array([[0.0, 0.0], [180.0, 0.0], [0.0, 90.0], [-180.0, 0.0]])
    x, y = (equal_earth(places) / EQUAL_EARTH_SCALE).T
    # half the width and the height of the map (Savric et al. 2019)
    np.testing.assert_allclose(x, [0, 2.70663, 0, -2.70663], atol=1e-5)
    np.testing.assert_allclose(y, [0, 0, 1.31737, 0], atol=1e-5)


# SatCLIP


def satclip_checkpoint(degree=4, hidden=6, outputs=5, layers=2, **changed):
    """Make a Lightning checkpoint of SatCLIP's layout, only narrower."""
    rng = torch.Generator().manual_seed(0)
    names = [*(f"layers.{i}" for i in range(layers)), "last_layer"]
    inputs, state = degree**2, {"model.visual.head.weight": torch.ones(2, 2)}
    for name in names:
        width = outputs if name == "last_layer" else hidden
        weight = torch.randn((width, inputs), generator=rng, dtype=torch.float64)
        bias = torch.randn(width, generator=rng, dtype=torch.float64)
        for prefix in ("model.nnet", "model.location.nnet"):
            state[f"{prefix}.{name}.weight"] = weight
            state[f"{prefix}.{name}.bias"] = bias
        inputs = width
    settings = {
        "le_type": "sphericalharmonics",
        "pe_type": "siren",
        "harmonics_calculation": "analytic",
        "legendre_polys": degree,
        "num_hidden_layers": layers,
        "capacity": hidden,
        "embed_dim": outputs,
    }
    return {
        "epoch": 1,
        "pytorch-lightning_version": "2.0.8",
        "state_dict": state,
        "hyper_parameters": settings | changed,
    }


def satclip_in_torch(lonlat, checkpoint, degree, factors):
    state = checkpoint["state_dict"]
    x = torch.from_numpy(spherical_harmonics(lonlat, degree) * factors)
    for number, name in enumerate(("layers.0", "layers.1", "last_layer")):
        weight, bias = (
            state[f"model.location.nnet.{name}.{kind}"] for kind in ("weight", "bias")
        )
        x = nn.functional.linear(x, weight, bias)
        x = torch.sin((30.0, 1.0)[number] * x) if number < 2 else x
    return x.numpy()


@pytest.mark.parametrize("degree", [4, 10])
@pytest.mark.parametrize("calculation", ["analytic", "closed-form"])
def test_satclip_is_its_layers_in_torch(tmp_path, given, degree, calculation):
    checkpoint = satclip_checkpoint(degree, harmonics_calculation=calculation)
    got = satclip(given, path=save(tmp_path, checkpoint, "satclip.ckpt"))
    assert got.shape == (30, 5)
    assert got.dtype == np.float32
    factors = harmonic_factors(degree, calculation)
    expected = satclip_in_torch(given.lonlat, checkpoint, degree, factors)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_satclip_reads_a_state_dict_without_model_before_its_names(tmp_path, given):
    checkpoint = satclip_checkpoint()
    path = save(tmp_path, checkpoint, "a.ckpt")
    state = checkpoint["state_dict"]
    short = {
        name.removeprefix("model."): tensor
        for name, tensor in state.items()
        if name.startswith("model.location")
    }
    other = save(tmp_path, checkpoint | {"state_dict": short}, "b.ckpt")
    np.testing.assert_array_equal(satclip(given, path=path), satclip(given, path=other))


def test_harmonics_are_those_that_satclip_was_trained_with():
    golden = np.load(GOLDEN)
    ours = spherical_harmonics(golden["lonlat"], 32)
    # the released code's own formulas lose digits for many bands
    analytic = ours * harmonic_factors(32, "analytic")
    few = slice(0, 15**2)
    np.testing.assert_allclose(
        analytic[:, few], golden["mora_released_analytic"][:, few], atol=1e-7
    )
    closed = ours * harmonic_factors(32, "closed-form")
    np.testing.assert_allclose(closed, golden["satclip_closed_form"], atol=1e-9)


def test_harmonic_factors_of_two_bands():
    np.testing.assert_allclose(harmonic_factors(2, "analytic"), [np.pi, 1, np.pi, 1])
    np.testing.assert_allclose(harmonic_factors(2, "closed-form"), [1, -1, 1, -1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"le_type": "grid"}, "setting 'le_type' is 'grid'; expected sphericalharm"),
        ({"pe_type": "mlp"}, "setting 'pe_type' is 'mlp'; expected siren"),
        ({"harmonics_calculation": "discretized"}, "expected analytic or closed-form"),
        ({"legendre_polys": 4.0}, "setting 'legendre_polys' is 4.0; expected int"),
        ({"legendre_polys": 5}, r"layers.0.weight has shape \(6, 16\); .*\(any, 25\)"),
        ({"num_hidden_layers": None}, "setting 'num_hidden_layers' is None"),
        ({"num_hidden_layers": 3}, r"2 weights are missing \(layers.2.bias, layers.2"),
        ({"num_hidden_layers": 1}, r"and 2 are unknown \(layers.1.bias, layers.1.w"),
    ],
)
def test_satclip_refuses_another_model(tmp_path, given, changed, message):
    path = save(tmp_path, satclip_checkpoint(**changed), "satclip.ckpt")
    if "legendre_polys" in changed or "num_hidden_layers" in changed:
        checkpoint = satclip_checkpoint()
        checkpoint["hyper_parameters"] |= changed
        path = save(tmp_path, checkpoint, "satclip.ckpt")
    with pytest.raises(CheckpointError, match=message):
        satclip(given, path=path)


# CSP


class Layer(nn.Module):
    """A layer of CSP: linear, activation, sum with its input, normalisation."""

    def __init__(self, inputs, outputs, activation, norm, skip):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.layernorm = nn.LayerNorm(outputs) if norm else None
        if norm:  # as drawn it is 1 and 0, which hides mistakes
            nn.init.normal_(self.layernorm.weight)
            nn.init.normal_(self.layernorm.bias)
        self.activation, self.skip = activation, skip and inputs == outputs

    def forward(self, x):
        out = self.activation(self.linear(x))
        out = out + x if self.skip else out
        return out if self.layernorm is None else self.layernorm(out)


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leakyrelu": nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "gelu": nn.GELU(),
}
COLUMNS = {"gridcell": 4, "theory": 6, "sphere": 3, "spheregrid": 6}


def csp_model(**changed):
    """Make CSP's network, only narrower, and its settings."""
    params = {
        "spa_enc_type": "gridcell",
        "freq_init": "geometric",
        "spa_f_act": "leakyrelu",
        "frequency_num": 3,
        "min_radius": 0.1,
        "max_radius": 360.0,
        "num_hidden_layer": 1,
        "use_layn": True,
        "skip_connection": True,
    } | changed
    torch.manual_seed(0)
    width = COLUMNS[params["spa_enc_type"]] * params["frequency_num"]
    activation, skip = ACTIVATIONS[params["spa_f_act"]], params["skip_connection"]
    layers = nn.ModuleList()
    for _ in range(params["num_hidden_layer"]):
        layers.append(Layer(width, 8, activation, params["use_layn"], skip))
        width = 8
    layers.append(Layer(width, 5, activation, False, skip))
    return nn.Sequential(*layers), params


def csp_checkpoint(model, params):
    ffn = {f"spa_enc.ffn.layers.{k}": v for k, v in model.state_dict().items()}
    state = ffn | {"class_emb.weight": torch.ones(3, 5)}
    state |= {f"loc_enc.{name}": tensor for name, tensor in state.items()}
    state["img_dec.weight"] = torch.ones(5, 2)
    return {"epoch": 1, "state_dict": state, "optimizer": {}, "params": params}


def csp_waves(lonlat, params):
    radii = geometric_radii(
        *(params[name] for name in ("frequency_num", "min_radius", "max_radius"))
    )
    kind = params["spa_enc_type"]
    if kind in ("gridcell", "theory"):
        return plane_waves(lonlat, {"gridcell": "grid"}.get(kind, kind), radii)
    return sphere_waves(
        lonlat, {"sphere": "sphereC", "spheregrid": "sphereC+"}[kind], radii
    )


@pytest.mark.parametrize(
    "changed",
    [
        {},
        *({"spa_f_act": name} for name in ACTIVATIONS if name != "leakyrelu"),
        *({"spa_enc_type": name} for name in COLUMNS if name != "gridcell"),
        {"frequency_num": 4, "min_radius": 0.2, "max_radius": 100},
        {"num_hidden_layer": 3},
        {"num_hidden_layer": 0},
        {"num_hidden_layer": 2, "use_layn": False},
        {"num_hidden_layer": 2, "skip_connection": False},
    ],
    ids=str,
)
def test_csp_is_its_layers_in_torch(tmp_path, given, changed):
    model, params = csp_model(**changed)
    path = save(tmp_path, csp_checkpoint(model, params), "model.pth.tar")
    got = csp(given, path=path)
    assert got.shape == (30, 5)
    assert got.dtype == np.float32
    with torch.no_grad():
        waves = torch.from_numpy(csp_waves(given.lonlat, params))
        expected = model.double()(waves).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_csp_reads_a_location_encoder_alone(tmp_path, given):
    checkpoint = csp_checkpoint(*csp_model())
    path = save(tmp_path, checkpoint, "a.pth.tar")
    alone = {k: v for k, v in checkpoint["state_dict"].items() if k[0] == "s"}
    other = save(tmp_path, checkpoint | {"state_dict": alone}, "b.pth.tar")
    np.testing.assert_array_equal(csp(given, path=path), csp(given, path=other))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spa_enc_type": "rbf"}, "'spa_enc_type' is 'rbf'; expected gridcell or sph"),
        ({"freq_init": "nerf"}, "'freq_init' is 'nerf'; expected geometric"),
        ({"spa_f_act": ["relu"]}, r"'spa_f_act' is \['relu'\]; expected gelu or"),
        ({"use_layn": "T"}, "'use_layn' is 'T'; expected bool"),
        ({"min_radius": "1"}, "'min_radius' is '1'; expected int, float"),
        ({"use_layn": False}, r"0 weights are missing \(none\) and 2 are unknown"),
        ({"frequency_num": 2}, r"layers.0.linear.weight has shape \(8, 12\)"),
    ],
)
def test_csp_refuses_another_model(tmp_path, given, changed, message):
    model, params = csp_model()
    path = save(tmp_path, csp_checkpoint(model, params | changed), "model.pth.tar")
    with pytest.raises(CheckpointError, match=message):
        csp(given, path=path)


# All of them


@pytest.mark.parametrize("name", RUN)
def test_missing_files_and_paths_are_told(tmp_path, given, name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        MissingInputError, match=f"no file for '{name}'. Give its `path"
    ):
        RUN[name](given)
    with pytest.raises(MissingFileError, match=f"{name}: no file at"):
        RUN[name](given, path=tmp_path / "nowhere.pth")
    with pytest.raises(MissingInputError, match="no lon/lat"):
        RUN[name](BaselineInput(), path=tmp_path)


@pytest.mark.parametrize("name", RUN)
def test_files_that_are_no_checkpoint_are_refused(tmp_path, given, name):
    path = tmp_path / "text.pth"
    path.write_text("<html>not found</html>")
    with pytest.raises(
        CheckpointError, match="cannot be read as tensors and plain val"
    ):
        RUN[name](given, path=path)
    path = save(tmp_path, geoclip_state() | {"extra.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match="another model's file"):
        RUN[name](given, path=path)


class Harm:
    """Pickled code, which must not run."""

    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    path = save(tmp_path, {"weights": Harm()})
    with pytest.raises(CheckpointError, match="cannot be read as tensors and plain"):
        read_checkpoint(path, "file")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_no_dictionary_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds a list; expected a dictionary"):
        read_checkpoint(save(tmp_path, [torch.ones(2)]), "file")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((4,), torch.nan), "head.0.bias holds values that are not finite"),
        (torch.ones(4, dtype=torch.int64), "head.0.bias is no tensor of floats"),
        ("text", "head.0.bias is no tensor of floats"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(tmp_path, given, value, message):
    path = save(tmp_path, geoclip_state() | {"LocEnc0.head.0.bias": value})
    with pytest.raises(CheckpointError, match=message):
        geoclip(given, path=path)


def test_another_layout_is_refused(tmp_path, given):
    checkpoint = satclip_checkpoint() | {
        "state_dict": {"encoder.weight": torch.ones(1)}
    }
    path = save(tmp_path, checkpoint, "satclip.ckpt")
    with pytest.raises(
        CheckpointError, match=r"has 1 weights \(first: encoder.weight\)"
    ):
        satclip(given, path=path)


def test_registered_with_their_checks():
    for name in RUN:
        chosen = BASELINES[name]
        assert (chosen.group, chosen.needs_file) == ("pretrained", True)
        assert chosen.reproduction.reached
        assert len(chosen.settings) == 1
