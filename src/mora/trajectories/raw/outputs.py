"""What the output of the RAW network says of the next point, and its loss."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from mora.trajectories.raw.presets import RawConfig
from mora.trajectories.raw.visited import (
    least_distance,
    visited_losses,
    visited_weights,
)

# Of a Gaussian, in half boxes: 50 m in a box of 100 km. Without it, a user who stays
# at one point would be worth an endless likelihood.
LEAST_SPREAD = 1e-3


def output_width(config: RawConfig) -> int:
    """Count the numbers that describe the next point.

    Args:
        config: ``output``, ``components`` and ``covariance``.

    Returns:
        2 for ``mse``; for each Gaussian 5 with a diagonal, 6 with a full covariance.
    """
    if config.output == "mse":
        return 2
    return config.components * (6 if config.covariance == "full" else 5)


def next_point_density(
    output: Float[Tensor, "*steps outputs"], config: RawConfig
) -> MixtureSameFamily:
    """Read the output as a mixture of Gaussians in the plane.

    Source: Bishop 1994, Mixture Density Networks. Spreads are softplus of the output
    plus :data:`LEAST_SPREAD`; a full covariance is given by its Cholesky factor.

    Args:
        output: of a network with ``output="mixture"``.
        config: ``components`` and ``covariance``.
    """
    # The factor of a covariance is solved for, which half precision cannot.
    parts = output.float().unflatten(-1, (config.components, -1))
    weights = Categorical(logits=parts[..., 0], validate_args=False)
    means = parts[..., 1:3]
    spreads = F.softplus(parts[..., 3:5]) + LEAST_SPREAD
    if config.covariance == "full":
        factor = torch.diag_embed(spreads)
        factor[..., 1, 0] = parts[..., 5]
        gaussians = MultivariateNormal(means, scale_tril=factor, validate_args=False)
    else:
        gaussians = Independent(Normal(means, spreads, validate_args=False), 1)
    return MixtureSameFamily(weights, gaussians, validate_args=False)


def shift_points(
    output: Float[Tensor, "users steps outputs"],
    by: Float[Tensor, "users steps 2"],
    config: RawConfig,
) -> Float[Tensor, "users steps outputs"]:
    """Move what the output says of the next point; weights and spreads stay.

    Args:
        output: of the network.
        by: how far, scaled as the points.
        config: ``output`` and the shape of a mixture.
    """
    if config.output == "mse":
        return output + by
    parts = output.unflatten(-1, (config.components, -1))
    zeros = torch.zeros_like(parts)
    zeros[..., 1:3] = by[..., None, :]
    return (parts + zeros).flatten(-2)


def step_losses(
    output: Float[Tensor, "users steps outputs"],
    target: Float[Tensor, "users steps 2"],
    config: RawConfig,
    points: Float[Tensor, "users seen 2"] | None = None,
) -> Float[Tensor, "users steps"]:
    """Give the loss of each step against the point that came next.

    Args:
        output: of the network.
        target: the next points, scaled as the input.
        config: ``target``, ``output`` and the shape of a mixture.
        points: what the network was shown; asked for by ``target="visited"``.

    Returns:
        ``mse``: squared error, mean of both coordinates; 0 where the point is met.
        ``mixture``: negative log density in nats, which may be below 0.
    """
    if config.target == "visited":
        assert points is not None
        return visited_losses(output, target, points)
    if config.output == "mse":
        return F.mse_loss(output, target, reduction="none").mean(dim=-1)
    return -next_point_density(output, config).log_prob(target.float())


def point_forecast(
    output: Float[Tensor, "*steps outputs"],
    config: RawConfig,
    points: Float[Tensor, "users seen 2"] | None = None,
) -> Float[Tensor, "*steps 2"]:
    """Give the one point that is forecast.

    Args:
        output: of the network.
        config: ``output``, and ``point`` for a mixture: the mean minimises the squared
            error, the heaviest component names one of several possible futures, the
            median is least far off on average.
        points: as in :func:`step_losses`.
    """
    if config.target == "visited":
        assert points is not None
        weights = visited_weights(output, points.shape[1])
        means = points[:, None].expand(*weights.shape, 2)
    elif config.output == "mse":
        return output
    else:
        density = next_point_density(output, config)
        weights = density.mixture_distribution.probs
        means = density.component_distribution.mean
    if config.point == "mean":
        return (weights[..., None] * means).sum(dim=-2)
    if config.point == "median":
        return least_distance(weights, means)
    heaviest = weights.argmax(dim=-1)
    chosen = heaviest[..., None, None].expand(*heaviest.shape, 1, 2)
    return means.gather(-2, chosen).squeeze(-2)
