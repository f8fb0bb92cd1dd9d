"""Boundary shrink: relabel each forgotten sample with the class across the nearest decision boundary."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.torch_dataset import Samples
from mmcl.errors import ConfigError
from mmcl.unlearning.loop import OnEpoch, adam, checked_sets, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_for

_INPUTS = ("features", "image", "audio")  # inputs that a gradient step can change


def boundary_shrink(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    step: float = 0.1,
    epochs: int = 5,
    learning_rate: float = 1e-5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` trained to assign each forgotten sample to its nearest wrong class.

    ``loss = CE(forget, nearest wrong class)``. The nearest wrong class is the original model's prediction for
    ``x + step sign(gradient of CE(x, label))``, with the true class excluded. Boundary Shrink, Chen et al., arXiv
    2303.11570, equations 3 and 4. Differs from the paper: the true class is excluded even if the step does not leave
    it. ``remain`` is only checked for overlap with ``forget``.

    Args:
        model: trained model, a copy of which is changed; see :func:`~mmcl.unlearning.unlearn`.
        remain: samples to keep.
        forget: samples to forget.
        step: step size in units of the input: of pixel values from 0 to 1, or of features.
        epochs: passes over ``forget``.
        learning_rate: learning rate of Adam.
        batch_size: samples per step.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, or a sample is in both.
        ConfigError: ``step`` is not positive, or the inputs have no gradient, such as text.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    if step <= 0:
        raise ConfigError(f"step of boundary_shrink is {step}, expected more than 0")
    original, unlearned = deepcopy(model).to(device).eval(), deepcopy(model).to(device).eval()

    def loss_of(batch: Batch) -> Tensor:
        return cross_entropy(logits_for(unlearned, batch), nearest_wrong_class(original, batch, step))

    optimizer = adam([each for each in unlearned.parameters() if each.requires_grad], learning_rate)
    batches = partial(shuffled_batches, forget, batch_size, device)
    train_epochs(
        "boundary shrink", epochs, batches, [(loss_of, optimizer)], on_epoch, begin=unlearned.eval, data=[forget]
    )
    return unlearned


def nearest_wrong_class(model: nn.Module, batch: Batch, step: float) -> Tensor:
    """Return the class across the nearest boundary of each sample, ``(batch,)``; see :func:`boundary_shrink`."""
    name = next((name for name in _INPUTS if name in batch), None)
    if name is None:
        raise ConfigError(f"the batch has {', '.join(batch)}, expected an input with a gradient: {', '.join(_INPUTS)}")
    moved = Batch(batch)
    moved[name] = batch[name].detach().clone().requires_grad_()
    loss = cross_entropy(logits_for(model, moved), batch["label"])
    (gradient,) = torch.autograd.grad(loss, moved[name], allow_unused=True)
    if gradient is None:
        raise ConfigError(
            f"the model has no gradient with respect to '{name}', because its front-end is not differentiable: "
            "pass features computed by cached_features, or choose another method"
        )
    moved[name] = batch[name] + step * gradient.sign()
    if name == "image":
        low, high = batch[name].aminmax()
        moved[name] = torch.where((low >= 0) & (high <= 1), moved[name].clamp(0, 1), moved[name])
    with torch.no_grad():
        logits = logits_for(model, moved).scatter(1, batch["label"][:, None], float("-inf"))
    return logits.argmax(1)
