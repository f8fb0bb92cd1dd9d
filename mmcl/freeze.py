"""The one place where a teacher is made, and where what is frozen is told from what is trained."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def freeze(module: ModuleT) -> ModuleT:
    """Make ``module`` a constant, in place: no gradients, evaluation mode, and ``train()`` no longer changes that.

    A parent's ``train()`` reaches its children, so a frozen encoder inside a trained model would otherwise go back to
    dropout and moving BatchNorm statistics with every epoch.

    >>> model = nn.Sequential(nn.Dropout(0.5), freeze(nn.Dropout(0.5)))
    >>> [part.training for part in model.train()]
    [True, False]
    """
    module.eval()
    module.requires_grad_(False)
    for part in module.modules():
        part.train = _stay_frozen.__get__(part)  # type: ignore[method-assign]
    return module


def frozen_copy(module: ModuleT) -> ModuleT:
    """Return a frozen deep copy of ``module``: a teacher that later training of ``module`` does not touch.

    >>> student = nn.Linear(2, 1)
    >>> teacher = frozen_copy(student)
    >>> student.weight.data.zero_()
    tensor([[0., 0.]])
    >>> bool(teacher.weight.abs().sum() > 0), teacher.train().training, teacher.weight.requires_grad
    (True, False, False)
    """
    return freeze(deepcopy(module))


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of ``model`` without what is frozen, which a new model has as well.

    >>> sorted(trainable_state(nn.Sequential(freeze(nn.Linear(2, 3)), nn.Linear(3, 1))))
    ['1.bias', '1.weight']
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def _stay_frozen(self: ModuleT, mode: bool = True) -> ModuleT:
    return self
