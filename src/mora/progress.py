"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the units done and the units in all."""


def silent(done: int, total: int) -> None:
    """Show nothing."""
