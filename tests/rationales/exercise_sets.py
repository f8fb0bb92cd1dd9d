"""Fixtures: a few exercises, their lessons, and a small untrained student."""

from __future__ import annotations

import pytest
import torch

from mmcl.data import Svamp
from mmcl.data.texts.exercises import Exercises
from mmcl.models.text_to_text import TextToText
from mmcl.rationales.lessons import lessons_of

SIZES = {"vocabulary": 300, "dim": 32, "layers": 1, "heads": 2, "dropout": 0.0}


@pytest.fixture(scope="session")
def svamp(data_dir) -> Exercises:
    """Forty problems of SVAMP with rationales of Llama-3 and PaLM."""
    return Svamp(data_dir / "rationales" / "svamp", "train", size=40)


@pytest.fixture(scope="session")
def lessons(svamp):
    return lessons_of(svamp)


@pytest.fixture
def student(svamp):
    """Untrained student with seeded weights."""
    texts = [text for each in svamp for text in (each.question, each.label, *(r.text for r in each.rationales))]
    torch.manual_seed(0)
    return TextToText.from_scratch(texts, **SIZES)
