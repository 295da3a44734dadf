import numpy as np
import pytest
from scipy.signal import correlate

from mora.errors import MoraError
from mora.modalities import random_convolution as module
from mora.modalities.random_convolution import (
    pool_responses,
    random_convolutional_features,
    sample_filters,
)


def pictures(n: int = 6, side: int = 8, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((n, side, side, channels), dtype=np.float32)


def test_pooling_by_hand():
    # One 1 x 1 filter that doubles; responses 2, 0, -4, 1 and bias 1:
    # beyond it 1, 0, 0, 0; below its negative 0, 0, 3, 0.
    image = np.array([[1, 0], [-2, 0.5]], dtype=np.float32).reshape(1, 2, 2, 1)
    kernel = np.full((1, 1, 1, 1), 2, dtype=np.float32)
    np.testing.assert_array_equal(
        pool_responses(image, kernel, bias=1.0), [[0.25, 0.75]]
    )


def test_pooling_agrees_with_scipy():
    images = pictures()
    kernels = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    found = pool_responses(images, kernels, bias=0.3)
    for i, image in enumerate(images):
        for f, kernel in enumerate(kernels):
            x = correlate(image, kernel.transpose(1, 2, 0), mode="valid")
            expected = np.maximum(x - 0.3, 0).mean(), np.maximum(-x - 0.3, 0).mean()
            np.testing.assert_allclose(found[i, [f, f + 4]], expected, atol=1e-5)


def test_filters_are_whitened_patches():
    images = pictures(n=1, side=3)  # the only patch is the whole image
    flat = images.reshape(-1).astype(np.float64)
    flat = (flat - flat.mean()) / np.linalg.norm(flat - flat.mean())
    kernels = sample_filters(images, filters=5, patch=3, seed=0, epsilon=0.5)
    whitened = np.linalg.inv(np.outer(flat, flat) + 0.5 * np.eye(27)) @ flat
    found = kernels.transpose(0, 2, 3, 1).reshape(5, -1)
    np.testing.assert_allclose(found, np.tile(whitened, (5, 1)), rtol=1e-5)


def test_epsilon_changes_how_much_is_whitened():
    weak, strong = (
        sample_filters(pictures(), filters=40, patch=3, seed=0, epsilon=epsilon)
        for epsilon in (1.0, 1e-3)
    )
    assert np.linalg.norm(strong) > 2 * np.linalg.norm(weak)


def features(images=None, **changes) -> np.ndarray:
    options = {"filters": 5, "patch": 3, "bias": 1.0, "seed": 0, **changes}
    return random_convolutional_features(
        pictures() if images is None else images, **options
    )


def test_seed_decides_and_repeats():
    assert features().shape == (6, 10)
    np.testing.assert_array_equal(features(), features())
    assert not np.array_equal(features(), features(seed=1))


def test_filters_and_patch_change_the_result():
    assert features(filters=7).shape == (6, 14)
    assert not np.array_equal(features(patch=5), features())


def test_bias_lets_less_through():
    everything, some = features(bias=0.0), features(bias=1.0)
    assert (some <= everything).all()
    assert some.sum() < everything.sum()


def test_images_are_described_one_by_one(monkeypatch):
    images = pictures()
    kernels = sample_filters(images, filters=5, patch=3, seed=0)
    together = pool_responses(images, kernels, bias=1.0)
    monkeypatch.setattr(module, "FLOATS_PER_BATCH", 1)
    alone = pool_responses(images[::-1], kernels, bias=1.0)
    np.testing.assert_allclose(alone[::-1], together, atol=1e-6)


def test_brightness_does_not_matter_but_texture_does():
    images = pictures()
    kernels = sample_filters(images, filters=5, patch=3, seed=0, epsilon=0.1)
    dark = pool_responses(images, kernels, bias=0.1)
    stripes = np.zeros_like(images)
    stripes[:, ::2] = 1
    assert not np.allclose(pool_responses(stripes, kernels, bias=0.1), dark, atol=0.01)
    np.testing.assert_allclose(
        pool_responses(images + 1, kernels, bias=0.1), dark, atol=1e-4
    )


def test_one_colour_gives_zeros():
    flat = np.full((3, 6, 6, 3), 0.3, dtype=np.float32)
    np.testing.assert_array_equal(features(flat), np.zeros((3, 10)))


def test_too_small_images_are_refused():
    with pytest.raises(MoraError, match=r"6 images of 8 x 8 pixels.*patch of 9 x 9"):
        features(patch=9)
    with pytest.raises(MoraError, match="0 images"):
        features(pictures(n=0))
