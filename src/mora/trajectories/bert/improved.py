"""How the network of the preset ``improved`` learns and answers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Under the settings of a run of the preset; what a configuration says goes over them.
IMPROVED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "learning": {
            "training": {
                "learning_rate": 3e-4,
                "weight_decay": 0.01,
                "batch_size": 32,
                "epochs": 4,
                "schedule": "linear",
                "warmup": 0.1,
            },
            # A visit to the floor's share counts twice a place never visited.
            "candidates": {"prior_floor": 1e-4, "histograms": [{"decay": 1.0}]},
            "select_by": "geo_bleu",
            "keep_untrained": True,
        },
        # More places than a user has candidates: none is left out.
        "prediction": {"decoding": "proximity", "support": 400, "choose_days": True},
    }
)


def improved_settings(preset: str) -> Mapping[str, Mapping[str, Any]]:
    """Give the settings of learning and prediction that belong to a preset.

    Args:
        preset: of the network.

    Returns:
        By section; empty for presets other than ``improved``, which learn and answer
        as released.
    """
    return IMPROVED if preset == "improved" else {}
