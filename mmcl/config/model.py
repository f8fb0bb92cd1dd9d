"""Config models: loading YAML files with ``key=value`` overrides, and dumping."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from mmcl.config.faults import fault_messages, sections_of
from mmcl.errors import ConfigError
from mmcl.files import plain_yaml
from mmcl.text.escape import printable
from mmcl.text.suggest import did_you_mean

logger = logging.getLogger(__name__)

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

#: A tuple that may be written as a single value: ``strategy: replay`` for ``strategy: [replay]``.
OneOrMore = Annotated[
    tuple[T, ...], BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value])
]


class StrictModel(BaseModel):
    """Base of every config: unknown keys are errors, defaults are validated, and instances are immutable.

    ``mmcl ls TASK`` prints the ``description`` of each ``Field``.

    Attributes:
        options_of_name: fields that hold options of what ``name`` names. If an override changes ``name``, those that
            the file gives for the former name are dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())
    options_of_name: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def shares_options(cls, former: str, name: str) -> bool:
        """Return whether options of the name ``former`` are kept for ``name``, because both have the same."""
        return former == name

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, data: Any) -> Any:
        """Complete a partial section with this model's default for it, instead of the defaults of its class."""
        for name, field in cls.model_fields.items():
            given, default = data.get(name) if isinstance(data, dict) else None, field.default
            if isinstance(given, dict) and isinstance(default, StrictModel):
                data = {**data, name: _completed(default, given)}
        return data

    @model_validator(mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, data: Any) -> Any:
        for name, field in cls.model_fields.items():
            if field.annotation in (int, float) and isinstance(data, dict) and isinstance(data.get(name), bool):
                data = {**data, name: str(data[name]).lower()}  # a string, which validation then refuses
        return data

    @model_validator(mode="before")
    @classmethod
    def _take_numbers_as_names(cls, data: Any) -> Any:
        """Take ``precision=32``, which YAML reads as a number, for the choice ``"32"``."""
        for name, field in cls.model_fields.items():
            given = data.get(name) if isinstance(data, dict) else None
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            if type(given) in (int, float) and given not in choices and str(given) in choices:
                data = {**data, name: str(given)}
        return data


def _completed(default: StrictModel, given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that ``default`` states, overridden by those given, in all sections within it."""
    stated = {name: getattr(default, name) for name in default.model_fields_set}
    inner = {
        name: _completed(value, given[name])
        for name, value in stated.items()
        if isinstance(value, StrictModel) and isinstance(given.get(name), dict)
    }
    return {**stated, **given, **inner}


def load_config(model: type[ModelT], path: str | Path, overrides: Iterable[str] = ()) -> ModelT:
    """Read a YAML file, apply ``key=value`` overrides, and validate the result.

    Only an override can allow downloads. ``download: true`` in a file counts as false, because the file may come from
    somebody else. If an override names another data set, the file's options of the former one are dropped with a
    warning.

    Args:
        model: class of the config.
        path: YAML file.
        overrides: settings such as ``encoder.name=cnn``; values are YAML.

    Raises:
        ConfigError: the file cannot be read, or settings are invalid; one line for each fault.

    >>> import tempfile
    >>> class Config(StrictModel):
    ...     learning_rate: float
    ...     seeds: tuple[int, ...] = (0,)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "demo.yaml"
    ...     _ = file.write_text("learning_rate: 1e-3")
    ...     load_config(Config, file, ["seeds=[1, 2]"])
    Config(learning_rate=0.001, seeds=(1, 2))
    """
    checked = check_config(model, path, overrides)
    if checked.faults or checked.config is None:
        raise ConfigError("\n".join(checked.faults))
    return checked.config


@dataclass(frozen=True)
class CheckedConfig(Generic[ModelT]):
    """A config with its faults.

    Attributes:
        config: the config, in which faulty settings have their defaults; None if there is none without them.
        faults: one line for each fault.
        keys: keys of the faulty settings.
    """

    config: ModelT | None
    faults: list[str]
    keys: list[str]


def check_config(model: type[ModelT], path: str | Path, overrides: Iterable[str] = ()) -> CheckedConfig[ModelT]:
    """Read and validate a config as :func:`load_config` does, but return its faults.

    Raises:
        ConfigError: the file cannot be read.
    """
    data, faults = _read(Path(path))
    overrides = list(overrides)
    for text in overrides:
        _drop_options(model, data, text)
    overridden = [key for key in (_override(data, text, faults) for text in overrides) if key]
    config, invalid = _validated(model, data)
    reported = {key for _, key, _ in faults}
    for key, message in invalid.items():
        is_override = any(key == start or key.startswith((f"{start}.", f"{start}[")) for start in overridden)
        if key not in reported:
            faults.append(("command line" if is_override else str(path), key, message))
    if config is None:
        for key in invalid:
            _remove(data, key)
        config, _ = _validated(model, data)
    lines = [printable(": ".join(part for part in fault if part)) for fault in faults]
    return CheckedConfig(config, lines, [key for _, key, _ in faults])


def _validated(model: type[ModelT], data: dict[str, Any]) -> tuple[ModelT | None, dict[str, str]]:
    """Return the config, or None and a message for each faulty key."""
    try:
        return model.model_validate(data), {}
    except ValidationError as error:
        return None, fault_messages(model, data, error.errors(include_url=False))


def _remove(data: dict[str, Any], key: str) -> None:
    """Remove a setting; of a list, the whole list."""
    *outer, name = key.partition("[")[0].split(".")
    section: Any = data
    for part in outer:
        section = section.get(part) if isinstance(section, dict) else None
    if isinstance(section, dict):
        section.pop(name, None)


def dump_config(config: BaseModel) -> str:
    """Return a config as YAML that :func:`load_config` reads back.

    >>> class Config(StrictModel):
    ...     learning_rate: float = 1e-3
    ...     classes: tuple[str, ...] = ("yes", "no")
    >>> print(dump_config(Config()), end="")
    learning_rate: 0.001
    classes: ['yes', 'no']
    """
    return plain_yaml.dump(config.model_dump(mode="json"))


_Fault = tuple[str, str, str]  # source (file or command line), dotted key, message


def _read(path: Path) -> tuple[dict[str, Any], list[_Fault]]:
    """Read a file; return its data and the faults of its YAML."""
    try:
        data, faults = plain_yaml.parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = sorted(other.name for other in path.parent.glob("*.yaml"))
        hint = did_you_mean(path.name, near, "this folder has") if near else "check the path"
        raise ConfigError(f"{path}: no such file, {hint}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text, expected a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}), expected a YAML file") from None
    except plain_yaml.NotPlainYAML as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if data is None and not faults:
        raise ConfigError(f"{path}: empty, expected one 'key: value' per line")
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path}: its top level is a {type(data).__name__}, expected one 'key: value' per line")
    for key in _offline(data or {}):
        logger.warning("%s: %s is ignored in files, set it on the command line: %s=true", path, key, key)
    return data or {}, [(str(path), fault.key, f"{fault.message} (line {fault.line})") for fault in faults]


def _offline(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Set every ``download: true`` to false, and yield its key."""
    for name, value in section.items():
        if name == "download" and value is True:
            section[name] = False
            yield f"{prefix}{name}"
        elif isinstance(value, dict):
            yield from _offline(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, dict):
                    yield from _offline(each, f"{prefix}{name}[{number}].")


def _drop_options(model: type[BaseModel], data: dict[str, Any], text: str) -> None:
    """Drop the options of a section whose ``name`` an override changes, see :class:`StrictModel`."""
    key, _, written = (part.strip() for part in text.partition("="))
    *outer, last = key.split(".")
    section: Any = data
    sections: list[type[BaseModel]] = [model]
    for part in outer:
        section = section.get(part) if isinstance(section, dict) else None
        fields = [each.model_fields[part] for each in sections if part in each.model_fields]
        if fields:  # else a key of a dict of sections
            sections = [each for field in fields for each in sections_of(field.annotation)]
    if last != "name" or not isinstance(section, dict) or section.get("name") is None:
        return
    former = str(section["name"])
    models = [each for each in sections if issubclass(each, StrictModel) and not each.shares_options(former, written)]
    names = {name for each in models for name in each.options_of_name}
    for name in sorted(names & section.keys()):
        if section[name]:
            dropped = ", ".join(section[name]) if isinstance(section[name], dict) else section[name]
            at = ".".join((*outer, name))
            logger.warning("%s: dropped %s, which %s of the config file has: %s", text, at, section["name"], dropped)
        del section[name]


def _override(data: dict[str, Any], text: str, faults: list[_Fault]) -> str | None:
    """Set ``key=value`` in ``data``; return the key of the section or value that is new, or None if it is invalid."""
    key, equals, written = (part.strip() for part in text.partition("="))
    *outer, name = key.split(".")
    source = "command line"
    if not equals or not all([*outer, name]):
        faults.append((source, "", f"'{text}' is not a setting, expected key=value such as learning_rate=0.001"))
        return None
    if any(part.startswith("_") for part in (*outer, name)):
        faults.append((source, key, f"not allowed: {plain_yaml.NO_CODE}, remove it"))
        return None
    try:
        value, wrong = plain_yaml.parse_yaml(written)
    except plain_yaml.NotPlainYAML as error:
        faults.append((source, key, f"'{written}' is not a YAML value ({error}), put it in quotes"))
        return None
    faults.extend((source, f"{key}.{fault.key}" if fault.key else key, fault.message) for fault in wrong)
    section, new = data, key
    for depth, part in enumerate(outer, start=1):
        path = ".".join(outer[:depth])
        new = path if part not in section and new == key else new
        if section.get(part) is None:  # missing, or an optional section that is off
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            faults.append((source, key, f"'{path}' is {section!r}, expected a section"))
            return None
    if not wrong:
        section[name] = value
    return new
