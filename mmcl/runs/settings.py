"""Reading of a run's settings and environment, with checks that they are unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcl.errors import RunError
from mmcl.files import plain_yaml
from mmcl.files.plain_json import read_text
from mmcl.files.sealed_json import read_sealed

_ENVIRONMENT: dict[str, type] = {
    **dict.fromkeys(("task", "config", "command", "time", "platform", "python"), str),
    "versions": dict,
    "resumed": list,
}
_OPTIONAL = ("seeds", "processors", "commit", "uncommitted_changes")


def read_environment(folder: Path) -> dict[str, Any]:
    """Read ``environment.json``: task, config name, command, versions, machine and settings.

    Raises:
        RunError: The file is missing or damaged, or a value is missing or has the wrong type.
    """
    path = folder / "environment.json"
    environment = read_sealed(path)
    for name, kind in _ENVIRONMENT.items():
        if not isinstance(environment.get(name), kind):
            found = f"a {type(environment[name]).__name__} as" if name in environment else "no"
            raise RunError(f"{path} has {found} {name}, expected a {kind.__name__}: restore the file from a copy")
    times = [each.get("time") if isinstance(each, dict) else None for each in environment["resumed"]]
    if not all(isinstance(time, str) for time in times) or not isinstance(environment.get("settings", {}), dict):
        raise RunError(f"{path} has values of the wrong type in resumed or settings: restore the file from a copy")
    return {**dict.fromkeys(_OPTIONAL), **environment}


def read_settings(folder: Path) -> dict[str, Any]:
    """Read ``config.yaml`` and compare it with the settings at the start of the run.

    Comments and layout may differ. Runs of older versions did not record their settings and are not compared.

    Raises:
        RunError: The file cannot be read, or a setting was changed. The message names the settings.
    """
    path = folder / "config.yaml"
    try:
        data, faults = plain_yaml.parse_yaml(read_text(path, error=RunError))
    except plain_yaml.NotPlainYAML as error:
        raise RunError(f"{path} is not valid YAML ({error}): restore the file from a copy") from None
    environment = read_environment(folder)
    settings: dict[str, Any] | None = environment.get("settings")
    if settings is None:
        if faults or not isinstance(data, dict):
            why = faults[0].message if faults else f"a {type(data).__name__}"
            raise RunError(f"{path} is not the config of a run ({why}): restore the file from a copy")
        return data
    if changes := _changes(settings, data if isinstance(data, dict) else {}):
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise RunError(
            f"{path} was changed after the run began: {', '.join(changes[:3])}{more}; restore it, or start a new "
            f"run with it: mmcl run {environment['task']} --config {path}"
        )
    return settings


def _changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Describe the differences between nested settings, one per dotted key."""
    old, new = dict(_flat(before)), dict(_flat(now))
    changed = [f"{key} {old[key]} -> {new[key]}" for key in old if key in new and old[key] != new[key]]
    return (
        changed
        + [f"{key} is missing" for key in old if key not in new]
        + [f"{key} is new" for key in new if key not in old]
    )


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", repr(value)
