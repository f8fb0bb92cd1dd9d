"""Models of runs and of exported folders, found and opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mmcl.config.model import StrictModel
from mmcl.config.tasks import load_task
from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError, ConfigError, RunError
from mmcl.freeze import trainable_state
from mmcl.metrics.calibration import Calibration
from mmcl.models import ImageClassifier, SLUClassifier, TwoTower
from mmcl.models.saved import save_slu
from mmcl.models.saved_calibration import write_calibration
from mmcl.models.saved_classifiers import save_classifier
from mmcl.models.text_to_text import TextToText
from mmcl.predict.stored_models import choose_model, open_recognizer, stored_models
from mmcl.publishing.export import export_run
from mmcl.runs.run import Run

OLD = Path(__file__).parents[1] / "compatibility" / "0.1"
FOUND = Calibration("temperature", (2.0,), 0.4, 30, 0.9, 0.1, 0.05)


@pytest.fixture
def run(tmp_path):
    """A run with a calibrated model, and one of icarl."""
    config = load_task("slu_incremental").Config(
        strategy=("naive", "icarl"), experiences=2, encoder={"name": "cnn", "options": {"dim": 16}}
    )
    torch.manual_seed(0)
    with Run.create("slu_incremental", config, tmp_path / "run", config_name="tiny") as run:
        for strategy in ("naive", "icarl"):
            model = config.classifier.build(config.encoder.build())
            model.grow([0, 1])
            run.log("stream", strategy=strategy, seed=0, class_order=[1, 0], experiences=[["play"], ["on"]])
            run.log("result", strategy=strategy, seed=0, last_accuracy=0.5)
            run.checkpoint(f"{strategy}-seed0", {"finished": True, "model": trainable_state(model)})
        write_calibration(run.folder / "models" / "naive-seed0", FOUND)
    return run


def test_checkpoints_are_found_with_their_calibration(run):
    assert list(stored_models(run.folder)) == ["naive-seed0"]
    recognizer = open_recognizer(run.folder)
    assert recognizer.classes == ("on", "play") and recognizer.calibration == FOUND and recognizer.threshold == 0.4
    assert open_recognizer(run.folder, threshold=0.7).threshold == 0.7
    shutil.rmtree(run.folder / "models")  # as in runs of older versions
    old = open_recognizer(run.folder)
    assert old.threshold is None and "the model was saved without a calibration" in old.note


def test_the_calibration_is_exported(run, tmp_path):
    export_run(run.folder, tmp_path / "hub")
    recognizer = open_recognizer(tmp_path / "hub")
    assert recognizer.calibration == FOUND and recognizer.classes == ("on", "play")
    (tmp_path / "hub" / "calibration.json").unlink()
    assert "without a calibration" in open_recognizer(tmp_path / "hub").note


def test_old_models_have_no_calibration():
    for name, kind in (("exported_classifier", False), ("exported_seq2seq", True)):
        recognizer = open_recognizer(OLD / name)
        assert recognizer.is_sequence is kind and recognizer.threshold is None and recognizer.modality == "audio"
        assert "the model was saved without a calibration" in recognizer.note
    assert choose_model(OLD / "towers", None).is_towers and choose_model(OLD / "exported_towers", None).is_towers


def test_modalities_are_known_before_a_model_is_loaded(tmp_path):
    slu = SLUClassifier(build_encoder("image", "cnn", dim=16))
    slu.grow([0, 1])
    save_slu(slu, tmp_path / "slu", ["a", "b"])
    save_classifier(ImageClassifier(2), tmp_path / "images", ["a", "b"])
    for name in ("slu", "images"):
        stored = choose_model(tmp_path / name, name)
        assert stored.modality == stored.recognizer().modality == "image" and stored.recognizer().classes == ("a", "b")


def test_wrong_names_and_kinds_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'naive-seed0'"):
        choose_model(run.folder, "naive-seed1")
    with pytest.raises(ConfigError, match="'icarl-seed0' .* memory"):
        choose_model(run.folder, "icarl-seed0")
    TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16)).save(tmp_path / "towers")
    with pytest.raises(ConfigError, match="two towers"):
        open_recognizer(tmp_path / "towers")
    student = TextToText.from_scratch(["one", "two"] * 3, vocabulary=110, dim=16, layers=1, heads=2)
    student.save(tmp_path / "student")
    assert choose_model(tmp_path / "student", None).modality == ""
    with pytest.raises(ConfigError, match="TextToText"):
        open_recognizer(tmp_path / "student")


def test_folders_without_a_model_are_refused(tmp_path):
    class Config(StrictModel):
        seeds: tuple[int, ...] = (0,)

    with Run.create("slu_incremental", Config(), tmp_path / "run"):
        pass
    (tmp_path / "empty").mkdir()
    for name in ("run", "empty", "none"):
        with pytest.raises(CheckpointError, match=name):
            stored_models(tmp_path / name)
    (tmp_path / "run" / "link").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match="link"):
        stored_models(tmp_path / "run")
