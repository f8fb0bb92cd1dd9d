from dataclasses import replace

import pytest
import torch
from step_waits import watch_steps

from mmcl.errors import CheckpointError, ConfigError, DataError, TrainingError
from mmcl.rationales.discriminator import Discriminator
from mmcl.rationales.distill import Distillation, distill_rationales
from mmcl.rationales.lessons import Lesson
from mmcl.rationales.recipe import Recipe
from mmcl.rationales.terms import Weights
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.training import loss_sums

QUICK = Recipe(epochs=4, batch_size=8, learning_rate=2e-3, delay=2, sample_length=8)


def trainer(student, lessons, method, recipe=QUICK):
    torch.manual_seed(3)
    discriminator = Discriminator(student) if method == "qcrd" else None
    return Distillation(student, lessons, method, recipe, discriminator=discriminator)


@pytest.mark.parametrize("method", ["finetune", "single_task", "dss", "mi", "qcrd"])
def test_every_method_reduces_the_loss(method, student, lessons):
    losses = list(trainer(student, lessons, method))
    assert len(losses) == 4 and losses[-1]["loss"] < losses[0]["loss"]


@pytest.mark.parametrize("method", ["single_task", "mi", "qcrd"])
def test_no_step_waits_for_a_device_and_losses_are_equal(method, student, lessons, monkeypatch):
    start, recipe = {name: each.clone() for name, each in student.state_dict().items()}, replace(QUICK, epochs=2)
    now = list(trainer(student, lessons, method, replace(recipe, accumulate=2)))
    student.load_state_dict(start)
    monkeypatch.setattr(loss_sums, "waits", lambda device: True)
    training = trainer(student, lessons, method, replace(recipe, accumulate=2))
    waits = watch_steps(monkeypatch)
    assert list(training) == now
    # transformers looks whether a mask has padding
    assert [place for place in waits.found if not place.startswith("models/text_to_text.py")] == []
    assert waits.steps > 4


def test_resumed_equals_uninterrupted(student, lessons, tmp_path):
    start = {name: each.clone() for name, each in student.state_dict().items()}
    whole = trainer(student, lessons, "qcrd")
    saved = []
    for losses in whole:
        saved.append(losses)
        if whole.epoch == 3:
            save_checkpoint(tmp_path / "third.safetensors", whole.state_dict())
    end = {name: each.clone() for name, each in student.state_dict().items()}
    student.load_state_dict(start)
    again = trainer(student, lessons, "qcrd")
    again.load_state_dict(load_checkpoint(tmp_path / "third.safetensors"))
    assert list(again) == saved[3:]
    assert all(torch.equal(each, end[name]) for name, each in student.state_dict().items())


def test_bad_rationales_are_sampled_from_an_earlier_student(student, lessons, monkeypatch):
    seen = []
    states = []

    def write(self, sources, **settings):
        seen.append(self.state_dict()["model.shared.weight"].clone())
        assert settings["temperature"] == 1.5 and all(each.startswith("explain: ") for each in sources)
        return [f"sample {len(seen)}"] * len(sources)

    monkeypatch.setattr(type(student), "write", write)
    training = trainer(student, lessons, "qcrd")
    for _ in training:
        states.append(student.state_dict()["model.shared.weight"].clone())
        assert set(training._sampled) == ({""} if training.epoch == 1 else {f"sample {training.epoch - 1}"})
    # Two epochs ago, or the earliest; training continues with the current weights.
    assert [next(n for n, each in enumerate(states) if torch.equal(each, was)) for was in seen] == [0, 0, 1]
    assert training.seconds["sampling"] > 0


def test_settings_of_a_recipe_take_effect(student, lessons, monkeypatch):
    steps, sampled = [], []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *rest: steps.append(1) or step(self, *rest))

    def write(self, sources, **settings):
        sampled.append(len(sources))
        return ["a sample"] * len(sources)

    monkeypatch.setattr(type(student), "write", write)
    settings = {"accumulate": 2, "epoch_batches": 3, "refresh": 0.25, "train_discriminator_every": 2}
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=1e-3, precision="bf16-mixed", **settings)
    training = trainer(student, lessons, "qcrd", recipe)
    judged = []
    for _ in training:
        judged.append([each.detach().clone() for each in training.discriminator.parameters()])
    assert len(steps) == 4  # per epoch: one for the first two batches, one for the third
    assert sampled == [6]  # a quarter of the 24 lessons of the second epoch; none in the first
    before = [each.detach() for each in trainer(student, lessons, "qcrd", recipe).discriminator.layers.parameters()]
    assert not torch.equal(judged[0][-1], before[-1])  # trained in the first epoch only
    assert all(torch.equal(one, two) for one, two in zip(*judged, strict=True))


@pytest.mark.parametrize("answering", ["write", "choose"])
def test_weights_of_the_best_epoch_are_returned(answering, student, svamp, monkeypatch):
    marks = iter([0.2, 0.6, 0.4, 0.6])
    states = []

    def measure(student, exercises, method, asked):
        assert asked == answering
        states.append(student.state_dict()["model.shared.weight"].clone())
        return next(marks)

    monkeypatch.setattr("mmcl.rationales.distill.accuracy", measure)
    trained = distill_rationales(student, svamp, method="dss", valid=svamp, recipe=QUICK, answering=answering)
    assert torch.equal(trained.state_dict()["model.shared.weight"], states[1]) and not trained.training


def test_invalid_arguments_are_refused(student, lessons):
    with pytest.raises(ConfigError, match="'dsss'.*'dss'"):
        Distillation(student, lessons, "dsss")
    with pytest.raises(ConfigError, match="'qcrd'.*no discriminator"):
        Distillation(student, lessons, "qcrd")
    with pytest.raises(DataError, match="0 lessons"):
        Distillation(student, [], "dss")
    with pytest.raises(DataError, match="0 rationales.*'dss'"):
        Distillation(student, [Lesson("?", "!", "", (), ())], "dss")
    broken = trainer(student, lessons, "finetune", Recipe(epochs=2, batch_size=8, learning_rate=1e30, clip_norm=None))
    with pytest.raises(TrainingError, match="nan .*epoch 1, step . of 5"):
        list(broken)


def trained_state(student, lessons, method="dss", epochs=1):
    """State of a training after some epochs."""
    training = trainer(student, lessons, method)
    for _ in training:
        if training.epoch == epochs:
            return training.state_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 4}, "batch_size 8.* 4"),
        ({"learning_rate": 1e-3}, r"learning_rate 0\.002.* 0\.001"),
        ({"delay": 1}, "delay 2.* 1"),
        ({"epochs": 1}, "epoch 2.* 1"),
        ({"weights": Weights(alpha=0.3)}, r"weights .*'alpha': 0\.5.*'alpha': 0\.3"),
    ],
)
def test_the_state_of_another_recipe_is_refused(changes, message, student, lessons):
    saved = trained_state(student, lessons, epochs=2)
    with pytest.raises(CheckpointError, match=message):
        trainer(student, lessons, "dss", replace(QUICK, **changes)).load_state_dict(saved)


def test_the_state_of_another_method_or_of_other_lessons_is_refused(student, lessons):
    saved = trained_state(student, lessons, "qcrd")
    with pytest.raises(CheckpointError, match="method qcrd.* dss"):
        trainer(student, lessons, "dss").load_state_dict(saved)
    with pytest.raises(CheckpointError, match="10 lessons"):
        trainer(student, lessons[:10], "qcrd").load_state_dict(saved)
    del saved["settings"]  # an older state has none
    with pytest.raises(CheckpointError, match="a discriminator"):
        trainer(student, lessons, "dss").load_state_dict(saved)
    del saved["samples"]
    with pytest.raises(CheckpointError, match=f"{len(lessons)} lessons.* 10"):
        trainer(student, lessons[:10], "qcrd").load_state_dict(saved)
    other = trainer(student, lessons, "qcrd")
    other.load_state_dict(saved)
    other.load_state_dict(saved)
    assert other.epoch == 1 and len(other._snapshots) == 1  # loading twice keeps one snapshot


@pytest.mark.parametrize("part", ["student", "discriminator", "optimizer", "snapshots", "order", "random", "scheduler"])
def test_incomplete_state_is_refused(part, student, lessons):
    saved = trained_state(student, lessons, "qcrd")
    del saved[part]
    with pytest.raises(CheckpointError, match=f"'{part}'"):
        trainer(student, lessons, "qcrd").load_state_dict(saved)


@pytest.mark.parametrize("part", ["student", "discriminator"])
def test_weights_of_another_model_are_refused_and_those_of_a_compiled_one_loaded(part, student, lessons):
    saved = trained_state(student, lessons, "qcrd")
    expected = {name: value.clone() for name, value in saved[part].items()}
    saved[part] = {f"_orig_mod.{name}": value for name, value in saved[part].items()}
    other = trainer(student, lessons, "qcrd")
    other.load_state_dict(saved)
    assert all(torch.equal(value, expected[name]) for name, value in getattr(other, part).state_dict().items())
    saved[part].popitem()
    with pytest.raises(CheckpointError, match=f"{part}.* 1 "):
        other.load_state_dict(saved)
