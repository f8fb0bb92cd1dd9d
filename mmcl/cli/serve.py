"""The command `mmcl serve`: a page to speak to the models of runs, and to see what runs have learnt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmcl.cli.terminal import say
from mmcl.errors import CheckpointError, ConfigError, RunError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mmcl.runs.run import Run
    from mmcl.serving.listener import Listener

_INTENTS = "order a latte\nturn on the lights\nwhat is the weather like\nset an alarm\nplay some music"
_MOST_CLASSES = 20  # of a run, that are proposed as intents


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or of models.")],
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Who may ask: 0.0.0.0 is everybody, without a password.")
    ] = "127.0.0.1",
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A further name of the page, such as that of a proxy."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it listens.")] = 7860,
    longest: Annotated[
        float, typer.Option("--longest", min=1, max=3600, help="Seconds that a recording may have.")
    ] = 30.0,
    sentences: Annotated[
        int, typer.Option("--sentences", min=0, help="Training sentences to seek the nearest among.")
    ] = 5000,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="CPU threads of an answer; busy machines are quickest with one.")
    ] = 1,
) -> None:
    """Serve a page on this machine: name speech in words, see what class-incremental runs remember. Ctrl+C ends it.

    - `mmcl serve runs/speech_to_intent/demo`
    - `mmcl serve runs/slu_incremental/demo runs/slu_incremental/barista --port 8000`
    """
    from mmcl.serving.guard import check_names
    from mmcl.serving.page import check_gradio, serve_page

    check_gradio()
    check_names(allowed or ())
    check_port(host, port)
    spoken, incremental = part(runs)
    intents = proposed_intents(spoken[0]) if spoken else ""
    serve_page(
        load(spoken, intents, longest=longest, sentences=sentences, threads=threads) if spoken else {},
        incremental,
        intents,
        host=host,
        port=port,
        longest=longest,
        allowed=allowed or (),
        ready=lambda address: say(f"serving {address} (Ctrl+C ends it)"),
    )


def check_port(host: str, port: int) -> None:
    """Raise ConfigError where nothing can listen, before anything is loaded."""
    import socket

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from None


def part(folders: Sequence[Path]) -> tuple[list[Path], list[Run]]:
    """Part folders into those with models of two towers, and class-incremental runs; one may be both.

    Raises:
        RunError: one is neither, or no run at all.
    """
    from mmcl.reports.row_types import checked_rows
    from mmcl.runs.run import Run
    from mmcl.sections.towers import model_folders

    spoken: list[Path] = []
    incremental: list[Run] = []
    for folder in dict.fromkeys(folders):
        has_models = True
        try:
            model_folders(folder)
            spoken.append(folder)
        except CheckpointError:
            has_models = False
        if has_models and not (folder / "config.yaml").is_file():
            continue  # a model alone
        run = Run.read(folder)
        if checked_rows(run, "evaluation"):
            incremental.append(run)
        elif not has_models:
            raise RunError(
                f"{folder} is a run of {run.task} ({run.status}) without a model of two towers, and without accuracy "
                "over experiences: expected a run of speech_to_intent or contrastive_pretraining that has finished a "
                "model, or of slu_incremental that has finished an experience"
            )
    return spoken, incremental


def load(folders: Sequence[Path], intents: str, *, longest: float, sentences: int, threads: int) -> dict[str, Listener]:
    """Load the models of runs, with a bar, and warm them up; of several runs, a name begins with the folder."""
    import torch

    from mmcl.predict import written_intents
    from mmcl.progress import progress_display
    from mmcl.serving.listener import listeners

    torch.set_num_threads(threads)
    found: dict[str, Listener] = {}
    with progress_display(disable=not sys.stderr.isatty()) as progress:
        for folder in folders:
            bar = progress.add_task(f"{folder.name}: embedding training sentences", total=None)
            advance = partial(_advance, progress, bar)
            own = listeners(folder, longest=longest, limit=sentences, progress=advance)
            found |= {name if len(folders) == 1 else f"{folder}/{name}": each for name, each in own.items()}
    for each in found.values():
        each.warm_up(written_intents(intents))
    return found


def _advance(progress: Progress, bar: TaskID, done: int, total: int) -> None:
    progress.update(bar, completed=done, total=total)


def proposed_intents(folder: Path) -> str:
    """Write the classes that a run was evaluated on, one a line, or everyday intents where there are none."""
    from mmcl.predict import written_intents
    from mmcl.reports.row_types import checked_rows
    from mmcl.runs.run import Run

    rows = checked_rows(Run.read(folder), "zero_shot") if (folder / "metrics.jsonl").is_file() else []
    for row in rows:
        written = "\n".join(name.replace("_", " ") for name in row.get("classes", ()))
        with suppress(ConfigError):  # names that a person could not write
            if 2 <= len(written_intents(written)) <= _MOST_CLASSES:
                return written
    return _INTENTS
