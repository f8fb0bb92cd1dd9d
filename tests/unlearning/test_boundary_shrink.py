import pytest
import torch
from torch import nn

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import SLUClassifier
from mmcl.unlearning.boundary_shrink import boundary_shrink, nearest_wrong_class


class Regions(nn.Module):
    """Classifier with one feature: class 0 below 1, class 1 from 1 to 2, class 2 above."""

    def forward(self, batch):
        return -(batch["features"] - torch.tensor([0.5, 1.5, 2.5])).square()


def test_nearest_wrong_class_lies_across_the_nearest_boundary():
    batch = Batch(features=torch.tensor([[0.9], [1.2], [1.9], [2.1]]), label=torch.tensor([0, 1, 1, 2]))
    assert nearest_wrong_class(Regions(), batch, 0.3).tolist() == [1, 0, 2, 1]
    # A step too small to cross the boundary also gives a wrong class.
    assert nearest_wrong_class(Regions(), batch, 1e-6).tolist() == [1, 0, 2, 1]
    assert batch["features"].tolist()[0] == [pytest.approx(0.9)] and not batch["features"].requires_grad


def test_forgotten_samples_are_assigned_to_other_classes(trained, remain, forget, accuracy):
    unlearned = boundary_shrink(trained, remain, forget, epochs=5, learning_rate=1e-4)
    assert accuracy(unlearned, forget) < 0.1
    assert accuracy(unlearned, remain) > 0.5


def test_front_end_without_gradient_is_refused(remain, forget):
    model = SLUClassifier(build_encoder("image", "cnn", dim=8), hidden=4)
    model.grow(range(10))
    with pytest.raises(ConfigError, match="gradient .*'image'"):
        boundary_shrink(model, remain, forget)


def test_invalid_arguments_are_refused(trained, remain, forget):
    with pytest.raises(ConfigError, match=r"\bstep\b.* 0\b"):
        boundary_shrink(trained, remain, forget, step=0)
    with pytest.raises(ConfigError, match="text, label.*features"):
        nearest_wrong_class(trained, Batch(text=["one"], label=torch.tensor([1])), 0.1)
