"""Imports by names of version 0.1."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from mmcl.former import _RENAMED, FORMER


@pytest.mark.parametrize("former", FORMER)
def test_former_names_lead_to_existing_modules(former):
    assert find_spec(FORMER[former]) is not None
    assert find_spec(former).loader.__class__.__name__ == "_Finder"


@pytest.mark.parametrize(
    ("former", "name", "present"),
    [
        ("mmcl.data.slurp", "normalized", "normalized_text"),
        ("mmcl.data.command_plan", "Parameters", "CommandParameters"),
        ("mmcl.data.fluent_speech_commands", "FluentSpeechCommands", "FluentSpeechCommands"),
        ("mmcl.metrics.accuracy_matrix", "AccuracyMatrix", "AccuracyMatrix"),
    ],
)
def test_former_names_are_imported_with_a_warning(former, name, present):
    code = (
        f"import warnings\nwith warnings.catch_warnings(record=True) as told:\n    warnings.simplefilter('always')\n"
        f"    from {former} import {name}\n"
        f"from {FORMER[former]} import {present} as present\n"
        f"print({name} is present, any('{former} is now {FORMER[former]}' in str(each.message) for each in told))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True True", done.stderr


@pytest.mark.parametrize("former", _RENAMED)
def test_renamed_objects_exist(former):
    present = import_module(FORMER[former])
    assert all(hasattr(present, name) for name in _RENAMED[former].values())


def test_other_names_are_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"mmcl\.data\.imagenet"):
        __import__("mmcl.data.imagenet")
