"""The command `mmcl serve`: a web page to try models and to view class-incremental runs."""

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

    from mmcl.predict.stored_models import StoredModel
    from mmcl.runs.run import Run
    from mmcl.serving.listener import Listener

_INTENTS = "order a latte\nturn on the lights\nwhat is the weather like\nset an alarm\nplay some music"
_MAX_PROPOSED = 20  # intents


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs or models.")],
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 lets everyone in without a password."
        ),
    ] = "127.0.0.1",
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another accepted host name, such as that of a proxy."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 7860,
    longest: Annotated[
        float, typer.Option("--longest", min=1, max=3600, help="Maximum seconds of a recording.")
    ] = 30.0,
    sentences: Annotated[
        int, typer.Option("--sentences", min=0, help="Training sentences to search for the nearest ones.")
    ] = 5000,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="CPU threads per request; 1 is fastest on a busy machine.")
    ] = 1,
) -> None:
    """Serve a web page to try models on speech, images or texts, and to view runs. Press Ctrl+C to stop it.

    Record or upload speech, choose an image, or write a text. The page shows the class or the intent with its
    confidence, and "none of these" below the threshold chosen on validation data.

    - `mmcl serve runs/speech_to_intent/demo`
    - `mmcl serve runs/slu_incremental/demo runs/text_incremental/demo --port 8000`
    """
    from mmcl.serving.guard import check_names
    from mmcl.serving.page import check_gradio, serve_page

    check_gradio()
    check_names(allowed or ())
    check_port(host, port)
    import torch

    from mmcl.serving.recognition import OpenModels

    torch.set_num_threads(threads)
    speech, incremental = split_folders(runs)
    intents = proposed_intents(speech[0]) if speech else ""
    serve_page(
        load(speech, intents, longest=longest, sentences=sentences) if speech else {},
        incremental,
        intents,
        host=host,
        port=port,
        longest=longest,
        allowed=allowed or (),
        ready=lambda address: say(f"serving {address} (press Ctrl+C to stop)"),
        models=OpenModels(recognizing_models(runs), longest=longest),
    )


def check_port(host: str, port: int) -> None:
    """Raise ConfigError if the address cannot be used, before models are loaded."""
    import socket

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from None


def split_folders(folders: Sequence[Path]) -> tuple[list[Path], list[Run]]:
    """Return the folders with two-tower models, and the class-incremental runs. A folder may be both or neither.

    Raises:
        RunError: A folder has no model, and is no class-incremental run.
    """
    from mmcl.reports.row_types import EvaluationRow, read_metrics, rows_of_type
    from mmcl.runs.run import Run

    speech: list[Path] = []
    incremental: list[Run] = []
    for folder in dict.fromkeys(folders):
        models = _models(folder)
        if any(each.is_towers for each in models.values()):
            speech.append(folder)
        if models and not (folder / "config.yaml").is_file():
            continue  # a model without its run
        run = Run.read(folder)
        if rows_of_type(read_metrics(run), EvaluationRow):
            incremental.append(run)
        elif not models:
            raise RunError(
                f"{folder} is a run of {run.task} ({run.status}) without a model and without accuracy over "
                "experiences: expected a run that has finished either of them"
            )
    return speech, incremental


def recognizing_models(folders: Sequence[Path]) -> dict[str, StoredModel]:
    """Return the classifiers and sequence models of folders. With several folders, names are prefixed by the folder."""
    unique = list(dict.fromkeys(folders))
    return {
        name if len(unique) == 1 else f"{folder}/{name}": stored
        for folder in unique
        for name, stored in _models(folder).items()
        if stored.modality
    }


def _models(folder: Path) -> dict[str, StoredModel]:
    """Return all models of a folder, which may have none."""
    from mmcl.predict.stored_models import stored_models

    try:
        return stored_models(folder)
    except CheckpointError:
        return {}


def load(folders: Sequence[Path], intents: str, *, longest: float, sentences: int) -> dict[str, Listener]:
    """Load and warm up the models of runs. With several runs, names are prefixed by the folder."""
    from mmcl.predict import written_intents
    from mmcl.progress import progress_display
    from mmcl.serving.listener import listeners

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
    """Return the classes that a run was evaluated on, one per line, or everyday intents if it has none."""
    from mmcl.predict import written_intents
    from mmcl.reports.row_types import ZeroShotRow, read_metrics, rows_of_type
    from mmcl.runs.run import Run

    rows = read_metrics(Run.read(folder)) if (folder / "metrics.jsonl").is_file() else []
    for row in rows_of_type(rows, ZeroShotRow):
        written = "\n".join(name.replace("_", " ") for name in row.classes)
        with suppress(ConfigError):  # class names that are not valid intents
            if 2 <= len(written_intents(written)) <= _MAX_PROPOSED:
                return written
    return _INTENTS
