"""How much memory there is, what a piece of work takes, and what it took."""

import re
from pathlib import Path

from mora.errors import MoraError

GB = 10**9
STATUS = Path("/proc/self/status")  # Linux only; elsewhere nothing is measured


class MemoryLimitError(MoraError, MemoryError):
    """Work that needs more memory than it may take."""


def available_gb() -> float:
    """Give the memory that is free, in GB; infinite where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return float("inf")
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / GB if found else float("inf")


def require_memory(
    needed: float | int, work: str, limit_gb: float | int | None = None
) -> None:
    """Refuse work that would not fit, before it begins.

    Args:
        needed: bytes that the work holds at its peak.
        work: what it is, for the message.
        limit_gb: GB it may take; by default what is free now.

    Raises:
        MemoryLimitError: saying what is needed and what there is.
    """
    limit = available_gb() if limit_gb is None else limit_gb
    if needed > limit * GB:
        source = "is free" if limit_gb is None else "is allowed by memory_gb"
        raise MemoryLimitError(
            f"{work} needs about {needed / GB:.2f} GB; {limit:.2f} GB {source}. Raise "
            f"the limit, use fewer places or a smaller width, or a larger machine."
        )


def reset_peak() -> float:
    """Forget the peak so far; give the memory in use, in MB (10^6 bytes)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    return _status_mb("VmRSS")


def peak_mb() -> float:
    """Give the most memory in use since :func:`reset_peak`, in MB (10^6 bytes)."""
    return _status_mb("VmHWM")


def _status_mb(field: str) -> float:
    try:
        found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return float("nan")
    return int(found[1]) * 1024 / 10**6 if found else float("nan")
