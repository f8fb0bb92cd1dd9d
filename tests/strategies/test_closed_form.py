import json
import subprocess
import sys

import pytest
import torch
from avalanche.core import SupervisedPlugin
from learners import frozen_classifier
from torch import nn

from mmcl import strategies
from mmcl.batch import Batch
from mmcl.data import class_incremental
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.freeze import freeze
from mmcl.models import SLUClassifier
from mmcl.models.readouts import StreamingLDA
from mmcl.strategies import ClosedForm, coconut, joint, lwf, naive, replay
from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.closed_form import held_out_rows

NAMES = {"ncm": {}, "slda": {}, "ranpac": {"projections": 300}, "fecam": {"covariance": "shared"}}
every_strategy = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def closed(make_closed):
    """Function that makes a closed-form strategy of a name; ``closed("slda", plugins=[...])``."""
    return lambda name, **settings: make_closed(getattr(strategies, name), **{**NAMES[name], **settings})


@every_strategy
def test_a_stream_gives_the_classifier_of_all_samples_at_once(name, closed, digits, train):
    everything = digits[1].batch(torch.arange(60))
    logits = []
    for experiences in (5, 1):
        strategy = closed(name, eval_batch_size=experiences * 13)
        train(strategy, class_incremental(*digits, experiences=experiences, seed=0))
        logits.append(strategy.model.eval()(everything).logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    assert bool((logits[0].argmax(1) == everything["label"]).double().mean() > 0.6)


@every_strategy
def test_evaluation_scores_the_read_out(name, closed, digits, benchmark, train):
    accuracy = AccuracyMatrix()
    strategy = closed(name, plugins=[accuracy])
    train(strategy, benchmark, 3)
    strategy.eval(benchmark.test_stream)
    seen = [label for experience in benchmark.train_stream[:3] for label in experience.group]
    assert all(value > 0.3 for label, value in accuracy.per_class[-1].items() if label in seen)
    assert all(value == 0 for label, value in accuracy.per_class[-1].items() if label not in seen)
    assert strategy.model.readout.seen.nonzero()[:, 0].tolist() == sorted(seen)


@every_strategy
def test_a_resumed_stream_equals_an_uninterrupted_one(name, closed, benchmark, train):
    expected = train(closed(name), benchmark)
    stopped, resumed = closed(name), closed(name)
    train(stopped, benchmark, 2)
    resumed.load_state_dict(stopped.state_dict())
    for experience in benchmark.train_stream[2:]:
        resumed.train(experience, eval_streams=[])
    found = resumed.model.state_dict()
    assert found.keys() == expected.keys()
    for key in (key for key in expected if key.startswith("readout.")):
        assert torch.equal(found[key], expected[key]), key


CASES = """
import json, sys
import torch
from mmcl import distributed, strategies
from mmcl.data import class_incremental

distributed.launch(int(sys.argv[1]))
torch.manual_seed(0)
samples = [(torch.randn(6) + row % 5, row % 5) for row in range(52)]
benchmark = class_incremental(samples, samples, experiences=2, seed=0)
found = {}
for name, settings in {"ncm": {}, "slda": {}, "ranpac": {"projections": 9}, "fecam": {}}.items():
    model = torch.nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    strategy = getattr(strategies, name)(model, optimizer, eval_batch_size=7, **settings)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    state = strategy.model.readout.state_dict()
    found[name] = {key: value.double().flatten().tolist() for key, value in state.items()}
    assert all(each == found for each in distributed.all_gather_object(found))
if distributed.is_main():
    print(json.dumps(found))
distributed.leave()
"""


def test_two_processes_equal_one(tmp_path):
    (tmp_path / "cases.py").write_text(CASES)
    found = []
    for processes in ("1", "2"):
        command = [sys.executable, "-W", "ignore", str(tmp_path / "cases.py"), processes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    for name, state in found[0].items():
        for key, value in state.items():
            assert found[1][name][key] == pytest.approx(value, rel=1e-5, abs=1e-6), (name, key)


def test_embeddings_that_need_training_name_the_setting_to_change(digits, benchmark):
    trained = build_encoder("audio", "cnn", pooling="mean_max")
    plain = nn.Sequential(nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 10))
    for model, named in (
        (SLUClassifier(trained, hidden=None), "encoder.frozen"),
        (frozen_classifier(hidden=8), "hidden=None"),
        (plain, "'0.weight'.*requires_grad_"),
    ):
        strategy = strategies.slda(model, torch.optim.SGD(model.parameters(), lr=0.1))
        with pytest.raises(ConfigError, match=named):
            strategy.train(benchmark.train_stream[0], eval_streams=[])
    freeze(plain[:2])
    strategy = strategies.slda(plain, torch.optim.SGD(plain[2].parameters(), lr=0.1))
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    assert len(strategy.model.readout.seen)


class Rows(SupervisedPlugin):
    """Records the rows that each experience trains on."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def before_training_epoch(self, strategy, **kwargs):
        self.rows = strategy.dataloader.rows.tolist()


@pytest.mark.parametrize(("preset", "settings"), [(replay, {"memory_size": 20}), (joint, {}), (naive, {})])
def test_old_classes_stand_on_the_samples_trained_with(preset, settings, make, digits, benchmark, train):
    readout, rows = StreamingLDA(), Rows()
    strategy = make(preset, plugins=[ClosedForm(readout, old_classes="exemplars"), rows], epochs=1, **settings)
    train(strategy, benchmark, 3)
    batch = digits[0].batch(torch.tensor(rows.rows))
    with torch.no_grad():
        embeddings = strategy.model.eval().embed(batch)
    counts = torch.bincount(batch["label"], minlength=len(readout.seen))
    if preset is naive:  # nothing is rehearsed, so old classes keep their statistics
        seen = [label for experience in benchmark.train_stream[:3] for label in experience.group]
        assert readout.statistics.counts[seen].tolist() == [24] * 6
    else:
        assert torch.equal(readout.statistics.counts, counts)
        torch.testing.assert_close(readout.statistics.sums.sum(0), embeddings.double().sum(0))


def test_statistics_of_old_classes_are_kept_by_default(make, benchmark, train):
    readout = StreamingLDA()
    strategy = make(replay, memory_size=20, plugins=[ClosedForm(readout)], epochs=1)
    train(strategy, benchmark, 1)
    labels = list(benchmark.train_stream[0].group)
    first = readout.statistics.sums[labels].clone()
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert torch.equal(readout.statistics.sums[labels], first)
    assert readout.statistics.counts[labels].tolist() == [24, 24]


@pytest.mark.parametrize(("preset", "settings"), [(lwf, {}), (coconut, {"memory_size": 20})])
def test_training_is_the_same_with_a_read_out(preset, settings, make, benchmark, train):
    """The teacher, a copy of the model in evaluation mode, teaches the logits of the head."""
    plain = train(make(preset, **settings), benchmark, 3)
    strategy = make(preset, plugins=[ClosedForm(StreamingLDA())], **settings)
    weights = train(strategy, benchmark, 3)
    assert all(torch.equal(weights[name], value) for name, value in plain.items())


def test_a_trained_model_with_a_read_out_resumes(make, benchmark, train):
    def made(plugins=()):
        return make(coconut, memory_size=20, epochs=2, plugins=[ClosedForm(StreamingLDA()), *plugins])

    states = []

    class Saving(SupervisedPlugin):
        def after_training_epoch(self, strategy, **kwargs):
            states.append(strategy.state_dict())

        def state_dict(self, strategy):
            return {}

        def load_state_dict(self, state, strategy):
            pass

    expected = train(made([Saving()]), benchmark, 3)
    resumed = made([Saving()])
    resumed.load_state_dict(states[4])  # after the first epoch of the third experience
    resumed.train(benchmark.train_stream[2], eval_streams=[])
    found = resumed.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Bare(nn.Module):
    """A model of one's own that knows no read-outs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(256, 10)

    def embed(self, batch: Batch):
        return batch["features"]

    def forward(self, batch: Batch):
        class Output:
            logits, embedding = self.head(batch["features"]), batch["features"]

        return Output


def test_models_of_ones_own_are_classified_by_the_plugin(digits, benchmark, train):
    model, accuracy = Bare(), AccuracyMatrix()
    strategy = strategies.slda(model, torch.optim.SGD(model.parameters(), lr=0.1), plugins=[accuracy])
    train(strategy, benchmark)
    strategy.eval(benchmark.test_stream)
    batch = digits[1].batch(torch.arange(60))
    right = model.readout(batch["features"]).argmax(1) == batch["label"]
    mean = sum(accuracy.per_class[-1].values()) / 10
    assert mean == pytest.approx(float(right.double().mean())) and mean > 0.6


def test_faulty_arguments_raise(make):
    with pytest.raises(ConfigError, match="2 ClosedForm"):
        make(naive, plugins=[ClosedForm(StreamingLDA()), ClosedForm(StreamingLDA())])
    with pytest.raises(ConfigError, match="'forgotten'"):
        ClosedForm(StreamingLDA(), old_classes="forgotten")


def test_held_out_samples_are_every_fifth_of_a_class_over_the_stream():
    labels = torch.tensor([1, 0] * 12)
    whole = held_out_rows(labels, torch.zeros(2, dtype=torch.long))
    assert whole.nonzero()[:, 0].tolist() == [8, 9, 18, 19]
    first = held_out_rows(labels[:6], torch.zeros(2, dtype=torch.long))
    rest = held_out_rows(labels[6:], torch.tensor([3, 3]))
    assert torch.equal(torch.cat([first, rest]), whole)
