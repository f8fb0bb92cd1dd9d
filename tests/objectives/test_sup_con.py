import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import normalize

from mmcl.errors import LabelError, ShapeError
from mmcl.objectives import SupConLoss


def slow(z, labels, temperature):
    z, losses = normalize(z, dim=1), []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if positives:
            below = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(len(z)) if k != i)
            terms = [math.log(below) - float(z[i] @ z[p]) / temperature for p in positives]
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 3])
def test_equals_the_slow_double_loop(block_size):
    features = draw([8])["a"].detach()
    labels = torch.tensor([0, 1, 0, -7, 1, 0, 900, 1])  # two samples have no positive; labels may be any integers
    loss = SupConLoss(0.3, block_size=block_size)(features, labels)
    assert loss.item() == pytest.approx(slow(features, labels, 0.3), rel=1e-12)


def test_without_positives_it_is_0_with_a_gradient_path():
    features = draw([4])["a"]
    for block_size in (None, 2):
        loss = SupConLoss(block_size=block_size)(features, torch.arange(4))
        (gradient,) = torch.autograd.grad(loss, features)
        assert loss.item() == 0 and not gradient.any()


def test_invalid_labels_are_an_error():
    with pytest.raises(ShapeError, match=r"labels has shape \(3,\).*\(4,\)"):
        SupConLoss()(torch.ones(4, 2), torch.arange(3))
    with pytest.raises(LabelError, match="labels is of type"):
        SupConLoss()(torch.ones(4, 2), torch.ones(4))
