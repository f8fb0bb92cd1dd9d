"""The command line of data sets: `mmcl data ls`, `check` and `make`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli.terminal import say
from mmcl.text.escape import encodable

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Data sets: what is there, what is sound, what can be made.")

Root = Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Its folder, if it is not the usual one.")]


@app.command()
def ls() -> None:
    """List the data sets: where each is, or where it was looked for and how to get it."""
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, as `mmcl data ls` lists them.")],
    root: Root = None,
) -> None:
    """Read every annotation and every file of a data set and name what is wrong; exit code 1 if anything is.

    Files of your own are checked as `table` or `captions`, with --root.
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
    wrong = sum(not fault.warning for fault in faults)
    say(f"{name}: {wrong} errors, {len(faults) - wrong} warnings")
    if wrong:
        raise typer.Exit(1)


@app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set that is generated.")] = "synthetic_commands",
    root: Root = None,
) -> None:
    """Make a data set that is generated, once; then it is found like any other."""
    from mmcl.data import catalog

    say(f"{name}: {catalog.make_dataset(name, root)}")


def console() -> Console:
    """Return a console for tables; in a file or a pipe, which have no width, no line is cut."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    from mmcl.progress import progress_display

    with progress_display(disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
