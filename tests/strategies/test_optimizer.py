import torch
from torch import nn

from mmcl.strategies.optimizer import add_parameters, plugin_parameters, reset_optimizer


def parameter(size=2, **settings):
    return nn.Parameter(torch.zeros(size), **settings)


def test_missing_parameters_get_the_first_group_without_weight_decay():
    known, added = parameter(), parameter()
    optimizer = torch.optim.AdamW([known], lr=0.1, weight_decay=0.5)
    add_parameters(optimizer, [known])
    assert len(optimizer.param_groups) == 1
    add_parameters(optimizer, [known, added])
    first, last = optimizer.param_groups
    assert first["params"] == [added] and first["weight_decay"] == 0.0
    assert last["params"] == [known] and last["weight_decay"] == 0.5


def test_a_reset_keeps_groups_drops_stale_parameters_and_adds_new_ones_to_the_last_group():
    encoder, old_head, head, frozen = parameter(), parameter(), parameter(3), parameter(requires_grad=False)
    optimizer = torch.optim.SGD([{"params": [encoder]}, {"params": [old_head]}], lr=0.1, momentum=0.9)
    for each in (encoder, old_head):
        each.grad = torch.ones_like(each)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.7
    reset_optimizer(optimizer, [encoder, head, frozen], [0.1, 0.2])
    first, last = optimizer.param_groups
    assert first["params"] == [encoder] and len(last["params"]) == 1 and last["params"][0] is head
    assert (first["lr"], last["lr"]) == (0.1, 0.2) and not optimizer.state


def test_only_plugins_with_a_method_parameters_have_parameters():
    layer = nn.Linear(2, 1)
    assert plugin_parameters([object(), layer]) == list(layer.parameters())
