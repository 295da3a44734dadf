"""Pictures in the size and the colours that a network was trained on."""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from mora.errors import MoraError


def network_pixels(
    images: Float32[np.ndarray, "n side side channels"],
    pixels: int,
    mean: Float32[np.ndarray, " 3"],
    spread: Float32[np.ndarray, " 3"],
) -> Float32[np.ndarray, "n 3 pixels pixels"]:
    """Bring pictures to 8 bits a channel, a size (bicubic) and a scale of colours.

    Args:
        images: values 0..1, beyond them cut off; red, green and blue, or grey, which
            is repeated.
        pixels: side of what comes out.
        mean: of each colour in what the network was trained on, in 0..1.
        spread: standard deviation of each colour there.

    Returns:
        Values minus the mean, over the spread; a picture of the mean colour gives
        about 0.

    Raises:
        MoraError: if pictures have another number of channels.
    """
    if images.shape[3] not in (1, 3):
        raise MoraError(
            f"{len(images)} pictures of {images.shape[3]} channels; expected red, "
            f"green and blue, or grey. Choose them with `bands`."
        )
    shown = np.rint(images.clip(0, 1) * 255).astype(np.uint8)
    shown = np.broadcast_to(shown, (*images.shape[:3], 3))
    sized = np.stack([_resize(image, pixels) for image in shown])
    coloured = (sized.astype(np.float32) / 255 - mean) / spread
    return np.ascontiguousarray(coloured.transpose(0, 3, 1, 2))


def _resize(
    image: UInt8[np.ndarray, "side side 3"], pixels: int
) -> UInt8[np.ndarray, "pixels pixels 3"]:
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((pixels, pixels), Image.Resampling.BICUBIC))
