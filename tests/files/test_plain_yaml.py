"""Parsing and writing of plain YAML."""

from __future__ import annotations

import math
import struct

import pytest
import yaml

from mmcl.files.plain_yaml import NotPlainYAML, dump, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # a string in YAML 1.1
        ("1E5", 100000.0),
        (".5e-3", 0.0005),
        ("-.inf", -math.inf),
        ("16_000", 16000),
        ("010", 10),  # eight in YAML 1.1
        ("0x1F", 31),
        ("0o17", 15),
        ("12:30", "12:30"),  # 750 in YAML 1.1
        ("2024-01-01", "2024-01-01"),  # a date in YAML 1.1
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("[yes, no, 1e-3, 'a b']", ["yes", "no", 0.001, "a b"]),
        ("{a: {b: [1, 2]}, 3: x}", {"a": {"b": [1, 2]}, "3": "x"}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_yaml(text) == (value, [])
    assert type(parse_yaml(text)[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("x:\n  a: 1\n  a: 2", "x.a", "given twice, remove one of them"),
        ("x: !!python/object/apply:os.system ['true']", "x", "tag '!!python/object/apply:os.system' is not allowed: "),
        ("x: !Call {f: g}", "x", "tag '!Call' is not allowed: configs are data and cannot name code, remove it"),
        ("x: [1, !!python/name:os.system ]", "x[1]", "tag '!!python/name:os.system' is not allowed: "),
        ("x: !!binary aGk=", "x", "tag '!!binary' is not allowed: "),
        ("x:\n  _target_: os.system", "x._target_", "not allowed: configs are data and cannot name code, remove it"),
        ("x: !!int abc", "x", "'abc' is not a int, remove the tag '!!int'"),
        ("x: !!bool yes", "x", "'yes' is not a bool, remove the tag '!!bool'"),
        ("x:\n  ? [1, 2]\n  : 3", "x", "a key is not a word, expected 'key: value'"),
    ],
)
def test_faults_are_reported_and_the_rest_is_parsed(text: str, key: str, message: str) -> None:
    data, faults = parse_yaml(f"{text}\ny: 1")
    assert [(fault.key, fault.message[: len(message)]) for fault in faults] == [(key, message)]
    assert data["y"] == 1
    assert 1 <= faults[0].line <= 3


def test_all_faults_are_reported() -> None:
    _, faults = parse_yaml("a: 1\na: 2\nb: !!python/name:os.system\n_c: 3")
    assert [(fault.key, fault.line) for fault in faults] == [("a", 2), ("b", 3), ("_c", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1, column 6: "),
        ("a: 1\n b: 2", "line 2, column 3: "),
        ("a: &x [1]\nb: *x", "line 2, column 4: '*x' is an alias, write the value out"),
        ("a: &x [*x]", "line 1, column 8: '*x' is an alias"),  # infinite recursion
        ("a: 1\n---\nb: 2", "line 2, column 1: "),
        ("a: \x00", "unacceptable character"),
    ],
)
def test_invalid_yaml_raises_with_its_position(text: str, message: str) -> None:
    with pytest.raises(NotPlainYAML) as error:
        parse_yaml(text)
    assert str(error.value).startswith(message)


def test_dump_round_trips_to_the_last_bit() -> None:
    tricky = [
        "yes",
        "on",
        "null",
        "~",
        "",
        "1e-3",
        "1_0",
        "0x1",
        "010",
        "2024-01-01",
        "12:30",
        ".inf",
        "a: b",
        "*x",
        "é\n",
    ]
    floats = [0.1, 1e-5, 1e22, 5e-324, -0.0, 1 / 3, math.inf, -math.inf]
    data = {"words": tricky, "floats": floats, "whole": [0, -1, 10**30], "nested": {"x": {"y": [None, True]}}}
    text = dump(data)
    again, faults = parse_yaml(text)
    assert faults == []
    assert again == data
    assert [struct.pack("d", value) for value in again["floats"]] == [struct.pack("d", value) for value in floats]


def test_strings_ambiguous_in_yaml_1_1_are_quoted() -> None:
    """Other tools read our files with YAML 1.1."""
    words = ["yes", "off", "12:30", "2024-01-01", "010", "1e-3"]
    assert yaml.safe_load(dump({"words": words})) == {"words": words}


def test_lists_are_written_on_one_line() -> None:
    assert dump({"seeds": [0, 1], "encoder": {"name": "cnn"}}) == "seeds: [0, 1]\nencoder:\n  name: cnn\n"
