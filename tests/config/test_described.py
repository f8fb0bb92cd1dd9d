"""Settings from untrusted files are checked against a function's signature."""

from pathlib import Path

import pytest

from mmcl.config.described import checked_settings
from mmcl.errors import CheckpointError
from mmcl.models.heads import HeadOptions


def build(
    parts: object, dim: int, share: float = 0.5, name: str | Path | None = None, *, whole: bool | None = None
) -> None: ...


GOOD = [
    {"dim": 3},
    {"dim": 3, "share": 1},
    {"dim": 3, "share": 0.25, "name": "x", "whole": True},
    {"dim": -3, "name": None, "whole": None},
]
BAD = [
    ({}, "dim"),
    (None, "None"),
    ([], r"\[\]"),
    ({"dim": True}, "dim.*True.*int"),
    ({"dim": 3.0}, "dim.*3.0.*int"),
    ({"dim": "3"}, "dim.*'3'.*int"),
    ({"dim": None}, "dim.*None.*int"),
    ({"dim": [3]}, r"dim.*\[3\].*int"),
    ({"dim": 2**33}, "dim.*8589934592.*2,147,483,648"),
    ({"dim": 3, "share": 1e308}, "share.*1e\\+308"),
    ({"dim": 3, "share": float("nan")}, "share.*nan"),
    ({"dim": 3, "share": False}, "share.*False.*float"),
    ({"dim": 3, "name": 3}, "name.*3"),
    ({"dim": 3, "whole": 1}, "whole.*1"),
    ({"dim": 3, "hole": True}, "'hole'.*'whole'"),
    ({"dim": 3, "parts": 3}, "'parts'"),
]


@pytest.mark.parametrize("values", GOOD)
def test_valid_settings_are_returned(values):
    assert checked_settings(build, values, "config.json", without=("parts",)) == values


@pytest.mark.parametrize(("values", "message"), BAD)
def test_invalid_settings_raise_with_file_key_and_value(values, message):
    with pytest.raises(CheckpointError, match=f"config.json.*{message}"):
        checked_settings(build, values, "config.json", without=("parts",))


def test_settings_of_a_class_are_checked_against_its_constructor():
    options = {"name": "mlp", "hidden": 16, "kernel": 3, "layers": 0, "heads": 4, "dropout": 0.0}
    assert checked_settings(HeadOptions, options, "head") == options
    with pytest.raises(CheckpointError, match="head.*hidden.*'wide'.*int"):
        checked_settings(HeadOptions, {**options, "hidden": "wide"}, "head")
