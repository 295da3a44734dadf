"""The image half of CLIP, with the names of OpenCLIP's weights."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mora.errors import ConfigError, examples
from mora.modalities.network_weights import (
    WeightsFileError,
    read_tensors,
    require_weights,
)

HEAD_WIDTH = 64  # of all vision transformers of CLIP and OpenCLIP up to ViT-L-14
PREFIX = "visual."


def quick_gelu(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Give x sigmoid(1.702 x), which CLIP was trained with; 0 stays 0.

    Source: Hendrycks & Gimpel 2016, section 2; OpenAI's CLIP.
    """
    return values * torch.sigmoid(1.702 * values)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": functional.gelu,
}


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, width: int, inner: int, activation: str):
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)
        self.activation = ACTIVATIONS[activation]

    def forward(
        self, tokens: Float[Tensor, "n tokens width"]
    ) -> Float[Tensor, "n tokens width"]:
        """Transform each token by itself."""
        return self.c_proj(self.activation(self.c_fc(tokens)))


class Block(nn.Module):
    """Attention, then the two layers; each normalised before and added after."""

    def __init__(self, width: int, inner: int, activation: str):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, inner, activation)

    def forward(
        self, tokens: Float[Tensor, "n tokens width"]
    ) -> Float[Tensor, "n tokens width"]:
        """Mix the tokens of each image."""
        normal = self.ln_1(tokens)
        tokens = tokens + self.attn(normal, normal, normal, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


class ClipVision(nn.Module):
    """The vision transformer of CLIP.

    Source: Radford et al. 2021, section 2.4; Dosovitskiy et al. 2021, equations 1-4,
    with one more normalisation before the first block.

    Args:
        pixels: side of an image.
        patch: side of a patch in pixels.
        width: of a token, a multiple of 64.
        layers: number of blocks.
        inner: width inside each block's two layers.
        dim: of what comes out.
        activation: one of :data:`ACTIVATIONS`.
    """

    def __init__(
        self,
        *,
        pixels: int,
        patch: int,
        width: int,
        layers: int,
        inner: int,
        dim: int,
        activation: str,
    ):
        super().__init__()
        self.pixels, self.dim = pixels, dim
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        tokens = (pixels // patch) ** 2 + 1
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        blocks = [Block(width, inner, activation) for _ in range(layers)]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, dim))

    def forward(
        self, images: Float[Tensor, "n 3 pixels pixels"]
    ) -> Float[Tensor, "n dim"]:
        """Give a vector per image, not normalised.

        Args:
            images: brought to CLIP's mean and standard deviation.
        """
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(images), 1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.positional_embedding
        tokens = self.ln_pre(tokens)
        for block in self.transformer["resblocks"]:
            tokens = block(tokens)
        return self.ln_post(tokens[:, 0]) @ self.proj


def read_clip_vision(path: Path | str, activation: str = "quick_gelu") -> ClipVision:
    """Read the image half of a state dict of OpenCLIP, such as RemoteCLIP's.

    Args:
        path: ``.pt`` of PyTorch, no code in it is run, or ``.safetensors``.
        activation: ``quick_gelu`` or ``gelu``; weights do not tell which. Those begun
            from OpenAI's, as RemoteCLIP's, have the first; most that OpenCLIP trained
            itself have the second.

    Returns:
        The network in float32, ready to use; sizes are those of the weights.

    Raises:
        MissingFileError: if there is no file.
        WeightsFileError: if it cannot be read as tensors, or is another model's.
        ConfigError: if the activation is not one of the two.
    """
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"activation {activation!r}; expected {' or '.join(ACTIVATIONS)}."
        )
    weights = read_tensors(path, "image encoder")
    return from_clip_weights(weights, activation, source=str(path))


def from_clip_weights(
    weights: Mapping[str, Any], activation: str, *, source: str
) -> ClipVision:
    """Build the vision transformer that weights belong to.

    Args:
        weights: tensors by OpenCLIP's names; those of the text half are left out.
        activation: one of :data:`ACTIVATIONS`.
        source: where they are from, for messages.

    Raises:
        WeightsFileError: if names, shapes or values do not fit.
    """
    visual = {
        name.removeprefix(PREFIX): value.float()
        for name, value in weights.items()
        if name.startswith(PREFIX) and isinstance(value, Tensor)
    }
    with torch.device("meta"):  # no numbers are drawn that are overwritten at once
        network = ClipVision(**_sizes(visual, source), activation=activation)
    require_weights(visual, network.state_dict(), source, "OpenCLIP's image half")
    network.load_state_dict(visual, assign=True)
    return network.eval().requires_grad_(False)


def _sizes(visual: Mapping[str, Tensor], source: str) -> dict[str, int]:
    """Read the sizes of the network off the shapes of its weights."""
    inner = "transformer.resblocks.0.mlp.c_fc.weight"
    shapes = {"conv1.weight": 4, "positional_embedding": 2, "proj": 2, inner: 2}
    wrong = [n for n, d in shapes.items() if n not in visual or visual[n].ndim != d]
    blocks = [re.match(r"transformer\.resblocks\.(\d+)\.", name) for name in visual]
    layers = len({block[1] for block in blocks if block})
    if wrong:
        raise WeightsFileError(
            f"{source}: {len(wrong)} of {len(shapes)} weights that tell the sizes are "
            f"missing or of another form ({examples([PREFIX + n for n in wrong])}); "
            f"expected a state dict of OpenCLIP's ViT-B-32 or ViT-L-14. A ResNet "
            f"(RN50) cannot be read."
        )
    width, _, _, patch = visual["conv1.weight"].shape
    places = round((len(visual["positional_embedding"]) - 1) ** 0.5)
    if width % HEAD_WIDTH:
        raise WeightsFileError(
            f"{source}: tokens of {width} numbers; expected a multiple of "
            f"{HEAD_WIDTH}, as in ViT-B-32 (768) and ViT-L-14 (1024)."
        )
    return {
        "pixels": places * patch,
        "patch": patch,
        "width": width,
        "layers": layers,
        "inner": len(visual[inner]),
        "dim": visual["proj"].shape[1],
    }
