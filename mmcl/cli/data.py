"""The commands `mmcl data ls`, `check`, `describe` and `make`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mmcl.cli.terminal import say
from mmcl.errors import ConfigError, DataError

app = typer.Typer(no_args_is_help=True, help="List, check, describe and generate data sets.")

Root = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="Folder of the data set, if not the usual one.")
]
Options = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Options of the data, such as `table=yacht` or `columns={label: intent}`.",
    ),
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
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="Name of a data set; or a file or folder of your own.")
    ],
    settings: Options = None,
    root: Root = None,
) -> None:
    """Read every annotation and file of a data set and report all errors. The exit code is 1 if there are any.

    For your own files, also show the number of rows of each class and split, and durations. Captions are checked as
    `captions` with --root.

    - `mmcl data check fsdd`
    - `mmcl data check uci_regression table=yacht`
    - `mmcl data check orders.csv`
    - `mmcl data check orders.csv columns='{label: intent}'`
    """
    from mmcl.cli.own_data import looks_like_path, options_of, show_faults, show_summary
    from mmcl.data import catalog, own

    is_own = looks_like_path(name)
    if is_own and root is not None:
        raise ConfigError(f"{name} is a file or folder, which takes no --root: remove it")
    with _progress(f"checking {name}") as advance:
        if is_own or name == "table":
            found = own.check_own(name if is_own else _required(name, root), advance, **options_of(settings or []))
            faults = list(found.faults)
        else:
            entry, place = own.captions_entry(_required(name, root)) if name == "captions" else (None, root)
            options = options_of(settings, name) if settings else None
            faults = catalog.check_dataset(entry or catalog.find(name), advance, place, options)
    if is_own or name == "table":
        show_summary(found)
    if show_faults(name, faults):
        raise typer.Exit(1)


@app.command()
def describe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file or folder of your own.")],
    settings: Options = None,
) -> None:
    """Show what a file or folder of your own holds, and the command that trains on it. No file is decoded.

    - `mmcl data describe orders.csv`
    """
    from mmcl.cli.own_data import options_of, show_command, show_faults, show_summary
    from mmcl.data import own

    found = own.describe_own(file, **options_of(settings or []))
    show_summary(found)
    if found.faults and show_faults(file, found.faults):
        say(f"next: mmcl data check {file}")
        raise typer.Exit(1)
    show_command(found, settings or [])


def _required(name: str, root: Path | None) -> Path:
    if root is None:
        raise DataError(f"data set {name} is user data: pass its folder with --root DIR")
    return root


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
