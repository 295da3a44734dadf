"""Ours and the peer in turn: same answer first, then CPU seconds, seconds, memory."""

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mora.memory import peak_mb, reset_peak

MEASURES = ("CPU s", "seconds", "peak MB")


@dataclass(frozen=True)
class Cost:
    """What one call took.

    Attributes:
        cpu: processor seconds of all threads.
        seconds: on the clock.
        peak_mb: most memory held above what was held before, in MB (10^6 bytes); NaN
            where the system does not tell.
    """

    cpu: float
    seconds: float
    peak_mb: float


def quick_mode(about: str | None) -> bool:
    """Read the command line: ``--quick`` for an answer within 50 seconds."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="smaller, in 50 seconds")
    return bool(parser.parse_args().quick)


def one_thread() -> None:
    """Use one thread from here on, so that CPU seconds compare like with like."""
    import numba
    from threadpoolctl import threadpool_limits

    numba.set_num_threads(1)
    threadpool_limits(1)


def measure(work: Callable[[], Any]) -> tuple[Any, Cost]:
    """Call ``work`` once; give what it returns and what it took."""
    gc.collect()
    before = reset_peak()
    cpu, clock = time.process_time(), time.perf_counter()
    result = work()
    cost = (time.process_time() - cpu, time.perf_counter() - clock)
    return result, Cost(*cost, peak_mb() - before)


def in_turn(
    sides: dict[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, Any], dict[str, list[Cost]]]:
    """Call every side once to warm up, then all of them in turn, again and again.

    Returns:
        The result of each side's first call, and the costs of the later ones.
    """
    results = {name: work() for name, work in sides.items()}
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            costs[name].append(measure(work)[1])
    return results, costs


def print_costs(costs: dict[str, list[Cost]]) -> None:
    """Print the medians of every side."""
    print(f"| side | {' | '.join(MEASURES)} |\n|---|---|---|---|")
    for name, runs in costs.items():
        cpu, seconds = median(c.cpu for c in runs), median(c.seconds for c in runs)
        peak = median(c.peak_mb for c in runs)
        print(f"| {name} | {cpu:.3f} | {seconds:.3f} | {peak:.0f} |")
    print()


def ratio(peer: list[Cost], ours: list[Cost], measure: str = "cpu") -> float:
    """Give the median over the turns of what the peer took by what ours took."""
    pairs = zip(peer, ours, strict=True)
    return median(getattr(p, measure) / getattr(o, measure) for p, o in pairs)


def print_ratio(name: str, value: float, goal: float) -> None:
    """Print the line that says whether a goal is met; above is better."""
    met = "yes" if value >= goal else "no"
    print(f"RATIO name={name} value={value:.2f} goal={goal:g} met={met}", flush=True)


def shared_data(name: str) -> Path | None:
    """Give the folder of a data set that is not part of the project, if it is here."""
    import os

    root = os.environ.get("MORA_SHARED")
    shared = Path(root) if root else Path(__file__).parents[2] / "shared"
    folder = shared / "data" / name
    return folder if folder.is_dir() else None
