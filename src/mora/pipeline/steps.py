"""Steps of work other than a run of MoRA: each a folder, done once, gone on with."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mora.memory import peak_mb, reset_peak
from mora.pipeline.display import Display
from mora.pipeline.folder import LAYOUT, StageFolder, fingerprint

Work = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """One step: what it is called, what it depends on, and what it does.

    Attributes:
        name: also its folder.
        title: what it does, for people.
        depends: settings and checksums that its result depends on; plain values.
        work: does it within its folder, and gives facts for the manifest.
    """

    name: str
    title: str
    depends: Mapping[str, Any]
    work: Work

    def mark(self) -> str:
        """Give a hash of all that the result depends on."""
        return fingerprint([LAYOUT, self.name, self.depends])


def do_step(step: Step, home: Path, display: Display) -> dict[str, Any]:
    """Do a step, unless it is done with the same settings and inputs.

    Args:
        step: what to do.
        home: folder in which the step has its own.
        display: told the title, and the seconds it took.

    Returns:
        The facts of its manifest.
    """
    folder = StageFolder(home / step.name, step.mark())
    done = folder.manifest()
    if done is not None:
        display.say(f"{step.title}: unchanged")
        return done["facts"]
    display.say(step.title)
    folder.begin()
    reset_peak()
    begun = time.monotonic()
    facts = step.work(folder.path)
    cost = {"seconds": time.monotonic() - begun, "peak_mb": peak_mb()}
    folder.finish(dict(step.depends), {}, facts, cost)
    display.say(f"  done in {cost['seconds']:.1f} s")
    return facts
