"""The command `mmcl predict`: classify a recording or an image by intents given as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmcl.cli.terminal import console, say
from mmcl.errors import ConfigError


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run with two-tower models, or of a model.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording or an image.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    intents: Annotated[list[str] | None, typer.Option("--intents", metavar="TEXT...", help="Possible intents.")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="JSON file of intents instead: {name: [texts]}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Name of the model in the run [default: the first].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the intent nearest to a recording or an image. The model need not be trained on these intents.

    - `mmcl predict runs/speech_to_intent/demo order.wav --intents "order a latte" "turn on the lights"`
    - `mmcl predict runs/speech_to_intent/demo order.wav --prompts intents.json --model cwcl-seed0 --json`
    """
    from mmcl import predict as predicting
    from mmcl.models import TwoTower
    from mmcl.sections.towers import model_folders
    from mmcl.text.suggest import nearest

    texts = [*(intents or []), *(more or [])]
    if bool(texts) == (prompts is not None):
        raise ConfigError('no intents: expected --intents "order a latte" "turn on the lights", or --prompts FILE')
    folders = model_folders(run)
    if model is not None and model not in folders:
        raise ConfigError(f"{run} has no model '{model}'{nearest(model, folders)}: expected {', '.join(folders)}")
    chosen = predicting.read_intents(prompts) if prompts is not None else {text: [text] for text in texts}
    name = model or next(iter(folders))
    predictions = predicting.predict(TwoTower.load(folders[name]), file, chosen)
    if as_json:
        rows = [each._asdict() for each in predictions]
        say(json.dumps({"file": str(file), "model": name, "predictions": rows}, indent=2), lines=True)
        return
    say(f"{file}, by {name}")
    console().print(predicting.predictions_table(predictions))
