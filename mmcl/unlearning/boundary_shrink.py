"""Boundary shrink: give each forgotten sample to the class across the nearest boundary."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.errors import ConfigError
from mmcl.unlearning.loop import OnEpoch, adam, check_apart, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_of

_INPUTS = ("features", "image", "audio")  # what can be moved by a gradient


def boundary_shrink(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
    *,
    step: float = 0.1,
    epochs: int = 5,
    learning_rate: float = 1e-5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` trained to call each forgotten sample by its nearest wrong class.

    That class is the model's answer, the own one excluded, to ``x + step sign(gradient of CE(x, label))``; then
    ``loss = CE(forget, nearest wrong class)``. Boundary Shrink, Chen et al., arXiv 2303.11570, equations 3 and 4.
    ``remain`` is not used. Differs from the paper: the own class is excluded even where the step does not leave it.

    Args:
        model: trained on both sets.
        remain: what is to be kept.
        forget: what is to be forgotten.
        step: in units of the input: pixels of 0 to 1, or features as they are.
        epochs, learning_rate, batch_size: of Adam.
        device: where to compute.
        on_epoch: called with phase, epoch and loss.

    Raises:
        DataError: a set is empty, or a sample is in both.
        ConfigError: a step that is none, or inputs that cannot be moved, such as text.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    if step <= 0:
        raise ConfigError(f"step of boundary_shrink is {step}, expected more than 0")
    before, unlearnt = deepcopy(model).to(device).eval(), deepcopy(model).to(device).eval()

    def loss_of(batch: Batch) -> Tensor:
        return cross_entropy(logits_of(unlearnt(batch)), nearest_wrong_class(before, batch, step))

    optimizer = adam([each for each in unlearnt.parameters() if each.requires_grad], learning_rate)
    batches = partial(shuffled_batches, forget, batch_size, device)
    train_epochs(
        "boundary shrink", epochs, batches, [(loss_of, optimizer)], on_epoch, begin=unlearnt.eval, data=[forget]
    )
    return unlearnt


def nearest_wrong_class(model: nn.Module, batch: Batch, step: float) -> Tensor:
    """Return the class of each sample, ``(batch,)``, that lies across the boundary; see :func:`boundary_shrink`."""
    name = next((name for name in _INPUTS if name in batch), None)
    if name is None:
        raise ConfigError(f"the batch has {', '.join(batch)}, expected one of {', '.join(_INPUTS)} to move")
    moved = Batch(batch)
    moved[name] = batch[name].detach().clone().requires_grad_()
    loss = cross_entropy(logits_of(model(moved)), batch["label"])
    (gradient,) = torch.autograd.grad(loss, moved[name], allow_unused=True)
    if gradient is None:
        raise ConfigError(
            f"the model gives no gradient to '{name}', expected one to move it by: a front-end is not differentiable, "
            "so give the features that it makes (cached_features), or choose another method"
        )
    moved[name] = batch[name] + step * gradient.sign()
    if name == "image":
        moved[name] = moved[name].clamp(0, 1)
    with torch.no_grad():
        logits = logits_of(model(moved)).scatter(1, batch["label"][:, None], float("-inf"))
    return logits.argmax(1)
