from functools import partial

import pytest
import torch
from torch import nn

from mmcl.errors import CheckpointError, ConfigError, InputError, TrainingError
from mmcl.training import loss_sums
from mmcl.training.loss_sums import LossSums
from mmcl.training.step import TrainingStep

GENERATOR = torch.Generator().manual_seed(0)
INPUTS, TARGETS = torch.randn(12, 3, generator=GENERATOR), torch.randn(12, 2, generator=GENERATOR)


def make(clip_norm=None, schedule=False, rate=0.1, **settings):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10) if schedule else None
    return model, TrainingStep(optimizer, scheduler=scheduler, clip_norm=clip_norm, **settings)


def loss_of(model, rows):
    return (model(INPUTS[rows]) - TARGETS[rows]).square().mean()


def train(model, step, batches):
    for number, rows in enumerate(batches, start=1):
        with step.located(partial("step {}".format, number)):
            step.backward(loss_of(model, rows))
        step.update(last=number == len(batches))


def test_steps_equal_plain_torch():
    model, step = make(clip_norm=0.5, schedule=True)
    train(model, step, torch.arange(12).split(4))
    plain, _ = make()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    losses = []
    for rows in torch.arange(12).split(4):
        optimizer.zero_grad()
        losses.append(loss_of(plain, rows))
        losses[-1].backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
    assert torch.equal(model.weight, plain.weight)
    assert step.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert step.means() == {"loss": pytest.approx(torch.stack(losses).mean().item())}


def test_accumulated_batches_equal_one_batch():
    (model, step), (other, accumulating) = make(), make(accumulate=2)
    train(model, step, torch.arange(12).split(6))
    train(other, accumulating, torch.arange(12).split(3))
    assert torch.allclose(model.weight, other.weight, atol=1e-6)


def test_the_last_batches_of_an_epoch_update_parameters():
    model, step = make(accumulate=4)
    before = model.weight.detach().clone()
    train(model, step, torch.arange(6).split(3))
    assert not torch.equal(model.weight, before)


def test_clipping_is_limited_to_the_given_parameters():
    model, step = make(clip_norm=1e-6)
    step.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    with step.located(lambda: "step 1"):
        step.backward(loss_of(model, slice(None)))
    step.update([model.weight])
    assert (model.weight - weight).norm() < 2e-6 < (model.bias - bias).norm()


def test_means_average_the_terms_and_reset_them():
    model, step = make()
    for value in (1.0, 3.0):
        step.note("term", value)
        step.backward(loss_of(model, slice(None)))
    assert step.means()["term"] == 2.0
    assert step.means() == {}


def test_a_loss_that_is_not_finite_names_step_terms_and_sample():
    model, step = make(advice="change it")
    bad = INPUTS.clone()
    bad[3, 1] = torch.nan
    before = model.weight.detach().clone()
    with (
        pytest.raises(TrainingError) as error,
        step.located(lambda: "step 7", lambda: [({"x": bad}, "sample-{}".format)]),
    ):
        step.backward(model(bad).mean(), terms=["mm", "loss"])
    assert all(each in str(error.value) for each in ("step 7", "mm", "'x'", "sample-3"))
    assert torch.equal(model.weight, before) and model.weight.grad is None
    with pytest.raises(TrainingError, match="change it"), step.located(lambda: "step 8"):
        step.backward(model(INPUTS).mean() * torch.inf)


def test_invalid_input_names_the_step():
    _, step = make()
    with pytest.raises(InputError, match="step 9"), step.located(lambda: "step 9"):
        raise InputError("labels differ")


def test_a_restored_state_continues_training():
    batches = torch.arange(12).split(4)
    (model, step), (other, resumed) = make(schedule=True), make(schedule=True)
    train(model, step, batches)
    resumed.load_state_dict(step.state_dict())
    other.load_state_dict(model.state_dict())
    train(model, step, batches)
    train(other, resumed, batches)
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("name", ["optimizer", "scheduler"])
def test_loading_an_incomplete_state_raises(name):
    _, step = make()
    state = step.state_dict()
    del state[name]
    with pytest.raises(CheckpointError, match=name):
        step.load_state_dict(state)


def test_loading_a_state_with_another_schedule_raises():
    with pytest.raises(CheckpointError, match="schedule"):
        make()[1].load_state_dict(make(schedule=True)[1].state_dict())


def test_bfloat16_output_is_float32():
    model, step = make(precision="bf16-mixed")
    assert step.forward(model, INPUTS).dtype == torch.float32
    with step.autocast():
        assert model(INPUTS).dtype == torch.bfloat16


def test_accumulate_below_one_raises():
    with pytest.raises(ConfigError, match="0"):
        make(accumulate=0)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_losses_read_later_are_equal_to_the_last_digit(accumulate, monkeypatch):
    found = []
    for later in (False, True):
        monkeypatch.setattr(loss_sums, "waits", lambda device, later=later: later)
        model, step = make(clip_norm=0.5, schedule=True, accumulate=accumulate)
        train(model, step, torch.arange(12).split(1) * 4)
        found.append((step.means(), step.means(), model.weight.clone()))
    assert found[0][:2] == found[1][:2] and torch.equal(found[0][2], found[1][2])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_first_step_that_is_not_finite_is_named_later(accumulate, on_device):
    model, step = make(accumulate=accumulate)
    bad = INPUTS.clone()
    bad[7, 1] = torch.nan
    taken = []
    with pytest.raises(TrainingError, match=r"the loss is nan in step 8 .*cross_entropy.*'x' of sample 's7'"):
        for number in range(1, 100):
            row = (number - 1) % 12
            batch = {"x": bad[row : row + 1]}
            with step.located(f"step {number}".format, lambda b=batch, r=row: [(b, lambda _: f"s{r}")]):
                step.backward(model(batch["x"]).square().mean(), terms=["cross_entropy"])
            step.update()
            taken.append(number)
    assert len(taken) == LossSums.CHECK_EVERY - 1


def test_a_state_is_not_returned_after_a_loss_that_is_not_finite(on_device):
    model, step = make()
    with step.located(lambda: "step 5"):
        step.backward(loss_of(model, slice(None)) * torch.nan)
    with pytest.raises(TrainingError, match="step 5"):
        step.state_dict()


def test_invalid_input_after_a_loss_that_was_not_finite_names_the_loss(on_device):
    model, step = make()
    with step.located(lambda: "step 1"):
        step.backward(loss_of(model, slice(None)) * torch.inf)
    with pytest.raises(TrainingError, match="inf in step 1"), step.located(lambda: "step 2"):
        raise InputError("a: row 0 is not finite")


def test_training_resumes_with_losses_that_are_read_later(on_device):
    batches = torch.arange(12).split(4)
    (model, step), (other, resumed) = make(schedule=True), make(schedule=True)
    train(model, step, batches)
    step.means()
    resumed.load_state_dict(step.state_dict())
    other.load_state_dict(model.state_dict())
    train(model, step, batches)
    train(other, resumed, batches)
    assert torch.equal(model.weight, other.weight) and step.means() == resumed.means()


def test_steps_of_one_loop_share_their_sums():
    sums = LossSums()
    (model, step), (_, other) = make(sums=sums), make(sums=sums)
    for each in (step, other):
        each.backward(loss_of(model, slice(None)))
    assert sums.read()["loss"] == 2 * loss_of(model, slice(None)).item() and sums.steps == 2


@pytest.mark.parametrize(("precision", "device", "enabled"), [("32", "cuda", False), ("bf16-mixed", "cpu", False)])
def test_objectives_have_half_precision_products_on_a_gpu_only(precision, device, enabled):
    _, step = make(precision=precision)
    step.device = torch.device(device)
    assert step.objective_autocast()._enabled is enabled
