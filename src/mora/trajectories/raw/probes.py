"""What the states of RAW know, read by linear probes, and what its heads look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mora.benchmark.readouts import RidgeReadout
from mora.benchmark.splits import Split
from mora.errors import MoraError
from mora.geometry import great_circle_km
from mora.trajectories.raw.steps import Steps, shuffle_steps, shuffled_order
from mora.trajectories.raw.tasks import LabelTask, TaskScore

if TYPE_CHECKING:  # torch would be imported
    from mora.trajectories.raw.network import RawNetwork

# From the steps of some users to the final state of each step, as an array of numbers.
Encode = Callable[[Steps], np.ndarray]


@dataclass(frozen=True)
class ProbeConfig:
    """How states are probed.

    Attributes:
        steps_a_user: known steps of each user whose hour is to be told, >= 1.
        test_share: part of the users that tests, in (0, 1).
        repeats: splits, >= 1.
        batch_users: users encoded at a time, >= 1; memory grows with it.
        seed: of the steps drawn, the shuffled order and the splits.
    """

    steps_a_user: int = 20
    test_share: float = 0.2
    repeats: int = 5
    batch_users: int = 64
    seed: int = 0


def encoder_of(network: "RawNetwork") -> Encode:
    """Give what :func:`probe_states` asks for, of a network.

    Args:
        network: pretrained; set to evaluate.
    """
    import torch

    from mora.trajectories.raw.inputs import make_inputs

    network.eval()

    @torch.no_grad()
    def encode(steps: Steps) -> np.ndarray:
        points, times, known = make_inputs(steps, network.config)
        weight = network.position.weight  # whose device and precision are wanted
        inputs = points.to(weight), times.to(weight), known.to(weight.device)
        return network.states(*inputs).double().cpu().numpy()

    return encode


def probe_states(
    encode: Encode,
    steps: Steps,
    home: Float[np.ndarray, "users 2"],
    work: Float[np.ndarray, "users 2"],
    config: ProbeConfig | None = None,
) -> list[TaskScore]:
    """Read home and work from user vectors and the hour from states, by ridge.

    Four models are compared, each as a task's ``model``: ``states`` of the steps as
    they were; ``shuffled``, states of the same steps of each user in a random order,
    each keeping the hour at which it was; ``coordinates``, positions without a
    network; ``nothing``, the mean of the training rows. What ``states`` tell better
    than ``shuffled`` they have from the order in time; better than ``coordinates``,
    from the network. Where all windows begin at one hour, learned positions alone
    tell the hour of ``states``.

    Args:
        encode: gives users x steps x dim states, finite, as :func:`encoder_of`.
        steps: of users that were not trained on.
        home: of each user in degrees; NaN where unknown. See
            :func:`~mora.trajectories.raw.rules.night_and_noon`.
        work: the same.
        config: how; by default :class:`ProbeConfig` as it is.

    Returns:
        Errors on users not fitted on: ``home`` and ``work`` in km, read from the mean
        state; ``hour`` in hours (6 by chance), read from the state of single steps.

    Raises:
        MoraError: if a setting is out of range, states have another shape, or too few
            homes or works are known.
    """
    config = config or ProbeConfig()
    _check(config)
    order = shuffled_order(steps, config.seed)
    chosen = _draw_steps(steps.known, config.steps_a_user, config.seed)
    shuffled_choice = np.take_along_axis(chosen, order, axis=1)
    shuffled = shuffle_steps(steps, config.seed)
    size = config.batch_users
    read = {
        "states": (*_encode(encode, steps, chosen, size), chosen),
        "shuffled": (
            *_encode(encode, shuffled, shuffled_choice, size),
            shuffled_choice,
        ),
        "coordinates": (*_encode(_lonlat, steps, chosen, size), chosen),
        "nothing": (*_encode(_nothing, steps, chosen, size), chosen),
    }
    hour = steps.hour()
    scores = []
    for model, (vectors, states, rows) in read.items():
        scores += [
            _probe_place("home", model, vectors, home, config),
            _probe_place("work", model, vectors, work, config),
        ]
        moved = np.take_along_axis(hour, order, axis=1) if model == "shuffled" else hour
        user = np.nonzero(rows)[0]
        scores.append(_probe_hour(model, states, moved[rows], user, config))
    return scores


def summarise_attention(
    attention: Float[np.ndarray, "layers users heads steps steps"],
    steps_a_day: float | int,
) -> pd.DataFrame:
    """Say of each head, on average over users and steps, how far back it looks.

    Args:
        attention: weights of each step (last but one axis) on itself and those before,
            which add up to 1.
        steps_a_day: of :class:`Steps`.

    Returns:
        A row for each ``layer`` and ``head``, with columns ``steps_back`` (mean
        distance), ``spread`` (entropy over that of even weights: 0 for a single step,
        1 for even ones), ``itself`` and ``first`` (share on the step and on the first
        one), ``daily`` (share on steps one or more whole days before) and
        ``daily_if_even`` (what even weights would have there; both NaN in windows of
        up to a day).

    Raises:
        MoraError: if the weights of a step do not add up to 1, or there are fewer than
            2 steps.
    """
    steps = attention.shape[-1]
    if steps < 2 or not np.allclose(attention.sum(axis=-1), 1, atol=1e-3):
        raise MoraError(
            f"attention over {steps} steps, whose weights add up to "
            f"{attention.sum(axis=-1).min():.3g} and more; expected at least 2 steps "
            f"and weights of 1 for each."
        )
    later = slice(1, None)  # the first step can look at itself alone
    mean = attention.mean(axis=1)[:, :, later]  # layers x heads x steps - 1 x steps
    back = np.arange(steps)[later, None] - np.arange(steps)
    daily, even = _daily(mean, back, steps_a_day)
    itself = np.diagonal(mean, offset=1, axis1=2, axis2=3)
    columns = {
        "steps_back": (mean * back).sum(axis=-1).mean(axis=-1),
        "spread": _spread(attention[..., later, :]),
        "itself": itself.mean(axis=-1),
        "first": mean[..., 0].mean(axis=-1),
        "daily": daily,
        "daily_if_even": np.full(mean.shape[:2], even),
    }
    heads = pd.MultiIndex.from_product(
        [range(n) for n in mean.shape[:2]], names=["layer", "head"]
    )
    return pd.DataFrame({k: v.ravel() for k, v in columns.items()}, heads)


def _daily(
    mean: Float[np.ndarray, "layers heads queries steps"],
    back: Int[np.ndarray, "queries steps"],
    steps_a_day: float | int,
) -> tuple[Float[np.ndarray, "layers heads"], float]:
    """Give the share on steps whole days before, and that of even weights."""
    queries = back.max(axis=1) >= steps_a_day
    if not queries.any():
        return np.full(mean.shape[:2], np.nan), np.nan
    at_hour = (back > 0) & (back % steps_a_day == 0)
    share = (mean * at_hour).sum(axis=-1)[..., queries].mean(axis=-1)
    even = (at_hour.sum(axis=1) / (back >= 0).sum(axis=1))[queries].mean()
    return share, float(even)


def _spread(
    attention: Float[np.ndarray, "layers users heads queries steps"],
) -> Float[np.ndarray, "layers heads"]:
    """Give the entropy over that of even weights on the steps so far."""
    logs = np.log(np.where(attention > 0, attention, 1))
    entropy = -(attention * logs).sum(axis=-1)
    most = np.log(np.arange(2, attention.shape[-1] + 1))
    return (entropy / most).mean(axis=(1, 3))


def _draw_steps(
    known: Bool[np.ndarray, "users steps"], most: int, seed: int
) -> Bool[np.ndarray, "users steps"]:
    """Mark up to a number of known steps of each user, drawn at random."""
    draw = np.where(known, np.random.default_rng(seed).random(known.shape), 2.0)
    limit = np.sort(draw, axis=1)[:, : most + 1][:, -1:]
    enough = known.sum(axis=1, keepdims=True) <= most
    return known & ((draw < limit) | enough)


def _encode(
    encode: Encode, steps: Steps, chosen: Bool[np.ndarray, "users steps"], batch: int
) -> tuple[Float[np.ndarray, "users dim"], Float[np.ndarray, "chosen dim"]]:
    """Give mean states and chosen states, a batch of users at a time."""
    means, kept = [], []
    for first in range(0, len(steps), batch):
        rows = slice(first, first + batch)
        states = encode(steps.take_users(rows))
        if states.ndim != 3 or states.shape[:2] != steps.known[rows].shape:
            raise MoraError(
                f"states of shape {states.shape} for {steps.known[rows].shape} users "
                f"and steps; expected a state for each step of each user."
            )
        means.append(states.mean(axis=1))
        kept.append(states[chosen[rows]])
    return np.concatenate(means), np.concatenate(kept)


def _probe_place(
    task: str,
    model: str,
    vectors: Float[np.ndarray, "users dim"],
    lonlat: Float[np.ndarray, "users 2"],
    config: ProbeConfig,
) -> TaskScore:
    known = np.where(np.isfinite(lonlat).all(axis=1), lonlat[:, 0], np.nan)
    errors = []
    for train, test in _splits(LabelTask(task, known, "numbers"), config):
        guess = _ridge(vectors, lonlat, train, test)
        errors.append(float(great_circle_km(guess, lonlat[test]).mean()))
    return TaskScore(task, model, "km", tuple(errors))


def _probe_hour(
    model: str,
    states: Float[np.ndarray, "rows dim"],
    hour: Float[np.ndarray, " rows"],
    user: Int[np.ndarray, " rows"],
    config: ProbeConfig,
) -> TaskScore:
    angle = hour * (2 * np.pi / 24)
    clock = np.column_stack([np.cos(angle), np.sin(angle)])
    errors = []
    for train, test in _splits(LabelTask("hour", hour, "numbers", user), config):
        east, north = _ridge(states, clock, train, test).T
        off = np.arctan2(north, east) - angle[test]
        turn = np.abs((off + np.pi) % (2 * np.pi) - np.pi)  # the short way round
        errors.append(float(turn.mean() * 24 / (2 * np.pi)))
    return TaskScore("hour", model, "hours", tuple(errors))


def _splits(task: LabelTask, config: ProbeConfig) -> list[Split]:
    return task.splits(config.test_share, config.repeats, config.seed)


def _ridge(
    vectors: Float[np.ndarray, "rows dim"],
    targets: Float[np.ndarray, "rows 2"],
    train: Int[np.ndarray, " train"],
    test: Int[np.ndarray, " test"],
) -> Float[np.ndarray, "test 2"]:
    readout = RidgeReadout()
    return np.column_stack(
        [
            readout.fit_predict(vectors[train], target[train], vectors[test])
            for target in targets.T
        ]
    )


def _lonlat(steps: Steps) -> np.ndarray:
    return steps.lonlat.astype(np.float64)


def _nothing(steps: Steps) -> np.ndarray:
    return np.zeros((*steps.known.shape, 1))


def _check(config: ProbeConfig) -> None:
    if config.steps_a_user < 1 or config.batch_users < 1:
        raise MoraError(
            f"steps_a_user is {config.steps_a_user} and batch_users "
            f"{config.batch_users}; expected at least 1 of each."
        )
