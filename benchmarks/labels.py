"""Some of a configuration's labels, for studies that do not read them all."""

from collections.abc import Sequence
from typing import Any

from mora.config import load_config


def own_labels(config: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Give the first table of labels with everything that its declaration says.

    Args:
        config: a YAML file.
        names: of the labels that are kept; all by default.

    Returns:
        An entry of ``evaluation.labels``.
    """
    labels = load_config(config).evaluation.labels[0].model_dump(mode="json")
    labels["declared"] = None
    if names is not None:
        for part in ("values", "transform", "given_away", "domains", "descriptions"):
            known = labels[part]
            labels[part] = {name: known[name] for name in names if name in known}
    return labels
