"""Suggestions for mistyped names."""

from __future__ import annotations

import pytest

from mmcl.text.suggest import closest, did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "found"), [("Demo", "demo"), ("TINY", "tiny"), ("tinny", "tiny"), ("x", None), ("", None)]
)
def test_closest_choice_ignores_case(word, found):
    assert closest(word, ["demo", "tiny"]) == found
    assert nearest(word, ["demo", "tiny"]) == (f" (did you mean '{found}'?)" if found else "")


def test_all_choices_if_none_is_similar():
    assert did_you_mean("Demo", ["demo", "tiny"]) == "did you mean 'demo'?"
    assert did_you_mean("x", ["demo", "tiny"]) == "expected one of demo, tiny"
    assert did_you_mean("x", []) == "there is none"
