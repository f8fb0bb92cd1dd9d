"""The tabs of the page that classify speech, images or texts with models of runs."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple

from mmcl.data.audio import audio_seconds
from mmcl.errors import AudioError, ConfigError, MMCLError
from mmcl.predict.output import NONE
from mmcl.predict.recognizer import Recognition, Recognizer
from mmcl.predict.stored_models import StoredModel
from mmcl.reports.tables import html_table
from mmcl.text.escape import html_text, printable

TABS = {"audio": "Classify speech", "image": "Classify images", "text": "Classify texts"}  #: title by modality
_INPUTS = {"audio": "recording: record speech", "image": "image: choose a file", "text": "text: write one"}
_OPEN = 2  # models in memory
_SHOWN = 50  # classes in the table
_INSTRUCTION = f'<div class="message">Unsure answers are shown as <em>{NONE}</em>.</div>'


class OpenModels:
    """Opens models when they are first used, and keeps the last two in memory. Methods are thread-safe.

    Args:
        stored: Models by the name to show.
        longest: Maximum duration of a recording in seconds.
    """

    def __init__(self, stored: Mapping[str, StoredModel], *, longest: float = 30.0) -> None:
        self.stored, self.longest = dict(stored), longest
        self._open: OrderedDict[str, Recognizer] = OrderedDict()
        self._lock = Lock()

    def of_modality(self, modality: str) -> list[str]:
        """Return the names of the models of a modality."""
        return [name for name, each in self.stored.items() if each.modality == modality]

    def recognize(self, name: str, given: str) -> tuple[Recognizer, Recognition]:
        """Recognize a file, or a text for a model of texts.

        Raises:
            MMCLError: The model or the file cannot be read, or a recording is too long.
        """
        with self._lock:
            recognizer = self._recognizer(name)
            if recognizer.modality == "text":
                return recognizer, recognizer.recognize_text(given)
            if recognizer.modality == "audio" and (seconds := audio_seconds(given)) > self.longest:
                raise AudioError(f"{given} lasts {seconds:.1f} s, expected at most {self.longest:g} s: shorten it")
            return recognizer, recognizer.recognize_file(given, max_seconds=self.longest)

    def _recognizer(self, name: str) -> Recognizer:
        if name not in self._open:
            self._open[name] = self.stored[name].recognizer()
        self._open.move_to_end(name)
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return self._open[name]


class ShownRecognition(NamedTuple):
    """A recognition as the page shows it: a message, the confidence of each class, and details, as HTML."""

    message: str
    shares: dict[str, float] | None
    details: str


def show_recognition(models: OpenModels, name: str, given: str | None) -> ShownRecognition:
    """Recognize a file or a text. Errors become the message.

    Args:
        models: The models.
        name: The name of the model.
        given: The path of a file, or a text; None if there is none yet.
    """
    started = time.perf_counter()
    try:
        if not (given or "").strip():
            raise ConfigError(f"no {_INPUTS[models.stored[name].modality]} first")
        recognizer, found = models.recognize(name, str(given))
    except MMCLError as error:
        reason = str(error)
        if given and models.stored[name].modality != "text":
            reason = reason.replace(given, Path(given).name)
        return ShownRecognition(f'<div class="message fault" role="alert">{html_text(reason)}</div>', None, "")
    milliseconds = 1000 * (time.perf_counter() - started)
    about = f"confidence {100 * found.confidence:.1f} %, in {milliseconds:.0f} ms"
    if found.label is None and recognizer.threshold is not None:
        about += f", below {100 * recognizer.threshold:.1f} %"
    message = f"<strong>{html_text(found.label or NONE)}</strong> <span>{html_text(about)}</span>"
    shares = {printable(guess.label): guess.confidence for guess in found.guesses}
    return ShownRecognition(f'<div class="message" role="status">{message}</div>', shares, _details(recognizer, found))


def _details(recognizer: Recognizer, found: Recognition) -> str:
    """Return all classes, or the entities and the transcript of a sequence, and a note on the confidence."""
    note = f'<p class="note">{html_text(recognizer.note)}</p>'
    if not recognizer.is_sequence:
        rows = [[guess.label, f"{100 * guess.confidence:.1f} %"] for guess in found.guesses[:_SHOWN]]
        return f"<h2>All classes</h2>{html_table(['class', 'confidence'], rows)}{note}"
    heard = f"<h2>Transcript</h2><p>{html_text(found.transcript)}</p>" if found.transcript else ""
    entities = html_table(["entity", "value"], found.entities) if found.entities else '<p class="note">none</p>'
    return f"<h2>Entities</h2>{entities}{heard}{note}"


def recognition_tab(gr: ModuleType, models: OpenModels, modality: str, answered: Callable[[str], None]) -> None:
    """Add the inputs and outputs of a modality to the page.

    Args:
        gr: The package gradio.
        models: All models.
        modality: ``"audio"``, ``"image"`` or ``"text"``.
        answered: Called with the path of a file after it was answered or refused.
    """
    names = {printable(name): name for name in models.of_modality(modality)}
    with gr.Row():
        with gr.Column():
            given = _field(gr, modality, models.longest)
            first = next(iter(names))
            model = gr.Dropdown(
                list(names), value=first, label="Model", visible=len(names) > 1, elem_id=f"{modality}_model"
            )
            button = gr.Button("Which class?", variant="primary", elem_id=f"{modality}_ask")
        with gr.Column():
            message = gr.HTML(_INSTRUCTION, padding=False, elem_id=f"{modality}_message")
            shares = gr.Label(label="Confidence", num_top_classes=8, show_heading=False, elem_id=f"{modality}_shares")
            details = gr.HTML(elem_id=f"{modality}_details", elem_classes="details")

    def ask(name: str, value: str | None) -> ShownRecognition:
        try:
            return show_recognition(models, names[name], value)
        finally:
            if value is not None and modality != "text":
                answered(value)

    button.click(ask, [model, given], [message, shares, details], api_name=f"classify_{modality}")


def _field(gr: ModuleType, modality: str, longest: float) -> Any:
    """Return the input field of a modality."""
    name = f"{modality}_input"
    if modality == "text":
        return gr.Textbox(label="Text", lines=3, max_lines=10, elem_id=name)
    if modality == "image":
        form = {"type": "filepath", "image_mode": None, "sources": ["upload"], "height": 300, "buttons": []}
        field = gr.Image(**form, label="Image", elem_id=name)
        field.preprocess = lambda payload: payload and payload.path  # mmcl reads the file, and says what is wrong
    else:
        label = f"Speech (at most {longest:g} s)"
        sources = ["microphone", "upload"]
        field = gr.Audio(sources=sources, type="filepath", label=label, buttons=["download"], elem_id=name)
    refuse_addresses(gr, field)
    return field


def refuse_addresses(gr: ModuleType, field: Any) -> None:
    """Let a field refuse URLs, which gradio would download."""
    keep = field.async_move_resource_to_block_cache

    async def move(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("the file is a URL, expected an uploaded file")
        return await keep(path)

    field.async_move_resource_to_block_cache = move
