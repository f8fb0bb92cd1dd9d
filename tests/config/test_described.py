"""Settings from a file of unknown origin have the names and types of what they are for."""

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
    ({}, "has no dim"),
    (None, "is None, expected an object"),
    ([], r"is \[\], expected an object"),
    ({"dim": True}, "dim is True, expected int"),
    ({"dim": 3.0}, "dim is 3.0, expected int"),
    ({"dim": "3"}, "dim is '3', expected int"),
    ({"dim": None}, "dim is None, expected int"),
    ({"dim": [3]}, r"dim is \[3\], expected int"),
    ({"dim": 2**33}, "dim is 8589934592, expected a number below 2,147,483,648"),
    ({"dim": 3, "share": 1e308}, "share is 1e\\+308, expected a number below"),
    ({"dim": 3, "share": float("nan")}, "share is nan, expected a number below"),
    ({"dim": 3, "share": False}, "share is False, expected float"),
    ({"dim": 3, "name": 3}, "name is 3, expected "),
    ({"dim": 3, "whole": 1}, "whole is 1, expected "),
    ({"dim": 3, "hole": True}, r"unknown key 'hole', did you mean 'whole'\?"),
    ({"dim": 3, "parts": 3}, "unknown key 'parts'"),
]


@pytest.mark.parametrize("values", GOOD)
def test_what_fits_is_returned(values):
    assert checked_settings(build, values, "config.json", without=("parts",)) == values


@pytest.mark.parametrize(("values", "message"), BAD)
def test_what_does_not_is_named(values, message):
    with pytest.raises(CheckpointError, match=f"config.json.*{message}"):
        checked_settings(build, values, "config.json", without=("parts",))


def test_a_class_is_asked_for_what_it_is_made_of():
    options = {"name": "mlp", "hidden": 16, "kernel": 3, "layers": 0, "heads": 4, "dropout": 0.0}
    assert checked_settings(HeadOptions, options, "head") == options
    with pytest.raises(CheckpointError, match="head: hidden is 'wide', expected int"):
        checked_settings(HeadOptions, {**options, "hidden": "wide"}, "head")
