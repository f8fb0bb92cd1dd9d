"""Predictions as JSON, CSV and tables."""

import csv
import io
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmcl.data.base import Entity
from mmcl.metrics.calibration import NotCalibrated
from mmcl.predict import output
from mmcl.predict.inputs import Answered
from mmcl.predict.intents import Prediction
from mmcl.predict.recognizer import Guess, Recognition

GUESSES = (Guess("on, off", 0.7), Guess("play", 0.2), Guess("stop", 0.1))
FOUND = [
    Answered("a.wav", Recognition("on, off", 0.7, GUESSES)),
    Answered("b.wav", Recognition(None, 0.4, (Guess("play", 0.4),))),
    Answered("c.wav", None, "c.wav is empty"),
]
ORDER = Recognition(
    "order", 0.9, (Guess("order", 0.9),), (Entity("size", "large"), Entity("drink", "latte")), "a latte"
)


def recognizer(sequence=False):
    return SimpleNamespace(threshold=0.5, calibration=NotCalibrated(""), is_sequence=sequence)


def shown(table):
    console = Console(width=80, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def test_json_has_an_object_per_input():
    first, second, third = (output.recognition_json(each, recognizer(), "naive-seed0", 2) for each in FOUND)
    assert first["label"] == "on, off" and [each["label"] for each in first["predictions"]] == ["on, off", "play"]
    assert second["label"] is None and second["threshold"] == 0.5 and second["calibrated"] is False
    assert third == {"input": "c.wav", "model": "naive-seed0", "error": "c.wav is empty"}
    decoded = output.recognition_json(Answered("a.wav", ORDER), recognizer(True), "naive-seed0", 5)
    assert decoded["entities"][1] == {"type": "drink", "value": "latte"} and decoded["transcript"] == "a latte"


@pytest.mark.parametrize("sequences", [False, True])
def test_csv_has_a_row_per_input(sequences):
    found = [*FOUND, Answered("d.wav", ORDER)]
    rows = list(csv.DictReader(io.StringIO(output.recognitions_csv(found, sequences=sequences))))
    assert [row["label"] for row in rows] == ["on, off", "", "", "order"]
    assert [row["best"] for row in rows] == ["on, off", "play", "", "order"]
    assert float(rows[0]["confidence"]) == 0.7 and rows[2]["error"] == "c.wav is empty"
    assert ("entities" in rows[3]) is sequences
    if sequences:
        assert rows[3]["entities"] == "size: large; drink: latte" and rows[3]["transcript"] == "a latte"


def test_tables_show_none_of_these():
    lines = shown(output.recognition_table(FOUND[0].answer, 2, sequence=False)).splitlines()
    assert lines[1].count("█") == 21 and "70.0 %" in lines[1] and len(lines) == 3
    assert output.NONE in shown(output.recognition_table(FOUND[1].answer, 2, sequence=False))
    decoded = shown(output.recognition_table(ORDER, 5, sequence=True))
    assert "drink: latte" in decoded and "heard: a latte" in decoded
    several = shown(output.recognitions_table([*FOUND, Answered("d.wav", ORDER)], sequences=True))
    assert output.NONE in several and "c.wav" not in several and "size: large; drink: latte" in several


def test_long_names_are_never_cut():
    path = f"/data/{'x' * 150}.wav"
    text = shown(output.recognitions_table([Answered(path, FOUND[0].answer)], sequences=False))
    assert text.count("x") == 150 and "70.0 %" in text and "…" not in text


def test_zero_shot_predictions():
    found = [Answered("a.wav", [Prediction("on", 0.5, 0.9), Prediction("off", 0.1, 0.1)]), FOUND[2]]
    assert [len(output.predictions_json(found[0], "clip", top)["predictions"]) for top in (None, 1)] == [2, 1]
    assert output.predictions_json(found[1], "clip", None)["error"] == "c.wav is empty"
    rows = list(csv.DictReader(io.StringIO(output.predictions_csv(found))))
    assert rows[0] == {"file": "a.wav", "intent": "on", "cosine": "0.500000", "share": "0.900000", "error": ""}
    assert rows[1]["error"] == "c.wav is empty" and "90 %" in shown(output.nearest_intents_table(found))
