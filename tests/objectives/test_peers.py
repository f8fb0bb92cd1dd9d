"""The table for users of lightly and pytorch-metric-learning: lines of one row give the same loss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import mmcl.objectives

PAGE = Path(__file__).parents[2] / "configs/representation_learning/README.md"
ROW = re.compile(r"^\| (?P<name>[^|]+) \| ([^|]*) ?\| ([^|]*) ?\| `([^|]+)` \|$", re.MULTILINE)
SECTION = PAGE.read_text(encoding="utf-8").partition("## From lightly")[2].partition("\n## ")[0]
LINES = {found["name"]: found.groups()[1:] for found in ROW.finditer(SECTION)}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", LINES)
def test_the_lines_of_a_row_give_the_same_loss(name):
    torch.manual_seed(0)
    batch = {"a": torch.randn(24, 8), "b": torch.randn(24, 8), "labels": torch.randint(0, 5, (24,)), "torch": torch}
    lightly, metric, here = (each.strip().strip("`") for each in LINES[name])
    ours = {each: getattr(mmcl.objectives, each) for each in mmcl.objectives.__all__}
    own = eval(here, {**ours, **batch})
    assert own.isfinite()
    for line, library in ((lightly, "lightly.loss"), (metric, "pytorch_metric_learning.losses")):
        if line:
            names = vars(pytest.importorskip(library, reason="needs the extra 'bench'"))
            assert eval(line, {**names, **batch}).item() == pytest.approx(own.item(), rel=1e-5)


def test_the_table_is_found():
    assert len(LINES) == 5
