"""Forecasts of the next hours, beside what needs no network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from mora.errors import MoraError
from mora.geometry import great_circle_km
from mora.trajectories.raw.inputs import (
    StepInputs,
    make_inputs,
    required_box,
    scale_from_box,
    time_features,
)
from mora.trajectories.raw.naive_forecasts import (
    day_before,
    last_known,
    next_place,
    own_mean,
    own_medoid,
    persistence,
)
from mora.trajectories.raw.network import RawNetwork
from mora.trajectories.raw.outputs import point_forecast
from mora.trajectories.raw.steps import Steps

STARTS = 8  # forecasts of a user: every three hours of the last day


@dataclass(frozen=True, eq=False)
class ForecastErrors:
    """How far forecasts were off.

    Attributes:
        minutes: from the last step of the history to the step forecast.
        km: name of the method -> mean error of each user; NaN where the user was never
            seen at that distance in time.
    """

    minutes: Float64[np.ndarray, " horizon"]
    km: Mapping[str, Float64[np.ndarray, "users horizon"]]

    def to_pandas(self) -> pd.DataFrame:
        """Give the mean over the users, a row a horizon and a column a method."""
        means = {name: _mean(errors) for name, errors in self.km.items()}
        return pd.DataFrame(means, pd.Index(self.minutes, name="minutes"))

    def compare(self, method: str, reference: str = "persistence") -> pd.DataFrame:
        """Give by how much a method is off less than another, user by user.

        Args:
            method: which.
            reference: against which.

        Returns:
            A row a horizon: ``gain_km``, above 0 where ``method`` is nearer, its paired
            ``standard_error_km``, and the number of ``users``.
        """
        gain = self.km[reference] - self.km[method]
        users = np.isfinite(gain).sum(axis=0)
        mean = _mean(gain)
        squares = np.nansum((gain - mean) ** 2, axis=0)
        error = np.sqrt(squares / np.maximum(users - 1, 1) / np.maximum(users, 1))
        columns = {"gain_km": mean, "standard_error_km": error, "users": users}
        return pd.DataFrame(columns, pd.Index(self.minutes, name="minutes"))


def forecast(
    network: RawNetwork, steps: Steps, horizon: int = 10, *, batch_users: int = 64
) -> Float64[np.ndarray, "users horizon 2"]:
    """Forecast where users go next, each step from the one forecast before.

    Source: RAW, section 5: up to 2.5 hours, which are 10 steps.

    Args:
        network: pretrained.
        steps: what is known; forecasts begin behind the last step. Gaps filled along
            lines know the future: fill them with the last place.
        horizon: steps, >= 1.
        batch_users: how many are in memory at a time; changes nothing else.

    Returns:
        Degrees of the next ``horizon`` steps. Where history and forecast are longer
        than the network, it sees the latest ``length`` steps.

    Raises:
        MoraError: if the steps do not fit, or ``horizon`` or ``batch_users`` is below 1
            or ``horizon`` too far for the network.
    """
    if horizon < 1 or batch_users < 1:
        raise MoraError(
            f"horizon {horizon} and batch_users {batch_users}; expected at least 1."
        )
    if network.config.ahead == "gaps" and horizon > network.config.length:
        raise MoraError(
            f"horizon {horizon} of a network for {network.config.length} steps, which "
            f"forecasts all of them at once; expected a shorter horizon."
        )
    network.eval()
    return np.concatenate(
        [
            _forecast(
                network, steps.take_users(slice(first, first + batch_users)), horizon
            )
            for first in range(0, len(steps), batch_users)
        ]
    )


@torch.no_grad()
def _forecast(
    network: RawNetwork, steps: Steps, horizon: int
) -> Float64[np.ndarray, "users horizon 2"]:
    config, history = network.config, steps.lonlat.shape[1]
    inputs = make_inputs(steps, config)
    times = time_features(steps.start_seconds, history + horizon, steps.minutes)
    inputs = inputs._replace(times=torch.from_numpy(times))
    weight = network.position.weight
    inputs = inputs.to(weight.device, weight.dtype)
    if config.ahead == "gaps":
        points = _beyond_gaps(network, inputs, horizon)
    else:
        points = _step_by_step(network, inputs, horizon)
    return scale_from_box(points.cpu().numpy(), required_box(config))


def _step_by_step(network: RawNetwork, inputs: StepInputs, horizon: int) -> Tensor:
    """Forecast each step from the ones before, those just forecast among them."""
    config, history = network.config, inputs.points.shape[1]
    for last in range(history, history + horizon):
        window = inputs.between(max(0, last - config.length), last)
        nearest = point_forecast(network(*window)[:, -1:], config, window.points)
        inputs = _append(inputs, nearest, known=True)
    return inputs.points[:, history:]


def _beyond_gaps(network: RawNetwork, inputs: StepInputs, horizon: int) -> Tensor:
    """Forecast all steps at once, as if none between was seen."""
    config = network.config
    unseen = inputs.points[:, -1:].expand(-1, horizon - 1, -1)
    inputs = _append(inputs, unseen, known=False)
    last = inputs.points.shape[1]
    window = inputs.between(max(0, last - config.length), last)
    return point_forecast(network(*window)[:, -horizon:], config, window.points)


def _append(inputs: StepInputs, points: Tensor, known: bool) -> StepInputs:
    new = torch.full(points.shape[:2], known, device=points.device)
    return StepInputs(
        torch.cat([inputs.points, points.to(inputs.points)], dim=1),
        inputs.times,
        torch.cat([inputs.known, new], dim=1),
    )


def evaluate_forecast(
    network: RawNetwork,
    steps: Steps,
    horizon: int = 10,
    *,
    starts: Sequence[int] | None = None,
    resolution: int = 8,
    batch_users: int = 64,
) -> ForecastErrors:
    """Measure forecasts of users, RAW's beside those that need no network.

    Args:
        network: pretrained, on other users.
        steps: what was; steps without a fix are not scored, nor are users not seen
            before a start.
        horizon: steps.
        starts: how many steps of history the forecasts have, one forecast a user each;
            by default :data:`STARTS`, spread evenly over the last day, for at midnight
            nobody moves; or over as many steps, if those are a day or longer.
        resolution: H3 level of a place, see
            :func:`~mora.trajectories.raw.naive_forecasts.next_place`.
        batch_users: how many are in memory at a time.

    Returns:
        Errors of ``RAW``, ``persistence``, ``own mean``, ``own medoid``, ``day before``
        and ``next place``.

    Raises:
        MoraError: if a start leaves no history or too few steps behind it.
    """
    chosen = _default_starts(steps, horizon) if starts is None else starts
    _check_starts(chosen, horizon, steps.known.shape[1])
    methods: dict[str, Callable[[Steps], Float64[np.ndarray, "users horizon 2"]]] = {
        "RAW": lambda h: forecast(network, h, horizon, batch_users=batch_users),
        "persistence": lambda h: persistence(h, horizon),
        "own mean": lambda h: own_mean(h, horizon),
        "own medoid": lambda h: own_medoid(h, horizon),
        "day before": lambda h: day_before(h, horizon),
        "next place": lambda h: next_place(h, horizon, resolution=resolution),
    }
    errors: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    for start in chosen:
        history = _without_future(steps, start)
        actual = _following(steps, start, horizon)
        for name, method in methods.items():
            errors[name].append(_errors_km(method(history), actual))
    minutes = steps.minutes * np.arange(1.0, horizon + 1)
    return ForecastErrors(minutes, {k: _mean(np.stack(e)) for k, e in errors.items()})


def _without_future(steps: Steps, start: int) -> Steps:
    """Give the first steps; those after the last known one stay where that was.

    Gaps filled along lines lead to where the user was seen next.
    """
    history = replace(
        steps, lonlat=steps.lonlat[:, :start], known=steps.known[:, :start]
    )
    last = last_known(history)[:, None]
    stayed = np.take_along_axis(history.lonlat, last[..., None], axis=1)
    after = np.arange(start) > last
    return replace(history, lonlat=np.where(after[..., None], stayed, history.lonlat))


def _following(steps: Steps, start: int, horizon: int) -> Steps:
    """Give the steps to be forecast; nothing is known of users with no known history.

    What fills their history is the future.
    """
    seen = steps.known[:, :start].any(axis=1, keepdims=True)
    wanted = slice(start, start + horizon)
    return replace(
        steps, lonlat=steps.lonlat[:, wanted], known=steps.known[:, wanted] & seen
    )


def _errors_km(
    forecasts: Float64[np.ndarray, "users horizon 2"], actual: Steps
) -> Float64[np.ndarray, "users horizon"]:
    pairs = (forecasts, actual.lonlat.astype(np.float64))
    km = great_circle_km(*(points.reshape(-1, 2) for points in pairs))
    return np.where(actual.known, km.reshape(actual.known.shape), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Average over the first axis what is not NaN; NaN where nothing is."""
    count = np.isfinite(values).sum(axis=0)
    total = np.nansum(values, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _default_starts(steps: Steps, horizon: int) -> list[int]:
    latest = steps.known.shape[1] - horizon
    # Steps of a day or longer have no last day to be spread over.
    apart = steps.steps_a_day / STARTS if steps.steps_a_day > 1 else 1
    spread = [latest - int(i * apart) for i in range(STARTS)]
    return sorted({start for start in spread if start >= 1})


def _check_starts(starts: Sequence[int], horizon: int, length: int) -> None:
    wrong = [start for start in starts if not 1 <= start <= length - horizon]
    if len(starts) == 0 or wrong:
        raise MoraError(
            f"{len(starts)} starts (out of range: {wrong[:3]}) for a horizon of "
            f"{horizon} of {length} steps; expected starts of 1 to {length - horizon} "
            f"steps. Take longer trajectories or a shorter horizon."
        )
