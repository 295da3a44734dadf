"""YAML or a dictionary -> a checked configuration, on top of a preset."""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mora.config.declarations import declared_labels
from mora.config.inputs import FILE_KEYS, OWN_WORDS
from mora.config.run import RunConfig
from mora.errors import ConfigError, MissingFileError

PACKAGE_SCHEME = "package://"
Settings = TypeVar("Settings", bound=BaseModel)


def load_config(
    config: Path | str | Mapping[str, Any] | RunConfig,
    changes: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a configuration.

    Args:
        config: a YAML file, or what one would hold. Paths in a file are relative to
            its folder; in a dictionary, to the current one. ``extends: FILE`` takes
            what is not set from another file.
        changes: settings that go over those of ``config``, nested alike.

    Returns:
        The checked configuration, with paths made absolute.

    Raises:
        MissingFileError: if there is no such file.
        ConfigError: if a key is unknown or a value is not allowed; every fault is
            named, with the nearest key.
    """
    if isinstance(config, RunConfig):
        config = config.model_dump(mode="json")
    origin = str(config) if isinstance(config, str | Path) else "the configuration"
    own = _with_paths(config)
    given = _declared(merge(own, _absolute(changes or {}, Path.cwd())))
    preset = str(given.get("preset", "default"))
    return validate_settings(merge(read_preset(preset), given), origin, RunConfig)


def load_section(
    config: Path | str | Mapping[str, Any],
    kind: type[Settings],
    changes: Mapping[str, Any] | None = None,
) -> Settings:
    """Read settings that are not those of a run, such as ``configs/humob.yaml``.

    Args:
        config: as in :func:`load_config`.
        kind: of the settings.
        changes: as in :func:`load_config`.

    Raises:
        MissingFileError: if there is no such file.
        ConfigError: as in :func:`load_config`.
    """
    origin = str(config) if isinstance(config, str | Path) else "the configuration"
    given = merge(_with_paths(config), _absolute(changes or {}, Path.cwd()))
    return validate_settings(given, origin, kind)


def read_preset(name: str) -> dict[str, Any]:
    """Give the values that a preset sets.

    Raises:
        ConfigError: if there is no such preset.
    """
    file = resources.files("mora") / "presets" / f"{name}.yaml"
    if not file.is_file():
        raise ConfigError(f"preset {name!r} is unknown; expected default or paper.")
    return yaml.safe_load(file.read_text()) or {}


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested settings over others; lists are replaced, not joined."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[key] = merge(under, value) if both else value
    return merged


def _with_paths(
    config: Path | str | Mapping[str, Any], above: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Read settings, over those of the file that they extend; paths are absolute.

    Raises:
        ConfigError: if files extend each other in a circle.
    """
    folder = Path.cwd()
    if isinstance(config, str | Path):
        file = Path(config).resolve()
        if file in above:
            circle = " -> ".join(path.name for path in (*above, file))
            raise ConfigError(f"extends: {circle} is a circle; leave one out.")
        above, folder = (*above, file), file.parent
        config = _read_yaml(Path(config))
    own = _absolute({k: v for k, v in config.items() if k != "extends"}, folder)
    if config.get("extends") is None:
        return own
    return merge(_with_paths(folder / str(config["extends"]), above), own)


def _declared(settings: dict[str, Any]) -> dict[str, Any]:
    """Lay label tables over the declarations that they name."""
    evaluation = settings.get("evaluation")
    if not isinstance(evaluation, Mapping):
        return settings
    labels = [
        merge(declared_labels(str(own["declared"])), own)
        if isinstance(own, Mapping) and own.get("declared")
        else own
        for own in evaluation.get("labels") or ()
    ]
    return settings | {"evaluation": {**evaluation, "labels": labels}}


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(path, "configuration")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not plain YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds {type(content).__name__}; expected settings (key: value)."
        )
    return content


def _absolute(settings: Any, folder: Path, key: str = "") -> Any:
    """Make the paths in nested settings absolute; package paths stay."""
    if key in OWN_WORDS:
        return settings
    if isinstance(settings, Mapping):
        return {k: _absolute(v, folder, k) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [_absolute(v, folder, key) for v in settings]
    is_path = key in FILE_KEYS and isinstance(settings, str)
    if is_path and not settings.startswith(PACKAGE_SCHEME):
        return str((folder / settings).resolve())
    return settings


def validate_settings(
    settings: dict[str, Any], origin: str, kind: type[Settings]
) -> Settings:
    """Check plain settings.

    Raises:
        ConfigError: naming every fault, with the nearest key.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        faults = [_describe(fault, kind) for fault in error.errors()]
        raise ConfigError(
            f"{origin}: {len(faults)} settings cannot be followed:\n  "
            + "\n  ".join(faults)
        ) from error


def _describe(fault: Any, kind: type[BaseModel]) -> str:
    """Say where a fault is, what was got and what was expected."""
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        near = difflib.get_close_matches(key, sorted(_all_keys(kind)), 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else "it is not a setting."
        return f"{place}: unknown key {key!r}; {hint}"
    got = fault["input"]
    shown = "" if isinstance(got, Mapping) else f" (got {got!r})"
    return f"{place}: {fault['msg']}{shown}"


def _all_keys(model: type[BaseModel]) -> set[str]:
    """Collect the names of all settings, however deep."""
    keys = set()
    for part in model.model_json_schema().get("$defs", {}).values():
        keys |= set(part.get("properties", {}))
    return keys | set(model.model_fields)
