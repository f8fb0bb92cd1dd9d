"""The report of one or several runs as a single HTML page that loads nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmcl.errors import RunError
from mmcl.files import plain_yaml
from mmcl.files.atomic import written_whole
from mmcl.reports.groups import comparable_groups
from mmcl.reports.results import collect, run_names, table_rows
from mmcl.reports.tables import NOTE, html_table, open_runs, runs_title
from mmcl.runs.run import Run
from mmcl.text.escape import encodable, html_text

_EMPTY = '<p class="note">Nothing is logged yet.</p>'
_STATUSES = ("running", "finished", "interrupted", "failed")


def write_report(runs: Sequence[Run | str | Path], path: str | Path) -> Path:
    """Write the report of runs, finished or not, and return its path.

    Raises:
        RunError: A folder is not a run, or the file cannot be written.
    """
    path = Path(path)
    html = report_html(runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            temporary.write_text(encodable(html), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the report {path} ({error.strerror}): choose another path") from None
    return path


def report_html(runs: Sequence[Run | str | Path]) -> str:
    """Return the report of runs as HTML with inline plots.

    Raises:
        RunError: A folder is not a run, or its metrics cannot be shown.
    """
    from mmcl.reports.figures import draw_sections

    opened = open_runs(runs)
    sections: list[tuple[str, str, str]] = []
    try:
        for group in comparable_groups(opened):
            strategies = collect(group.runs)
            table = html_table(*table_rows(strategies)) if strategies else _EMPTY
            shown = f": {html_text(group.heading)}" if group.heading else ""
            sections.append((f"Results{shown}", NOTE, table))
            sections += [(f"{heading}{shown}", note, content) for heading, note, content in draw_sections(strategies)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"metrics.jsonl of {', '.join(str(run.folder) for run in opened)} cannot be shown "
            f"({type(error).__name__}: {error}): restore the file from a copy"
        ) from error
    sections += [("Config", "", _configs(opened)), ("Environment", "", _environments(opened))]
    title = html_text(runs_title(opened))
    body = [f"<header><h1>{title}</h1>{''.join(map(_status, opened))}</header>"]
    for heading, note, content in sections:
        note = f'<p class="note">{note}</p>' if note else ""
        kind = ' class="results"' if heading.startswith("Results") else ""
        body.append(f"<section{kind}><h2>{heading}</h2>{note}{content}</section>")
    return _PAGE.format(title=title, style=_STYLE, body="\n".join(body))


def _status(run: Run) -> str:
    kind = run.status.partition(":")[0]
    kind = kind if kind in _STATUSES else "unknown"
    shown = f'<span class="{html_text(kind)}">{html_text(run.status)}</span>'
    return f'<p class="run"><code>{html_text(run.folder)}</code> {shown}</p>'


def _configs(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"<pre>{html_text(plain_yaml.dump(runs[0].config))}</pre>"
    names = run_names(runs)
    flat = [dict(_flatten(run.config)) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    different = [key for key in keys if len({str(config.get(key, "")) for config in flat}) > 1]
    rows = [[key, *(str(config.get(key, "")) for config in flat)] for key in different]
    table = html_table(["setting", *names], rows) if rows else '<p class="note">All settings are equal.</p>'
    whole = (
        f"<details><summary>{html_text(name)}</summary><pre>{html_text(plain_yaml.dump(run.config))}</pre></details>"
        for run, name in zip(runs, names, strict=True)
    )
    return table + "".join(whole)


def _flatten(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
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
td:first-child, td.number { white-space: nowrap; }
td.number { overflow-wrap: normal; }
.results td:not(:first-child), .results th:not(:first-child) { text-align: right; }
@media (max-width: 40rem) { td:first-child { white-space: normal; min-width: 8rem; } }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; }
pre { background: #f6f7f8; padding: .8rem 1rem; overflow-x: auto; border-radius: .3rem; }
svg { max-width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, sans-serif !important; }
details { margin: .3rem 0; }
summary { cursor: pointer; }
"""
