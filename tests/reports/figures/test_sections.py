"""Sections of a report are found in the modules of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.reports import figures
from mmcl.reports.figures import draw_sections
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row

MODULE = """
from mmcl.reports.figures import Section
from mmcl.reports.row_types import ViewsRow

SECTIONS = (
    Section("New", "a note", ViewsRow, lambda strategies: f"{len(strategies)} strategies"),
    Section("Empty", "a note", ViewsRow, lambda strategies: ""),
)
"""


def test_new_section_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new_task.py").write_text(MODULE)
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    rows = [{"kind": "views", "strategy": "clip", "seed": 0, "alone": {"a": 0.5}, "missing": {"a": 0.5}}]
    drawn = {each.heading: each.content for each in draw_sections(by_strategy(map(parse_row, rows), "run"))}
    assert drawn["New"] == "1 strategies" and "Empty" not in drawn and "Views" in drawn
    assert "New" not in {each.heading for each in draw_sections([])}
