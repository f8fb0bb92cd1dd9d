"""Config section of the optimizer."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from mmcl.sections.optimizer import OptimizerSection


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(3, 2), nn.Linear(2, 2)


def test_encoder_parameters_have_their_own_learning_rate_and_the_head_is_the_last_group():
    model = Model()
    optimizer = OptimizerSection(learning_rate=1e-2, encoder_learning_rate=1e-4, weight_decay=0.3).build(
        model, model.encoder
    )
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-2]
    assert all(group["weight_decay"] == 0.3 for group in optimizer.param_groups)
    assert optimizer.param_groups[-1]["params"] == list(model.head.parameters())


def test_frozen_parameters_are_left_out():
    model = Model()
    model.encoder.requires_grad_(False)
    optimizer = OptimizerSection().build(model, model.encoder)
    assert [group["params"] for group in optimizer.param_groups] == [list(model.head.parameters())]


def test_a_cosine_schedule_ends_at_zero():
    section, model = OptimizerSection(schedule="cosine"), Model()
    optimizer = section.build(model, model.encoder)
    schedule = section.scheduler()(optimizer, 4)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)
    assert isinstance(schedule, torch.optim.lr_scheduler.CosineAnnealingLR)
    assert OptimizerSection().scheduler() is None


@pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"weight_decay": -1}, {"clip_norm": 0}, {"schedule": "step"}])
def test_invalid_settings_raise(wrong):
    with pytest.raises(ValidationError):
        OptimizerSection(**wrong)
