"""What a run says while it works."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mora.progress import Progress as ProgressCallback


class Display:
    """Says nothing; the base of every display."""

    def say(self, text: str) -> None:
        """Show a line of text."""

    @contextmanager
    def bar(self, work: str, unit: str) -> Iterator[ProgressCallback]:
        """Show how far ``work`` is, counted in ``unit``."""
        del work, unit
        yield lambda done, total: None  # noqa: ARG005 - the callback's form

    def print(self, thing: object) -> None:
        """Show a table."""


class Terminal(Display):
    """Shows text, tables and bars with a rate and the time left.

    Args:
        console: where to; standard output by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def say(self, text: str) -> None:
        """Show a line of text as it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def print(self, thing: object) -> None:
        """Show a table."""
        self.console.print(thing)

    @contextmanager
    def bar(self, work: str, unit: str) -> Iterator[ProgressCallback]:
        """Show a bar with the rate and the time left while ``work`` goes on."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(unit),
            TimeRemainingColumn(),
        )
        hidden = not self.console.is_terminal
        with Progress(
            *columns, console=self.console, transient=True, disable=hidden
        ) as progress:
            task = progress.add_task(work, total=None)

            def advance(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            yield advance


class RateColumn(ProgressColumn):
    """Units a second.

    Args:
        unit: what is counted.
    """

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Write the rate of the last seconds."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.3g} {self.unit}/s" if speed else f"- {self.unit}/s")
