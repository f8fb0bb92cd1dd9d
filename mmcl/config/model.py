"""Config models: loading YAML files with ``key=value`` overrides, dumping, and listing settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

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
    data, faults = _read(Path(path))
    overrides = list(overrides)
    for text in overrides:
        _drop_options(model, data, text)
    overridden = [key for key in (_override(data, text, faults) for text in overrides) if key]
    config = None
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        reported = {key for _, key, _ in faults}
        for key, message in fault_messages(model, data, error.errors(include_url=False)).items():
            is_override = any(key == start or key.startswith((f"{start}.", f"{start}[")) for start in overridden)
            if key not in reported:
                faults.append(("command line" if is_override else str(path), key, message))
    if faults or config is None:
        raise ConfigError("\n".join(printable(": ".join(part for part in fault if part)) for fault in faults))
    return config


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


@dataclass(frozen=True)
class Setting:
    """A setting of a config as text: dotted key, type, default and description."""

    key: str
    type: str
    default: str
    description: str


def list_settings(model: type[BaseModel], prefix: str = "", default: BaseModel | None = None) -> Iterator[Setting]:
    """Yield the settings of a config model and of its sections.

    >>> class Config(StrictModel):
    ...     encoder: Literal["cnn", "conformer"] = "cnn"
    ...     seeds: tuple[int, ...] = (0, 1)
    >>> [(setting.key, setting.type, setting.default) for setting in list_settings(Config)]
    [('encoder', 'cnn | conformer', 'cnn'), ('seeds', '[int, ...]', '[0, 1]')]
    """
    for name, field in model.model_fields.items():
        sections = sections_of(field.annotation)
        value = field.get_default(call_default_factory=True) if default is None else getattr(default, name)
        if len(sections) == 1 and (field.annotation is sections[0] or isinstance(value, BaseModel)):
            yield from list_settings(sections[0], f"{prefix}{name}.", value if isinstance(value, BaseModel) else None)
        else:
            text = "required" if default is None and field.is_required() else _text(value)
            yield Setting(f"{prefix}{name}", _type_name(field.annotation), text, field.description or "")


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
    """Drop the options of a section whose ``name`` an override changes, see ``StrictModel.options_of_name``."""
    key, _, written = (part.strip() for part in text.partition("="))
    *outer, last = key.split(".")
    section: Any = data
    sections: list[type[BaseModel]] = [model]
    for part in outer:
        section = section.get(part) if isinstance(section, dict) else None
        fields = [each.model_fields[part] for each in sections if part in each.model_fields]
        sections = [each for field in fields for each in sections_of(field.annotation)]
    if last != "name" or not isinstance(section, dict) or section.get("name") in (None, written):
        return
    names = {name for each in sections if issubclass(each, StrictModel) for name in each.options_of_name}
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
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            faults.append((source, key, f"'{path}' is {section!r}, expected a section"))
            return None
    if not wrong:
        section[name] = value
    return new


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if isinstance(annotation, type) and origin is None:
        return "none" if annotation is NoneType else annotation.__name__
    names = [_type_name(argument) for argument in arguments if argument is not Ellipsis]
    if origin in (list, tuple):
        return f"[{', '.join(names)}{', ...' if origin is list or Ellipsis in arguments else ''}]"
    return f"{{{': '.join(names)}}}" if origin is dict else " | ".join(names)


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
