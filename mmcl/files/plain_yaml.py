"""YAML as plain data: the 1.2 core schema without aliases, tags that name code, or repeated keys.

PyYAML follows YAML 1.1, where ``1e-3`` is a string, ``010`` is eight, and ``yes`` and ``on`` (classes of some data
sets) are booleans. This module follows YAML 1.2, where they are a number, ten, and strings.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

NO_CODE = "configs are data and cannot name code"
_TAG = "tag:yaml.org,2002:"


class NotPlainYAML(ValueError):
    """A text that is not YAML, or uses an alias; the message gives place and reason."""


class Fault(NamedTuple):
    """A part of a document that is not plain data: its dotted key, the reason, and the line, counted from 1."""

    key: str
    message: str
    line: int


def parse_yaml(text: str) -> tuple[object, list[Fault]]:
    """Parse one YAML document; return its data without faulty parts, and the faults.

    Raises:
        NotPlainYAML: the text cannot be parsed at all.

    >>> parse_yaml("rate: 1e-3\\nwords: [yes, on]")
    ({'rate': 0.001, 'words': ['yes', 'on']}, [])
    >>> parse_yaml("rate: 1\\nrate: 2")
    ({'rate': 1}, [Fault(key='rate', message='given twice, remove one of them', line=2)])
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotPlainYAML(f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise NotPlainYAML(" ".join(str(error).split())) from None
    faults: list[Fault] = []
    value = None if node is None else _value(node, "", faults)
    return (None if value is _LEFT_OUT else value), faults


def dump(data: object) -> str:
    """Write plain data as YAML that :func:`parse_yaml` reads back exactly, floats included.

    >>> print(dump({"rate": 1e-5, "words": ["yes", "1e-3"]}), end="")
    rate: 1.0e-05
    words: ['yes', '1e-3']
    """
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            message = f"'*{alias.anchor}' is an alias, write the value out"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=alias.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Also keeps the rules of YAML 1.1, so strings that either version reads as something else are quoted."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), _first)
_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence(f"{_TAG}seq", data, flow_style=True))

_LEFT_OUT = object()


def _value(node: yaml.Node, key: str, faults: list[Fault]) -> Any:
    kind = node.tag.removeprefix(_TAG)
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, key, faults)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        values = [_value(item, f"{key}[{index}]", faults) for index, item in enumerate(node.value)]
        return [value for value in values if value is not _LEFT_OUT]
    if isinstance(node, yaml.ScalarNode) and kind in ("null", "bool", "int", "float", "str"):
        try:
            return _scalar(kind, node.value)
        except ValueError:
            faults.append(Fault(key, f"'{node.value}' is not a {kind}, remove the tag '!!{kind}'", line))
            return _LEFT_OUT
    tag = node.tag.replace(_TAG, "!!")
    faults.append(Fault(key, f"tag '{tag}' is not allowed: {NO_CODE}, remove it", line))
    return _LEFT_OUT


def _mapping(node: yaml.MappingNode, key: str, faults: list[Fault]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    seen: set[str] = set()
    for name_node, value_node in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            faults.append(Fault(key, "a key is not a word, expected 'key: value'", line))
            continue
        name = str(name_node.value)
        path = f"{key}.{name}" if key else name
        if name in seen:
            faults.append(Fault(path, "given twice, remove one of them", line))
            continue
        seen.add(name)
        if name.startswith("_"):  # such as _target_, which names code in other tools
            faults.append(Fault(path, f"not allowed: {NO_CODE}, remove it", line))
            continue
        value = _value(value_node, path, faults)
        if value is not _LEFT_OUT:
            mapping[name] = value
    return mapping


def _scalar(kind: str, text: str) -> Any:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    number = text.replace("_", "").lower()
    if kind == "int":
        return int(number, 8 if number.startswith("0o") else 16 if number.startswith("0x") else 10)
    return float(re.sub(r"\.(inf|nan)$", r"\1", number))
