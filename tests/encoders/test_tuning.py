import pytest
import torch
from torch import nn

from mmcl.encoders.tuning import freeze_below, split_prefix
from mmcl.errors import ConfigError


def test_the_front_and_the_lower_layers_are_frozen():
    front, layers = nn.Dropout(), nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Dropout()) for _ in range(3))
    freeze_below("net", 2, [front], layers)
    nn.ModuleList([front, layers]).train()
    assert not front.training and [layer[1].training for layer in layers] == [False, False, True]
    assert [layer[0].weight.requires_grad for layer in layers] == [False, False, True]


def test_a_prefix_is_in_front_of_all_steps():
    prefix, hidden = torch.full((2, 1, 3), 5.0), torch.arange(12.0).view(2, 2, 3)

    def layers(states, lengths):
        assert lengths.tolist() == [3, 2] and torch.equal(states[:, 0], prefix[:, 0])
        return states + 1

    outputs, steps = split_prefix(layers, prefix, hidden, torch.tensor([2, 1]))
    assert torch.equal(outputs, prefix + 1) and torch.equal(steps, hidden + 1)


@pytest.mark.parametrize("tune_from", [-1, 3])
def test_a_missing_layer_raises(tune_from):
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    message = f"tune_from is {tune_from}.*'net'.* 0 to 2"
    with pytest.raises(ConfigError, match=message):
        freeze_below("net", tune_from, [], layers)
