"""Sections of a report, by module: each module lists its own in ``SECTIONS``.

A new section needs no registration: every module of this package is searched, in alphabetical order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import Row


class Section(NamedTuple):
    """A section of a report, shown for strategies that have logged rows of one type.

    ``draw`` returns HTML or SVG, or "" if there is nothing to show.
    """

    heading: str
    note: str
    rows: type[Row]
    draw: Callable[[Sequence[StrategyResults]], str]


class DrawnSection(NamedTuple):
    """A section with its content as HTML or SVG."""

    heading: str
    note: str
    content: str


def draw_sections(strategies: Sequence[StrategyResults]) -> list[DrawnSection]:
    """Draw every section that has something to show."""
    drawn = []
    for section in _sections():
        shown = [each for each in strategies if each.of_type(section.rows)]
        if shown and (content := section.draw(strategies)):
            drawn.append(DrawnSection(section.heading, section.note, content))
    return drawn


def _sections() -> list[Section]:
    names = sorted(module.name for module in iter_modules(__path__))
    return [section for name in names for section in import_module(f"{__name__}.{name}").SECTIONS]
