"""Random convolutional features: images described without training."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Float, Float32

from mora.errors import MoraError

FLOATS_PER_BATCH = 2**20  # responses held at a time; beyond the cache 5x slower


def random_convolutional_features(
    images: Float32[np.ndarray, "n height width channels"],
    *,
    filters: int = 256,
    patch: int = 3,
    bias: float = 1.0,
    seed: int,
) -> Float32[np.ndarray, "n features"]:
    """Describe images by their mean response to patches drawn from themselves.

    Source: Rolf et al. 2021, MOSAIKS, Methods, "Featurization".

    Args:
        images: values in about 0..1.
        filters: number of patches.
        patch: side of a patch in pixels.
        bias: how strong a response must be to count, >= 0; 0 counts all.
        seed: of the draw.

    Returns:
        ``2 filters`` columns, all >= 0: responses beyond ``bias``, then those below
        ``-bias``; all 0 for images of one colour.

    Raises:
        MoraError: if there are no images or they are smaller than a patch.
    """
    kernels = sample_filters(images, filters=filters, patch=patch, seed=seed)
    return pool_responses(images, kernels, bias=bias)


def sample_filters(
    images: Float32[np.ndarray, "n height width channels"],
    *,
    filters: int,
    patch: int,
    seed: int,
    epsilon: float = 1e-3,
) -> Float32[np.ndarray, "filters channels patch patch"]:
    """Draw patches at random and whiten them, so that smooth ones do not drown others.

    Each patch has its mean taken away and is brought to length 1; ZCA is applied twice,
    once for the patch and once for the image that it will meet.

    Source: Rolf et al. 2021; Coates & Ng 2012 for the whitening.

    Args:
        images: to draw from, each pixel position alike.
        filters: number of patches.
        patch: side in pixels.
        seed: of the draw.
        epsilon: added to the variances before whitening, > 0; larger whitens less.

    Returns:
        Kernels; zero where a patch has one colour.

    Raises:
        MoraError: if there are no images or they are smaller than a patch.
    """
    count, height, width, channels = images.shape
    if count == 0 or min(height, width) < patch:
        raise MoraError(
            f"{count} images of {height} x {width} pixels; expected at least one, and "
            f"none smaller than a patch of {patch} x {patch}. Take larger images or "
            f"smaller patches."
        )
    rng = np.random.default_rng(seed)
    image = rng.integers(count, size=filters)
    top = rng.integers(height - patch + 1, size=filters)
    left = rng.integers(width - patch + 1, size=filters)
    windows = np.lib.stride_tricks.sliding_window_view(images, (patch, patch), (1, 2))
    flat = windows[image, top, left].reshape(filters, -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(length > 1e-6, length, 1.0)  # below: rounding of one colour
    variance, axes = np.linalg.eigh(flat.T @ flat / filters)
    twice_whitened = flat @ (axes / (variance + epsilon)) @ axes.T
    shape = (filters, channels, patch, patch)
    return twice_whitened.reshape(shape).astype(np.float32)


def pool_responses(
    images: Float32[np.ndarray, "n height width channels"],
    kernels: Float[np.ndarray, "filters channels patch patch"],
    *,
    bias: float,
) -> Float32[np.ndarray, "n features"]:
    """Convolve, keep responses beyond the bias on either side, and average.

    Args:
        images: values in about 0..1.
        kernels: see :func:`sample_filters`.
        bias: subtracted from the response and from its negative before ReLU.

    Returns:
        ``2 filters`` columns: mean of ReLU(x - bias), then of ReLU(-x - bias).
    """
    import torch
    from torch.nn import functional

    count, height, width, _ = images.shape
    filters = len(kernels)
    weight = torch.from_numpy(np.array(kernels, dtype=np.float32, order="C"))
    features = np.empty((count, 2 * filters), dtype=np.float32)
    batch = max(1, FLOATS_PER_BATCH // (filters * height * width))
    with torch.inference_mode(), _one_torch_thread():
        for start in range(0, count, batch):
            pixels = torch.from_numpy(images[start : start + batch].copy())
            response = functional.conv2d(pixels.permute(0, 3, 1, 2), weight)
            above = (response - bias).relu_().mean(dim=(2, 3))
            below = response.neg_().sub_(bias).relu_().mean(dim=(2, 3))
            features[start : start + batch] = torch.cat([above, below], dim=1).numpy()
    return features


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep a batch on one core; waiting for another costs more than it brings."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
