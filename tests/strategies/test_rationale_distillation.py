import pytest
import torch
from step_waits import WatchedSteps

from mmcl.data import LabelledExercises, SlurpText, class_incremental
from mmcl.errors import ConfigError, StreamError
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText
from mmcl.rationales.discriminator import Discriminator
from mmcl.rationales.lessons import EXPLAIN, Lesson, lessons_of
from mmcl.rationales.terms import Weights
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import naive, replay
from mmcl.strategies.rationale_distillation import RationaleDistillation


@pytest.fixture(scope="module")
def data(data_dir):
    train, test = (LabelledExercises(SlurpText(data_dir / "slurp", split, size=90)) for split in ("valid", "test"))
    return class_incremental(train, test, 2, by_superclass=True), train


@pytest.fixture(scope="module")
def lessons(data):
    return lessons_of(data[1].exercises)


@pytest.fixture
def make(data):
    def strategy(plugin, preset=naive, dropout=0.0, **settings):
        torch.manual_seed(0)
        texts = [text for each in data[1].exercises for text in (each.question, each.rationales[0].text)]
        student = TextToText.from_scratch(texts, vocabulary=300, dim=32, layers=1, heads=2, dropout=dropout)
        model = TextClassifier(student, Discriminator(student) if plugin.method == "qcrd" else None)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        return preset(model, optimizer, plugins=[plugin], **{"epochs": 2, "batch_size": 16, **settings})

    return strategy


def test_dss_adds_the_cross_entropy_of_rationales(make, data, lessons, monkeypatch):
    plugin = RationaleDistillation(lessons, "dss", weights=Weights(alpha=0.25))
    strategy = make(plugin, epochs=1)
    seen = []
    add = strategy.add_loss

    def note(name, value, weight):
        model, rows = strategy.model, strategy.mbatch["rows"].tolist()
        taught = [lessons[row] for row in rows if lessons[row].rationale]
        losses = [model.student(model.student.batch([EXPLAIN + each.question], [each.rationale])) for each in taught]
        torch.testing.assert_close(value, torch.stack([each.losses[0] for each in losses]).mean())
        seen.append((name, weight))
        add(name, value, weight)

    monkeypatch.setattr(strategy, "add_loss", note)
    strategy.train(data[0].train_stream[0], eval_streams=[])
    assert set(seen) == {("explain", 3.0)} and set(strategy.losses) >= {"explain", "cross_entropy"}


def test_the_rationale_loss_falls_in_training(make, data, lessons):
    experience = data[0].train_stream[0]
    rows = [row for row in experience.dataset.rows[:] if lessons[row].rationale]

    def loss(model):
        asked = [EXPLAIN + lessons[row].question for row in rows]
        with torch.no_grad():
            return float(
                model.student(model.student.batch(asked, [lessons[row].rationale for row in rows])).losses.mean()
            )

    plugin = RationaleDistillation(lessons, "dss")
    strategy = make(plugin, epochs=6)
    before = loss(strategy.model)
    strategy.train(experience, eval_streams=[])
    assert loss(strategy.model) < before - 0.5


@pytest.mark.parametrize("method", ["dss", "qcrd"])
def test_no_step_waits_for_a_device(method, make, data, lessons, on_device):
    watched = WatchedSteps()
    plugin = RationaleDistillation(lessons, method, sample_length=4, pretraining=2)
    strategy = make(plugin, replay, memory_size=40, by_superclass=True, epochs=1)
    strategy.plugins.append(watched)
    for experience in data[0].train_stream:
        strategy.train(experience, eval_streams=[])
    # transformers looks whether a mask has padding
    assert [place for place in watched.waits.found if not place.startswith("models/text_to_text.py")] == []
    assert watched.steps > 4


def test_qcrd_samples_bad_rationales_from_the_teacher(make, data, lessons, monkeypatch):
    plugin = RationaleDistillation(lessons, "qcrd", sample_length=6, pretraining=2, weights=Weights(decay=0.5))
    strategy = make(plugin, replay, memory_size=40, by_superclass=True)
    added, written = [], []
    add = strategy.add_loss
    monkeypatch.setattr(strategy, "add_loss", lambda *term: added.append(term) or add(*term))
    first, second = data[0].train_stream
    judge = strategy.model.discriminator.layers[0].weight.detach().clone()
    strategy.train(first, eval_streams=[])
    assert plugin.sampled == {} and not torch.equal(judge, strategy.model.discriminator.layers[0].weight)
    assert {(name, weight) for name, _, weight in added if name == "discriminate"} == {
        ("discriminate", 1.0),
        ("discriminate", 0.5),
    }
    was = strategy.model.student.state_dict()["model.shared.weight"].clone()
    write = type(strategy.model.student).write

    def note(self, sources, **settings):
        written.append((self.state_dict()["model.shared.weight"].clone(), sources, settings["temperature"]))
        return write(self, sources, **settings)

    monkeypatch.setattr(type(strategy.model.student), "write", note)
    strategy.train(second, eval_streams=[])
    ((state, sources, temperature),) = written
    memory = [row for row in plugin.sampled if row not in set(second.dataset.rows[:])]
    assert torch.equal(state, was) and temperature == 1.5 and memory and len(sources) == len(plugin.sampled)
    assert any(plugin.sampled.values())
    assert added[-1][2] == 0.5**3 and added[-2][2] == 1.0


def test_pretraining_of_the_discriminator_uses_its_learning_rate_and_seed(make, data, lessons):
    def judge(**settings):
        plugin = RationaleDistillation(lessons, "qcrd", sample_length=6, pretraining=2, **settings)
        strategy = make(plugin)
        strategy.experience = data[0].train_stream[0]
        plugin._pretrain(strategy, strategy.experience.dataset.rows[:])
        return strategy.model.discriminator.layers[0].weight.detach()

    usual = judge()
    assert torch.equal(judge(discriminator_rate=5e-4, seed=0), usual)
    assert not torch.equal(judge(seed=1), usual) and not torch.equal(judge(discriminator_rate=1e-3), usual)


@pytest.mark.parametrize("at", [(0, 1), (0, 2), (1, 1)])
@pytest.mark.parametrize("method", ["dss", "qcrd"])
def test_resumed_equals_uninterrupted(method, at, make, data, lessons, tmp_path):
    def run(saved=None, stop=None):
        plugin = RationaleDistillation(lessons, method, sample_length=6, pretraining=2)
        strategy = make(plugin, replay, dropout=0.2, memory_size=40, by_superclass=True)
        after = strategy._after_training_epoch

        def note(**kwargs):
            after(**kwargs)
            if (strategy.experience.current_experience, strategy.epoch) == stop:
                save_checkpoint(tmp_path / "state.safetensors", strategy.state_dict())

        strategy._after_training_epoch = note
        if saved is not None:
            strategy.load_state_dict(saved)
        for experience in data[0].train_stream[saved["experience"] if saved else 0 :]:
            strategy.train(experience, eval_streams=[])
        return strategy.model.state_dict()

    whole = run(stop=at)
    again = run(load_checkpoint(tmp_path / "state.safetensors"))
    assert all(torch.equal(each, again[name]) for name, each in whole.items())


def test_wrong_settings_lessons_and_models_raise(make, data, lessons):
    with pytest.raises(ConfigError, match="method.*'mi'.*dss or qcrd"):
        RationaleDistillation(lessons, "mi")
    with pytest.raises(ConfigError, match="alpha.*0"):
        RationaleDistillation(lessons, weights=Weights(alpha=0.0))
    strategy = make(RationaleDistillation([Lesson("?", "!", "", (), ())]))
    with pytest.raises(StreamError, match="1 lessons for 90 samples"):
        strategy.train(data[0].train_stream[0], eval_streams=[])
    plugin = RationaleDistillation(lessons, "dss")
    strategy = make(plugin)
    plugin.method = "qcrd"
    with pytest.raises(ConfigError, match="qcrd.*TextClassifier with a discriminator"):
        strategy.train(data[0].train_stream[0], eval_streams=[])
    strategy.model = torch.nn.Linear(1, 1)
    plugin.method = "dss"
    with pytest.raises(ConfigError, match="dss.*Linear"):
        strategy.train(data[0].train_stream[0], eval_streams=[])
