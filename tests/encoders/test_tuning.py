import pytest
from torch import nn

from mmcl.encoders.tuning import freeze_below
from mmcl.errors import ConfigError


def test_the_front_and_the_lower_layers_are_frozen():
    front, layers = nn.Dropout(), nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Dropout()) for _ in range(3))
    freeze_below("net", 2, [front], layers)
    nn.ModuleList([front, layers]).train()
    assert not front.training and [layer[1].training for layer in layers] == [False, False, True]
    assert [layer[0].weight.requires_grad for layer in layers] == [False, False, True]


@pytest.mark.parametrize("tune_from", [-1, 3])
def test_a_missing_layer_raises(tune_from):
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    message = f"tune_from is {tune_from}.*'net'.* 0 to 2"
    with pytest.raises(ConfigError, match=message):
        freeze_below("net", tune_from, [], layers)
