"""The command `mmcl predict`: try a model of a run on recordings, images or texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from mmcl.cli.terminal import console, say
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from mmcl.predict.inputs import Answered, PredictionInput
    from mmcl.predict.stored_models import StoredModel

AnswerT = TypeVar("AnswerT")
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="SHARE",
        min=0,
        max=1,
        help="Answer 'none of these' below this confidence; 0 accepts all [default: chosen on validation data].",
    ),
]


class SeveralIntents(TyperCommand):
    """A command whose option ``--intents`` takes all values up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, which is what click reads."""
        repeated: list[str] = []
        inside = False
        for argument in args:
            if argument.startswith("-"):
                inside = argument == "--intents"
                repeated += [] if inside else [argument]
            else:
                repeated += ["--intents", argument] if inside else [argument]
        return super().parse_args(ctx, repeated)


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of a model that was exported.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Recordings, images, texts (one per line), tables, or folders."),
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="A text, for models of texts; can be repeated.")
    ] = None,
    intents: Annotated[
        list[str] | None, typer.Option("--intents", metavar="TEXT...", help="Possible intents, for two towers.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="JSON file of intents instead: {name: [texts]}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Name of the model in the run [default: the first].")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="K", min=1, help="Show the best K classes [default: 5].")
    ] = None,
    threshold: Threshold = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per input.")] = False,
) -> None:
    """Try a trained model on recordings, images or texts.

    A classifier names the class, and a sequence model the intent and the entities. The confidence is calibrated on
    validation data. If it is below the threshold, the answer is "none of these". A model of several views or of
    numbers takes the rows of a table.

    - `mmcl predict runs/slu_incremental/demo order.wav`
    - `mmcl predict runs/slu_incremental/demo recordings/ --model replay-seed0 --csv`
    - `mmcl predict runs/text_incremental/demo --text "wake me at seven" --top 3`
    - `mmcl predict hub/coffee-orders a.wav b.wav --threshold 0.8 --json`

    A model of two towers finds the nearest of the given intents. It need not be trained on them.

    - `mmcl predict runs/speech_to_intent/demo order.wav --intents "order a latte" "turn on the lights"`
    - `mmcl predict runs/speech_to_intent/demo order.wav --prompts intents.json --model cwcl-seed0 --json`

    Of several inputs, those that cannot be read are listed at the end, with exit code 1.
    """
    from mmcl.predict.stored_models import choose_model

    if as_json and as_csv:
        raise ConfigError("--json and --csv are both given: choose one of them")
    chosen = choose_model(run, model)
    options = _Options(files or [], texts or [], top, as_json, as_csv)
    if chosen.is_towers:
        if threshold is not None:
            raise ConfigError(f"--threshold is not for '{chosen.name}', which has two towers: remove it")
        _predict_intents(chosen, options, intents or [], prompts)
        return
    if intents or prompts is not None:
        raise ConfigError(f"'{chosen.name}' knows its classes from training: remove --intents and --prompts")
    _recognize(chosen, options, threshold)


class _Options:
    """What to predict, and how to print it."""

    def __init__(
        self, files: Sequence[Path], texts: Sequence[str], top: int | None, as_json: bool, as_csv: bool
    ) -> None:
        self.files, self.texts, self.top, self.as_json, self.as_csv = files, texts, top, as_json, as_csv

    def inputs(self, modality: str) -> list[PredictionInput]:
        """List the inputs of a model."""
        from mmcl.predict.inputs import prediction_inputs

        return prediction_inputs(self.files, self.texts, modality)

    def one(self, inputs: Sequence[PredictionInput]) -> bool:
        """Return whether the command names exactly one input, rather than a folder or a file of texts."""
        return len(self.files) + len(self.texts) == len(inputs) == 1 and not any(map(Path.is_dir, self.files))


def _recognize(chosen: StoredModel, options: _Options, threshold: float | None) -> None:
    """Predict with a classifier or a sequence model."""
    from mmcl.predict import output
    from mmcl.predict.recognizer import Recognition

    recognizer = chosen.recognizer(threshold)
    top = 5 if options.top is None else options.top
    inputs = options.inputs(recognizer.modality)

    def answer(each: PredictionInput) -> Recognition:
        if each.row is not None:
            return recognizer.recognize_row(each.row)
        return recognizer.recognize_file(each.path) if each.path else recognizer.recognize_text(each.text)

    found = _answers(inputs, answer, one=options.one(inputs))
    if options.as_json:
        _say_json([output.recognition_json(each, recognizer, chosen.name, top) for each in found], options.one(inputs))
    elif options.as_csv:
        say(output.recognitions_csv(found, sequences=recognizer.is_sequence), lines=True, end="")
    else:
        rejected = f"; '{output.NONE}' is below {100 * recognizer.threshold:.1f} %" if recognizer.threshold else ""
        if len(inputs) == 1 and found[0].answer is not None:
            say(f"{found[0].name}, by {chosen.name}")
            console().print(output.recognition_table(found[0].answer, top, sequence=recognizer.is_sequence))
        else:
            say(f"{len(inputs)} inputs, by {chosen.name}")
            console().print(output.recognitions_table(found, sequences=recognizer.is_sequence))
        say(f"{recognizer.note}{rejected}")
    _report(found)


def _predict_intents(chosen: StoredModel, options: _Options, intents: Sequence[str], prompts: Path | None) -> None:
    """Predict with two towers."""
    from mmcl import predict as predicting
    from mmcl.predict import output

    if bool(intents) == (prompts is not None):
        raise ConfigError('no intents: expected --intents "order a latte" "turn on the lights", or --prompts FILE')
    texts = predicting.read_intents(prompts) if prompts is not None else {text: [text] for text in intents}
    predicting.check_intents(texts)
    model = chosen.towers()
    inputs = options.inputs(model.beside_text.modality)
    found: list[Answered[Sequence[predicting.Prediction]]] = _answers(
        inputs, lambda each: predicting.predict(model, each.path or each.text, texts), one=options.one(inputs)
    )
    if options.as_json:
        _say_json([output.predictions_json(each, chosen.name, options.top) for each in found], options.one(inputs))
    elif options.as_csv:
        say(output.predictions_csv(found), lines=True, end="")
    elif len(inputs) == 1 and found[0].answer is not None:
        say(f"{found[0].name}, by {chosen.name}")
        console().print(predicting.predictions_table(found[0].answer[: options.top]))
    else:
        say(f"{len(inputs)} files, by {chosen.name}")
        console().print(output.nearest_intents_table(found))
    _report(found)


def _answers(
    inputs: Sequence[PredictionInput], answer: Callable[[PredictionInput], AnswerT], *, one: bool
) -> list[Answered[AnswerT]]:
    """Answer all inputs with a progress display; the error of a single input is raised."""
    from mmcl.predict.inputs import Answered, answer_all
    from mmcl.progress import progress_display

    if one and not inputs[0].fault:
        return [Answered(inputs[0].name, answer(inputs[0]))]
    with progress_display(disable=len(inputs) < 2) as progress:
        bar = progress.add_task("predicting", total=len(inputs))
        return list(answer_all(inputs, answer, partial(progress.advance, bar)))


def _say_json(rows: list[dict[str, Any]], one: bool) -> None:
    say(json.dumps(rows[0] if one else rows, indent=2), lines=True)


def _report(found: Sequence[Answered[Any]]) -> None:
    """Report the inputs that could not be read, and exit with code 1 if there are any."""
    failed = [each for each in found if each.answer is None]
    for each in failed:
        say(f"error: {each.error}", colour="red", err=True)
    if failed:
        if len(found) > 1:
            say(f"{len(failed)} of {len(found)} inputs could not be read", colour="red", err=True)
        raise typer.Exit(1)
