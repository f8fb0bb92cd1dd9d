"""Losses of other libraries, and of plain torch as the benchmarks have them, give the same loss as mmcl."""

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


PLAIN = [
    *("simple_contrastive", "hard_contrastive", "mv_info_nce", "mv_dhel", "core_tuning", "conr", "sep_clr"),
    *("cacr", "groco", "supremix", "susana", "simlap", "isogclr", "mochi"),
]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_torch_has_the_values_and_gradients_of_the_objectives(name, monkeypatch):
    """Two steps, for the state between them; random mixtures and gates have the same seed."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    losses = pytest.importorskip("losses")
    labels = torch.tensor([0, 1, 2, 43, 44])  # some are close as targets, and others as predictions alone
    found = []
    for side in ("ours", "plain"):
        torch.manual_seed(0)
        step = losses.ours(name) if side == "ours" else losses.peer(name, "plain torch")
        generator = torch.Generator().manual_seed(0)
        for rows in (12, 24):
            a, b = (torch.randn(rows, 256, generator=generator).requires_grad_() for _ in range(2))
            loss = step(a, b, labels[torch.randint(0, len(labels), (rows,), generator=generator)])
            loss.backward()
            found.append((loss.detach(), a.grad))
    for (one, gradient), (other, its) in zip(found[:2], found[2:], strict=True):
        assert one.isfinite() and torch.allclose(one, other, rtol=1e-4)
        assert (gradient - its).norm() < 2e-3 * its.norm()
