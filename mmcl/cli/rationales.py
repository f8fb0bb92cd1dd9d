"""The command `mmcl rationales`: let a language model explain the answers of a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mmcl.cli.terminal import say
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from mmcl.data.texts.exercises import Exercises
    from mmcl.rationales.writing import Writing

_NAMES = "svamp, cqa, esnli, anli, slurp_text"


def rationales(
    name: Annotated[str, typer.Argument(metavar="DATA", help=f"A data set of exercises: {_NAMES}.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the completions; existing ones are kept.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model of the endpoint, or hub id or folder.")],
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="OpenAI-compatible URL up to /v1; none: run locally."),
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="Name of the files [default: the model's].")] = None,
    split: Annotated[str, typer.Option("--split", help="train, valid or test.")] = "train",
    root: Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Folder of the data set.")] = None,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Use only the first exercises.")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Completions per exercise.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Sampling temperature.")] = 0.7,
    longest: Annotated[int, typer.Option("--longest", min=1, help="Maximum tokens of a completion.")] = 256,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Parallel requests, or local batch size.")] = 4,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Maximum seconds of a request.")] = 60.0,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Retries of a failed request.")] = 6,
    prices: Annotated[
        tuple[float, float], typer.Option("--prices", help="Prices of a million input tokens and output tokens.")
    ] = (0.0, 0.0),
    device: Annotated[str, typer.Option("--device", help="Device of a local model: cpu or cuda.")] = "cpu",
    download: Annotated[bool, typer.Option("--download", help="Download a model from the hub.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without confirmation.")] = False,
) -> None:
    """Let a language model explain the answers of a data set, with one or more completions per exercise.

    The command first prints the number of requests, tokens and their maximum cost, and asks for confirmation. If
    interrupted, rerun it: existing completions are kept. The key of an endpoint is read from `OPENAI_API_KEY`.

    - `mmcl rationales svamp rationales/svamp --endpoint http://localhost:8000/v1 --model llama-3 --samples 3`
    - `mmcl rationales cqa rationales/cqa --model Qwen/Qwen2.5-7B-Instruct --device cuda --size 100`
    - `mmcl run rationale_distillation data.name=svamp data.completions=rationales/svamp`
    """
    from mmcl.rationales.writers import EndpointWriter, LocalWriter, Writer
    from mmcl.rationales.writing import Writing

    exercises = _exercises(name, split, root, size, teachers=())
    writer: Writer
    if endpoint is None:
        writer = LocalWriter(
            model, download=download, temperature=temperature, longest=longest, batch_size=workers, device=device
        )
    else:
        writer = EndpointWriter(
            endpoint,
            model,
            temperature=temperature,
            longest=longest,
            timeout=timeout,
            retries=retries,
            workers=workers,
        )
    writing = Writing(exercises, writer, folder, teacher or Path(model).name, samples=samples)
    _confirm(writing, f"{name}, {split}", prices, yes)
    for sample, path in enumerate(_write(writing, name)):
        read = _exercises(name, split, root, size, teachers=(path.parent.name,), completions=folder)
        unread = read.unparsed[path.parent.name] + read.outside[path.parent.name]
        there = sum((row, sample) in writing.completions for row in exercises.rows)
        say(f"{path}: {there} of {len(read)} written, {unread} of them without a readable answer")


def _exercises(name: str, split: str, root: Path | None, size: int | None, **options: object) -> Exercises:
    from mmcl.data import catalog, open_dataset
    from mmcl.data.texts.exercises import Exercises

    if not issubclass(catalog.find(name).load(), Exercises):
        raise ConfigError(f"'{name}' has no exercises to explain, expected one of {_NAMES}")
    return cast("Exercises", open_dataset(name, split, root, size=size, **options))


def _confirm(writing: Writing, data: str, prices: tuple[float, float], yes: bool) -> None:
    """Print the estimated tokens and costs, and ask whether to start."""
    left = writing.estimate()
    say(
        f"{data}: {len(writing.completions)} completions are in {writing.path}, {left.requests} are missing: "
        f"about {left.read:,} input tokens, at most {left.written:,} output tokens"
    )
    if left.requests and any(prices):
        say(f"at most {left.cost(*prices):,.2f} at {prices[0]:g} and {prices[1]:g} per million tokens")
    if left.requests and not yes and not typer.confirm("Start?"):
        raise typer.Exit(1)


def _write(writing: Writing, name: str) -> list[Path]:
    """Request the missing completions, then export all of them."""
    from mmcl.progress import progress_display

    with progress_display(disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(f"{writing.teacher} explains {name}", total=writing.estimate().requests)
        try:
            writing.write(lambda _: progress.advance(bar))
        finally:
            paths = writing.export()
    return paths
