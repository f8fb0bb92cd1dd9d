"""Freezing of modules: frozen copies as teachers, and the state without frozen parameters."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def freeze(module: ModuleT) -> ModuleT:
    """Freeze ``module`` in place: no gradients, and evaluation mode that ``train()`` does not change.

    Without this, ``train()`` of a parent would set a frozen encoder back to training mode, with dropout and updates of
    BatchNorm statistics.

    >>> model = nn.Sequential(nn.Dropout(0.5), freeze(nn.Dropout(0.5)))
    >>> [part.training for part in model.train()]
    [True, False]
    """
    module.eval()
    module.requires_grad_(False)
    for part in module.modules():
        part.train = _stay_frozen.__get__(part)  # type: ignore[method-assign]
    return module


def frozen_copy(module: ModuleT, *, share_frozen: bool = False) -> ModuleT:
    """Return a frozen deep copy of ``module``, such as a teacher; training ``module`` does not change it.

    Args:
        module: module to copy.
        share_frozen: share the parameters that are frozen in ``module``, such as those of a pretrained encoder. They
            must then stay frozen there.

    >>> student = nn.Linear(2, 1)
    >>> teacher = frozen_copy(student)
    >>> student.weight.data.zero_()
    tensor([[0., 0.]])
    >>> bool(teacher.weight.abs().sum() > 0), teacher.train().training, teacher.weight.requires_grad
    (True, False, False)
    """
    shared = {id(each): each for each in module.parameters() if not each.requires_grad} if share_frozen else {}
    return freeze(deepcopy(module, shared))


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of ``model`` without frozen parameters, which a new model already has.

    >>> sorted(trainable_state(nn.Sequential(freeze(nn.Linear(2, 3)), nn.Linear(3, 1))))
    ['1.bias', '1.weight']
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def _stay_frozen(self: ModuleT, mode: bool = True) -> ModuleT:
    return self
