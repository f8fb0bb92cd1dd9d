"""NegGrad and NegGrad+: climb the loss of what is to be forgotten, alone or while descending that of what remains."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.errors import ConfigError
from mmcl.unlearning.loop import OnEpoch, adam, again_and_again, check_apart, shuffled_batches, train_epochs
from mmcl.unlearning.parts import logits_of


def neg_grad(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
    *,
    epochs: int = 1,
    learning_rate: float = 1e-5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` that took steps up the cross-entropy of ``forget``: ``loss = -CE(forget)``.

    The model stays in evaluation mode, so that BatchNorm's statistics do not move. ``remain`` is not used.

    Raises:
        DataError: a set is empty, or a sample is in both.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    unlearnt = deepcopy(model).to(device).eval()

    def loss_of(batch: Batch) -> Tensor:
        return -cross_entropy(logits_of(unlearnt(batch)), batch["label"])

    optimizer = adam([each for each in unlearnt.parameters() if each.requires_grad], learning_rate)
    batches = partial(shuffled_batches, forget, batch_size, device)
    train_epochs(
        "gradient ascent", epochs, batches, [(loss_of, optimizer)], on_epoch, begin=unlearnt.eval, data=[forget]
    )
    return unlearnt


def neg_grad_plus(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
    *,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    weight: float = 0.95,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> nn.Module:
    """Return a copy of ``model`` that descended what remains and climbed what is forgotten.

    ``loss = weight CE(remain) - (1 - weight) CE(forget)``, as Kurmanji et al. (arXiv 2302.09880) define NegGrad+. An
    epoch is a pass over ``remain``; ``forget`` comes round as often as that takes.

    Raises:
        DataError: a set is empty, or a sample is in both.
        ConfigError: a weight outside 0 to 1.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight of neg_grad_plus is {weight}, expected 0 to 1")
    unlearnt = deepcopy(model).to(device).eval()

    def loss_of(pair: tuple[Batch, Batch]) -> Tensor:
        kept, gone = (cross_entropy(logits_of(unlearnt(batch)), batch["label"]) for batch in pair)
        return weight * kept - (1 - weight) * gone

    def batches() -> Iterator[tuple[Batch, Batch]]:
        return zip(
            shuffled_batches(remain, batch_size, device), again_and_again(forget, batch_size, device), strict=False
        )

    optimizer = adam([each for each in unlearnt.parameters() if each.requires_grad], learning_rate)
    both, steps = [remain, forget], [(loss_of, optimizer)]
    train_epochs("descent and ascent", epochs, batches, steps, on_epoch, begin=unlearnt.eval, data=both)
    return unlearnt
