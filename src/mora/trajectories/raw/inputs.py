"""From steps in degrees to what the RAW network is shown."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from mora.errors import MoraError
from mora.trajectories.raw.presets import Box, RawConfig
from mora.trajectories.raw.steps import Steps

SECONDS_A_DAY = 86_400
SECONDS_A_WEEK = 7 * SECONDS_A_DAY
LEAST_SIDE = 1e-3  # degrees, about 100 m: a box is widened to have a side at all


class StepInputs(NamedTuple):
    """What the network is shown, in the order of its arguments.

    Attributes:
        points: scaled to [-1, 1] over the study box.
        times: of :func:`time_features`.
        known: whether there was a fix.
    """

    points: Float[Tensor, "users steps 2"]
    times: Float[Tensor, "users steps 4"]
    known: Bool[Tensor, "users steps"]

    def between(self, first: int, last: int) -> "StepInputs":
        """Give the steps ``first`` to ``last - 1``."""
        return StepInputs(*(part[:, first:last] for part in self))

    def to(
        self, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> "StepInputs":
        """Bring the inputs to the device and the precision of the weights."""
        known = self.known.to(device)
        return StepInputs(
            self.points.to(device, dtype), self.times.to(device, dtype), known
        )


def make_inputs(steps: Steps, config: RawConfig) -> StepInputs:
    """Scale the points and describe the times.

    Args:
        steps: of users; a piece of those of a trajectory where they begin later.
        config: ``box``, ``minutes``, ``length`` and ``gap_mask``.

    Raises:
        MoraError: if there are no users, or the steps are of another number or duration
            than the network's.
    """
    require_fit(steps, config)
    times = time_features(steps.start_seconds, steps.lonlat.shape[1], steps.minutes)
    points = scale_to_box(steps.lonlat, required_box(config))
    return StepInputs(
        torch.from_numpy(points),
        torch.from_numpy(times),
        torch.from_numpy(np.asarray(steps.known)),
    )


def require_fit(steps: Steps, config: RawConfig) -> None:
    """Refuse steps that the network is not made for.

    Raises:
        MoraError: saying what differs.
    """
    users, length = steps.known.shape
    if users == 0 or not 1 <= length <= config.length:
        raise MoraError(
            f"{users} users with {length} steps each; expected at least one user and "
            f"1 to {config.length} steps. Cut the trajectories, or set length."
        )
    if steps.minutes != config.minutes:
        raise MoraError(
            f"steps of {steps.minutes:g} minutes; expected {config.minutes:g}, for "
            f"which the network is made. Make the steps anew, or set minutes."
        )


def study_box(lonlat: Float[np.ndarray, "points 2"]) -> Box:
    """Give the box around points, such as those at which users were seen.

    Returns:
        West, south, east, north in degrees. Points all in one place give a box of
        :data:`LEAST_SIDE` about it.

    Raises:
        MoraError: if there are none.
    """
    if len(lonlat) == 0:
        raise MoraError("no known steps; expected points to take the study box from.")
    seen = lonlat.astype(np.float64)
    low, high = seen.min(axis=0), seen.max(axis=0)
    lacking = np.maximum(LEAST_SIDE - (high - low), 0) / 2
    west, south, east, north = [*(low - lacking), *(high + lacking)]
    return float(west), float(south), float(east), float(north)


def required_box(config: RawConfig) -> Box:
    """Give the study box of a network.

    Raises:
        MoraError: if the configuration has none.
    """
    if config.box is None:
        raise MoraError(
            "the configuration has no study box; expected west, south, east, north. "
            "Take it from the training data with study_box."
        )
    return config.box


def scale_to_box(
    lonlat: Float[np.ndarray, "*steps 2"], box: Box
) -> Float32[np.ndarray, "*steps 2"]:
    """Scale degrees so that the box spans [-1, 1] on both axes.

    Source: RAW, section 5. Points outside the box lie beyond.
    """
    low, high = np.array(box[:2]), np.array(box[2:])
    return (2 * (lonlat - low) / (high - low) - 1).astype(np.float32)


def scale_from_box(
    points: Float[np.ndarray, "*steps 2"], box: Box
) -> Float[np.ndarray, "*steps 2"]:
    """Give the degrees of scaled points; undoes :func:`scale_to_box`."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return (points.astype(np.float64) + 1) / 2 * (high - low) + low


def time_features(
    start_seconds: Float[np.ndarray, " users"], length: int, minutes: float | int
) -> Float32[np.ndarray, "users {length} 4"]:
    """Give each step's place on the clock and in the week, as points on two circles.

    Args:
        start_seconds: of the first step by the local clock.
        length: steps.
        minutes: between two steps.

    Returns:
        Sine and cosine of the time of day, then of the week: steps a week apart are
        equal.
    """
    seconds = start_seconds[:, None] + 60.0 * minutes * np.arange(length)
    # The week before the angle: in float32, seconds since 1970 would be minutes off.
    turns = [seconds % period / period for period in (SECONDS_A_DAY, SECONDS_A_WEEK)]
    angles = 2 * np.pi * np.stack(turns, axis=2)
    features = np.concatenate([np.sin(angles), np.cos(angles)], axis=2)
    return features[..., [0, 2, 1, 3]].astype(np.float32)
