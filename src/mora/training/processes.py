"""The processes that train together, and what they tell each other."""

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def process_count() -> int:
    """Give how many processes train together; 1 where none were joined."""
    joined = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if joined else 1


def process_rank() -> int:
    """Give the number of this process among them, from 0; the first writes files."""
    return dist.get_rank() if process_count() > 1 else 0


def own_part(batch: Shaped[Tensor, " batch"]) -> Shaped[Tensor, " part"]:
    """Give the part of a batch that is this process's, as even as can be.

    Args:
        batch: the same in every process.

    Returns:
        The whole batch in one process; nothing, where processes outnumber its rows.
    """
    return torch.tensor_split(batch, process_count())[process_rank()]


def sum_over_processes(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """Add what every process holds, in place; in one process nothing happens."""
    if process_count() > 1:
        dist.all_reduce(x)
    return x


def log_sum_over_processes(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Give log(sum of exp) of what every process holds, whatever its size.

    Args:
        x: logarithms of sums; -inf for an empty one, but not in every process.
    """
    if process_count() == 1:
        return x
    most = x.clone()
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return sum_over_processes((x - most).exp_()).log_().add_(most)


def count_in_batch(marks: Bool[Tensor, " part"]) -> int:
    """Count the marks in the whole batch, of which every process has a part."""
    return int(sum_over_processes(marks.sum()))


def gather_rows(
    rows: Float[Tensor, "part dim"],
) -> tuple[Float[Tensor, "batch dim"], slice]:
    """Give the rows of every process, one process after the other.

    Args:
        rows: of this process; there may be none.

    Returns:
        The rows of all, and where this process's are among them; in one process the
        rows themselves.
    """
    if process_count() == 1:
        return rows, slice(None)
    rank = process_rank()
    counts = torch.zeros(process_count(), dtype=torch.int64, device=rows.device)
    counts[rank] = len(rows)
    ends = sum_over_processes(counts).cumsum(0).tolist()
    own = slice(ends[rank] - len(rows), ends[rank])
    # Each writes among zeros: unlike a gather, a sum takes parts of any size.
    every = rows.new_zeros(ends[-1], rows.shape[1])
    every[own] = rows
    return sum_over_processes(every), own
