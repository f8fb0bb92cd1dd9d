"""Results in formats of other programs: CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from mmcl.reports.results import collect, measures_shown, table_rows
from mmcl.reports.tables import markdown_table
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

    Accuracies are fractions of 1. The deviation of a single seed is empty.
    """
    strategies = collect(runs)
    names = measures_shown(strategies)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "strategy", "seeds", *(part for name in names for part in (name, f"{name} std"))])
    for each in strategies:
        cells: list[object] = []
        for name in names:
            average = each.measure(name)
            std = None if average is None else average.std
            cells += ["" if average is None else average.mean, "" if std is None else std]
        writer.writerow([each.run, each.strategy, len(each.results), *cells])
    return text.getvalue()


def results_latex(runs: Sequence[Run]) -> str:
    """Return results as a LaTeX tabular with booktabs rules, in percent."""
    headings, rows = table_rows(collect(runs))
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in (headings, *rows)]
    columns = "l" + "r" * (len(headings) - 1)
    begin, end = rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end, ""])


def results_markdown_table(runs: Sequence[Run]) -> str:
    """Return results as a Markdown table, in percent."""
    headings, rows = table_rows(collect(runs))
    escaped = [[markdown_text(cell) for cell in row] for row in (headings, *rows)]
    return markdown_table(escaped[0], escaped[1:]) + "\n"


def _latex(text: str) -> str:
    """Escape a cell for LaTeX.

    >>> _latex("a_b 50 % ± 2.0")
    'a\\\\_b 50 \\\\% $\\\\pm$ 2.0'
    """
    escaped = re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX[match[0]], text)
    return escaped.replace("±", r"$\pm$")
