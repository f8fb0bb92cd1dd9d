"""The web page of `mmcl serve`: tabs for speech-to-intent models, for classifiers, and for class-incremental runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from mmcl.errors import ConfigError, MMCLError
from mmcl.predict import written_intents
from mmcl.reports.figures import draw_sections
from mmcl.reports.results import collect, table_rows
from mmcl.reports.tables import NOTE, html_table
from mmcl.runs.run import Run
from mmcl.serving.listener import Listener
from mmcl.serving.recognition import TABS, OpenModels, recognition_tab, refuse_addresses
from mmcl.text.escape import html_text, printable

if TYPE_CHECKING:
    from gradio import Blocks

_BYTES_PER_SECOND = 48_000 * 2 * 4  # 48 kHz, two channels, 32 bits: an upper bound for common recordings
_MAX_SECONDS = 3_600  # upper limit of --longest
_INSTRUCTION = '<div class="message">The answer is the intent closest in meaning to the speech.</div>'


class ShownAnswer(NamedTuple):
    """An answer as the page shows it: a message, the share of each intent, all scores and sentences, as HTML."""

    message: str
    shares: dict[str, float] | None
    scores: str
    sentences: str


def show_answer(listener: Listener, file: str | None, written: str) -> ShownAnswer:
    """Find the intent of a recording. Errors in the recording or in the intents become the message.

    Args:
        listener: The model.
        file: The recording, or None if there is none yet.
        written: The intents in the format of :func:`~mmcl.predict.written_intents`.
    """
    try:
        if file is None:
            raise ConfigError("no recording: record speech or choose a file first")
        answer = listener.answer(file, written_intents(written))
    except MMCLError as error:
        reason = str(error) if file is None else str(error).replace(file, Path(file).name)
        return ShownAnswer(f'<div class="message fault" role="alert">{html_text(reason)}</div>', None, "", "")
    first = answer.predictions[0]
    time = f"{1000 * answer.seconds:.0f} ms for {answer.audio_seconds:.1f} s of speech"
    message = f"<strong>{html_text(first.intent)}</strong> <span>cosine {first.cosine:.3f}, in {time}</span>"
    scores = [[each.intent, f"{each.cosine:.3f}", f"{100 * each.share:.1f} %"] for each in answer.predictions]
    return ShownAnswer(
        f'<div class="message" role="status">{message}</div>',
        {printable(each.intent): each.share for each in answer.predictions},
        f"<h2>All scores</h2>{html_table(['intent', 'cosine', 'share'], scores)}",
        _sentences(listener, [[each.text, f"{each.cosine:.3f}"] for each in answer.sentences]),
    )


def _sentences(listener: Listener, rows: list[list[str]]) -> str:
    known, total, why = listener.sentences
    if not known and not why:
        return ""
    if why:
        note, table = f"Training sentences are not available: {why}", ""
    else:
        searched = f"all {total:,}" if len(known) == total else f"the first {len(known):,} of {total:,}"
        note, table = f"Searched {searched} distinct sentences.", html_table(["sentence", "cosine"], rows)
    return f'<h2>Nearest training sentences</h2>{table}<p class="note">{html_text(note)}</p>'


def show_course(opened: Sequence[Run], chosen: Sequence[str] | None = None) -> str:
    """Return the results table and figures of runs as HTML.

    Args:
        opened: Class-incremental runs.
        chosen: Printable labels of the strategies to show (see :func:`~mmcl.reports.results.collect`); None for all.
    """
    try:
        found = [each for each in collect(opened) if chosen is None or printable(each.label) in chosen]
        if not found:
            return '<p class="note">No strategy is selected.</p>'
        runs = [f"<p><code>{html_text(run.folder)}</code> {html_text(run.status)}</p>" for run in opened]
        sections = [("Results", NOTE, html_table(*table_rows(found))), *draw_sections(found)]
    except MMCLError as error:  # a file was changed while the page is served
        return f'<div class="message fault" role="alert">{html_text(error)}</div>'
    drawn = (f'<h2>{head}</h2><p class="note">{note}</p>{content}' for head, note, content in sections)
    return f'<div class="course">{"".join(runs)}{"".join(drawn)}</div>'


def check_gradio() -> None:
    """Raise ConfigError if the package gradio is not installed."""
    if find_spec("gradio") is None:
        raise ConfigError("mmcl serve needs the package gradio: pip install 'mmcl[serve]'")


def build_page(
    listeners: Mapping[str, Listener],
    opened: Sequence[Run],
    intents: str,
    answered: Callable[[str], None] = lambda path: None,
    models: OpenModels | None = None,
) -> Blocks:
    """Build the page, with tabs for models and one for class-incremental runs. Tabs without content are left out.

    Args:
        listeners: Models of two towers by the name to show.
        opened: Class-incremental runs.
        intents: Initial text of the intents field.
        answered: Called with the path of a file after it was answered or refused.
        models: Classifiers and sequence models.

    Raises:
        ConfigError: gradio is not installed.
    """
    check_gradio()
    import gradio as gr

    with gr.Blocks(title="mmcl", analytics_enabled=False) as blocks:
        gr.State()  # makes browsers keep a connection open, so that the server notices when the page is closed
        gr.HTML("<h1>mmcl</h1>", padding=False)
        if listeners:
            with gr.Tab("Speech to intent"):
                _listening(gr, listeners, intents, answered)
        for modality, title in TABS.items():
            if models is not None and models.of_modality(modality):
                with gr.Tab(title):
                    recognition_tab(gr, models, modality, answered)
        if opened:
            with gr.Tab("Class-incremental"):
                _course(gr, blocks, opened)
    return blocks.queue(default_concurrency_limit=1, max_size=32, api_open=False)


def _listening(
    gr: ModuleType, listeners: Mapping[str, Listener], intents: str, answered: Callable[[str], None]
) -> None:
    listeners = {printable(name): each for name, each in listeners.items()}
    names = list(listeners)
    longest = min(each.longest for each in listeners.values())
    with gr.Row():
        with gr.Column():
            label = f"Speech (at most {longest:g} s)"
            speech = gr.Audio(
                sources=["microphone", "upload"], type="filepath", label=label, buttons=["download"], elem_id="speech"
            )
            written = gr.Textbox(
                printable(intents, lines=True),
                lines=8,
                max_lines=20,
                label="Intents",
                info="One per line: a phrase, or name: phrase | other phrase",
                elem_id="intents",
            )
            model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
            button = gr.Button("Which intent?", variant="primary", elem_id="ask")
        with gr.Column():
            message = gr.HTML(_INSTRUCTION, padding=False, elem_id="message")
            shares = gr.Label(label="Share of each intent", num_top_classes=8, show_heading=False, elem_id="shares")
            scores, sentences = (gr.HTML(elem_id=name) for name in ("scores", "sentences"))

    def ask(name: str, file: str | None, text: str) -> ShownAnswer:
        try:
            return show_answer(listeners[name], file, text)
        finally:
            if file is not None:
                answered(file)

    refuse_addresses(gr, speech)
    button.click(ask, [model, speech, written], [message, shares, scores, sentences], api_name="ask")


def _course(gr: ModuleType, blocks: Blocks, opened: Sequence[Run]) -> None:
    chosen = gr.CheckboxGroup(label="Strategies", elem_id="strategies")
    drawn = gr.HTML(elem_id="course")

    def load() -> tuple[object, str]:  # on every page load, because a run may still be training
        try:
            names = [printable(each.label) for each in collect(opened)]
        except MMCLError:  # shown by show_course
            names = []
        return gr.CheckboxGroup(choices=names, value=names), show_course(opened)

    def draw(labels: list[str]) -> str:
        return show_course(opened, labels)

    blocks.load(load, None, [chosen, drawn], api_name="begin", concurrency_id="course")
    chosen.input(draw, chosen, drawn, api_name="course", concurrency_id="course", show_progress="hidden")


def serve_page(
    listeners: Mapping[str, Listener],
    opened: Sequence[Run],
    intents: str,
    *,
    host: str,
    port: int,
    longest: float,
    ready: Callable[[str], None],
    allowed: Sequence[str] = (),
    models: OpenModels | None = None,
) -> None:
    """Serve the page of :func:`build_page` until Ctrl+C. Nothing is sent to other servers.

    Args:
        listeners: Models of two towers by the name to show.
        opened: Class-incremental runs.
        intents: Initial text of the intents field.
        host: Address to listen on; 127.0.0.1 is reachable from this machine only.
        port: Port to listen on.
        longest: Maximum duration of a recording in seconds. It also limits the size of uploads.
        ready: Called with the URL once the server answers.
        allowed: Additional host names accepted in requests, such as that of a proxy.
        models: Classifiers and sequence models.

    Raises:
        ConfigError: gradio is not installed, the host or port cannot be used, or ``longest`` or a name is invalid.
    """
    check_gradio()
    from mmcl.serving.guard import Hosts, check_names
    from mmcl.serving.server import address, listen, page_app, serve_app
    from mmcl.serving.uploads import Uploads

    check_names(allowed)
    if not 1 <= longest <= _MAX_SECONDS:
        raise ConfigError(f"--longest is {longest:g}, expected 1 to {_MAX_SECONDS} seconds")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory(prefix="mmcl-serve-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # deleted with the server; gradio reads it on import
        import gradio as gr

        try:
            listening = listen(host, port)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port} ({error}): choose another --port or --host") from None
        uploads = Uploads(folder)
        app = page_app(
            build_page(listeners, opened, intents, uploads.release, models),
            uploads,
            Hosts(host, tuple(allowed)),
            max_bytes=ceil(longest * _BYTES_PER_SECOND) + 1_000_000,
            theme=gr.themes.Default(primary_hue="blue"),
            css=_STYLE,
        )
        with listening:
            serve_app(app, listening, lambda: ready(address(host, port)))


_STYLE = """
h1 { font-size: 1.5rem; margin: 0; }
.message { border-left: 4px solid #0072b2; border-radius: 4px; padding: .7rem 1rem;
  background: var(--block-background-fill); }
.message strong { font-size: 1.4rem; margin-right: .6rem; }
.message span, .note { opacity: .7; font-size: .9rem; }
.message.fault { border-color: #c0392b; background: #fdecea; color: #8a1c10; overflow-wrap: anywhere; }
#scores h2, #sentences h2, .details h2, .course h2 { font-size: 1.05rem; font-weight: 600; margin: .6rem 0 .3rem; }
.wide { overflow-x: auto; }
.wide table { border: 0 !important; border-collapse: collapse; width: 100%; margin: 0; }
.wide table { font-size: .9rem; font-variant-numeric: tabular-nums; }
.wide tr { border: 0 !important; }
.wide th, .wide td { text-align: left; padding: .3rem .9rem .3rem 0 !important; overflow-wrap: anywhere; }
.wide th, .wide td { border: 0 !important; border-bottom: 1px solid #8884 !important; }
.wide td:not(:first-child), .wide th:not(:first-child) { text-align: right; white-space: nowrap; }
.course { max-width: 64rem; }
.course h2 { margin-top: 1.6rem; }
.course .note { margin: 0 0 .6rem; }
.course svg { background: white; border-radius: 8px; max-width: 100%; height: auto; display: block; }
.course svg text { font-family: system-ui, sans-serif !important; }
"""
