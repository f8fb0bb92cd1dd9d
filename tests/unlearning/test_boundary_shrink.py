import pytest
import torch
from torch import nn

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import SLUClassifier
from mmcl.unlearning.boundary_shrink import boundary_shrink, nearest_wrong_class


class Regions(nn.Module):
    """Classes along a line: 0 below 1, 1 from there to 2, 2 beyond."""

    def forward(self, batch):
        return -(batch["features"] - torch.tensor([0.5, 1.5, 2.5])).square()


def test_the_class_across_the_nearest_boundary():
    batch = Batch(features=torch.tensor([[0.9], [1.2], [1.9], [2.1]]), label=torch.tensor([0, 1, 1, 2]))
    assert nearest_wrong_class(Regions(), batch, 0.3).tolist() == [1, 0, 2, 1]
    # A step that leaves a sample where it is names a wrong class all the same.
    assert nearest_wrong_class(Regions(), batch, 1e-6).tolist() == [1, 0, 2, 1]
    assert batch["features"].tolist()[0] == [pytest.approx(0.9)] and not batch["features"].requires_grad


def test_what_is_forgotten_is_called_something_else(learnt, remain, forget, accuracy):
    unlearnt = boundary_shrink(learnt, remain, forget, epochs=5, learning_rate=1e-4)
    assert accuracy(unlearnt, forget) < 0.1
    assert accuracy(unlearnt, remain) > 0.5


def test_a_front_end_that_gives_no_gradient(remain, forget):
    model = SLUClassifier(build_encoder("image", "cnn", dim=8), hidden=4)
    model.grow(range(10))
    with pytest.raises(ConfigError, match="the model gives no gradient to 'image', expected one"):
        boundary_shrink(model, remain, forget)


def test_what_is_refused(learnt, remain, forget):
    with pytest.raises(ConfigError, match="step of boundary_shrink is 0"):
        boundary_shrink(learnt, remain, forget, step=0)
    with pytest.raises(ConfigError, match="the batch has text, label, expected one of features"):
        nearest_wrong_class(learnt, Batch(text=["one"], label=torch.tensor([1])), 0.1)
