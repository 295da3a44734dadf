"""Who is trained on and who is held out, and the batches of an epoch."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mora.errors import MoraError
from mora.training.processes import process_count, sum_over_processes
from mora.trajectories.raw.inputs import study_box
from mora.trajectories.raw.presets import RawConfig
from mora.trajectories.raw.steps import Steps


def require_pretrainable(steps: Steps) -> None:
    """Refuse what leaves nobody to train on, or nothing to forecast.

    Raises:
        MoraError: if there are fewer than 2 users or 2 steps.
    """
    users, length = steps.known.shape
    if users < 2 or length < 2:
        raise MoraError(
            f"{users} users with {length} steps each; expected at least 2 users, one "
            f"of them to be held out, and 2 steps."
        )


def split_users(
    steps: Steps, share: float | int, seed: int
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " held_out"]]:
    """Draw the users who are held out, at least one, and at least one who is not.

    Args:
        steps: of all users.
        share: of the users to hold out.
        seed: of the draw.
    """
    users = len(steps.users)
    order = torch.from_numpy(np.random.default_rng([seed, 0]).permutation(users))
    held_out = min(max(1, round(share * users)), users - 1)
    return order[held_out:].sort().values, order[:held_out].sort().values


def with_box(config: RawConfig, steps: Steps, users: Int[Tensor, " kept"]) -> RawConfig:
    """Give the configuration with a study box: its own, or that of some users."""
    if config.box is not None:
        return config
    of_users = steps.take_users(users.numpy())
    box = study_box(of_users.lonlat[of_users.known])
    return config.model_copy(update={"box": box})


def epoch_batches(
    users: Int[Tensor, " users"], batch_size: int, seed: int, epoch: int
) -> Sequence[Tensor]:
    """Cut users, in the order of an epoch, into even batches."""
    order = np.random.default_rng([seed, 1, epoch]).permutation(len(users))
    count = -(-len(order) // batch_size)
    return torch.tensor_split(users[torch.from_numpy(order)], count)


def mean_over_processes(
    total: Float[Tensor, ""], count: Int[Tensor, ""]
) -> Float[Tensor, ""]:
    """Give the mean of what every process has a sum of.

    Gradients are averaged over the processes, each of which differentiates its own
    sum only: its part is taken as many times as there are processes.

    Args:
        total: sum of this process.
        count: of how many.

    Returns:
        The mean, the same in every process; 0 where nothing was counted.
    """
    everything = sum_over_processes(torch.stack([total.detach(), count.to(total)]))
    counted = everything[1].clamp(min=1)
    own = total * process_count() / counted
    return own + (everything[0] / counted - own.detach())
