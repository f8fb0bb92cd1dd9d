"""Bad teacher and SCRUB: unlearning by distillation from the original model and from an untrained one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.data.torch_dataset import Samples
from mmcl.errors import ConfigError
from mmcl.freeze import freeze, frozen_copy
from mmcl.models.heads.growing import ArrivedClasses
from mmcl.objectives.distill import logit_distillation
from mmcl.unlearning.loop import OnEpoch, adam, checked_sets, endless_batches, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_for, reinitialized


def bad_teacher(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    fresh: Callable[[], nn.Module] | None = None,
    share: float = 0.3,
    temperature: float = 1.0,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` that imitates an untrained model on ``forget`` and the original on ``remain``.

    ``loss = T^2 KL(teacher || student)``, with the original model as the teacher for remaining samples and an
    untrained model as the teacher for forgotten ones; no label is used. Chundawat et al., arXiv 2205.08096, equation
    3. Differs from the released code: each batch has samples of both data sets, and an epoch is a pass over the larger.

    Args:
        model, remain, forget: trained model, samples to keep and to forget; see :func:`~mmcl.unlearning.unlearn`.
        fresh: function that returns an untrained model; None reinitializes a copy of ``model``.
        share: share of ``remain`` to train on, drawn at random.
        temperature: temperature T of teachers and student.
        epochs: passes over the larger data set.
        learning_rate: learning rate of Adam.
        batch_size: samples of each data set per step.
        device, on_epoch: device to train on, and a function called with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, or a sample is in both.
        ConfigError: ``share`` is not within (0, 1], or a module cannot be reinitialized.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    if not 0 < share <= 1:
        raise ConfigError(f"share of bad_teacher is {share}, expected more than 0 and at most 1")
    some = Selection(remain, torch.randperm(len(remain))[: max(1, round(share * len(remain)))].tolist())
    good = frozen_copy(model).to(device)
    bad = freeze(reinitialized(model) if fresh is None else fresh()).to(device)
    student = deepcopy(model).to(device).eval()
    both: tuple[Dataset, Dataset] = (some, forget)
    largest, arrived = max(map(len, both)), ArrivedClasses()

    def loss_of(pair: tuple[Batch, Batch]) -> Tensor:
        remaining, forgotten = pair
        kept, lost = logits_for(student, remaining), logits_for(student, forgotten)
        near = _divergence(kept, good, remaining, temperature, arrived)
        return near + _divergence(lost, bad, forgotten, temperature, arrived)

    def batches() -> Iterator[tuple[Batch, Batch]]:
        remaining, forgotten = (
            (endless_batches if len(data) < largest else shuffled_batches)(data, batch_size, device) for data in both
        )
        return zip(remaining, forgotten, strict=False)

    optimizer = adam([each for each in student.parameters() if each.requires_grad], learning_rate)
    train_epochs("bad teacher", epochs, batches, [(loss_of, optimizer)], on_epoch, begin=student.eval, data=both)
    return student


def scrub(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    epochs: int = 3,
    forget_epochs: int = 2,
    distillation_weight: float = 0.5,
    cross_entropy_weight: float = 1.0,
    temperature: float = 2.0,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` trained away from the original on ``forget`` and towards it on ``remain``.

    The original model is the teacher. In each of the first ``forget_epochs`` epochs, a pass over ``forget`` maximizes
    ``T^2 KL(teacher || student)``. In every epoch, a pass over ``remain`` then minimizes
    ``distillation_weight T^2 KL(teacher || student) + cross_entropy_weight CE``. SCRUB, Kurmanji et al., arXiv
    2302.09880, equation 3.

    Args:
        model, remain, forget: trained model, samples to keep and to forget; see :func:`~mmcl.unlearning.unlearn`.
        epochs: passes over ``remain``.
        forget_epochs: passes over ``forget``.
        distillation_weight: weight of the divergence on ``remain``.
        cross_entropy_weight: weight of the cross-entropy on ``remain``.
        temperature: temperature T of teacher and student.
        learning_rate: learning rate of Adam.
        batch_size: samples per step.
        device, on_epoch: device to train on, and a function called with phase, epoch (from 1) and mean loss.

    Raises:
        DataError: a data set is empty, or a sample is in both.
        ConfigError: a number of epochs is negative.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    if min(epochs, forget_epochs) < 0:
        raise ConfigError(f"scrub got epochs={epochs}, forget_epochs={forget_epochs}, expected 0 or more of each")
    teacher = frozen_copy(model).to(device)
    student, arrived = deepcopy(model).to(device).eval(), ArrivedClasses()

    def away(batch: Batch) -> Tensor:
        return -_divergence(logits_for(student, batch), teacher, batch, temperature, arrived)

    def near(batch: Batch) -> Tensor:
        logits = logits_for(student, batch)
        distance = _divergence(logits, teacher, batch, temperature, arrived)
        return distillation_weight * distance + cross_entropy_weight * cross_entropy(logits, batch["label"])

    optimizer = adam([each for each in student.parameters() if each.requires_grad], learning_rate)
    train = partial(train_epochs, epochs=1, on_epoch=on_epoch, begin=student.eval, data=[remain, forget])
    forget_batches, remain_batches = (partial(shuffled_batches, data, batch_size, device) for data in (forget, remain))
    for epoch in range(epochs):
        if epoch < forget_epochs:
            train("scrub, away", batches=forget_batches, steps=[(away, optimizer)], done=epoch)
        train("scrub, near", batches=remain_batches, steps=[(near, optimizer)], done=epoch)
    return student


def _divergence(
    logits: Tensor, teacher: nn.Module, batch: Batch, temperature: float, arrived: ArrivedClasses
) -> Tensor:
    """Divergence of a student's logits from the teacher's, over the classes seen so far.

    Logits of classes not yet seen are minus infinity, for which the divergence is undefined.
    """
    with torch.no_grad():
        teacher_logits = logits_for(teacher, batch)
    seen = arrived(logits)
    return logit_distillation(logits[:, seen], teacher_logits[:, seen], temperature)
