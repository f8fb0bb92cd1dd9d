"""The section of a zero-shot evaluation; candidates are tested in tasks/test_speech_to_intent.py."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmcl.sections.evaluation import EvaluationSection


def test_single_values_are_lists():
    section = EvaluationSection(name="fsdd", classes="one", templates="{}", probe="train")
    assert (section.classes, section.templates, section.probe) == (("one",), ("{}",), ("train",))


@pytest.mark.parametrize("settings", [{}, {"name": "fsdd", "by": "words"}, {"name": "fsdd", "candidates": 1}])
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        EvaluationSection(**settings)
