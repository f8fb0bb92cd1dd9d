"""JSON files of unknown origin."""

from __future__ import annotations

import os

import pytest

from mmcl.errors import CheckpointError, DataError, MissingDataError
from mmcl.files import plain_json
from mmcl.files.plain_json import parse_json, read_json, read_json_lines, read_text


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
def test_what_is_not_the_expected_json_is_an_error_that_names_the_file(tmp_path, content, message, error):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(error, match=f"a.json.*{message}"):
        read_json(path, error=error)


def test_a_line_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(DataError, match="a.jsonl line 2 holds a list"):
        list(read_json_lines(path))


def test_what_is_no_file_is_an_error(tmp_path):
    with pytest.raises(MissingDataError, match="there is no file .*a.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="there is no file"):
        read_json(tmp_path / "a.json", error=CheckpointError)
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match="is not a regular file"):
        read_json(tmp_path / "a.json")
    os.mkfifo(tmp_path / "pipe")  # reading it would wait without end
    with pytest.raises(DataError, match="is not a regular file"):
        read_text(tmp_path / "pipe")


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_json, "MAX_BYTES", 10)
    (tmp_path / "a.json").write_text('{"a": 12345}')
    with pytest.raises(DataError, match="has 12 bytes, expected at most 10"):
        read_json(tmp_path / "a.json")


def test_a_bool_is_no_whole_number():
    with pytest.raises(DataError, match="holds a bool"):
        parse_json("true", int, where="x")
