"""The image half of CLIP against a plain numpy one, on weights drawn at random."""

import subprocess
import sys

import numpy as np
import pytest
import shapely
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.special import erf

from mora.errors import ConfigError, MissingFileError, MoraError, NoGeometryError
from mora.modalities.clip_vision import (
    WeightsFileError,
    from_clip_weights,
    quick_gelu,
    read_clip_vision,
)
from mora.modalities.features import MODALITIES
from mora.modalities.raster_sources import RasterSource
from mora.modalities.remote_clip import (
    MEAN,
    SPREAD,
    RemoteClipEncoder,
    build_remote_clip,
    clip_pixels,
)
from mora.tokens import GridTokens, ZoneTokens

PIXELS, PATCH, WIDTH, LAYERS, INNER, DIM = 16, 8, 128, 2, 160, 10


def state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw weights with the names that OpenCLIP gives them, the text half included."""
    shapes = {
        "positional_embedding": (77, 12),
        "text_projection": (12, DIM),
        "logit_scale": (),
        "transformer.resblocks.0.ln_1.weight": (12,),
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": ((PIXELS // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": (WIDTH, DIM),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"visual.{norm}.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    for number in range(LAYERS):
        block = f"visual.transformer.resblocks.{number}"
        for norm in ("ln_1", "ln_2"):
            shapes |= {
                f"{block}.{norm}.{kind}": (WIDTH,) for kind in ("weight", "bias")
            }
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * WIDTH, WIDTH),
            f"{block}.attn.in_proj_bias": (3 * WIDTH,),
            f"{block}.attn.out_proj.weight": (WIDTH, WIDTH),
            f"{block}.attn.out_proj.bias": (WIDTH,),
            f"{block}.mlp.c_fc.weight": (INNER, WIDTH),
            f"{block}.mlp.c_fc.bias": (INNER,),
            f"{block}.mlp.c_proj.weight": (WIDTH, INNER),
            f"{block}.mlp.c_proj.bias": (WIDTH,),
        }
    draw = torch.Generator().manual_seed(seed)
    return {
        name: 0.2 * torch.randn(shape, generator=draw) for name, shape in shapes.items()
    }


def reference(images: np.ndarray, weights: dict, activation: str) -> np.ndarray:
    """Encode one image after another, one head after another, in float64."""
    w = {
        name.removeprefix("visual."): value.double().numpy()
        for name, value in weights.items()
        if name.startswith("visual.")
    }

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def act(x):
        if activation == "gelu":
            return x * (1 + erf(x / np.sqrt(2))) / 2
        return x / (1 + np.exp(-1.702 * x))

    vectors = []
    for image in images.astype(np.float64):
        x = [w["class_embedding"]]
        for top in range(0, PIXELS, PATCH):
            for left in range(0, PIXELS, PATCH):
                patch = image[:, top : top + PATCH, left : left + PATCH]
                x.append((w["conv1.weight"] * patch).sum(axis=(1, 2, 3)))
        x = norm(np.array(x) + w["positional_embedding"], "ln_pre")
        for number in range(LAYERS):
            block = f"transformer.resblocks.{number}"
            inside = norm(x, f"{block}.ln_1") @ w[f"{block}.attn.in_proj_weight"].T
            inside += w[f"{block}.attn.in_proj_bias"]
            query, key, value = np.split(inside, 3, axis=1)
            heads = []
            for h in range(WIDTH // 64):
                of = slice(64 * h, 64 * h + 64)
                scores = np.exp(query[:, of] @ key[:, of].T / 8)
                heads.append(scores / scores.sum(1, keepdims=True) @ value[:, of])
            mixed = np.hstack(heads) @ w[f"{block}.attn.out_proj.weight"].T
            x = x + mixed + w[f"{block}.attn.out_proj.bias"]
            inner = norm(x, f"{block}.ln_2") @ w[f"{block}.mlp.c_fc.weight"].T
            inner = act(inner + w[f"{block}.mlp.c_fc.bias"])
            x = x + inner @ w[f"{block}.mlp.c_proj.weight"].T
            x = x + w[f"{block}.mlp.c_proj.bias"]
        vectors.append(norm(x[0], "ln_post") @ w["proj"])
    return np.array(vectors)


def images(n: int = 3, side: int = PIXELS, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((n, side, side, channels), dtype=np.float32)


@pytest.fixture
def weights(tmp_path):
    torch.save(state_dict(), tmp_path / "clip.pt")
    return tmp_path / "clip.pt"


def test_quick_gelu_by_hand():
    found = quick_gelu(torch.tensor([0.0, 1.0, -1.0]))
    # 1 / (1 + exp(-1.702)) = 0.84579
    np.testing.assert_allclose(found, [0, 0.84579, -0.15421], atol=1e-5)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_network_agrees_with_numpy(weights, activation):
    network = read_clip_vision(weights, activation)
    pixels = clip_pixels(images(), PIXELS)
    found = network(torch.from_numpy(pixels)).numpy()
    expected = reference(pixels, state_dict(), activation)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_activations_differ(weights):
    first = RemoteClipEncoder(weights).encode(images())
    second = RemoteClipEncoder(weights, "gelu").encode(images())
    same = RemoteClipEncoder(weights, "quick_gelu").encode(images())
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, same)


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(weights):
    encoder = RemoteClipEncoder(weights)
    together = encoder.encode(images(4))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    for i, image in enumerate(images(4)):
        np.testing.assert_allclose(encoder.encode(image[None])[0], together[i], 1e-3)
    assert encoder.encode(images(0)).shape == (0, DIM)


def test_the_name_tells_weights_and_activation_apart(weights, tmp_path):
    torch.save(state_dict(1), tmp_path / "other.pt")
    names = {
        RemoteClipEncoder(weights).name,
        RemoteClipEncoder(weights, "gelu").name,
        RemoteClipEncoder(tmp_path / "other.pt").name,
    }
    assert len(names) == 3
    assert RemoteClipEncoder(weights).name.startswith("clip.pt, sha256 ")


def test_safetensors_and_half_precision(weights, tmp_path):
    save_file(state_dict(), tmp_path / "clip.safetensors")
    half = {name: value.half() for name, value in state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    expected = RemoteClipEncoder(weights).encode(images())
    same = RemoteClipEncoder(tmp_path / "clip.safetensors").encode(images())
    np.testing.assert_array_equal(same, expected)
    near = RemoteClipEncoder(tmp_path / "half.pt").encode(images())
    np.testing.assert_allclose(near, expected, atol=0.01)


def test_pixels_by_hand():
    white = clip_pixels(np.ones((1, 4, 4, 3), dtype=np.float32), 2)
    assert white.shape == (1, 3, 2, 2)
    # (1 - 0.48145466) / 0.26862954 = 1.93033
    np.testing.assert_allclose(white[0, :, 0, 0], [1.93034, 2.07488, 2.14590], 1e-4)
    beyond = clip_pixels(np.full((1, 4, 4, 3), 7, dtype=np.float32), 2)
    np.testing.assert_array_equal(beyond, white)


def test_pixels_are_eight_bits_and_bicubic():
    [picture] = images(1, side=20)
    bytes_ = np.rint(picture * 255).astype(np.uint8)
    sized = Image.fromarray(bytes_).resize((8, 8), Image.Resampling.BICUBIC)
    expected = (np.asarray(sized) / 255 - MEAN) / SPREAD
    found = clip_pixels(picture[None], 8)[0].transpose(1, 2, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_grey_is_repeated_and_other_channels_are_refused():
    grey = images(2, channels=1)
    np.testing.assert_array_equal(
        clip_pixels(grey, 8), clip_pixels(np.repeat(grey, 3, axis=3), 8)
    )
    with pytest.raises(MoraError, match="2 pictures of 4 channels; expected red"):
        clip_pixels(images(2, channels=4), 8)


def without(name: str) -> dict:
    return {key: value for key, value in state_dict().items() if key != name}


BLOCK = "visual.transformer.resblocks.1"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (without("visual.proj"), r"1 of 4 weights .* \(visual\.proj\); .*RN50"),
        ({}, "4 of 4 weights that tell the sizes are missing"),
        ({"visual.proj": "text"}, "4 of 4 weights that tell the sizes are missing"),
        (without(f"{BLOCK}.ln_1.bias"), r"1 missing \(transformer.resblocks.1.ln_1"),
        (without("visual.ln_pre.bias"), r"1 missing \(ln_pre.bias\)"),
        ({**state_dict(), "visual.more": torch.ones(1)}, r"1 unknown \(more\)"),
        (
            {**state_dict(), "visual.ln_pre.bias": torch.ones(3)},
            r"1 of another shape \(ln_pre.bias \(3,\) for \(128,\)\)",
        ),
        (
            {**state_dict(), "visual.ln_pre.bias": torch.full((WIDTH,), torch.nan)},
            r"1 not finite \(ln_pre.bias\)",
        ),
        (
            {**state_dict(), "visual.conv1.weight": torch.ones(96, 3, 8, 8)},
            "tokens of 96 numbers; expected a multiple of 64",
        ),
    ],
)
def test_weights_of_another_kind(found, message):
    with pytest.raises(WeightsFileError, match=message):
        from_clip_weights(found, "gelu", source="here")


def test_files_that_cannot_be_read(tmp_path, weights):
    with pytest.raises(MissingFileError, match="image encoder: no file at"):
        read_clip_vision(tmp_path / "none.pt")
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(WeightsFileError, match="cannot be read as tensors"):
            read_clip_vision(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsFileError, match="holds a list; expected a state dict"):
        read_clip_vision(tmp_path / "list.pt")
    with pytest.raises(ConfigError, match="expected quick_gelu or gelu"):
        read_clip_vision(weights, "relu")


class Harm:
    def __reduce__(self):
        return (print, ("code was run",))


def test_no_code_in_a_file_is_run(tmp_path, capsys):
    torch.save({"visual.proj": Harm()}, tmp_path / "harm.pt")
    with pytest.raises(WeightsFileError, match="cannot be read as tensors"):
        read_clip_vision(tmp_path / "harm.pt")
    assert capsys.readouterr().out == ""


@pytest.fixture
def zones() -> ZoneTokens:
    west = np.arange(-20, 40, 10)
    return ZoneTokens.from_zones(list("abcdef"), shapely.box(west, 40, west + 1, 41))


@pytest.fixture
def picture(tmp_path) -> dict:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (180, 360, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "marble.png")
    return {"path": tmp_path / "marble.png"}


def test_pictures_around_tokens(zones, picture, weights):
    seen: list[tuple[int, int]] = []
    features = build_remote_clip(
        zones,
        rasters=[picture, {**picture, "name": "again"}],
        weights={"path": weights},
        picture_pixels=20,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert MODALITIES["remote_clip"] is build_remote_clip
    assert features.values.shape == (6, 2 * DIM)
    assert features.columns[0] == "marble clip 0"
    assert features.columns[-1] == f"again clip {DIM - 1}"
    assert features.present.all()
    assert features.notes["rasters"] == 2
    assert features.notes["encoder"] == RemoteClipEncoder(weights).name
    assert features.notes["marble outside"] == features.notes["filled_values"] == 0
    assert seen[-1] == (12, 12)
    np.testing.assert_array_equal(features.values[:, :DIM], features.values[:, DIM:])
    np.testing.assert_allclose(
        np.linalg.norm(features.values[:, :DIM], axis=1), 1, rtol=1e-5
    )


def test_the_picture_is_the_one_around_the_token(zones, weights, tmp_path):
    # One colour west of 0, another east of it: three zones each.
    pixels = np.zeros((180, 360, 3), dtype=np.uint8)
    pixels[:, :180], pixels[:, 180:] = (200, 20, 20), (20, 200, 20)
    Image.fromarray(pixels).save(tmp_path / "halves.png")
    features = build_remote_clip(
        zones,
        rasters=[{"path": tmp_path / "halves.png"}],
        weights={"path": weights},
        picture_pixels=5,
    )
    west, east = np.float32([[200, 20, 20], [20, 200, 20]]) / 255
    plain = np.stack([np.broadcast_to(c, (5, 5, 3)) for c in (west, east)])
    expected = RemoteClipEncoder(weights).encode(np.ascontiguousarray(plain))
    middle = zones.centroids()[:, 0]
    clear = np.abs(middle) > 3  # the picture does not reach the border
    rows = expected[(middle > 0).astype(int)]
    np.testing.assert_allclose(features.values[clear], rows[clear], atol=1e-5)
    assert clear.sum() >= 5


def test_options_that_change_the_vectors(zones, picture, weights):
    def build(**options):
        settings = {"picture_pixels": 20, "weights": {"path": weights}, **options}
        return build_remote_clip(zones, rasters=[picture], **settings).values

    usual = build()
    assert np.abs(build(picture_pixels=40) - usual).max() > 1e-3
    gelu = {"path": weights, "activation": "gelu"}
    assert np.abs(build(weights=gelu) - usual).max() > 1e-3
    np.testing.assert_allclose(build(batch_size=1), usual, atol=1e-5)


def test_batches_are_no_larger_than_asked(zones, picture, weights, monkeypatch):
    sizes = []
    encode = RemoteClipEncoder.encode

    def count(self, images):
        sizes.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(RemoteClipEncoder, "encode", count)
    options = {"rasters": [picture], "weights": {"path": weights}, "picture_pixels": 8}
    build_remote_clip(zones, batch_size=4, **options)
    build_remote_clip(zones, **options)
    assert sizes == [4, 2, 6]


def test_tokens_that_no_raster_covers_are_missing(zones, picture, weights):
    near = {**picture, "bounds": [-5, -90, 90, 90]}
    features = build_remote_clip(
        zones, rasters=[near], weights={"path": weights}, picture_pixels=8
    )
    assert features.present.tolist() == [False] * 2 + [True] * 4
    assert features.notes["marble outside"] == 2
    both = build_remote_clip(
        zones,
        rasters=[near, {**picture, "name": "all"}],
        weights={"path": weights},
        picture_pixels=8,
    )
    assert both.present.all()
    assert both.notes["filled_values"] == 2 * DIM


def test_the_memory_for_a_geotiff_is_passed_on(zones, picture, weights, monkeypatch):
    seen = []
    open_ = RasterSource.open

    def watch(self, memory_gb):
        seen.append(memory_gb)
        return open_(self, memory_gb)

    monkeypatch.setattr(RasterSource, "open", watch)
    options = {"rasters": [picture], "weights": {"path": weights}, "picture_pixels": 8}
    build_remote_clip(zones, **options)
    build_remote_clip(zones, memory_gb=0.5, **options)
    assert seen == [1.0, 1.0, 0.5, 0.5]


def test_a_range_of_values_may_be_given(zones, picture, weights):
    def build(**options):
        return build_remote_clip(
            zones,
            rasters=[{**picture, **options}],
            weights={"path": weights},
            picture_pixels=8,
        ).values

    np.testing.assert_array_equal(build(), build(value_range=[0, 255]))
    assert np.abs(build() - build(value_range=[0, 500])).max() > 1e-3


def test_a_grid_without_place_is_refused(picture, weights):
    grid = GridTokens.from_xy(np.array([[1, 1]]))
    with pytest.raises(NoGeometryError, match="no known lon/lat"):
        build_remote_clip(grid, rasters=[picture], weights={"path": weights})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rasters": []}, "0 rasters .* expected at least one picture"),
        ({"frame": [1, 2]}, "got a table of 2 rows; expected none"),
        ({"picture_pixels": 0}, "picture_pixels 0, batch_size 16"),
        ({"batch_size": 0}, "picture_pixels 224, batch_size 0"),
        ({"weights": {}}, r"weights \{\}; expected `path`"),
        ({"weights": {"path": "a", "seed": 1}}, "optionally `activation`"),
    ],
)
def test_options_that_are_refused(zones, picture, weights, changes, message):
    options = {"rasters": [picture], "weights": {"path": weights}, **changes}
    frame = options.pop("frame", None)
    # As a run does, without the checks of types that tests switch on.
    build = getattr(build_remote_clip, "__wrapped__", build_remote_clip)
    with pytest.raises(ConfigError, match=message):
        build(zones, frame, **options)


def test_rasters_that_are_refused(zones, picture, weights):
    for rasters, message in [
        ([{**picture, "classes": 3}], "1 of them with `classes`"),
        ([picture, picture], "each with a `name` of its own"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_remote_clip(zones, rasters=rasters, weights={"path": weights})


def test_missing_weights_say_where_to_get_them(zones, picture, tmp_path):
    with pytest.raises(
        MissingFileError,
        match=r"`mora fetch remote_clip` once .*efficientnet-lite0.*random_convolution",
    ):
        build_remote_clip(
            zones, rasters=[picture], weights={"path": tmp_path / "none.pt"}
        )


def test_importing_the_modality_does_not_load_torch():
    code = "import sys, mora.modalities.remote_clip; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "False\n", found.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "patch", "layers", "dim"), [(768, 32, 12, 512), (1024, 14, 24, 768)]
)
def test_the_published_sizes(width, patch, layers, dim):
    from mora.modalities.clip_vision import ClipVision

    network = ClipVision(
        pixels=224,
        patch=patch,
        width=width,
        layers=layers,
        inner=4 * width,
        dim=dim,
        activation="quick_gelu",
    )
    found = {f"visual.{k}": v for k, v in network.state_dict().items()}
    again = from_clip_weights(found, "quick_gelu", source="here")
    assert (again.pixels, again.dim) == (224, dim)
    assert again(torch.zeros(1, 3, 224, 224)).shape == (1, dim)
