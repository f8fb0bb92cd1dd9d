"""The commands `mmcl data ls`, `mmcl data check` and `mmcl data make`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mmcl.cli.terminal import say
from mmcl.text.escape import encodable

app = typer.Typer(no_args_is_help=True, help="List, check and generate data sets.")

Root = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="Folder of the data set, if not the usual one.")
]


@app.command()
def ls() -> None:
    """List the data sets with their folders, or how to get those that are missing."""
    from mmcl.data import catalog

    for entry in catalog.entries():
        state = catalog.status(entry)
        found, colour = ("found", "green") if state.found else ("missing", "yellow")
        say(f"{entry.name}: ", end="")
        say(found, colour=colour, end="")
        say(f"; {entry.size}; {entry.license}")
        say(f"  {state.path if state.found else state.why}")


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set; `mmcl data ls` lists them.")],
    root: Root = None,
) -> None:
    """Read every annotation and file of a data set and report all errors. The exit code is 1 if there are any.

    Check your own files as `table` or `captions`, with --root.
    """
    from mmcl.data import catalog
    from mmcl.data.own import OWN, own_entry

    if name in OWN:
        entry, root = own_entry(name, root)
    else:
        entry = catalog.find(name)
    with _progress(f"checking {name}") as advance:
        faults = catalog.check_dataset(entry, advance, root)
    for fault in faults:
        kind, colour = ("warning", "yellow") if fault.warning else ("error", "red")
        where = "" if fault.reason.startswith(encodable(str(fault.path))) else f"{fault.path}: "
        say(f"{kind}: {where}{fault.reason}", colour=colour)
    errors = sum(not fault.warning for fault in faults)
    say(f"{name}: {errors} errors, {len(faults) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a synthetic data set.")] = "synthetic_commands",
    root: Root = None,
) -> None:
    """Generate a synthetic data set. Afterwards it is found like any other."""
    from mmcl.data import catalog

    say(f"{name}: {catalog.make_dataset(name, root)}")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    from mmcl.progress import progress_display

    with progress_display(disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
