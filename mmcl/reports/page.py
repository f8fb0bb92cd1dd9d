"""Reports: the results of runs as one HTML file without links, as a table for the terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcl.errors import RunError
from mmcl.files import plain_yaml
from mmcl.files.atomic import written_whole
from mmcl.reports.results import StrategyResults, collect, run_names, table_rows
from mmcl.reports.row_types import checked_rows
from mmcl.runs.run import Run
from mmcl.text.escape import encodable, html_text, markdown_text, rich_text

if TYPE_CHECKING:
    from rich.table import Table


_STATUSES = ("running", "finished", "interrupted", "failed")
#: What the table of results says.
NOTE = "accuracies in percent, mean ± standard deviation over seeds"


def results_table(runs: Sequence[Run | str | Path]) -> Table:
    """Lay out mean ± standard deviation over seeds for the terminal, a row for each strategy of each run.

    Raises:
        RunError: a folder is not a run.
    """
    from rich import box
    from rich.table import Table

    opened = _opened(runs)
    headings, rows = table_rows(collect(opened))
    table = Table(
        title=rich_text(_title(opened), "table.title"),
        caption=NOTE,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for number, heading in enumerate(headings):
        first, space, rest = heading.partition(" ")
        lines = rich_text(first).append("\n" if space else "").append(rich_text(rest))
        table.add_column(lines, justify="right" if number else "left", no_wrap=True, vertical="bottom")
    for row in rows:
        table.add_row(*map(rich_text, row))
    return table


def results_markdown(run: Run, strategy: str, seed: str) -> str:
    """Lay out the same of one run in Markdown: a column for each strategy, and one for the model of ``strategy`` with
    ``seed`` where there were several seeds. Empty where nothing was measured."""
    shown = [each for each in collect([run]) if each.results]
    for each in [each for each in shown if each.strategy == strategy and len(each.results) > 1]:
        own = {number: row for number, row in each.results.items() if str(number) == seed}
        shown += [replace(each, label="this model", results=own, seeds=list(own))] if own else []
    if not shown:
        return ""
    headings, rows = table_rows(shown)
    headings, rows = [markdown_text(each) for each in headings], [[markdown_text(each) for each in row] for row in rows]
    if shown[-1].label == "this model":
        rows[-1] = ["**this model**", f"seed {seed}", *(cell.removesuffix(" ± -") for cell in rows[-1][2:])]
    first, *others = zip(["", *headings[1:]], *rows, strict=True)
    return markdown_table(first, others)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table of cells that are Markdown.

    >>> print(markdown_table(["strategy", "seeds"], [["a|b", "3"]]))
    | strategy | seeds |
    |---|---|
    | a\\|b | 3 |
    """
    heading, *lines = (
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (headings, *rows)
    )
    return "\n".join([heading, f"|{'---|' * len(headings)}", *lines])


def write_report(runs: Sequence[Run | str | Path], path: str | Path) -> Path:
    """Write the report of one or several runs, finished or not, to ``path`` and return it.

    Raises:
        RunError: a folder is not a run, or the file cannot be written.
    """
    path = Path(path)
    html = report_html(runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            temporary.write_text(encodable(html), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the report {path} ({error.strerror}): choose another place") from None
    return path


def report_html(runs: Sequence[Run | str | Path]) -> str:
    """Return the report as one page of HTML, plots included.

    Raises:
        RunError: a folder is not a run.
    """
    opened = _opened(runs)
    strategies = collect(opened)
    kinds = {row["kind"] for run in opened for row in checked_rows(run)}
    incremental = not kinds or bool(kinds & {"stream", "evaluation"})
    try:
        shown = [*(incremental_sections(opened, strategies) if incremental else []), *_drawn(opened)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"metrics.jsonl of {', '.join(str(run.folder) for run in opened)} cannot be shown "
            f"({type(error).__name__}: {error}): put the file back from a copy"
        ) from error
    sections = [
        ("Results", NOTE, html_table(*table_rows(strategies)) if strategies else ""),
        *shown,
        ("Config", "", _configs(opened)),
        ("Environment", "", _environments(opened)),
    ]
    body = [f"<header><h1>{html_text(_title(opened))}</h1>{''.join(map(_status, opened))}</header>"]
    for heading, note, content in sections:
        content = content or '<p class="note">Nothing is logged yet.</p>'
        note = f'<p class="note">{note}</p>' if note else ""
        body.append(f"<section><h2>{heading}</h2>{note}{content}</section>")
    return _PAGE.format(title=html_text(_title(opened)), style=_STYLE, body="\n".join(body))


def incremental_sections(opened: Sequence[Run], strategies: Sequence[StrategyResults]) -> list[tuple[str, str, str]]:
    """Return the sections of what was learnt in experiences: heading, note and content as HTML."""
    from mmcl.reports.figures import classes as figures

    return [
        (
            "Accuracy over experiences",
            "line: mean over seeds, band: standard deviation",
            figures.accuracy_curves(strategies),
        ),
        ("Accuracy matrices", "test accuracy in percent, mean over seeds", figures.accuracy_matrices(strategies)),
        (
            "Forgetting per class",
            "best accuracy so far minus last, mean over seeds",
            figures.class_forgetting(strategies),
        ),
        ("Streams", "the classes of each experience, in the order of training", _streams(opened)),
    ]


def _drawn(opened: Sequence[Run]) -> list[tuple[str, str, str]]:
    """The sections of two towers, several views, unlearning and rationales, each where there is something to show."""
    from mmcl.reports.figures import rationales as rationale_figures
    from mmcl.reports.figures import towers as tower_figures
    from mmcl.reports.figures import unlearning as unlearning_figures
    from mmcl.reports.figures import views as view_figures

    rows = [row for run in opened for row in checked_rows(run)]
    sections = [
        ("Training loss", "mean over seeds", tower_figures.losses(rows)),
        ("Confusion", "zero-shot, row: true class, column: nearest class; first seed", tower_figures.confusions(rows)),
        (
            "Structure of similarities",
            "pairs of held-out samples: cosine of their texts in the locked tower against cosine of the speech of one "
            "and the text of the other; first seed",
            tower_figures.similarities(rows),
        ),
        (
            "Views",
            "test accuracy of each view, and of the others where it is missing; mean and deviation over seeds",
            view_figures.views(rows),
        ),
        (
            "Nearness to Retrain",
            "mean and deviation over seeds; right: of each measure, the difference from Retrain's with the same seed",
            unlearning_figures.distances(rows),
        ),
        ("Answers", "mean and deviation over seeds; right: each seed, and their mean", rationale_figures.answers(rows)),
        ("Map", "test samples as all views embed them, by t-SNE; first seed", view_figures.maps(rows)),
    ]
    return [section for section in sections if section[2]]


def _opened(runs: Sequence[Run | str | Path]) -> list[Run]:
    """The runs, each once."""
    unique: dict[Path, Run] = {}
    for run in (run if isinstance(run, Run) else Run.read(run) for run in runs):
        unique.setdefault(run.folder.resolve(), run)
    return list(unique.values())


def _title(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"{runs[0].task} / {runs[0].environment.get('config', 'config')}"
    return f"{len(runs)} runs of {', '.join(dict.fromkeys(run.task for run in runs))}"


def _status(run: Run) -> str:
    kind = run.status.partition(":")[0]
    kind = kind if kind in _STATUSES else "unknown"
    shown = f'<span class="{html_text(kind)}">{html_text(run.status)}</span>'
    return f'<p class="run"><code>{html_text(run.folder)}</code> {shown}</p>'


def html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a table of text as HTML.

    >>> html_table(["class"], [["on & off"]])
    '<div class="wide"><table><thead><tr><th>class</th></tr></thead><tbody><tr><td>on &amp; off</td></tr></tbody>...'
    """
    head = "".join(f"<th>{html_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _streams(runs: Sequence[Run]) -> str:
    parts = []
    for run, name in zip(runs, run_names(runs), strict=True):
        # The same for each strategy, but for one that trains on everything at once.
        by_seed = {
            row.get("seed"): row for row in sorted(checked_rows(run, "stream"), key=lambda row: len(row["experiences"]))
        }
        for seed, row in by_seed.items():
            unknown = ["-"] * len(row["experiences"])
            sizes = zip(
                row["experiences"], row.get("train_sizes", unknown), row.get("test_sizes", unknown), strict=False
            )
            rows = [[str(i), ", ".join(c), str(train), str(test)] for i, (c, train, test) in enumerate(sizes, start=1)]
            label = f"seed {seed}" if len(runs) == 1 else f"{name}, seed {seed}"
            table = html_table(["experience", "classes", "train samples", "test samples"], rows)
            parts.append(f"<details><summary>{html_text(label)}</summary>{table}</details>")
    return "".join(parts)


def _configs(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"<pre>{html_text(plain_yaml.dump(runs[0].config))}</pre>"
    names = run_names(runs)
    flat = [dict(_flatten(run.config)) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    unlike = [key for key in keys if len({str(config.get(key, "")) for config in flat}) > 1]
    table = html_table(["setting", *names], [[key, *(str(config.get(key, "")) for config in flat)] for key in unlike])
    whole = (
        f"<details><summary>{html_text(name)}</summary><pre>{html_text(plain_yaml.dump(run.config))}</pre></details>"
        for run, name in zip(runs, names, strict=True)
    )
    return (table if unlike else '<p class="note">All settings are equal.</p>') + "".join(whole)


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _environments(runs: Sequence[Run]) -> str:
    columns = []
    for environment in (run.environment for run in runs):
        changes = " with uncommitted changes" if environment.get("uncommitted_changes") else ""
        commit, resumed, versions = (environment.get(key) for key in ("commit", "resumed", "versions"))
        again = (
            [str(each.get("time")) for each in resumed if isinstance(each, dict)] if isinstance(resumed, list) else []
        )
        used = {"python": environment.get("python"), **(versions if isinstance(versions, dict) else {})}
        columns.append(
            {
                "command": environment.get("command"),
                "started": environment.get("time"),
                "resumed": ", ".join(again) or "never",
                "seeds": environment.get("seeds"),
                "commit": f"{commit}{changes}" if commit else "not from a checkout",
                "platform": f"{environment.get('platform')}, {environment.get('processors')} processors",
                "versions": ", ".join(f"{name} {version}" for name, version in used.items() if version),
            }
        )
    headings = ["", *(run_names(runs) if len(runs) > 1 else [""])]
    return html_table(headings, [[name, *(str(column[name]) for column in columns)] for name in columns[0]])


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .25rem; padding-top: .9rem; border-top: 1px solid #e4e4e4; }
.note { color: #666; margin: 0 0 .6rem; font-size: .9rem; }
.run { margin: .15rem 0; font-size: .9rem; }
.run span { border-radius: 1rem; padding: .05rem .6rem; background: #eef1f4; }
.run .finished { background: #e0f2e9; color: #14532d; }
.run .failed, .run .interrupted { background: #fdecea; color: #8a1c10; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #eee; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #999; }
td { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
section:first-of-type td:not(:first-child), section:first-of-type th:not(:first-child) { text-align: right; }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; }
pre { background: #f6f7f8; padding: .8rem 1rem; overflow-x: auto; border-radius: .3rem; }
svg { max-width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, sans-serif !important; }
details { margin: .3rem 0; }
summary { cursor: pointer; }
"""
