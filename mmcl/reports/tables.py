"""Tables of results for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmcl.reports.results import collect, table_rows
from mmcl.runs.run import Run
from mmcl.text.escape import html_text, markdown_text, rich_text

if TYPE_CHECKING:
    from rich.table import Table

#: Caption of the results table.
NOTE = "accuracies in percent, mean ± standard deviation over seeds"


def results_table(runs: Sequence[Run | str | Path]) -> Table:
    """Build the results table for the terminal, with one row per strategy of each run.

    Raises:
        RunError: A folder is not a run.
    """
    from rich import box
    from rich.table import Table

    opened = open_runs(runs)
    headings, rows = table_rows(collect(opened))
    table = Table(
        title=rich_text(runs_title(opened), "table.title"),
        caption=NOTE,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for column, heading in enumerate(headings):
        first, space, rest = heading.partition(" ")
        lines = rich_text(first).append("\n" if space else "").append(rich_text(rest))
        table.add_column(lines, justify="right" if column else "left", no_wrap=True, vertical="bottom")
    for row in rows:
        table.add_row(*map(rich_text, row))
    return table


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
        rows[-1] = ["**this model**", f"seed {seed}", *(cell.removesuffix(" ± -") for cell in rows[-1][2:])]
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
