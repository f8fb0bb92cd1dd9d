"""Strict reading of JSON files."""

from __future__ import annotations

import os

import pytest

from mmcl.errors import CheckpointError, DataError, MissingDataError
from mmcl.files import plain_json
from mmcl.files.plain_json import member, parse_json, read_json, read_json_lines, read_text


def test_reads_what_json_writes(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [1, 2.5, "\u2028"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, "\u2028"]}
    path.write_text('{"a": "\u2028"}\n\n{"a": 2}\n', encoding="utf-8")
    assert list(read_json_lines(path)) == [(1, {"a": "\u2028"}), (3, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"null", "holds a NoneType, expected an object"),
        (b"[1]", "holds a list, expected an object"),
        (b'{"a": 1', "is not JSON"),
        (b"", "is not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not JSON"),
        (b'{\n"a": "\xff"}', "line 2 is not UTF-8"),
    ],
)
@pytest.mark.parametrize("error", [DataError, CheckpointError])
def test_unexpected_json_raises_and_names_the_file(tmp_path, content, message, error):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(error, match=f"a.json.*{message}"):
        read_json(path, error=error)


def test_error_names_the_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(DataError, match="a.jsonl line 2 holds a list"):
        list(read_json_lines(path))


def test_missing_and_special_files_raise(tmp_path):
    with pytest.raises(MissingDataError, match="there is no file .*a.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="there is no file"):
        read_json(tmp_path / "a.json", error=CheckpointError)
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match="is not a regular file"):
        read_json(tmp_path / "a.json")
    os.mkfifo(tmp_path / "pipe")  # reading it would block forever
    with pytest.raises(DataError, match="is not a regular file"):
        read_text(tmp_path / "pipe")


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_json, "MAX_BYTES", 10)
    (tmp_path / "a.json").write_text('{"a": 12345}')
    with pytest.raises(DataError, match="has 12 bytes, expected at most 10"):
        read_json(tmp_path / "a.json")


def test_bool_is_not_an_integer():
    with pytest.raises(DataError, match="holds a bool"):
        parse_json("true", int, where="x")


@pytest.mark.parametrize("content", ['{"a": 1, "b": 2, "a": 3}', '[{"x": {"a": 1, "a": 1}}]'])
def test_repeated_key_raises(content):
    with pytest.raises(DataError, match="x is not JSON .the key 'a' is there twice"):
        parse_json(content, object, where="x")


@pytest.mark.parametrize("content", ['["\\ud800"]', '{"\\uDC00": 1}', '["\\udc00\\ud800"]'])
def test_lone_surrogate_raises(content):
    with pytest.raises(DataError, match="x is not JSON .*surrogates not allowed"):
        parse_json(content, object, where="x")
    assert parse_json('["\\ud83d\\ude00", "\\\\ud800"]', list, where="x") == ["😀", "\\ud800"]


RIGHT = {str: "a", int: 1, float: 0.5, list: ["a"], dict: {"a": 1}, bool: True}


@pytest.mark.parametrize("expected", RIGHT)
def test_member_checks_types(expected):
    assert member({"key": RIGHT[expected]}, "key", expected, where="x line 3") == RIGHT[expected]
    allowed = {float: (int, float)}.get(expected, (expected,))
    for kind, value in {**RIGHT, None: None}.items():
        if kind not in allowed:
            with pytest.raises(DataError, match="x line 3 has .* for 'key', expected a|x line 3 .* expected true"):
                member({"key": value}, "key", expected, where="x line 3")
            with pytest.raises(CheckpointError, match="in 'key', expected"):
                member({"key": [value]}, "key", list, of=expected, where="x", error=CheckpointError)
    with pytest.raises(DataError, match="x line 3 has no 'key', expected"):
        member({}, "key", expected, where="x line 3")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_is_finite(text):
    with pytest.raises(DataError, match="for 'key', expected a number"):
        member(parse_json(f'{{"key": {text}}}', where="x"), "key", float, where="x")
