"""JSON with a digest: changes are detected, layout does not matter."""

import json
import math
import random

import pytest

from mmcl.errors import CheckpointError, RunError
from mmcl.files.sealed_json import content_digest, read_sealed, sealed, write_sealed

CONTENT = {"task": "slu", "seeds": [0, 1], "rate": 1e-5, "none": None, "inner": {"b": True, "a": "é"}, "top": math.inf}


@pytest.fixture
def path(tmp_path):
    write_sealed(tmp_path / "environment.json", CONTENT)
    return tmp_path / "environment.json"


def test_round_trip_without_digest(path):
    assert read_sealed(path) == CONTENT
    assert path.read_text() == sealed(CONTENT)
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))  # another layout
    assert read_sealed(path) == CONTENT


def test_digest_covers_all_values_and_keys(path):
    for key in CONTENT:
        for changed in ({**CONTENT, key: "other"}, {name: value for name, value in CONTENT.items() if name != key}):
            path.write_text(json.dumps({**changed, "digest": content_digest(CONTENT)}))
            with pytest.raises(
                RunError, match=r"environment.json was changed after mmcl wrote it \(its digest differs\)"
            ):
                read_sealed(path)


def test_changed_byte_is_detected_or_harmless(path):
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        try:
            assert {name: value for name, value in read_sealed(path).items() if name in CONTENT} == CONTENT
        except RunError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "7", '"a"', "[" * 100_000, "\x00"])
def test_non_object_raises(path, text):
    path.write_text(text)
    with pytest.raises(CheckpointError, match="environment.json"):
        read_sealed(path, error=CheckpointError)


def test_files_of_older_versions_have_no_digest(path):
    path.write_text(json.dumps(CONTENT))
    assert read_sealed(path) == CONTENT


def test_keys_that_become_strings_do_not_matter():
    assert content_digest({"settings": {1: "a"}}) == content_digest({"settings": {"1": "a"}})


def test_unwritable_path_is_named(tmp_path):
    with pytest.raises(RunError, match=r"cannot write .*status.json \(No such file or directory\): make room, then"):
        write_sealed(tmp_path / "nowhere" / "status.json", {})
