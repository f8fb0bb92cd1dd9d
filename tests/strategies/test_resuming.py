import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.data import class_incremental
from mmcl.errors import CheckpointError, TrainingError
from mmcl.files.loading import plain_name
from mmcl.freeze import trainable_state
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import (
    agem,
    bic,
    coconut,
    der_pp,
    er_ace,
    ewc,
    gdumb,
    icarl,
    joint,
    lucir,
    lwf,
    mas,
    naive,
    replay,
    si,
    wa,
)
from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.resuming import restore_model, restore_training, state_of


class Stopped(Exception):
    pass


def scheduler(optimizer, steps):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


@pytest.fixture
def stopped(make, benchmark, tmp_path):
    """A strategy stopped after the second epoch of its second experience, and its state after saving and loading."""
    strategy = make(replay, memory_size=20, scheduler=scheduler)
    strategy.train(benchmark.train_stream[0], eval_streams=[])

    def stop(**_):
        if strategy.epoch == 2:
            save_checkpoint(tmp_path / "state.safetensors", state_of(strategy))
            raise Stopped

    strategy._after_training_epoch = stop
    with pytest.raises(Stopped):
        strategy.train(benchmark.train_stream[1], eval_streams=[])
    return strategy, load_checkpoint(tmp_path / "state.safetensors")


def test_a_state_has_experience_epoch_schedule_and_weights(stopped):
    strategy, state = stopped
    assert (state["experience"], state["epoch"]) == (1, 2) and state["scheduler"]["last_epoch"] > 0
    weights = strategy.model.state_dict()  # the state leaves out frozen weights
    assert state["model"] and all(torch.equal(value, weights[name]) for name, value in state["model"].items())
    assert torch.equal(state["random"]["torch"], torch.get_rng_state())


def test_model_and_memory_are_restored_before_optimizer_and_random_generators(stopped, make):
    strategy, state = stopped
    fresh = make(replay, seed=9, memory_size=20, scheduler=scheduler)
    before = torch.get_rng_state()
    restore_model(fresh, state)
    weights = fresh.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in state["model"].items())
    memories = [next(p for p in each.plugins if isinstance(p, Rehearsal)).rows for each in (strategy, fresh)]
    assert memories[0] == memories[1] and len(memories[0]) == 20
    assert fresh.epoch == 0 and torch.equal(torch.get_rng_state(), before)
    parameters = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    fresh.optimizer = torch.optim.AdamW(parameters, lr=9.0)
    fresh.training_step.optimizer = fresh.optimizer
    fresh.training_step.scheduler = scheduler(fresh.optimizer, 100)
    restore_training(fresh, state)
    assert fresh.epoch == 2 and fresh.training_step.scheduler.last_epoch == strategy.training_step.scheduler.last_epoch
    assert fresh.optimizer.param_groups[0]["lr"] == strategy.optimizer.param_groups[0]["lr"]
    assert torch.equal(torch.get_rng_state(), state["random"]["torch"])


class Keeper(SupervisedPlugin):
    """Keeps the state of one epoch of one experience, and counts the epochs of each experience."""

    def __init__(self, experience=-1, epoch=0):
        super().__init__()
        self.at, self.kept, self.epochs = (experience, epoch), None, {}

    def after_training_epoch(self, strategy, **kwargs):
        number = strategy.experience.current_experience
        self.epochs[number] = self.epochs.get(number, 0) + 1
        if (number, strategy.epoch) == self.at:
            self.kept = strategy.state_dict()


PRESETS = [naive, joint, replay, lwf, icarl, coconut, er_ace, der_pp, gdumb, agem, wa, bic, lucir, ewc, si, mas]


@pytest.fixture
def one_by_one(digits):
    """A stream whose samples are read one at a time, by a DataLoader that draws a random number."""
    train, test = ([dict(data[row]) for row in range(len(data))] for data in digits)

    class Items:
        classes = digits[0].classes

        def __init__(self, samples):
            self.samples = samples
            self.labels, self.texts = ([each[name] for each in samples] for name in ("label", "text"))

        def __len__(self):
            return len(self.samples)

        def __getitem__(self, row):
            return self.samples[row]

    return class_incremental(Items(train), Items(test), experiences=5, seed=0)


def whole(make, preset, stream, keeper, **settings):
    """Train on two experiences with an evaluation between them; return the weights."""
    strategy = make(preset, plugins=[keeper], epochs=2, **settings)
    states = [strategy.state_dict()]
    for experience in stream.train_stream[:2]:
        strategy.train(experience, eval_streams=[])
        states.append(strategy.state_dict())
        strategy.eval(stream.test_stream[:2])
    return weights(strategy), states


def weights(strategy):
    """The trained weights; frozen encoders have another seed."""
    return {plain_name(name): value.clone() for name, value in trainable_state(strategy.model).items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_state_saved_at_the_end_of_an_experience_resumes_with_the_next(preset, make, one_by_one):
    keeper = Keeper(0, 2)
    expected, states = whole(make, preset, one_by_one, keeper)
    for state, first, epochs in ((keeper.kept, 0, {1: 2}), (keeper.kept, 1, {1: 2}), (states[1], 1, {1: 2})):
        keeper = Keeper()
        strategy = make(preset, seed=7, plugins=[keeper], epochs=2)
        strategy.load_state_dict(state)
        for experience in one_by_one.train_stream[first:2]:
            strategy.train(experience, eval_streams=[])
        assert keeper.epochs == epochs and equal(expected, weights(strategy))


def test_a_state_saved_before_training_resumes_from_the_start(make, benchmark):
    expected, states = whole(make, replay, benchmark, Keeper())
    strategy = make(replay, seed=7, plugins=[Keeper()], epochs=2)
    strategy.load_state_dict(states[0])
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience, eval_streams=[])
    assert states[0]["experience"] is None and equal(expected, weights(strategy))


def test_a_state_does_not_change_in_later_training(make, benchmark, tmp_path):
    keeper = Keeper(0, 1)
    strategy = make(lwf, plugins=[keeper])
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    save_checkpoint(tmp_path / "one.safetensors", keeper.kept)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    save_checkpoint(tmp_path / "two.safetensors", keeper.kept)
    one, two = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert equal(one["model"], two["model"])
    assert all(equal(one["optimizer"]["state"][p], two["optimizer"]["state"][p]) for p in one["optimizer"]["state"])


@pytest.mark.parametrize(
    ("at", "requested", "expected"),
    [((0, 1), 1, 0), ((0, 2), 2, 1), ((1, 1), 0, 1), ((1, 1), 2, 1), ((1, 2), 0, 2), ("end", 0, 2), ("end", 3, 2)],
)
def test_training_on_another_experience_than_the_next_raises(at, requested, expected, make, benchmark):
    keeper = Keeper(*at) if at != "end" else Keeper()
    _, states = whole(make, naive, benchmark, keeper)
    strategy = make(naive, plugins=[Keeper()], epochs=2)
    strategy.load_state_dict(keeper.kept or states[2])
    number = 1 if at == "end" else at[0]
    message = rf"experience {number} .*expected experience {expected} .*got {requested}"
    with pytest.raises(CheckpointError, match=message):
        strategy.train(benchmark.train_stream[requested], eval_streams=[])


def test_a_loaded_state_can_be_saved_again_before_training(make, benchmark):
    keeper = Keeper(0, 1)
    expected, _ = whole(make, lwf, benchmark, keeper)
    once = make(lwf, seed=3, plugins=[Keeper()], epochs=2)
    once.load_state_dict(keeper.kept)
    twice = make(lwf, seed=4, plugins=[Keeper()], epochs=2)
    twice.load_state_dict(once.state_dict())
    for experience in benchmark.train_stream[:2]:
        twice.train(experience, eval_streams=[])
    assert equal(expected, weights(twice))


@pytest.mark.parametrize("hook", ["before_training_exp", "after_backward", "after_training_exp"])
def test_saving_a_state_within_training_raises(hook, make, benchmark):
    class Taker(SupervisedPlugin):
        pass

    setattr(Taker, hook, lambda self, strategy, **kwargs: strategy.state_dict())
    strategy = make(replay, plugins=[Taker()], epochs=1)
    with pytest.raises(TrainingError, match="experience 0"):
        strategy.train(benchmark.train_stream[0], eval_streams=[])


SCHEDULE = {"scheduler": scheduler}
LONGER = {"scheduler": scheduler, "batch_size": 8}
OTHERS = {
    "more plugins": (replay, {"plugins": [Keeper(), Keeper()]}, "plugins.*Keeper"),
    "another plugin": (replay, {"plugins": [AccuracyMatrix()]}, "plugins.*'Keeper'.*'AccuracyMatrix'"),
    "another strategy": (naive, {"plugins": [Keeper()]}, "plugins.*Rehearsal"),
    "a schedule": (replay, {"plugins": [Keeper()], **SCHEDULE}, "schedule None.*CosineAnnealingLR"),
    "fewer epochs": (replay, {"plugins": [Keeper()], "epochs": 1}, "epoch 2 of experience 0.*1 epochs"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_loading_the_state_of_another_strategy_raises(other, make, benchmark):
    preset, settings, message = OTHERS[other]
    keeper = Keeper(0, 2)
    make(replay, plugins=[keeper], epochs=3).train(benchmark.train_stream[0], eval_streams=[])
    strategy = make(preset, **{"epochs": 3, **settings})
    with pytest.raises(CheckpointError, match=message):
        strategy.load_state_dict(keeper.kept)
        strategy.train(benchmark.train_stream[0], eval_streams=[])


@pytest.mark.parametrize(
    ("settings", "message"), [({}, "schedule CosineAnnealingLR.*None"), (LONGER, "schedule.*steps")]
)
def test_resuming_with_another_schedule_raises(settings, message, make, benchmark):
    keeper = Keeper(0, 2)
    make(replay, plugins=[keeper], **SCHEDULE).train(benchmark.train_stream[0], eval_streams=[])
    strategy = make(replay, plugins=[Keeper()], **settings)
    strategy.load_state_dict(keeper.kept)
    with pytest.raises(CheckpointError, match=message):
        strategy.train(benchmark.train_stream[0], eval_streams=[])


def test_resuming_with_another_stream_raises(make, digits):
    one, other = (class_incremental(*digits, experiences=5, seed=seed) for seed in (0, 1))
    keeper = Keeper(0, 2)
    make(naive, plugins=[keeper]).train(one.train_stream[0], eval_streams=[])
    strategy = make(naive, plugins=[Keeper()])
    strategy.load_state_dict(keeper.kept)
    with pytest.raises(CheckpointError, match=r"classes \["):
        strategy.train(other.train_stream[0], eval_streams=[])


@pytest.mark.parametrize("lacking", ["model", "plugins", "experience", "epoch", "random", "optimizer", "scheduler"])
def test_loading_an_incomplete_state_raises(lacking, stopped, make, benchmark):
    _, state = stopped
    del state[lacking]
    strategy = make(replay, memory_size=20, scheduler=scheduler)
    with pytest.raises(CheckpointError, match=f"'{lacking}'"):
        strategy.load_state_dict(state)
        strategy.train(benchmark.train_stream[1], eval_streams=[])


def test_a_plugin_that_cannot_load_its_state_is_named(stopped, make):
    _, state = stopped
    state["plugins"] = [{} for _ in state["plugins"]]
    with pytest.raises(CheckpointError, match="Rehearsal.*KeyError: 'labels'"):
        make(replay, memory_size=20, scheduler=scheduler).load_state_dict(state)


def test_a_state_of_an_older_version_is_restored(stopped, make, benchmark):
    strategy, state = stopped
    for name in ("finished", "classes", "steps", "kinds"):
        del state[name]
    other = make(replay, seed=5, memory_size=20, scheduler=scheduler)
    other.load_state_dict(state)
    other.train(benchmark.train_stream[1], eval_streams=[])
    assert other.finished and other.number == 1 and other.epoch == 4


def wrapped(model):
    return torch.compile(model, backend="eager")


def part(model):
    model.trunk = torch.compile(model.trunk, backend="eager")
    return model


@pytest.mark.parametrize("preset", [replay, lwf])
@pytest.mark.parametrize(("saved", "loaded"), [(wrapped, None), (None, wrapped), (part, None), (wrapped, part)])
def test_model_and_teacher_of_a_compiled_model_are_restored(preset, saved, loaded, make, benchmark):
    def of(wrap):
        return lambda model, optimizer, **settings: preset(wrap(model) if wrap else model, optimizer, **settings)

    keeper = Keeper(1, 1)
    expected, _ = whole(make, of(saved), benchmark, keeper)
    strategy = make(of(loaded), seed=7, plugins=[Keeper()], epochs=2)
    strategy.load_state_dict(keeper.kept)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert equal(expected, weights(strategy))
