"""The command `mmcl predict`; tests/tasks predicts with models trained by a run."""

import csv
import io
import json
import re
import shlex
import shutil

import pytest
import soundfile
import torch

from mmcl.cli.predict import predict
from mmcl.encoders import build_encoder
from mmcl.metrics.calibration import Calibration
from mmcl.models import SLUClassifier, TwoTower
from mmcl.models.saved import save_slu
from mmcl.models.saved_calibration import write_calibration
from mmcl.models.saved_classifiers import save_classifier
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8)
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def recording(tmp_path):
    soundfile.write(tmp_path / "order.wav", torch.sin(torch.arange(9000) / 8).numpy() * 0.3, 16000)
    return tmp_path / "order.wav"


def test_predictions_are_printed(mmcl_, model, recording):
    code, out, err = mmcl_("predict", model, recording, "--intents", "order a latte", "turn on the lights")
    assert (code, err) == (0, "") and "order a latte" in out and "turn on the lights" in out
    _, out, _ = mmcl_("predict", model, recording, "--intents", "order a latte", "turn on the lights", "--json")
    assert {each["intent"] for each in json.loads(out)["predictions"]} == {"order a latte", "turn on the lights"}


def test_intents_and_models_are_checked(mmcl_, model, recording):
    for arguments, word in (([], "--intents"), (["--intents", "on", "off", "--model", "other"], "'other'")):
        code, out, err = mmcl_("predict", model, recording, *arguments)
        assert (code, out) == (2, "") and word in err and err.count("\n") == 1


def test_several_files_and_several_intents(mmcl_, model, recording, tmp_path):
    (tmp_path / "broken.wav").write_text("text")
    intents = ("--intents", "order a latte", "lights on")
    code, out, err = mmcl_("predict", model, recording, tmp_path / "broken.wav", recording, *intents, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1 and [bool(row["error"]) for row in rows] == [False, True, False]
    assert {row["intent"] for row in rows} <= {"order a latte", "lights on", ""}
    assert "error: " in err and "broken.wav" in err and "1 of 3 inputs" in err
    code, out, _ = mmcl_("predict", model, recording, *intents, "--top", 1, "--json")
    assert code == 0 and len(json.loads(out)["predictions"]) == 1
    assert mmcl_("predict", model, recording, *intents, "--threshold", 0.5).code == 2


# --- classifiers ---

CLASSES = ["lights on", "lights off", "play a song"]


@pytest.fixture
def classifier(tmp_path):
    """An exported classifier, calibrated so that it accepts every answer."""
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8)
    model.grow(range(3))
    save_slu(model, tmp_path / "classifier", CLASSES)
    write_calibration(tmp_path / "classifier", Calibration("temperature", (1.5,), 0.2, 30, 0.9, 0.1, 0.05))
    return tmp_path / "classifier"


def test_a_class_is_printed_with_its_confidence(mmcl_, classifier, recording):
    code, out, err = mmcl_("predict", classifier, recording)
    assert (code, err) == (0, "") and "by classifier" in out and all(name in out for name in CLASSES)
    assert "calibrated on 30 validation samples" in out and "'none of these' is below 20.0 %" in out
    found = json.loads(mmcl_("predict", classifier, recording, "--json", "--top", 2).out)
    assert found["label"] == found["predictions"][0]["label"] and len(found["predictions"]) == 2
    assert found["calibrated"] is True and found["threshold"] == 0.2 and found["input"] == str(recording)
    rejected = json.loads(mmcl_("predict", classifier, recording, "--json", "--threshold", 0.9).out)
    assert rejected["label"] is None and rejected["confidence"] == found["confidence"]
    assert "none of these" in mmcl_("predict", classifier, recording, "--threshold", 0.9).out


def test_a_folder_with_a_broken_file_is_predicted(mmcl_, classifier, recording):
    folder = recording.parent / "recordings"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(recording.read_bytes())
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "notes.md").touch()
    code, out, err = mmcl_("predict", classifier, folder, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1 and [row["input"] for row in rows] == [str(folder / f"{n}.wav") for n in ("a", "b", "broken")]
    assert rows[0]["label"] in CLASSES and rows[2]["error"] and not rows[2]["label"]
    assert "broken.wav" in err and "1 of 3 inputs could not be read" in err and "left" in err  # the progress
    code, out, _ = mmcl_("predict", classifier, folder, "--json")
    assert code == 1 and [("error" in each) for each in json.loads(out)] == [False, False, True]
    code, out, _ = mmcl_("predict", classifier, folder)
    assert code == 1 and "3 inputs, by classifier" in out


def test_texts_and_lines_are_predicted(mmcl_, tmp_path):
    torch.manual_seed(0)
    student = TextToText.from_scratch(["set an alarm", "play a song"] * 3, vocabulary=120, dim=16, layers=1, heads=2)
    model = TextClassifier(student)
    model.grow([0, 1])
    save_classifier(model, tmp_path / "texts", ["alarm", "music"])
    (tmp_path / "said.txt").write_text("set an alarm\n\nplay\n")
    code, out, _ = mmcl_("predict", tmp_path / "texts", tmp_path / "said.txt", "--text", "play a song", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [row["input"].rpartition("/")[2] for row in rows] == [
        "play a song", "said.txt line 1", "said.txt line 3",
    ]  # fmt: skip
    code, out, _ = mmcl_("predict", tmp_path / "texts", "--text", "play a song")
    assert code == 0 and "confidence is not calibrated: the model was saved without a calibration" in out


def test_unfitting_options_are_refused(mmcl_, classifier, recording, tmp_path):
    for arguments, word in (
        (["--json", "--csv"], "--csv"),
        (["--intents", "on", "off"], "--intents"),
        (["--text", "on"], "--text"),
        (["--model", "classifie"], "did you mean 'classifier'"),
        (["--threshold", "1.5"], "threshold"),
        (["--top", "0"], "top"),
    ):
        code, out, err = mmcl_("predict", classifier, recording, *arguments)
        assert (code, out) == (2, "") and word in err
    code, _, err = mmcl_("predict", classifier, tmp_path / "none.wav")
    assert code == 1 and "none.wav" in err and err.count("\n") == 1
    assert mmcl_("predict", classifier).code == 2


def test_examples_of_the_help_run(mmcl_, classifier, model, recording, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    texts = TextClassifier(TextToText.from_scratch(["wake me"] * 3, vocabulary=110, dim=16, layers=1, heads=2))
    texts.grow([0, 1])
    save_classifier(texts, tmp_path / "runs/text_incremental/demo", ["alarm", "music"])
    for target, source in (
        ("runs/slu_incremental/demo/models/replay-seed0", classifier),
        ("hub/coffee-orders", classifier),
        ("runs/speech_to_intent/demo/models/cwcl-seed0", model),
    ):
        shutil.copytree(source, tmp_path / target)
    (tmp_path / "recordings").mkdir()
    for name in ("a.wav", "b.wav", "recordings/c.wav"):
        shutil.copyfile(recording, tmp_path / name)
    (tmp_path / "intents.json").write_text('["on", "off"]')
    examples = re.findall(r"`mmcl (predict .*)`", predict.__doc__)
    assert len(examples) == 6
    for example in examples:
        done = mmcl_(*shlex.split(example))
        assert done.code == 0, (example, done.err)
