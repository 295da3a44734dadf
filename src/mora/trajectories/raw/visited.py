"""The next point as one near a point where the user was: which one, and how near."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

KERNELS = 2  # a narrow one for a place come back to, a wide one for a new place
FIRST_SPREADS = (0.005, 0.1)  # half boxes
# Before training: three in four stay, the others are where they were at this time of
# an earlier day. Without it, some runs of few epochs did not find even that.
FIRST_STAY, FIRST_DAILY = 1.0, 4.0
NEVER = -1e4  # not infinite: the gradient of a sum of two such would be no number
LEAST_SPREAD = 1e-3  # half boxes; without it, one who stays has an endless likelihood


class VisitedHead(nn.Module):
    """Weights of the earlier steps, to one of whose points the user goes next.

    Source: Vinyals et al. 2015, Pointer Networks, equation 3, with a scaled product in
    place of the sum under tanh and a learned number for each distance in time. The
    chance to stay and the kernels about the points are of this package.

    Args:
        width: of the states.
        length: steps of a trajectory, at most.
        period: steps after which people do the same again: those of a day.
    """

    def __init__(self, width: int, length: int, period: int) -> None:
        super().__init__()
        self.stay = nn.Linear(width, 1)
        self.lag = nn.Parameter(torch.zeros(length + 1))
        with torch.no_grad():
            self.lag[period::period] = FIRST_DAILY
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.kernel = nn.Linear(width, KERNELS)
        first = torch.tensor(FIRST_SPREADS) - LEAST_SPREAD
        self.spread = nn.Parameter(torch.log(torch.expm1(first)))

    def forward(
        self,
        states: Float[Tensor, "users steps width"],
        known: Bool[Tensor, "users steps"],
    ) -> Float[Tensor, "users steps outputs"]:
        """Give the logarithms of the weights of steps, then of kernels, and spreads.

        Args:
            states: of the steps, from the first of the trajectory or a later one on.
            known: steps that can be gone back to; where there was none, a step has its
                own point.

        Returns:
            ``steps + 4`` numbers a step.
        """
        steps = states.shape[1]
        step = torch.arange(steps, device=states.device)
        ahead = step[:, None] + 1 - step  # from a step to the one forecast
        allowed = (ahead > 0) & known[:, None, :]
        nowhere = ~allowed.any(dim=2, keepdim=True)
        allowed = allowed | (nowhere & (ahead == 1))
        last = torch.where(allowed, step, -1).amax(dim=2, keepdim=True)
        scores = self.query(states) @ self.key(states).transpose(1, 2)
        scores = scores / math.sqrt(states.shape[-1]) + self.lag[ahead.clamp(min=0)]
        chosen = scores.masked_fill(~allowed, NEVER).log_softmax(dim=2)
        gate = self.stay(states) + FIRST_STAY
        stays = torch.where(step == last, F.logsigmoid(gate), NEVER)
        weights = torch.logaddexp(stays, chosen + F.logsigmoid(-gate))
        spreads = (F.softplus(self.spread) + LEAST_SPREAD).expand(*states.shape[:2], -1)
        kernels = self.kernel(states).log_softmax(dim=2)
        return torch.cat([weights, kernels, spreads], dim=2)


def visited_losses(
    output: Float[Tensor, "users steps outputs"],
    target: Float[Tensor, "users steps 2"],
    points: Float[Tensor, "users seen 2"],
) -> Float[Tensor, "users steps"]:
    """Give the negative log density of the points that came next, in nats.

    Args:
        output: of :class:`VisitedHead`.
        target: the next points.
        points: of the steps that have weights.
    """
    weights, kernels, spreads = _parts(output, points.shape[1])
    squares = (target[:, :, None] - points[:, None]).square().sum(dim=3)
    parts = []
    for i in range(KERNELS):
        spread = spreads[..., i, None]
        near = weights - squares / (2 * spread**2)
        norm = torch.log(2 * math.pi * spread[..., 0] ** 2)
        parts.append(near.logsumexp(dim=2) - norm + kernels[..., i])
    return -torch.stack(parts).logsumexp(dim=0)


def visited_weights(
    output: Float[Tensor, "users steps outputs"], seen: int
) -> Float[Tensor, "users steps {seen}"]:
    """Give the chance of each earlier step, which add up to 1."""
    return _parts(output, seen)[0].exp()


def least_distance(
    weights: Float[Tensor, "*steps points"], points: Float[Tensor, "*steps points 2"]
) -> Float[Tensor, "*steps 2"]:
    """Give the point from which the others are least far, by weight.

    Args:
        weights: of the points, at least 0.
        points: of which one is chosen, the first of equally good ones.
    """
    cost = (torch.cdist(points, points) * weights[..., None, :]).sum(dim=-1)
    best = cost.argmin(dim=-1)[..., None, None].expand(*cost.shape[:-1], 1, 2)
    return points.gather(-2, best).squeeze(-2)


def _parts(output: Tensor, seen: int) -> tuple[Tensor, ...]:
    return output.split([seen, KERNELS, KERNELS], dim=-1)
