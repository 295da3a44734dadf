"""What leaves the house: a folder for a model hub, and what it could give away."""

from importlib import import_module
from typing import Any

# Loaded when first asked for: configuring does not wait for torch.
_HOME = {
    "AttackReport": "mora.publish.attack_report",
    "PublishConfig": "mora.publish.config",
    "UserAttack": "mora.publish.user_membership",
    "attack_membership": "mora.publish.user_membership",
    "attack_run": "mora.publish.attack_report",
    "edges_to_show": "mora.publish.edges",
    "membership_of_edges": "mora.publish.attacks",
    "membership_of_users": "mora.publish.user_membership",
    "privacy_stages": "mora.publish.privacy_report",
    "publish": "mora.publish.folder",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mora.publish' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
