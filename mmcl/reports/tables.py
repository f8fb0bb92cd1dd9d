"""Tables of results for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmcl.reports.groups import comparable_groups
from mmcl.reports.results import collect, table_rows
from mmcl.runs.run import Run
from mmcl.text.escape import html_text, markdown_text, rich_text

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
    tables = []
    for columns in _columns_that_fit(headings, rows, width):
        table = Table(title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=0)
        for column in columns:
            justify: Literal["left", "right"] = "right" if column else "left"
            first, space, rest = headings[column].partition(" ")
            lines = rich_text(first).append("\n" if space else "").append(rich_text(rest))
            table.add_column(lines, justify=justify, no_wrap=True, vertical="bottom")
        for row in rows:
            table.add_row(*(rich_text(row[column]) for column in columns))
        tables.append(table)
    tables[0].title = rich_text(title, "table.title")
    return tables


def _columns_that_fit(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Split columns into groups that fit into a width; each begins with the first column.

    A heading takes two lines, of which the first is its first word.

    >>> _columns_that_fit(["strategy", "seeds", "average"], [["replay", "1", "81.2 ± 2.0"]], 20)
    [[0, 1], [0, 2]]
    """
    sizes = [
        max(len(text) for text in (*heading.split(" ", 1), *(row[column] for row in rows)))
        for column, heading in enumerate(headings)
    ]
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
    """Build an HTML table from text, which is escaped.

    >>> html_table(["class"], [["on & off"]])
    '<div class="wide"><table><thead><tr><th>class</th></tr></thead><tbody><tr><td>on &amp; off</td></tr></tbody>...'
    """
    head = "".join(f"<th>{html_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


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
