"""Training on the remaining samples: from scratch, the gold standard of unlearning, or by fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.config.numbers import Count, NonNegative, Positive
from mmcl.data.base import Dataset
from mmcl.data.torch_dataset import Samples, as_dataset
from mmcl.errors import DataError
from mmcl.unlearning.loop import OnEpoch, adam, checked_sets, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_for, reinitialized


def train_classifier(
    model: nn.Module,
    data: Samples,
    *,
    epochs: Count = 20,
    learning_rate: Positive = 1e-4,
    weight_decay: NonNegative = 1e-4,
    batch_size: Count = 32,
    phase: str = "training",
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Train ``model`` in place by cross-entropy and Adam, and return it in evaluation mode; defaults are LAF's.

    Args:
        model: takes a batch and returns logits, or an object with ``logits``.
        data: samples to train on.
        epochs: passes over the training data.
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        batch_size: samples per step.
        phase: name of the training, for errors and ``on_epoch``.
        device: where the model is trained.
        on_epoch: called with phase, epoch and mean loss after each epoch.

    Raises:
        TrainingError: a loss is not finite.
    """
    model.to(device)
    data = as_dataset(data)

    def loss_of(batch: Batch) -> Tensor:
        return cross_entropy(logits_for(model, batch), batch["label"])

    optimizer = adam([each for each in model.parameters() if each.requires_grad], learning_rate, weight_decay)
    batches = partial(shuffled_batches, data, batch_size, device)
    train_epochs(phase, epochs, batches, [(loss_of, optimizer)], on_epoch, begin=model.train, data=[data])
    return model.eval()


def retrain(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    fresh: Callable[[], nn.Module] | None = None,
    epochs: int = 20,
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-4,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a model trained from scratch on ``remain``, the reference for all other methods.

    Args:
        model: trained model, a copy of which is changed; see :func:`~mmcl.unlearning.unlearn`.
        remain: samples to keep.
        forget: samples to forget.
        fresh: function that returns an untrained model; None reinitializes a copy of ``model``.
        epochs: passes over ``remain``.
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        batch_size: samples per step.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, a sample is in both, or ``remain`` has a single class.
        ConfigError: a module cannot be reinitialized; see :func:`~mmcl.unlearning.parts.reinitialized`.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    check_classes(remain)
    new = reinitialized(model) if fresh is None else fresh()
    return train_classifier(
        new,
        remain,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        phase="training on what remains",
        device=device,
        on_epoch=on_epoch,
    )


def fine_tune(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    epochs: int = 5,
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-4,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` trained further on ``remain``, which relies on catastrophic forgetting.

    Args:
        model: trained model, a copy of which is changed; see :func:`~mmcl.unlearning.unlearn`.
        remain: samples to keep.
        forget: samples to forget.
        epochs: passes over ``remain``.
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        batch_size: samples per step.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, a sample is in both, or ``remain`` has a single class.
        TrainingError: a loss is not finite.
    """
    return retrain(
        model,
        remain,
        forget,
        fresh=lambda: deepcopy(model),
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        device=device,
        on_epoch=on_epoch,
    )


def check_classes(remain: Dataset) -> None:
    """Check that the remaining samples have at least two classes.

    Raises:
        DataError: they have one class.
    """
    present = set(remain.labels)
    if len(present) < 2:
        name = remain.classes[present.pop()]
        raise DataError(f"all {len(remain)} samples to remain are of class '{name}', expected two classes or more")
