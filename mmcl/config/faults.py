"""Messages for invalid configs: pydantic's errors as the user's dotted key, the value, and the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from mmcl.text.suggest import closest, did_you_mean


def fault_messages(model: type[BaseModel], data: dict[str, Any], errors: Sequence[ErrorDetails]) -> dict[str, str]:
    """Return one message for each faulty key, from pydantic's errors.

    Args:
        model: model that ``data`` was validated with.
        data: the config's data.
        errors: ``ValidationError.errors()``, which has an error for each branch of a union.
    """
    messages: dict[str, list[str]] = {}
    for error in errors:
        if error["type"] == "too_short" and _has_faulty_items(error, errors):
            continue  # pydantic counts valid items only
        key, sections = _locate(model, data, error)
        if error["type"] in ("extra_forbidden", "missing"):
            key = _join(key, error["loc"][-1])
        elif error["type"].startswith("union_tag_"):  # located at the section, but about its discriminator field
            key = _join(key, error["ctx"]["discriminator"].strip("'"))
        messages.setdefault(key, []).append(_message(model, sections, error))
    return {key: _merge(several) for key, several in messages.items()}


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the config models within a type such as ``tuple[A | B, ...]``."""
    if get_args(annotation):
        return [section for argument in get_args(annotation) for section in sections_of(argument)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _has_faulty_items(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    place = error["loc"]
    return any(other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in errors)


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _locate(model: type[BaseModel], data: object, error: ErrorDetails) -> tuple[str, list[type[BaseModel]]]:
    """Dotted key as the user wrote it, and the models that the location's last part may belong to.

    The location also has parts that the user did not write: branches of unions, and positions in a single value.
    """
    location = error["loc"][:-1] if error["type"] in ("extra_forbidden", "missing") else error["loc"]
    key, sections = "", [model]
    for part in location:
        field = next((s.model_fields[part] for s in sections if isinstance(part, str) and part in s.model_fields), None)
        if isinstance(data, dict) and part in data:
            key, data = _join(key, part), data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            key, data = f"{key}[{part}]", data[part]
        elif field is not None:  # not written by the user: the default is invalid
            key, data = _join(key, part), None
        elif branch := [section for section in sections if _is_branch(section, part)]:
            sections = branch
        sections = sections_of(field.annotation) if field is not None else sections
    return key, sections


def _is_branch(section: type[BaseModel], part: object) -> bool:
    """Whether a part of a location stands for this model, by its name or by a value of one of its literal fields."""
    return section.__name__ == part or any(
        part in get_args(field.annotation) for field in section.model_fields.values()
    )


def _message(model: type[BaseModel], sections: list[type[BaseModel]], error: ErrorDetails) -> str:
    given = error["ctx"]["tag"] if error["type"] == "union_tag_invalid" else error["input"]
    value = repr(given) if len(repr(given)) <= 60 else f"{repr(given)[:57]}..."
    if error["type"] in ("missing", "union_tag_not_found"):
        return "missing, expected a value"
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), model, sections)
    if error["type"] in ("literal_error", "enum", "union_tag_invalid"):
        expected = str(error["ctx"].get("expected") or error["ctx"]["expected_tags"])  # such as "'a', 'b' or 'c'"
        choices = re.findall(r"'([^']*)'", expected) or re.split(r", | or ", expected)
        near = did_you_mean(str(given), choices)
        return f"{value} is not one of {', '.join(choices)}" + (f"; {near}" if near.endswith("?") else "")
    if error["type"] in ("value_error", "assertion_error"):  # raised by a config's own validator
        return str(error["msg"]).partition(", ")[2]
    problem = str(error["msg"])
    for pattern, plain in (
        (r", (unable to|got) .*", ""),
        (r"[Dd]ictionary( or .*)?", "section"),
        (r"[Tt]uple", "list"),
        (r" after validation, not (\d+)", r", has \1"),
    ):
        problem = re.sub(pattern, plain, problem)
    return f"{value} {problem.removeprefix('Input ')}" if problem.startswith("Input ") else f"{value}: {problem}"


def _unknown(name: str, model: type[BaseModel], sections: list[type[BaseModel]]) -> str:
    names = [field for section in sections for field in section.model_fields]
    if closest(name, names) is None:
        for section, field in model.model_fields.items():
            inner = [known for part in sections_of(field.annotation) for known in part.model_fields]
            if name in inner:
                return f"unknown key, did you mean '{section}.{name}'?"
    return f"unknown key, {did_you_mean(name, names)}"


def _merge(messages: list[str]) -> str:
    """Merge the messages of a union's branches; a message that lists choices is preferred."""
    distinct = list(dict.fromkeys(messages))
    choices = [message for message in distinct if " is not one of " in message]
    return choices[0] if choices else ", or ".join(distinct)
