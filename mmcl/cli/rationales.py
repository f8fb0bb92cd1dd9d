"""The command `mmcl rationales`: have a language model explain the answers of a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmcl.cli.terminal import say
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from mmcl.rationales.writers import Writer

_NAMES = "svamp, cqa, esnli, anli, slurp_text"


def rationales(
    name: Annotated[str, typer.Argument(metavar="DATA", help=f"A data set of exercises: {_NAMES}.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where completions go; what is there is kept.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Of the endpoint; or a hub id or folder.")],
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="Of OpenAI's kind, up to /v1; none: this machine.")
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", help="Name of the files [default: the model's].")] = None,
    split: Annotated[str, typer.Option("--split", help="train, valid or test.")] = "train",
    root: Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Folder of the data set.")] = None,
    size: Annotated[int | None, typer.Option("--size", min=1, help="So many exercises, the first.")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Completions of each exercise.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of what is drawn.")] = 0.7,
    longest: Annotated[int, typer.Option("--longest", min=1, help="Tokens of a completion at most.")] = 256,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Requests at a time, or texts on a device.")] = 4,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that a request may take.")] = 60.0,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Of a request that fails.")] = 6,
    prices: Annotated[
        tuple[float, float], typer.Option("--prices", help="Of a million tokens that are read, and written.")
    ] = (0.0, 0.0),
    device: Annotated[str, typer.Option("--device", help="Where a model of this machine runs: cpu or cuda.")] = "cpu",
    download: Annotated[bool, typer.Option("--download", help="Fetch a model from the hub.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to begin.")] = False,
) -> None:
    """Have a language model explain the answers of a data set, several times each if wanted.

    First it says how many requests that is, how many tokens and what they cost at most, and asks. Run again after
    whatever went wrong: what is written already is not asked for again. The key of an endpoint is what
    `OPENAI_API_KEY` holds.

    - `mmcl rationales svamp rationales/svamp --endpoint http://localhost:8000/v1 --model llama-3 --samples 3`
    - `mmcl rationales cqa rationales/cqa --model Qwen/Qwen2.5-7B-Instruct --device cuda --size 100`
    - `mmcl run rationale_distillation data.name=svamp data.completions=rationales/svamp`
    """
    from mmcl.data import catalog, open_dataset
    from mmcl.data.texts.exercises import Exercises
    from mmcl.progress import progress_display
    from mmcl.rationales.writing import Writing

    if not issubclass(catalog.find(name).load(), Exercises):
        raise ConfigError(f"'{name}' has no exercises to explain, expected one of {_NAMES}")
    exercises: Any = open_dataset(name, split, root, size=size, teachers=())
    writer: Writer
    if endpoint is None:
        from mmcl.rationales.writers import LocalWriter

        writer = LocalWriter(
            model, download=download, temperature=temperature, longest=longest, batch_size=workers, device=device
        )
    else:
        from mmcl.rationales.writers import EndpointWriter

        settings: dict[str, Any] = {"timeout": timeout, "retries": retries, "workers": workers}
        writer = EndpointWriter(endpoint, model, temperature=temperature, longest=longest, **settings)
    writing = Writing(exercises, writer, folder, teacher or Path(model).name, samples=samples)
    left = writing.estimate()
    say(
        f"{name}, {split}: {len(writing.completions)} completions are in {writing.path}, {left.requests} are missing: "
        f"about {left.read:,} tokens to read, at most {left.written:,} to write"
    )
    if left.requests and any(prices):
        say(f"at most {left.cost(*prices):,.2f} at {prices[0]:g} and {prices[1]:g} a million tokens")
    if left.requests and not yes and not typer.confirm("Begin?"):
        raise typer.Exit(1)
    with progress_display(disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(f"{writing.teacher} explains {name}", total=left.requests)
        try:
            writing.write(lambda _: progress.advance(bar))
        finally:
            paths = writing.export()
    for number, path in enumerate(paths):
        read: Any = open_dataset(name, split, root, size=size, teachers=(path.parent.name,), completions=folder)
        unread = read.unparsed[path.parent.name] + read.outside[path.parent.name]
        there = sum((row, number) in writing.completions for row in exercises.rows)
        say(f"{path}: {there} of {len(read)} written, of which {unread} have no answer that can be read")
