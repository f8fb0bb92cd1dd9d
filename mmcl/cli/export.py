"""The command `mmcl export`: a model of a run as a folder for a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmcl.cli.terminal import say


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run that has trained a model.")],
    folder: Annotated[Path, typer.Argument(metavar="HUB_FOLDER", help="A new folder, or an empty one.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Which of the run's models [default: the first].")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write what it makes of speech as an ONNX graph, too.")] = False,
    license: Annotated[
        str, typer.Option("--license", metavar="ID", help="Of the weights, as the hub abbreviates it.")
    ] = "apache-2.0",
) -> None:
    """Write a model of a run into a folder that can be put on a model hub as it is: weights, config and a model card.

    The card has what the run measured. With `--onnx` the folder has a graph as well, waveforms in, which is checked
    against the model on real recordings (needs mmcl[onnx]).

    - `mmcl export runs/speech_to_intent/demo hub/named-by-words --model cwcl-seed0 --onnx`
    - `mmcl export runs/slu_incremental/barista hub/coffee-orders --model coconut-seed0 --license cc-by-4.0`
    - `hf upload OWNER/named-by-words hub/named-by-words`

    Python loads it by `mmcl.models.from_pretrained("hub/named-by-words")`, or by its name on the hub.
    """
    from mmcl.publishing.export import export_run

    done = export_run(run, folder, model=model, onnx=onnx, license=license)
    others = f", one of {len(done.models)}: {', '.join(done.models)}" if model is None and len(done.models) > 1 else ""
    say(f"{done.folder}: {done.model}{others}")
    for path in sorted(done.folder.iterdir()):
        say(f"  {path.name}  {path.stat().st_size / 1e6:,.2f} MB")
    if done.graph:
        say(
            f"{done.graph.path.name} differs from the model by at most {done.graph.difference:.1g} on "
            f"{done.graph.recordings} recordings of {done.graph.shortest:.2g} to {done.graph.longest:.2g} s"
        )
    for name in done.paths:
        told = f"config.json names {name}, which others do not have: README.md says what they can do"
        say(told, colour="yellow", err=True)
