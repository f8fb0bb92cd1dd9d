"""The functions of the tabs that classify; tests/serving/test_page.py serves them."""

from __future__ import annotations

import re

import pytest
import soundfile
import torch

from mmcl.data.base import Entity
from mmcl.encoders import build_encoder
from mmcl.metrics.calibration import Calibration
from mmcl.models import Frame, FrameTokenizer, SLUClassifier, SLUSeq2Seq
from mmcl.models.saved import save_slu
from mmcl.models.saved_calibration import write_calibration
from mmcl.predict.stored_models import stored_models
from mmcl.serving.recognition import OpenModels, show_recognition


def saved(folder, threshold=0.2):
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8)
    model.grow(range(3))
    save_slu(model, folder, ["<b>on", "off", "play"])
    write_calibration(folder, Calibration("temperature", (1.0,), threshold, 30, 0.9, 0.1, 0.05))
    return stored_models(folder)


def test_a_class_is_shown_and_escaped(tmp_path, recording):
    models = OpenModels(saved(tmp_path / "a"))
    shown = show_recognition(models, "a", recording)
    recognizer, expected = models.recognize("a", recording)
    assert shown.shares == pytest.approx({each.label: each.confidence for each in expected.guesses})
    assert re.search(r"confidence \d\d\.\d %, in \d+ ms", shown.message) and 'role="status"' in shown.message
    assert "&lt;b&gt;on" in shown.details and not re.search("<b>", shown.message + shown.details)
    assert recognizer.note.split("(")[0] in shown.details and shown.details.count("<tr>") == 4


def test_an_unsure_answer_is_none_of_these(tmp_path, recording):
    shown = show_recognition(OpenModels(saved(tmp_path / "a", threshold=0.99)), "a", recording)
    assert "<strong>none of these</strong>" in shown.message and "below 99.0 %" in shown.message and shown.shares


def test_intent_entities_and_transcript_are_shown(tmp_path, recording, monkeypatch):
    frame = Frame("order", (Entity("size", "large"),), "a large latte")
    tokenizer = FrameTokenizer.train([frame], ["order"], vocabulary=60, dropout=0.0)
    sizes = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 16}
    save_slu(SLUSeq2Seq(build_encoder("audio", "cnn", dim=16), tokenizer, **sizes), tmp_path / "a", ["order"])
    monkeypatch.setattr(SLUSeq2Seq, "decode", lambda self, encoded: [self.tokenizer.encode(frame)])
    shown = show_recognition(OpenModels(stored_models(tmp_path / "a")), "a", recording)
    assert "<strong>order</strong>" in shown.message and list(shown.shares) == ["order"]
    assert "<td>size</td><td>large</td>" in shown.details and "a large latte" in shown.details
    assert "not calibrated" in shown.details


def test_errors_become_messages_with_the_file_name(tmp_path, recording):
    models = OpenModels(saved(tmp_path / "a"), longest=1.0)
    (tmp_path / "<i>.wav").write_text("text")
    soundfile.write(tmp_path / "long.wav", torch.randn(16000 * 2).numpy() * 0.1, 16000)
    for file, word in (
        (None, "no recording"),
        (str(tmp_path / "<i>.wav"), "&lt;i&gt;.wav"),
        (str(tmp_path / "long.wav"), "long.wav lasts 2.0 s"),
        (str(tmp_path / "gone.wav"), "gone.wav"),
    ):
        shown = show_recognition(models, "a", file)
        assert word in shown.message and shown[1:] == (None, "") and str(tmp_path) not in shown.message


def test_a_missing_model_becomes_a_message(tmp_path, recording):
    models = OpenModels(saved(tmp_path / "a"))
    (tmp_path / "a" / "model.safetensors").unlink()
    assert "model.safetensors" in show_recognition(models, "a", recording).message


def test_only_two_models_stay_in_memory(tmp_path, recording):
    models = OpenModels({name: saved(tmp_path / name)[name] for name in "abc"})
    assert models.of_modality("audio") == ["a", "b", "c"] and models.of_modality("image") == []
    for name in "abcb":
        assert show_recognition(models, name, recording).shares
    assert list(models._open) == ["c", "b"]
