import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from mora.trajectories.raw.outputs import (
    LEAST_SPREAD,
    next_point_density,
    output_width,
    point_forecast,
    step_losses,
)
from mora.trajectories.raw.presets import raw_preset


def mixture(**changes):
    return raw_preset("test", output="mixture", **{"components": 2} | changes)


def raw_spread(spread):
    """Give the output that softplus turns into a spread."""
    return math.log(math.expm1(spread - LEAST_SPREAD))


def test_squared_error_by_hand():
    output, target = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.0, 4.0]]])
    losses = step_losses(output, target, raw_preset("test"))
    assert losses.tolist() == [[2.5]]
    assert torch.equal(point_forecast(output, raw_preset("test")), output)


def test_one_gaussian_by_hand():
    # At its middle a Gaussian of spread 1/2 has the density 1 / (2 pi / 4).
    spread = raw_spread(0.5)
    output = torch.tensor([[[7.0, 0.1, 0.2, spread, spread]]])
    losses = step_losses(output, output[..., 1:3], mixture(components=1))
    assert losses.item() == pytest.approx(math.log(2 * math.pi / 4), rel=1e-5)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_density_agrees_with_scipy(covariance):
    config = mixture(components=3, covariance=covariance)
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(1, 4, output_width(config), generator=generator)
    target = torch.randn(1, 4, 2, generator=generator)
    losses = step_losses(output, target, config)
    for step in range(4):
        parts = output[0, step].double().numpy().reshape(3, -1)
        weights = np.exp(parts[:, 0]) / np.exp(parts[:, 0]).sum()
        density = 0.0
        for weight, part in zip(weights, parts, strict=True):
            factor = np.diag(np.log1p(np.exp(part[3:5])) + LEAST_SPREAD)
            if covariance == "full":
                factor[1, 0] = part[5]
            gaussian = multivariate_normal(part[1:3], factor @ factor.T)
            density += weight * gaussian.pdf(target[0, step].double().numpy())
        assert losses[0, step].item() == pytest.approx(-math.log(density), rel=1e-4)


@pytest.mark.parametrize(("covariance", "numbers"), [("diagonal", 5), ("full", 6)])
def test_numbers_of_a_gaussian(covariance, numbers):
    assert output_width(mixture(covariance=covariance)) == 2 * numbers
    assert output_width(mixture(components=3, covariance=covariance)) == 3 * numbers
    assert output_width(raw_preset("test")) == 2


def test_order_of_the_components_changes_nothing():
    config = mixture(components=3)
    output = torch.randn(2, 4, 15, generator=torch.Generator().manual_seed(0))
    turned = output.unflatten(-1, (3, 5)).flip(-2).flatten(-2)
    target = torch.zeros(2, 4, 2)
    torch.testing.assert_close(
        step_losses(output, target, config), step_losses(turned, target, config)
    )


def test_mean_lies_between_two_futures_and_the_heaviest_names_one():
    output = torch.tensor([[[math.log(3), 0.8, 0.0, 0, 0, 0.0, -0.8, 0.4, 0, 0]]])
    mean = point_forecast(output, mixture())
    torch.testing.assert_close(mean, torch.tensor([[[0.4, 0.1]]]))
    heaviest = point_forecast(output, mixture(point="heaviest"))
    torch.testing.assert_close(heaviest, torch.tensor([[[0.8, 0.0]]]))


def test_a_point_met_exactly_has_a_finite_loss():
    output = torch.full((1, 1, 10), -200.0)
    target = output[..., 1:3]
    assert step_losses(output, target, mixture()).isfinite().all()


def test_half_precision_is_understood():
    output = torch.zeros(1, 2, 12, dtype=torch.bfloat16)
    losses = step_losses(output, torch.zeros(1, 2, 2), mixture(covariance="full"))
    assert losses.dtype == torch.float32


def test_an_output_of_another_width_is_refused():
    with pytest.raises(RuntimeError, match="multiply up"):
        next_point_density(torch.zeros(1, 1, 7), mixture())
