"""NegGrad and NegGrad+: gradient ascent on the loss of forgotten samples."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.torch_dataset import Samples
from mmcl.errors import ConfigError
from mmcl.unlearning.loop import OnEpoch, adam, checked_sets, endless_batches, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_for


def neg_grad(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    epochs: int = 1,
    learning_rate: float = 1e-5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` trained by gradient ascent on ``forget``: ``loss = -CE(forget)``.

    The model stays in evaluation mode, so BatchNorm statistics do not change. ``remain`` is only checked for overlap
    with ``forget``.

    Args:
        model: trained model, a copy of which is changed; see :func:`~mmcl.unlearning.unlearn`.
        remain: samples to keep.
        forget: samples to forget.
        epochs: passes over ``forget``.
        learning_rate: learning rate of Adam.
        batch_size: samples per step.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, or a sample is in both.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    unlearned = deepcopy(model).to(device).eval()

    def loss_of(batch: Batch) -> Tensor:
        return -cross_entropy(logits_for(unlearned, batch), batch["label"])

    optimizer = adam([each for each in unlearned.parameters() if each.requires_grad], learning_rate)
    batches = partial(shuffled_batches, forget, batch_size, device)
    train_epochs(
        "gradient ascent", epochs, batches, [(loss_of, optimizer)], on_epoch, begin=unlearned.eval, data=[forget]
    )
    return unlearned


def neg_grad_plus(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    weight: float = 0.95,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` trained by descent on ``remain`` and ascent on ``forget``.

    ``loss = weight CE(remain) - (1 - weight) CE(forget)``, NegGrad+ as defined by Kurmanji et al., arXiv 2302.09880.

    Args:
        model: trained model, a copy of which is changed; see :func:`~mmcl.unlearning.unlearn`.
        remain: samples to keep.
        forget: samples to forget.
        epochs: passes over ``remain``; ``forget`` is repeated as often as needed.
        learning_rate: learning rate of Adam.
        weight: weight of the loss on ``remain``, 0 to 1.
        batch_size: samples of each data set per step.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, or a sample is in both.
        ConfigError: ``weight`` is not within 0 and 1.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight of neg_grad_plus is {weight}, expected 0 to 1")
    unlearned = deepcopy(model).to(device).eval()

    def loss_of(pair: tuple[Batch, Batch]) -> Tensor:
        remain_loss, forget_loss = (cross_entropy(logits_for(unlearned, batch), batch["label"]) for batch in pair)
        return weight * remain_loss - (1 - weight) * forget_loss

    def batches() -> Iterator[tuple[Batch, Batch]]:
        return zip(
            shuffled_batches(remain, batch_size, device), endless_batches(forget, batch_size, device), strict=False
        )

    optimizer = adam([each for each in unlearned.parameters() if each.requires_grad], learning_rate)
    both, steps = [remain, forget], [(loss_of, optimizer)]
    train_epochs("descent and ascent", epochs, batches, steps, on_epoch, begin=unlearned.eval, data=both)
    return unlearned
