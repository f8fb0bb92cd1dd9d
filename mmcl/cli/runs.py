"""Commands on runs: `mmcl compare`, `mmcl clean` and the listing of `mmcl ls --runs FOLDER`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli.terminal import console, print_table, say
from mmcl.errors import RunError
from mmcl.text.escape import rich_text

if TYPE_CHECKING:
    from mmcl.runs.run import Run

Runs = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to search for runs.")]


class ResultsFormat(str, Enum):
    """Format of the results that `mmcl compare` prints."""

    table = "table"
    csv = "csv"
    latex = "latex"
    markdown = "markdown"
    json = "json"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File of the report; an existing one is overwritten.")
    ] = Path("comparison.html"),
    format: Annotated[
        ResultsFormat, typer.Option("--format", "-f", help="Format of the printed results.")
    ] = ResultsFormat.table,
) -> None:
    """Compare the results of runs in a table and a report.

    Runs on other data, splits or streams of classes get a table of their own. Runs that have not finished are left out.
    With another `--format`, only the results are printed, and no report is written.

    - `mmcl compare runs/slu_incremental/* --output comparison.html`
    - `mmcl compare runs/slu_incremental/* --format latex > table.tex`
    """
    from mmcl.reports.formats import results_csv, results_json, results_latex, results_markdown_table
    from mmcl.runs.run import Run

    opened = finished_runs([Run.read(folder) for folder in runs])
    if format is ResultsFormat.table:
        return show_results(opened, output)
    write = {
        ResultsFormat.csv: results_csv,
        ResultsFormat.latex: results_latex,
        ResultsFormat.markdown: results_markdown_table,
        ResultsFormat.json: results_json,
    }[format]
    say(write(opened), lines=True, end="")


def finished_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the finished runs, and name the others in a warning. Runs of older versions have no status and are kept.

    Raises:
        RunError: No run has finished.
    """
    finished = [run for run in runs if run.status in ("finished", "unknown")]
    for run in runs:
        if run not in finished:
            say(f"left out {run.folder}: {run.status}", colour="yellow", err=True)
    if not finished:
        raise RunError(f"none of {len(runs)} runs has finished: resume one with mmcl run --resume FOLDER")
    return finished


def show_results(runs: list[Run], report: Path) -> None:
    """Print the results of runs, and write a report."""
    from mmcl.reports.page import write_report
    from mmcl.reports.tables import results_tables

    shown = console()
    for table in results_tables(runs, shown.width):
        shown.print(table)
    say(f"report: {write_report(runs, report)}")


def list_runs(folder: Path) -> None:
    """Print the runs in a folder with status, size and date."""
    from datetime import datetime

    rows = []
    for run in runs_in(folder):
        files = [path for path in run.folder.rglob("*") if path.is_file()]
        changed = datetime.fromtimestamp(max(path.stat().st_mtime for path in files))
        size = sum(path.stat().st_size for path in files) / 1e6
        cells = (str(run.folder), run.task, run.status, f"{size:,.1f} MB", f"{changed:%Y-%m-%d %H:%M}")
        rows.append(tuple(map(rich_text, cells)))
    if not rows:
        say(f"{folder} has no runs: start one with mmcl run TASK")
        return
    print_table(rows, ("run", "task", "status", "size", "changed"), wrapped=2)


def clean(
    folder: Runs = Path("runs"),
    interrupted: Annotated[bool, typer.Option("--interrupted", help="Also remove interrupted runs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove failed runs. Finished runs, and runs that another process writes, are kept.

    - `mmcl clean`
    - `mmcl clean results --interrupted --yes`
    """
    statuses = ("failed", "interrupted") if interrupted else ("failed",)
    removable = [run for run in runs_in(folder) if run.status.split(":")[0] in statuses]
    if not removable:
        say(f"{folder} has no {' or '.join(statuses)} runs")
        return
    for run in removable:
        say(f"{run.folder}  {run.status}")
    if not yes and not typer.confirm(f"Remove {len(removable)} runs?"):
        raise typer.Exit(1)
    for run in removable:
        remove_run(run, statuses)
    say(f"removed {len(removable)} runs")


def remove_run(run: Run, statuses: Sequence[str]) -> None:
    """Remove a run's folder.

    Args:
        run: The run.
        statuses: Statuses that it may have, such as ``failed``.

    Raises:
        RunError: Another process writes or has resumed the run, it holds links, or it cannot be removed.
    """
    from filelock import FileLock, Timeout

    from mmcl.files.plain_files import check_plain

    check_plain(run.folder)
    lock = FileLock(run.folder / ".lock")
    try:
        with lock.acquire(blocking=False):
            if run.status.split(":")[0] not in statuses:
                raise RunError(f"{run.folder} is {run.status}, expected {' or '.join(statuses)}: it was resumed")
            shutil.rmtree(run.folder)
    except Timeout:
        raise RunError(f"{run.folder} is written by another process: wait until it ends") from None
    except OSError as error:
        raise RunError(f"cannot remove {run.folder} ({error.strerror}): check its permissions") from None


def runs_in(folder: Path) -> Iterator[Run]:
    """Find the runs in a folder and its subfolders, by path; damaged ones are skipped with a warning."""
    from mmcl.runs.run import Run

    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("environment.json")):
        try:
            run = Run.read(path.parent)
            _ = run.task, run.status
        except RunError as error:
            say(f"skipped {path.parent}: {error}", colour="yellow", err=True)
        else:
            yield run
