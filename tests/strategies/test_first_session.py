import json
import subprocess
import sys

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import SLUClassifier
from mmcl.models.readouts import NearestClassMean, StreamingLDA
from mmcl.seeding import seed_everything
from mmcl.strategies import FirstSession, first_session, naive


class States(SupervisedPlugin):
    """Keeps the state after each epoch, and the number of the experience that the epoch belongs to."""

    def __init__(self):
        super().__init__()
        self.found = []

    def after_training_epoch(self, strategy, **kwargs):
        self.found.append((strategy.experience.current_experience, strategy.state_dict()))

    def state_dict(self, strategy):
        return {}

    def load_state_dict(self, state, strategy):
        pass


@pytest.fixture
def trained_encoder():
    """Make a strategy on a classifier without a hidden layer, the encoder of which is trained."""

    def _make(preset=first_session, **settings):
        seed_everything(0)
        encoder = build_encoder("audio", "cnn", dim=16, blocks=1, dropout=0.0, spec_augment=False, pooling="mean_max")
        model = SLUClassifier(encoder, hidden=None)
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        return preset(model, optimizer, **{"epochs": 3, "batch_size": 16, **settings})

    return _make


@pytest.mark.parametrize("kind", [StreamingLDA, NearestClassMean])
def test_it_equals_training_on_the_first_experience_and_a_read_out_of_all_samples(
    kind, trained_encoder, sequence_benchmark, digit_sequences, train
):
    strategy = trained_encoder(readout=kind())
    found = train(strategy, sequence_benchmark)
    alone = trained_encoder(naive)
    expected = train(alone, sequence_benchmark, 1)
    encoder = [name for name in expected if name.startswith("encoder.")]
    assert len(encoder) > 2 and all(torch.equal(found[name], expected[name]) for name in encoder)

    everything, tested = (part.batch(torch.arange(len(part))) for part in digit_sequences)
    alone.model.eval()
    with torch.no_grad():
        pooled, other = (alone.model.encoder.encode_batch(each).pooled for each in (everything, tested))
    rows = sequence_benchmark.train_stream[0].dataset.rows[:]
    mean, deviation = pooled[rows].mean(0), pooled[rows].std(0)
    deviation[deviation < 1e-6] = 1  # features that are constant keep their scale
    readout = kind()
    readout.grow(range(10))
    readout.add((pooled - mean) / deviation, everything["label"])
    readout.solve()
    logits = strategy.model.eval()(tested).logits
    torch.testing.assert_close(logits, readout((other - mean) / deviation), rtol=1e-3, atol=1e-3)


def test_later_experiences_have_no_epochs(trained_encoder, sequence_benchmark, train):
    states = States()
    strategy = trained_encoder(plugins=[states])
    train(strategy, sequence_benchmark)
    assert [number for number, _ in states.found] == [0, 0, 0] and strategy.epoch == 0
    assert bool(strategy.model.readout.seen.all())
    (plugin,) = (each for each in strategy.plugins if isinstance(each, FirstSession))
    first = 1 + max(sequence_benchmark.train_stream[0].group)  # columns of later classes are not trained
    encoder = sum(each.numel() for each in strategy.model.encoder.parameters())
    assert plugin.trained_parameters == encoder + first * 33


@pytest.mark.parametrize("stopped", [1, "first", "second"])
def test_a_resumed_stream_equals_an_uninterrupted_one(stopped, trained_encoder, sequence_benchmark, train):
    states = States()
    whole = trained_encoder(plugins=[states])
    expected = train(whole, sequence_benchmark, 3)
    if stopped == 1:
        state, start = states.found[0][1], 0
    else:
        start = 1 if stopped == "first" else 2
        strategy = trained_encoder(plugins=[States()])
        train(strategy, sequence_benchmark, start)
        state = strategy.state_dict()
    resumed = trained_encoder(plugins=[States()])
    resumed.load_state_dict(state)
    for experience in sequence_benchmark.train_stream[start:3]:
        resumed.train(experience, eval_streams=[])
    found = resumed.model.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert resumed.plugins[0].trained_parameters == whole.plugins[0].trained_parameters > 0


def test_a_hidden_layer_and_a_plain_model_can_be_trained(make, benchmark, train):
    strategy = make(first_session)  # its encoder is frozen
    train(strategy, benchmark, 2)
    assert torch.equal(strategy.model.gain, torch.ones(256)) and len(strategy.model.readout.seen)
    plain = nn.Sequential(nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 10))
    before = plain[0].weight.detach().clone()
    strategy = first_session(plain, torch.optim.SGD(plain.parameters(), lr=0.1), epochs=1)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    after = plain[0].weight.detach().clone()
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert not torch.equal(before, after) and torch.equal(plain[0].weight, after)


CASES = """
import json, sys
import torch
from mmcl import distributed
from mmcl.data import class_incremental
from mmcl.encoders import build_encoder
from mmcl.models import SLUClassifier, TensorClassifier
from mmcl.models.readouts import StreamingLDA
from mmcl.seeding import seed_everything
from mmcl.strategies import ClosedForm, first_session, replay

distributed.launch(int(sys.argv[1]))
seed_everything(0)
samples = [{"tabular": torch.randn(6) + row % 5, "label": row % 5} for row in range(52)]
benchmark = class_incremental(samples, samples, experiences=3, initial=1, seed=0)
found = {}
for name in ("encoder", "plain", "trained"):
    seed_everything(1)
    if name == "encoder":
        model = SLUClassifier(build_encoder("tabular", "mlp", features=6, dim=7, dropout=0.0), hidden=None)
    else:
        layers = torch.nn.Linear(6, 7), torch.nn.Tanh(), torch.nn.Linear(7, 5)
        model = TensorClassifier(torch.nn.Sequential(*layers), input="tabular")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loop = {"epochs": 2, "batch_size": 6, "eval_batch_size": 7}
    if name == "trained":
        readout = ClosedForm(StreamingLDA(), old_classes="exemplars")
        strategy = replay(model, optimizer, memory_size=10, plugins=[readout], **loop)
    else:
        strategy = first_session(model, optimizer, **loop)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    state = strategy.model.state_dict()
    found[name] = {key: value.double().flatten().tolist() for key, value in state.items()}
    found[name]["trained"] = [getattr(strategy.plugins[0], "trained_parameters", 0)]
    assert all(each == found for each in distributed.all_gather_object(found))
if distributed.is_main():
    print(json.dumps(found))
distributed.leave()
"""


def test_two_processes_equal_one(tmp_path):
    """The first session, on an encoder and on a plain model, and a trained strategy with a read-out."""
    (tmp_path / "cases.py").write_text(CASES)
    found = []
    for processes in ("1", "2"):
        command = [sys.executable, "-W", "ignore", str(tmp_path / "cases.py"), processes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    for name, state in found[0].items():
        for key, value in state.items():
            assert found[1][name][key] == pytest.approx(value, rel=1e-3, abs=1e-4), (name, key)


def test_frozen_embeddings_name_the_setting_to_change(make_closed, benchmark):
    with pytest.raises(ConfigError, match=r"encoder\.tune_from.*slda"):
        make_closed(first_session).train(benchmark.train_stream[0], eval_streams=[])
