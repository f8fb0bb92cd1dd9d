"""Listing of a config's settings as text, for `mmcl ls TASK`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from mmcl.config.faults import sections_of


@dataclass(frozen=True)
class Setting:
    """A setting of a config as text: dotted key, type, default and description."""

    key: str
    type: str
    default: str
    description: str


def list_settings(model: type[BaseModel], prefix: str = "", default: BaseModel | None = None) -> Iterator[Setting]:
    """Yield the settings of a config model and of its sections.

    >>> from mmcl.config.model import StrictModel
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


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
