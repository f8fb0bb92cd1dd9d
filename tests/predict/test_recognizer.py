"""Recognition with real speech, images and texts; models are trained in seconds on frozen features or by hand."""

from __future__ import annotations

import csv
import json

import pytest
import soundfile
import torch

from mmcl.config.model import load_config
from mmcl.config.tasks import find_config, load_task
from mmcl.data.base import Entity
from mmcl.data.own_rows import OwnRow
from mmcl.encoders import build_encoder
from mmcl.encoders.fused_views import FusedViews
from mmcl.errors import AudioError, CheckpointError, ConfigError, MissingDataError
from mmcl.metrics.calibration import Calibration, NotCalibrated, expected_calibration_error
from mmcl.models import Frame, FrameTokenizer, ImageClassifier, SLUClassifier, SLUSeq2Seq
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText
from mmcl.predict import Recognizer, open_recognizer
from mmcl.runs.run import Run

KNOWN, UNKNOWN = ("0", "1", "2", "3"), ("5", "6", "7", "8")
NONE = NotCalibrated("not needed")


def digits(data_dir, names, takes):
    """Real recordings of digits by six speakers."""
    folder = data_dir / "fsdd" / "recordings"
    return [path for name in names for take in takes for path in sorted(folder.glob(f"{name}_*_{take}.wav"))]


def written_table(path, data_dir, *, wrong_test_labels=False):
    """A table of known digits: takes 5 and 6 to train, 7 and 8 to validate, and 0 to test."""
    rows = []
    for split, takes in (("train", (5, 6)), ("valid", (7, 8)), ("test", (0,))):
        for recording in digits(data_dir, KNOWN, takes):
            label = recording.name[0]
            if wrong_test_labels and split == "test":
                label = KNOWN[(KNOWN.index(label) + 1) % len(KNOWN)]
            rows.append([str(recording), label, split])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["audio", "label", "split"], *rows])
    return path


def trained_run(table, folder, weights_dir, **settings):
    """A run of two experiences on frozen Whisper features."""
    task = load_task("slu_incremental")
    given = ["strategy=joint", "seeds=0", "epochs=15", "data.name=table", f"data.root={table}", "batch_size=16"]
    given += [f"encoder.name={weights_dir / 'whisper-base-encoder'}", "encoder.pooling=mean_max", "encoder.options={}"]
    given += ["data.options={}", *(f"{key}={value}" for key, value in settings.items())]
    config = load_config(task.Config, find_config("slu_incremental", "tiny"), given)
    with Run.create("slu_incremental", config, folder) as run:
        task.main(config, run)
    return folder


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, data_dir, weights_dir):
    """Two runs on the same recordings; in the second, all test labels are wrong."""
    folder = tmp_path_factory.mktemp("spoken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMCL_CACHE", str(folder / "cache"))
        for name, wrong in (("right", False), ("wrong", True)):
            table = written_table(folder / f"{name}.csv", data_dir, wrong_test_labels=wrong)
            trained_run(table, folder / name, weights_dir)
    return folder


def test_confidence_is_better_calibrated_on_validation(spoken, data_dir):
    recognizer = open_recognizer(spoken / "right")
    found = recognizer.calibration
    assert found.samples == len(digits(data_dir, KNOWN, (7, 8))) == 48 and found.accuracy > 0.9
    assert found.error_after <= found.error_before
    answers = [(path.name[0], recognizer.recognize_file(path)) for path in digits(data_dir, KNOWN, (7, 8))]
    correct = torch.tensor([label == each.guesses[0].label for label, each in answers])
    confidence = torch.tensor([each.confidence for _, each in answers], dtype=torch.double)
    assert expected_calibration_error(confidence, correct) == pytest.approx(found.error_after, abs=0.01)
    kept = torch.tensor([each.label is not None for _, each in answers])
    assert kept[correct].double().mean() >= 0.95 - 1 / 48


def test_unknown_intents_are_rejected(spoken, data_dir):
    recognizer = open_recognizer(spoken / "right", "joint-seed0")
    rejected = {
        names: [recognizer.recognize_file(path).label is None for path in digits(data_dir, names, (0,))]
        for names in (KNOWN, UNKNOWN)
    }
    assert sum(rejected[KNOWN]) <= 6 and len(rejected[KNOWN]) == len(rejected[UNKNOWN]) == 24
    assert sum(rejected[UNKNOWN]) >= 12
    accepting = open_recognizer(spoken / "right", threshold=0.0)
    assert all(accepting.recognize_file(path).label for path in digits(data_dir, UNKNOWN, (0,))[:3])


def test_test_data_have_no_influence(spoken):
    right, wrong = (
        (spoken / name / "models" / "joint-seed0" / "calibration.json").read_text() for name in ("right", "wrong")
    )
    assert right == wrong and json.loads(right)["threshold"] > 0
    accuracies = [Run.read(spoken / name).metrics("result")[0]["last_accuracy"] for name in ("right", "wrong")]
    assert accuracies[0] > 0.8 and accuracies[1] < 0.2


@pytest.mark.slow
def test_calibration_changes_no_metric(spoken, tmp_path, weights_dir, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(spoken / "cache"))
    monkeypatch.setattr("mmcl.runs.calibrate.validation_data", lambda *_: None)
    monkeypatch.setattr("mmcl.runs.calibrate.calibrate_run", lambda *_: None)
    trained_run(spoken / "right.csv", tmp_path / "without", weights_dir)
    rows = [Run.read(folder).metrics() for folder in (tmp_path / "without", spoken / "right")]
    for row in (*rows[0], *rows[1]):
        row.pop("seconds", None)
    assert rows[0] == rows[1]


# --- recognizers of models made by hand ---


def classifier(encoder, classes=3):
    torch.manual_seed(0)
    model = SLUClassifier(encoder, hidden=8)
    model.grow(range(classes))
    return model


@pytest.fixture
def tone(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, torch.sin(torch.arange(9000) / 8).numpy() * 0.3, 16000)
    return path


def test_temperature_and_threshold_are_applied(tone):
    model = classifier(build_encoder("audio", "cnn", dim=16))
    plain = Recognizer(model, ("a", "b", "c"), NONE).recognize_file(tone)
    assert plain.label == plain.guesses[0].label and sum(each.confidence for each in plain.guesses) == pytest.approx(1)
    hot = Calibration("temperature", (5.0,), plain.confidence - 1e-6, 30, 0.9, 0.1, 0.05)
    rejected = Recognizer(model, ("a", "b", "c"), hot).recognize_file(tone)
    assert rejected.label is None and 1 / 3 < rejected.confidence < plain.confidence
    assert [each.label for each in rejected.guesses] == [each.label for each in plain.guesses]
    accepted = Recognizer(model, ("a", "b", "c"), hot, threshold=0.3).recognize_file(tone)
    assert accepted.label == plain.label and accepted.confidence == rejected.confidence


def test_sequences_have_a_confidence(tone, monkeypatch):
    frame = Frame("order", (Entity("size", "large"),), "a large latte")
    tokenizer = FrameTokenizer.train([frame], ["order", "stop"], vocabulary=60, dropout=0.0)
    torch.manual_seed(0)
    sizes = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 16, "max_tokens": 20}
    model = SLUSeq2Seq(build_encoder("audio", "cnn", dim=16), tokenizer, **sizes)
    monkeypatch.setattr(model, "decode", lambda encoded: [tokenizer.encode(frame)])
    plain = Recognizer(model, tokenizer.intents, NONE).recognize_file(tone)
    assert plain.label == "order" and plain.entities == frame.entities and plain.transcript == frame.transcript
    assert 0 < plain.confidence < 1 and plain.guesses == (("order", plain.confidence),)
    platt = Calibration("platt", (0.0, 2.0), 0.9, 30, 0.9, 0.1, 0.05)
    rejected = Recognizer(model, tokenizer.intents, platt).recognize_file(tone)
    assert rejected.confidence == pytest.approx(0.8808, abs=1e-4) and rejected.label is None
    assert rejected.entities == frame.entities
    monkeypatch.setattr(model, "decode", lambda encoded: [[tokenizer.end]])
    unfinished = Recognizer(model, tokenizer.intents, NONE).recognize_file(tone)
    assert (unfinished.label, unfinished.guesses) == (None, ())
    with pytest.raises(CheckpointError, match="platt"):
        Recognizer(classifier(build_encoder("audio", "cnn", dim=16)), ("a", "b", "c"), platt)


def test_real_images_are_read_as_in_training(tmp_path, data_dir):
    from torchvision.utils import save_image

    from mmcl.data import Mnist

    image = Mnist(data_dir / "MNIST", "test")[0]["image"]
    save_image(image, tmp_path / "seven.png")
    torch.manual_seed(0)
    networks = {ImageClassifier(3): 28, classifier(build_encoder("image", "cnn", size=28, dim=16)): 28}
    for model in networks:
        recognizer = Recognizer(model, ("a", "b", "c"), NONE)
        assert recognizer.modality == "image"
        found = recognizer.recognize_file(tmp_path / "seven.png")
        with torch.no_grad():
            expected = model.eval()({"image": image[None]} if isinstance(model, ImageClassifier) else batch(image))
        assert found.confidence == pytest.approx(float(expected.logits.softmax(1).max()), abs=0.01)


def batch(image):
    from mmcl.batch import Batch

    return Batch(image=image[None])


def test_texts_are_recognized(tmp_path):
    texts = ["set an alarm", "play a song"]
    torch.manual_seed(0)
    model = TextClassifier(TextToText.from_scratch(texts * 3, vocabulary=120, dim=16, layers=1, heads=2))
    model.grow([0, 1])
    recognizer = Recognizer(model, ("alarm", "music"), NONE)
    assert recognizer.modality == "text" and recognizer.recognize_text("play a song").label in ("alarm", "music")
    for refused in (lambda: recognizer.recognize_text(" \n"), lambda: recognizer.recognize_file(tmp_path / "a.txt")):
        with pytest.raises(ConfigError):
            refused()


def test_invalid_inputs_raise(tone, tmp_path):
    model = classifier(build_encoder("audio", "cnn", dim=16))
    recognizer = Recognizer(model, ("a", "b", "c"), NONE)
    (tmp_path / "text.wav").write_text("text")
    soundfile.write(tmp_path / "silent.wav", torch.zeros(9000).numpy(), 16000)
    for name, error in (("none.wav", MissingDataError), ("text.wav", AudioError), ("silent.wav", AudioError)):
        with pytest.raises(error, match=name):
            recognizer.recognize_file(tmp_path / name)
    with pytest.raises(ConfigError, match="audio"):
        recognizer.recognize_text("play")
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            Recognizer(model, ("a", "b", "c"), NONE, threshold=threshold)
    with pytest.raises(CheckpointError, match="no class names"):
        Recognizer(model, (), NONE)


def test_rows_are_recognized_by_their_views(tmp_path):
    views = {"numbers": build_encoder("tabular", "mlp", features=2), "text": build_encoder("text", "words", dim=4)}
    model = SLUClassifier(FusedViews(views), hidden=8)
    model.grow([0, 1])
    recognizer = Recognizer(model, ("no", "yes"), NONE)
    assert recognizer.modality == "views"
    row = OwnRow(tmp_path / "rows.csv", "line 2", "", text="well", numbers=(1.0, 2.0))
    expected = recognizer.recognize({"numbers": torch.tensor([1.0, 2.0]), "text": "well"})
    assert recognizer.recognize_row(row) == expected and expected.label in ("no", "yes")
    with pytest.raises(ConfigError, match="rows.csv.*text.*line 2.*numbers"):
        recognizer.recognize_row(OwnRow(tmp_path / "rows.csv", "line 2", "", text="well"))
    with pytest.raises(ConfigError, match="views"):
        recognizer.recognize_file("rows.csv")
    with pytest.raises(ConfigError, match="audio"):
        Recognizer(classifier(build_encoder("audio", "cnn", dim=8)), tuple("abc"), NONE).recognize_row(row)
