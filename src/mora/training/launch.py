"""How the processes that train together are started, checked and joined."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mora.errors import ConfigError, RunError

PATIENCE = timedelta(days=30)  # for the first process; one that died is noticed at once


def require_processes(devices: int) -> None:
    """Refuse settings that do not fit the processes that were started.

    Args:
        devices: processes that the configuration asks for.

    Raises:
        ConfigError: saying how to start as many.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != devices or (devices > 1 and "LOCAL_RANK" not in os.environ):
        raise ConfigError(
            f"training.devices is {devices}, and {started} "
            f"{'process was' if started == 1 else 'processes were'} started; expected "
            f"as many, on one machine. Set training.devices: {started}, or start with: "
            f"torchrun --nproc-per-node {devices} -m mora run CONFIG"
        )


@dataclass(frozen=True)
class Processes:
    """Processes of which the first one leads.

    Attributes:
        rank: number of this one, from 0.
        waiting: the group in which the others wait for the first, if there are others.
    """

    rank: int = 0
    waiting: Any = None

    def agree(self, first_says: bool = False) -> bool:
        """Give what the first process says, however long the others wait for it."""
        if self.waiting is None:
            return first_says
        import torch
        import torch.distributed as dist

        word = torch.tensor([first_says], dtype=torch.uint8)
        dist.broadcast(word, src=0, group=self.waiting)
        return bool(word.item())


@contextmanager
def joined_processes(devices: int) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, and part at the end.

    When one of them ends early, its connections close and the others stop too.

    Args:
        devices: how many the configuration asks for; for one, nothing is done.

    Raises:
        ConfigError: if not as many were started.
        RunError: if another process ended early.
    """
    require_processes(devices)
    if devices == 1:
        yield Processes()
        return
    # Imported here: in one process, no stage but training should wait for torch.
    import torch.distributed as dist

    dist.init_process_group()
    rank = dist.get_rank()
    try:
        # On its own: the others wait for hours while the first builds the graph.
        yield Processes(rank, dist.new_group(timeout=PATIENCE, backend="gloo"))
    except RuntimeError as error:
        raise RunError(
            f"process {rank + 1} of {devices} stopped: {error}. If the connection was "
            f"closed, the message of the process that ended first says why. Start the "
            f"same command again to go on."
        ) from error
    finally:
        dist.destroy_process_group()
