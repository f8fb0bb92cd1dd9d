"""Tables of results for the terminal, Markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from mmcl.reports.groups import comparable_groups
from mmcl.reports.results import collect, table_rows
from mmcl.runs.run import Run
from mmcl.text.escape import html_text, markdown_text, rich_lines, rich_text

if TYPE_CHECKING:
    from rich.table import Table

#: Caption of the results table.
NOTE = "accuracies in percent, mean ± standard deviation over seeds"


def results_tables(runs: Sequence[Run | str | Path], width: int = 200) -> list[Table]:
    """Build the results for the terminal, with one row per strategy of each run, and a table for each group of runs
    with comparable results.

    Columns that do not fit into ``width`` go to further tables, which repeat the strategies. No number is cut.

    Args:
        runs: Runs or their folders.
        width: Width of the terminal in characters.

    Raises:
        RunError: A folder is not a run.
    """
    tables = []
    for group in comparable_groups(open_runs(runs)):
        title = runs_title(group.runs)
        tables += _tables(group.runs, f"{title}: {group.heading}" if group.heading else title, width)
    tables[-1].caption = NOTE
    return tables


def _tables(runs: Sequence[Run], title: str, width: int) -> list[Table]:
    from rich import box
    from rich.table import Table

    headings, rows = table_rows(collect(runs))
    first = _first_width(headings, rows, width)
    tables = []
    for columns in _columns_that_fit(headings, rows, width):
        table = Table(title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=0)
        for column in columns:
            justify: Literal["left", "right"] = "right" if column else "left"
            lines = rich_lines(_heading_lines(headings, rows, column, width))
            table.add_column(lines, justify=justify, no_wrap=True, vertical="bottom")
        for row in rows:
            label = rich_lines(folded(row[0], first))
            table.add_row(label, *(rich_text(row[column]) for column in columns[1:]))
        tables.append(table)
    tables[0].title = rich_text(title, "table.title")
    return tables


def folded(label: str, width: int) -> list[str]:
    """Fold a label into lines, if possible after a slash, plus or hyphen.

    >>> folded("barista-demo/replay+relational_kd", 16)
    ['barista-demo/', 'replay+', 'relational_kd']
    """
    lines = [""]
    for part in re.findall(r"[^/+-]*[/+-]|[^/+-]+", label):
        while len(part) > width:
            if lines[-1]:
                lines.append("")
            lines[-1], part = part[:width], part[width:]
            lines.append("")
        if len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return [line for line in lines if line] or [label]


def _first_width(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """Return the width of the first column: that of its longest label, or half of ``width`` in a wide table.

    >>> _first_width(["strategy", "seeds"], [["replay+relational_kd", "1"]], 24)
    12
    """
    sizes = [max(map(len, _heading_lines(headings, rows, column, width))) for column in range(len(headings))]
    widest = [max([size, *(len(row[column]) for row in rows)]) for column, size in enumerate(sizes)]
    fits = 2 + sum(size + 1 for size in widest) <= width
    return widest[0] if fits else min(widest[0], max(len(headings[0]), width // 2))


def _heading_lines(headings: Sequence[str], rows: Sequence[Sequence[str]], column: int, width: int) -> list[str]:
    """Return the lines of a heading: its first word, and then lines that are not much wider than the cells."""
    first, _, rest = headings[column].partition(" ")
    return [first, *wrap(rest, max([14, width // 8, *(len(row[column]) for row in rows if column)]))]


def _columns_that_fit(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Split columns into groups that fit into a width; each begins with the first column.

    >>> _columns_that_fit(["strategy", "seeds", "average"], [["replay", "1", "81.2 ± 2.0"]], 20)
    [[0, 1], [0, 2]]
    """
    sizes = [
        max(len(text) for text in (*_heading_lines(headings, rows, column, width), *(row[column] for row in rows)))
        for column in range(len(headings))
    ]
    sizes[0] = _first_width(headings, rows, width)
    groups = [[0]]
    for column in range(1, len(headings)):
        if len(groups[-1]) > 1 and 2 + sum(sizes[each] + 1 for each in (*groups[-1], column)) > width:
            groups.append([0])
        groups[-1].append(column)
    return groups


def results_markdown(run: Run, strategy: str, seed: str) -> str:
    """Build the results table of one run in Markdown, with one column per strategy.

    If ``strategy`` has several seeds, a last column shows the model of ``seed``. Returns "" without results.
    """
    shown = [each for each in collect([run]) if each.results]
    for each in [each for each in shown if each.strategy == strategy and len(each.results) > 1]:
        model = replace(each, label="this model", rows=[row for row in each.rows if str(row.seed) == seed])
        shown += [model] if model.results else []
    if not shown:
        return ""
    headings, rows = table_rows(shown)
    headings, rows = [markdown_text(each) for each in headings], [[markdown_text(each) for each in row] for row in rows]
    if shown[-1].label == "this model":
        rows[-1] = ["**this model**", f"seed {seed}", *rows[-1][2:]]
    first, *others = zip(["", *headings[1:]], *rows, strict=True)
    return markdown_table(first, others)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Build a table from cells that are already Markdown.

    >>> print(markdown_table(["strategy", "seeds"], [["a|b", "3"]]))
    | strategy | seeds |
    |---|---|
    | a\\|b | 3 |
    """
    heading, *lines = (
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (headings, *rows)
    )
    return "\n".join([heading, f"|{'---|' * len(headings)}", *lines])


def html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Build an HTML table from text, which is escaped. Cells that are numbers have the class ``number``.

    >>> html_table(["class"], [["on & off"]])
    '<div class="wide"><table><thead><tr><th>class</th></tr></thead><tbody><tr><td>on &amp; off</td></tr></tbody>...'
    """
    head = "".join(f"<th>{html_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _html_cell(text: str) -> str:
    """Build a cell.

    >>> _html_cell("81.2 ± 2.0"), _html_cell("e5")
    ('<td class="number">81.2 ± 2.0</td>', '<td>e5</td>')
    """
    is_number = re.fullmatch(r"[-−+]?\d[\d.,:%]*([eE][-+]?\d+)?(\s*±\s*[\d.,]+)?(\s*%)?", text.strip())
    attribute = ' class="number"' if is_number else ""
    return f"<td{attribute}>{html_text(text)}</td>"


def open_runs(runs: Sequence[Run | str | Path]) -> list[Run]:
    """Open runs for reading, without duplicates."""
    unique: dict[Path, Run] = {}
    for run in (run if isinstance(run, Run) else Run.read(run) for run in runs):
        unique.setdefault(run.folder.resolve(), run)
    return list(unique.values())


def runs_title(runs: Sequence[Run]) -> str:
    """Return the title of a report of runs."""
    if len(runs) == 1:
        return f"{runs[0].task} / {runs[0].environment.get('config', 'config')}"
    return f"{len(runs)} runs of {', '.join(dict.fromkeys(run.task for run in runs))}"
