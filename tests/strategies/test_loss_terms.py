import pytest
import torch
from avalanche.core import SupervisedPlugin
from pretended_gpu import pretended_gpu
from step_waits import WatchedSteps
from torch._subclasses.fake_tensor import FakeTensorMode

from mmcl.data import class_incremental
from mmcl.errors import TrainingError
from mmcl.objectives import SupConLoss
from mmcl.strategies import (
    agem,
    bic,
    coconut,
    der,
    der_pp,
    er_ace,
    ewc,
    first_session,
    gdumb,
    icarl,
    lucir,
    lwf,
    mas,
    naive,
    replay,
    si,
    wa,
)
from mmcl.strategies.contrast import Contrast
from mmcl.strategies.relational_distillation import RelationalDistillation
from mmcl.strategies.teacher import Teacher
from mmcl.training import loss_sums


class Epochs(SupervisedPlugin):
    """Keeps the losses of each epoch."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def after_training_epoch(self, strategy, **kwargs):
        self.losses.append(dict(strategy.losses))


METHODS = {
    "naive": (naive, {}, ()),
    "replay": (replay, {"memory_size": 20, "clip_norm": 0.1}, ()),
    "lwf": (lwf, {}, ()),
    "ewc": (ewc, {}, ()),
    "first_session": (first_session, {"epochs": 6}, ()),
    "si": (si, {"clip_norm": 0.1}, ()),
    "mas": (mas, {}, ()),
    "icarl": (icarl, {"memory_size": 20}, ()),
    "coconut": (coconut, {"memory_size": 40}, ()),
    "coconut, all anchors, proper": (coconut, {"memory_size": 40, "mm_anchors": "all", "denominator": "proper"}, ()),
    "coconut, large batches": (coconut, {"memory_size": 80, "batch_size": 65, "epochs": 6}, ()),
    "er_ace": (er_ace, {"memory_size": 20}, ()),
    "er_ace, classes of the experience": (er_ace, {"memory_size": 20, "current": "experience"}, ()),
    "der": (der, {"memory_size": 20}, ()),
    "der_pp": (der_pp, {"memory_size": 20}, ()),
    "gdumb": (gdumb, {"memory_size": 60}, ()),
    "agem": (agem, {"memory_size": 20}, ()),
    "wa": (wa, {"memory_size": 20, "clip_weights": True}, ()),
    "bic": (bic, {"memory_size": 20}, ()),
    "lucir": (lucir, {"memory_size": 20}, ()),
    "contrast of texts": (replay, {"memory_size": 20}, (SupConLoss, "text")),
    "contrast of views": (replay, {"memory_size": 20}, (SupConLoss, "views")),
    "relations": (replay, {"memory_size": 20}, RelationalDistillation),
}


def plugins_of(given):
    if isinstance(given, tuple):
        return [Contrast(given[0](), sides=given[1])] if given else []
    return [given()]


@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_for_nothing_on_a_device_and_logs_the_same_losses(method, make, train, benchmark, monkeypatch):
    preset, settings, given = METHODS[method]
    found = []
    for later in (False, True):
        monkeypatch.setattr(loss_sums, "waits", lambda device, later=later: later)
        epochs, watched = Epochs(), WatchedSteps()
        strategy = make(preset, plugins=[*plugins_of(given), *([watched] if later else []), epochs], **settings)
        found.append((train(strategy, benchmark, 2), epochs.losses))
    assert watched.waits.found == [] and watched.steps > 10
    assert found[0][1] == found[1][1] and len(found[0][1]) > 5
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])


@pytest.mark.parametrize(("preset", "settings"), [(replay, {"clip_norm": 1.0}), (coconut, {})])
def test_a_step_reads_nothing_from_a_gpu(preset, settings, make, train, benchmark, monkeypatch):
    """Fake tensors have a device and a shape, but no values: reading one raises. Their gradients need a GPU."""
    strategy = make(preset, memory_size=20, epochs=1, **settings)
    train(strategy, benchmark, 1)
    gpu, seen = torch.device("cuda"), []

    def first_batch(**kwargs):
        seen.append((next(iter(strategy.dataloader)), strategy.dataloader, strategy.experience))

    monkeypatch.setattr(strategy, "training_epoch", first_batch)
    monkeypatch.setattr(strategy, "_after_training_exp", lambda **kwargs: None)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    strategy.is_training, strategy.device, strategy.training_step.device = True, gpu, gpu
    with FakeTensorMode(allow_non_fake_inputs=True):
        for model in (strategy.model, *(plugin.model for plugin in strategy.plugins if isinstance(plugin, Teacher))):
            move_fake(model, gpu)
        optimizer = torch.optim.SGD(strategy.model.parameters(), lr=0.1)
        strategy.optimizer = strategy.training_step.optimizer = optimizer
        strategy.mbatch, strategy.dataloader, strategy.experience = seen[0]
        with strategy.training_step.located(strategy._where, strategy._samples):
            strategy._unpack_minibatch()
            strategy.mb_output = strategy.forward()
            strategy.loss = strategy._make_empty_loss() + strategy.criterion()
            strategy._before_backward()
            assert strategy.loss.device.type == "cuda"
            strategy.training_step.check(strategy.loss)
        for parameter in strategy.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        strategy.optimizer_step()
    terms = {"cross_entropy", "loss"} | ({"mm", "nspt_audio", "nspt_text"} if preset is coconut else set())
    assert strategy.rehearsed and set(strategy.training_step.losses) == terms


class Strict(SupervisedPlugin):
    """Makes each wait for the GPU an error, but in the first step of an experience."""

    steps = 0

    def before_training_iteration(self, strategy, **kwargs):
        if strategy.clock.train_exp_iterations:
            torch.cuda.set_sync_debug_mode("error")
            self.steps += 1

    def after_update(self, strategy, **kwargs):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_no_step_waits_for_the_gpu(method, make, train, benchmark):
    preset, settings, given = METHODS[method]
    strict = Strict()
    strategy = make(preset, plugins=[*plugins_of(given), strict], device="cuda", **settings)
    try:
        train(strategy, benchmark, 2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert strict.steps > 10


def move_fake(model, device):
    """Replace weights and buffers by fake ones on a device."""
    for module in model.modules():
        for name, value in module._parameters.items():
            fake = torch.empty(value.shape, device=device)
            module._parameters[name] = torch.nn.Parameter(fake, requires_grad=value.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = torch.empty(value.shape, device=device, dtype=value.dtype)


class Spoiled:
    """A data set in memory of which one sample is not finite."""

    def __init__(self, data, row):
        self.__dict__ |= vars(data)
        self.ids = [f"sample-{number}" for number in range(len(data.labels))]
        self.features = data.features.clone()
        self.features[row, 3] = torch.nan
        self.batch = data.__class__.batch.__get__(self)
        self.row = row

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"features": self.features[row], "label": self.labels[row], "text": self.texts[row]}


class Steps(SupervisedPlugin):
    """Keeps the step that first has a sample, and counts the steps."""

    def __init__(self, row):
        super().__init__()
        self.row, self.first, self.count = row, None, 0

    def before_backward(self, strategy, **kwargs):
        self.count += 1
        if self.first is None and self.row in strategy.mbatch["rows"].tolist():
            self.first = self.count


@pytest.mark.parametrize("preset", [naive, replay])
@pytest.mark.parametrize("every", [1, 4, 32])
def test_the_step_and_the_sample_of_a_loss_that_is_not_finite_are_named_later(
    every, preset, make, digits, on_device, monkeypatch
):
    monkeypatch.setattr(loss_sums.LossSums, "CHECK_EVERY", every)
    row = digits[0].labels.index(0) + 7
    data = Spoiled(digits[0], row)
    benchmark = class_incremental(data, digits[1], experiences=5, class_order=list(range(10)))
    steps, epochs = Steps(row), Epochs()
    strategy = make(preset, batch_size=4, plugins=[steps, epochs])
    with pytest.raises(TrainingError) as error:
        strategy.train(benchmark.train_stream[0], eval_streams=[])
    assert f"experience 0, epoch 1, step {steps.first} " in str(error.value)
    assert all(part in str(error.value) for part in ("nan", "cross_entropy", "'features'", f"sample-{row}"))
    assert steps.count < steps.first + every and not epochs.losses  # nothing was logged


def test_the_sample_is_named_after_training_on_a_pretended_gpu(make, digits):
    row = digits[0].labels.index(0) + 7
    data = Spoiled(digits[0], row)
    benchmark = class_incremental(data, digits[1], experiences=5, class_order=list(range(10)))
    steps = Steps(row)
    with pretended_gpu(), pytest.raises(TrainingError) as error:
        strategy = make(coconut, batch_size=4, memory_size=20, plugins=[steps], device="cuda")
        strategy.train(benchmark.train_stream[0], eval_streams=[])
    assert f"experience 0, epoch 1, step {steps.first} " in str(error.value)
    assert all(part in str(error.value) for part in ("nan", "cross_entropy, mm", "'features'", f"sample-{row}"))
    assert steps.count > steps.first


def test_a_state_is_not_saved_after_a_loss_that_is_not_finite(make, benchmark, on_device):
    class Bomb(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            if strategy.epoch == 1 and strategy.clock.train_epoch_iterations == 2:
                strategy.add_loss("bomb", torch.tensor(float("nan")))

    class Saving(SupervisedPlugin):
        saved = 0

        def after_training_epoch(self, strategy, **kwargs):
            strategy.state_dict()
            self.saved += 1

    saving = Saving()
    strategy = make(naive, plugins=[Bomb(), saving])
    with pytest.raises(TrainingError, match=r"experience 0, epoch 2, step 3 .*bomb, cross_entropy"):
        strategy.train(benchmark.train_stream[0], eval_streams=[])
    assert saving.saved == 1


def test_positions_of_rehearsed_samples_are_those_of_the_batch(make, train, benchmark):
    class Positions(SupervisedPlugin):
        seen = 0

        def before_backward(self, strategy, **kwargs):
            assert strategy.rehearsed == strategy.mbatch["is_rehearsal"].nonzero().flatten().tolist()
            assert strategy.rehearses == bool(strategy.rehearsed)
            self.seen += len(strategy.rehearsed)

    positions = Positions()
    train(make(replay, memory_size=20, plugins=[positions]), benchmark, 2)
    assert positions.seen == 4 * 20
