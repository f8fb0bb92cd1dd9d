"""Results in formats of other programs: CSV, JSON, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from mmcl.reports.groups import comparable_groups
from mmcl.reports.results import StrategyResults, collect, measures_shown, run_names, table_rows
from mmcl.reports.tables import markdown_table, open_runs
from mmcl.runs.run import Run
from mmcl.text.escape import markdown_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def results_csv(runs: Sequence[Run]) -> str:
    """Return results as CSV: a row per strategy, and the mean and standard deviation of each measure.

    Accuracies are fractions of 1. The deviation of a single seed is empty. Rows of one ``group`` are comparable.
    """
    rows = _rows(runs)
    names = measures_shown([strategy for _, strategy in rows])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "run", "strategy", "seeds", *(part for name in names for part in (name, f"{name} std"))])
    for group, each in rows:
        cells: list[object] = []
        for name in names:
            average = each.measure(name)
            std = None if average is None else average.std
            cells += ["" if average is None else average.mean, "" if std is None else std]
        writer.writerow([group, each.run, each.strategy, len(each.results), *cells])
    return text.getvalue()


def results_json(runs: Sequence[Run]) -> str:
    """Return results as a JSON list, with an object per strategy; values are those of :func:`results_csv`."""
    rows = _rows(runs)
    names = measures_shown([strategy for _, strategy in rows])
    found = []
    for group, each in rows:
        averages = {name: average for name in names if (average := each.measure(name))}
        measures = {name: {"mean": average.mean, "std": average.std} for name, average in averages.items()}
        about = {"group": group, "run": each.run, "strategy": each.strategy, "seeds": len(each.results)}
        found.append({**about, "measures": measures})
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def results_latex(runs: Sequence[Run]) -> str:
    """Return results as a LaTeX tabular with booktabs rules, in percent; see :func:`_text_rows`."""
    headings, *rows = _text_rows(runs)
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in (headings, *rows)]
    columns = ("ll" if headings[0] == "group" else "l").ljust(len(headings), "r")
    begin, end = rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end, ""])


def results_markdown_table(runs: Sequence[Run]) -> str:
    """Return results as a Markdown table, in percent; see :func:`_text_rows`."""
    escaped = [[markdown_text(cell) for cell in row] for row in _text_rows(runs)]
    return markdown_table(escaped[0], escaped[1:]) + "\n"


def _rows(runs: Sequence[Run]) -> list[tuple[str, StrategyResults]]:
    """Return the results of each strategy with the heading of its group; the name of a run is unique in all groups."""
    groups = comparable_groups(open_runs(runs))
    ordered = [run for group in groups for run in group.runs]
    headings = [group.heading for group in groups for _ in group.runs]
    names = dict(zip(run_names(ordered), headings, strict=True))
    return [(names[each.run], each) for each in collect(ordered)]


def _text_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Return headings and rows; with several groups of comparable runs, the first column is the group."""
    found = _rows(runs)
    headings, rows = table_rows([strategy for _, strategy in found])
    if not any(group for group, _ in found):
        return [headings, *rows]
    return [["group", *headings], *([group, *row] for (group, _), row in zip(found, rows, strict=True))]


def _latex(text: str) -> str:
    """Escape a cell for LaTeX.

    >>> _latex("a_b 50 % ± 2.0")
    'a\\\\_b 50 \\\\% $\\\\pm$ 2.0'
    """
    escaped = re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match[0]], text)
    return escaped.replace("±", r"$\pm$")
