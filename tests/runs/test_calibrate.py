"""Calibration of a run's model on its validation split."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmcl.batch import Batch
from mmcl.config.model import StrictModel
from mmcl.data.base import Entity
from mmcl.encoders import build_encoder
from mmcl.errors import DataError
from mmcl.metrics.calibration import NotCalibrated
from mmcl.models import Frame, FrameTokenizer, SLUSeq2Seq
from mmcl.models.classifier import Classified
from mmcl.models.saved_calibration import read_calibration
from mmcl.runs.calibrate import MOST_SAMPLES, ValidationData, calibrate, calibrate_run, validation_data
from mmcl.runs.run import Run


class Points:
    """Samples with two features; label 1 if the first is positive."""

    classes = ("low", "high")

    def __init__(self, size=40, seed=0):
        self.features = torch.randn(size, 2, generator=torch.Generator().manual_seed(seed))
        self.labels = (self.features[:, 0] > 0).long().tolist()
        self.texts = [self.classes[label] for label in self.labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"features": self.features[row], "label": self.labels[row]}

    def batch(self, rows):
        return Batch(features=self.features[rows], label=torch.tensor(self.labels)[rows])


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[-3.0, 1.0], [3.0, 1.0], [0.0, 0.0]]))
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch):
        logits = self.dropout(batch["features"]) @ self.weight.T
        return Classified(torch.cat([logits[:, :2], torch.full((len(logits), 1), -torch.inf)], 1), batch["features"])


class Config(StrictModel):
    seeds: tuple[int, ...] = (0,)


def test_training_mode_and_random_numbers_stay(tmp_path):
    model = Linear().train()
    state = torch.get_rng_state()
    with Run.create("slu_incremental", Config(), tmp_path / "run") as run:
        calibrate_run(run, "naive-seed0", ValidationData(Points()), model)
        assert model.training and torch.equal(torch.get_rng_state(), state) and run.metrics() == []
    found = read_calibration(run.folder / "models" / "naive-seed0")
    assert found.samples == 40 and found.method == "temperature" and found.accuracy == 1.0
    assert found == calibrate(model, Points())


def test_samples_of_unseen_classes_are_left_out():
    points = Points()
    points.labels = [2 if row < 25 else label for row, label in enumerate(points.labels)]
    assert calibrate(Linear(), points).samples == 15
    points.labels = [5 if row < 25 else label for row, label in enumerate(points.labels)]  # beyond the columns
    assert calibrate(Linear(), points).samples == 15


def test_a_long_split_is_bounded():
    points = Points(MOST_SAMPLES + 500)
    state = torch.get_rng_state()
    valid = validation_data(lambda split: points, ("train", "test"), points.classes)
    assert len(valid.dataset) == MOST_SAMPLES and valid.dataset.rows == sorted(valid.dataset.rows)
    assert torch.equal(torch.get_rng_state(), state)
    assert calibrate(Linear(), valid.dataset).samples == MOST_SAMPLES


@pytest.mark.parametrize("used", [("train", "valid"), ("valid", "test"), ("train", "dev")])
def test_a_split_in_use_is_not_opened(used):
    def open_split(split):
        raise AssertionError(split)

    assert "valid" in validation_data(open_split, used, ()).reason


def test_an_unreadable_split_costs_the_calibration_only(tmp_path):
    def open_split(split):
        raise DataError(f"there is no split '{split}'")

    valid = validation_data(open_split, ("train", "test"), ())
    assert valid.dataset is None and "there is no split 'valid'" in valid.reason
    other = validation_data(lambda split: Points(), ("train",), ("low", "high", "more"))
    assert other.dataset is None and "other classes" in other.reason
    with Run.create("slu_incremental", Config(), tmp_path / "run") as run:
        calibrate_run(run, "naive-seed0", valid, Linear())
    assert read_calibration(run.folder / "models" / "naive-seed0") == NotCalibrated(valid.reason)


class Orders:
    """Recordings with frames."""

    classes = ("order", "stop")

    def __init__(self, size=20):
        self.labels = [row % 2 for row in range(size)]
        self.texts = ["a large latte" if label == 0 else "stop" for label in self.labels]
        self.entities = [(Entity("size", "large"),) if label == 0 else () for label in self.labels]
        self.audio = torch.randn(size, 4000, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {
            "audio": self.audio[row],
            "label": self.labels[row],
            "text": self.texts[row],
            "entities": self.entities[row],
        }


def test_a_sequence_is_right_if_intent_and_entities_are(monkeypatch):
    torch.manual_seed(0)
    data = Orders()
    frames = [Frame("order", (Entity("size", "large"),), "a large latte"), Frame("stop", (), "stop")]
    tokenizer = FrameTokenizer.train(frames, data.classes, vocabulary=80, dropout=0.0)
    sizes = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 16}
    model = SLUSeq2Seq(build_encoder("audio", "cnn", dim=16), tokenizer, **sizes)
    said = [frames[0]._replace(transcript="other words"), frames[1]] * 10  # the transcript does not matter
    said[0], said[1] = frames[0]._replace(entities=()), frames[0]
    monkeypatch.setattr(model, "decode", lambda encoded: [tokenizer.encode(frame) for frame in said])
    found = calibrate(model, data)
    assert found.method == "platt" and found.accuracy == 0.9 and found.samples == 20
    assert found.error_after < found.error_before
