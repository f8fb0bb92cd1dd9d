"""Bad teacher and SCRUB: a student that learns from the model as it was, or from one that knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError
from mmcl.freeze import freeze, frozen_copy
from mmcl.objectives.distill import logit_distillation
from mmcl.unlearning.loop import OnEpoch, adam, again_and_again, check_apart, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_of, reinitialized


def bad_teacher(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
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
    """Return a copy of ``model`` that answers what is forgotten as an untrained model does, and the rest as before.

    ``loss = T^2 KL(teacher || student)`` with the model as it was as the teacher of remaining samples, and an untrained
    one as that of forgotten ones (Chundawat et al., arXiv 2205.08096, equation 3). No label is used. Differs from the
    released code: each batch has samples of both sets, and an epoch is a pass over the larger.

    Args:
        model: trained on both sets.
        remain: what is to be kept.
        forget: what is to be forgotten.
        fresh: makes an untrained model; None draws the parameters of ``model`` anew.
        share: of ``remain`` that is used, drawn at random.
        temperature: of both teachers.
        epochs, learning_rate, batch_size: of Adam.
        device: where to compute.
        on_epoch: called with phase, epoch and loss.

    Raises:
        DataError: a set is empty, or a sample is in both.
        ConfigError: a share that is none, or a module's parameters that cannot be drawn anew.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    if not 0 < share <= 1:
        raise ConfigError(f"share of bad_teacher is {share}, expected above 0, up to 1")
    some = Selection(remain, torch.randperm(len(remain))[: max(1, round(share * len(remain)))].tolist())
    good = frozen_copy(model).to(device)
    bad = freeze(reinitialized(model) if fresh is None else fresh()).to(device)
    student = deepcopy(model).to(device).eval()
    both: tuple[Dataset, Dataset] = (some, forget)
    longest = max(map(len, both))

    def loss_of(pair: tuple[Batch, Batch]) -> Tensor:
        kept, gone = pair
        return _divergence(logits_of(student(kept)), good, kept, temperature) + _divergence(
            logits_of(student(gone)), bad, gone, temperature
        )

    def batches() -> Iterator[tuple[Batch, Batch]]:
        kept, gone = (
            (again_and_again if len(data) < longest else shuffled_batches)(data, batch_size, device) for data in both
        )
        return zip(kept, gone, strict=False)

    optimizer = adam([each for each in student.parameters() if each.requires_grad], learning_rate)
    train_epochs("bad teacher", epochs, batches, [(loss_of, optimizer)], on_epoch, begin=student.eval, data=both)
    return student


def scrub(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
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
    """Return a copy of ``model`` that moved away from what it was on ``forget``, and stayed near it on ``remain``.

    The model as it was is the teacher. In the first ``forget_epochs`` epochs, a pass over ``forget`` maximizes
    ``T^2 KL(teacher || student)``; in every epoch a pass over ``remain`` minimizes ``distillation_weight`` times the
    same ``+ cross_entropy_weight CE`` (SCRUB, Kurmanji et al., arXiv 2302.09880, equation 3).

    Args:
        model: trained on both sets.
        remain: what is to be kept.
        forget: what is to be forgotten.
        epochs: passes over ``remain``.
        forget_epochs: passes over ``forget``.
        distillation_weight, cross_entropy_weight, temperature: see above.
        learning_rate, batch_size: of Adam.
        device: where to compute.
        on_epoch: called with phase, epoch and loss.

    Raises:
        DataError: a set is empty, or a sample is in both.
        ConfigError: epochs that cannot be.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    if min(epochs, forget_epochs) < 0:
        raise ConfigError(f"epochs={epochs}, forget_epochs={forget_epochs} of scrub, expected 0 or more of each")
    teacher = frozen_copy(model).to(device)
    student = deepcopy(model).to(device).eval()

    def away(batch: Batch) -> Tensor:
        return -_divergence(logits_of(student(batch)), teacher, batch, temperature)

    def near(batch: Batch) -> Tensor:
        logits = logits_of(student(batch))
        distance = _divergence(logits, teacher, batch, temperature)
        return distillation_weight * distance + cross_entropy_weight * cross_entropy(logits, batch["label"])

    optimizer = adam([each for each in student.parameters() if each.requires_grad], learning_rate)
    gone, kept = (partial(shuffled_batches, data, batch_size, device) for data in (forget, remain))
    given: dict[str, Any] = {"begin": student.eval, "data": [remain, forget]}
    for epoch in range(epochs):
        if epoch < forget_epochs:
            train_epochs("scrub, away", 1, gone, [(away, optimizer)], on_epoch, done=epoch, **given)
        train_epochs("scrub, near", 1, kept, [(near, optimizer)], on_epoch, done=epoch, **given)
    return student


def _divergence(logits: Tensor, teacher: nn.Module, batch: Batch, temperature: float) -> Tensor:
    """How far a student's logits are from the teacher's, in the classes that have arrived: those of others are minus
    infinity, of which no divergence is defined."""
    with torch.no_grad():
        taught = logits_of(teacher(batch))
    there = (~logits.isneginf()).any(0)
    return logit_distillation(logits[:, there], taught[:, there], temperature)
