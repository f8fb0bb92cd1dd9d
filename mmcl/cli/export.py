"""The command `mmcl export`: write a model of a run into a folder for a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmcl.cli.terminal import say


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run with a trained model.")],
    folder: Annotated[Path, typer.Argument(metavar="HUB_FOLDER", help="A new or empty folder.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Name of the model in the run [default: the first].")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write an ONNX graph of the speech model.")] = False,
    license: Annotated[
        str, typer.Option("--license", metavar="ID", help="License of the weights as the hub abbreviates it.")
    ] = "apache-2.0",
) -> None:
    """Export a model of a run as a folder for a model hub: weights, config and a model card with the results.

    With `--onnx` the folder also has an ONNX graph from waveforms, checked against the model on real recordings (needs
    mmcl[onnx]).

    - `mmcl export runs/speech_to_intent/demo hub/named-by-words --model cwcl-seed0 --onnx`
    - `mmcl export runs/slu_incremental/barista hub/coffee-orders --model coconut-seed0 --license cc-by-4.0`
    - `hf upload OWNER/named-by-words hub/named-by-words`

    Load it in Python with `mmcl.models.from_pretrained("hub/named-by-words")`, or by its name on the hub.
    """
    from mmcl.publishing.export import export_run

    done = export_run(run, folder, model=model, onnx=onnx, license=license)
    others = f" (of {', '.join(done.models)})" if model is None and len(done.models) > 1 else ""
    say(f"{done.folder}: {done.model}{others}")
    for path in sorted(each for each in done.folder.rglob("*") if each.is_file()):
        say(f"  {path.relative_to(done.folder)}  {path.stat().st_size / 1e6:,.2f} MB")
    if done.graph:
        say(
            f"{done.graph.path.name} differs from the model by at most {done.graph.difference:.1g} on "
            f"{done.graph.recordings} recordings of {done.graph.shortest:.2g} to {done.graph.longest:.2g} s"
        )
    for name in done.paths:
        message = f"config.json names {name}, which only this machine has: README.md says how to replace it"
        say(message, colour="yellow", err=True)
