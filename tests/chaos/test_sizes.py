"""Streams of a thousand experiences, and heads of ten thousand classes."""

from __future__ import annotations

import json

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.config.model import StrictModel
from mmcl.data import class_incremental
from mmcl.reports.page import write_report
from mmcl.runs.course import learn_stream
from mmcl.runs.run import Run
from mmcl.runs.tracking import Tracking
from mmcl.strategies import replay
from mmcl.strategies.accuracy_matrix import AccuracyMatrix

pytestmark = pytest.mark.slow


class Stop(SupervisedPlugin):
    """Ends training before an experience."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def before_training_exp(self, strategy, **kwargs):
        """Where it is this one's turn."""
        if strategy.experience.current_experience == self.number:
            raise KeyboardInterrupt


def learn(run, model, benchmark, memory, epochs, batch_size, stop=None):
    """As a task does."""
    tracking, accuracy = Tracking(run, "replay", 0), AccuracyMatrix()
    settings = {"memory_size": memory, "epochs": epochs, "batch_size": batch_size, "eval_batch_size": 1024}
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 3e-3, fused=True)
    strategy = replay(model, optimizer, **settings, plugins=[accuracy, tracking, Stop(stop)])
    saved = run.restore(tracking.unit) or {"training": None}
    learn_stream(run, strategy, benchmark, tracking, accuracy, saved=saved["training"])
    return accuracy


def test_a_thousand_experiences_are_learnt_resumed_and_reported(points, classifier, tmp_path):
    train, test = points(1000, 4), points(1000, 1, seed=1)
    benchmark = class_incremental(train, test, experiences=1000)
    with pytest.raises(KeyboardInterrupt), Run.create("slu_incremental", StrictModel(), tmp_path / "run") as run:
        learn(run, classifier(), benchmark, 2000, 1, 2048, stop=500)
    with Run.open(tmp_path / "run") as run:
        accuracy = learn(run, classifier(), benchmark, 2000, 1, 2048)
    rows = run.metrics("evaluation")
    assert [row["experience"] for row in rows] == list(range(1000))
    assert [row["accuracy"] for row in rows] == accuracy.matrix and accuracy.sizes == [1] * 1000
    assert rows[-1]["seen_accuracy"] > 0.8  # of a thousand
    report = write_report([run.folder], run.folder / "report.html")
    assert report.stat().st_size < 10_000_000 and "60 of 999 classes" in report.read_text()


def test_a_head_of_ten_thousand_classes_is_learnt_and_kept(points, classifier, tmp_path):
    train, test = points(10_000, 4), points(10_000, 1, seed=1)
    benchmark = class_incremental(train, test, experiences=2)
    model = classifier()
    with Run.create("slu_incremental", StrictModel(), tmp_path / "run") as run:
        accuracy = learn(run, model, benchmark, 20_000, 8, 512)
    assert accuracy.matrix[-1][1] > 0.8 and sum(accuracy.matrix[-1]) / 2 > 0.5
    kept = run.restore("replay-seed0")["model"]
    again = classifier()
    again.grow(range(10_000))
    again.load_state_dict({**again.state_dict(), **kept})
    with torch.no_grad():
        rows = torch.arange(512)
        assert torch.equal(again.eval()(test.batch(rows)).logits, model.eval()(test.batch(rows)).logits)
    assert write_report([run.folder], run.folder / "report.html").stat().st_size < 10_000_000
    assert len(json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-2])["per_class"]) == 10_000
