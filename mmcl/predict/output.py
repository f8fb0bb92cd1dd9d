"""Predictions as JSON, CSV, and tables for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmcl.metrics.calibration import Calibration
from mmcl.predict.inputs import Answered
from mmcl.predict.intents import Prediction
from mmcl.predict.recognizer import Recognition, Recognizer

if TYPE_CHECKING:
    from rich.table import Table

NONE = "none of these"  #: shown in place of a class that was rejected
_BAR = 30  # characters


def recognition_json(found: Answered[Recognition], recognizer: Recognizer, model: str, top: int) -> dict[str, Any]:
    """Return a recognition as an object for JSON; ``label`` is null for none of these."""
    if found.answer is None:
        return {"input": found.name, "model": model, "error": found.error}
    answer = found.answer
    content: dict[str, Any] = {
        "input": found.name,
        "model": model,
        "label": answer.label,
        "confidence": answer.confidence,
        "threshold": recognizer.threshold,
        "calibrated": isinstance(recognizer.calibration, Calibration),
        "predictions": [guess._asdict() for guess in answer.guesses[:top]],
    }
    if recognizer.is_sequence:
        entities = [entity._asdict() for entity in answer.entities]
        content |= {"entities": entities, "transcript": answer.transcript}
    return content


def recognitions_csv(found: Sequence[Answered[Recognition]], *, sequences: bool) -> str:
    """Return recognitions as CSV, one row per input.

    ``label`` is empty for none of these, and ``best`` is the most confident class. Entities are written as in tables of
    own data, ``size: large; drink: latte``.

    Args:
        found: the recognitions.
        sequences: whether they are those of a sequence model.
    """
    extra = ["entities", "transcript"] if sequences else []
    rows: list[list[object]] = [["input", "label", "confidence", "best", *extra, "error"]]
    for each in found:
        if (answer := each.answer) is None:
            rows.append([each.name, "", "", "", *("" for _ in extra), each.error])
            continue
        best = answer.guesses[0].label if answer.guesses else ""
        decoded = [_entities(answer), answer.transcript] if sequences else []
        rows.append([each.name, answer.label or "", f"{answer.confidence:.6f}", best, *decoded, ""])
    return _csv(rows)


def predictions_json(found: Answered[Sequence[Prediction]], model: str, top: int | None) -> dict[str, Any]:
    """Return zero-shot predictions as an object for JSON."""
    if found.answer is None:
        return {"file": found.name, "model": model, "error": found.error}
    return {"file": found.name, "model": model, "predictions": [each._asdict() for each in found.answer[:top]]}


def predictions_csv(found: Sequence[Answered[Sequence[Prediction]]]) -> str:
    """Return the nearest intent of each file as CSV."""
    rows: list[list[object]] = [["file", "intent", "cosine", "share", "error"]]
    for each in found:
        if each.answer is None:
            rows.append([each.name, "", "", "", each.error])
        else:
            first = each.answer[0]
            rows.append([each.name, first.intent, f"{first.cosine:.6f}", f"{first.share:.6f}", ""])
    return _csv(rows)


def recognition_table(answer: Recognition, top: int, *, sequence: bool) -> Table:
    """Return a table of one recognition for the terminal: classes with bars, or what a sequence model decoded."""
    from rich.table import Table
    from rich.text import Text

    from mmcl.text.escape import rich_text

    table = Table("intent" if sequence else "class", "confidence", "", box=None, padding=(0, 2, 0, 0))
    table.header_style = "bold"
    if answer.label is None:
        table.add_row(rich_text(NONE), "", "")
    for guess in answer.guesses[:top]:
        colour = "green" if guess.label == answer.label else "blue"
        bar = Text("█" * round(_BAR * guess.confidence), colour)
        table.add_row(rich_text(guess.label), f"{100 * guess.confidence:.1f} %", bar)
    for entity in answer.entities:
        table.add_row(rich_text(f"  {entity.type}: {entity.value}"), "", "")
    if answer.transcript:
        table.add_row(rich_text(f"  heard: {answer.transcript}"), "", "")
    return table


def recognitions_table(found: Sequence[Answered[Recognition]], *, sequences: bool) -> Table:
    """Return a table with one row per input that was read."""
    from rich.table import Table

    from mmcl.text.escape import rich_text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("input", "intent" if sequences else "class", "confidence", *(["entities"] if sequences else [])):
        table.add_column(name, overflow="fold", no_wrap=name == "confidence")
    for each in found:
        if (answer := each.answer) is not None:
            cells = [each.name, answer.label or NONE, f"{100 * answer.confidence:.1f} %"]
            table.add_row(*map(rich_text, [*cells, *([_entities(answer)] if sequences else [])]))
    return table


def nearest_intents_table(found: Sequence[Answered[Sequence[Prediction]]]) -> Table:
    """Return a table with the nearest intent of each file that was read."""
    from rich.table import Table

    from mmcl.text.escape import rich_text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("file", "intent", "cosine", "share"):
        table.add_column(name, overflow="fold", no_wrap=name in ("cosine", "share"))
    for each in found:
        if each.answer is not None:
            first = each.answer[0]
            cells = (each.name, first.intent, f"{first.cosine:.3f}", f"{100 * first.share:.0f} %")
            table.add_row(*map(rich_text, cells))
    return table


def _entities(answer: Recognition) -> str:
    return "; ".join(f"{entity.type}: {entity.value}" for entity in answer.entities)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
