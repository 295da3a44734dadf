"""Label tables that come declared with Mora: tasks with transforms, scales, sources."""

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from mora.errors import ConfigError


@cache
def declarations() -> dict[str, dict[str, Any]]:
    """Give every declared label table by name, such as ``paper.census``."""
    folder = resources.files("mora") / "declarations"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            content = yaml.safe_load(file.read_text())
            name = file.name.removesuffix(".yaml")
            found |= {f"{name}.{key}": v for key, v in content["labels"].items()}
    return found


@cache
def paper_samples() -> dict[str, int]:
    """Give the number of samples of each of the paper's tasks."""
    file = resources.files("mora") / "declarations" / "paper.yaml"
    return yaml.safe_load(file.read_text())["samples"]


def declared_labels(name: str) -> Mapping[str, Any]:
    """Give the settings of a declared label table.

    Raises:
        ConfigError: if there is none of the name.
    """
    known = declarations()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"evaluation.labels: declaration {name!r} is unknown; expected one of "
            f"{', '.join(known)}.{hint}"
        )
    return known[name]
