"""Measures of unlearning: accuracies, and success rates of membership attacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcl.metrics.unlearning import loss_attack, membership_attack, per_sample_loss
from mmcl.unlearning.parts import all_logits
from mmcl.unlearning.removal import Removal

#: Measures in the distance to Retrain, which is their mean absolute difference.
COMPARED = ("Train_r", "Train_f", "Test", "attack")


def unlearning_measures(
    model: nn.Module,
    removal: Removal,
    *,
    apart: bool = False,
    most: int = 5000,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, float]:
    """Return accuracies and attack success rates as fractions.

    * ``Train_r``, ``Train_f``: accuracy on remaining and on forgotten samples. Of samples with wrong labels it is the
      rate at which the wrong label is predicted.
    * ``Test``: accuracy on all test samples.
    * ``Test_r``, ``Test_f``: with ``apart``, accuracy on ``removal.others`` and on ``removal.unseen``.
    * ``attack``: :func:`~mmcl.metrics.unlearning.membership_attack`; chance is 0.5.
    * ``loss attack``: :func:`~mmcl.metrics.unlearning.loss_attack`; chance is 0.5.

    Args:
        model: model to evaluate, before or after unlearning.
        removal: training and test samples; see :func:`~mmcl.unlearning.removal.choose_removal`.
        apart: also return ``Test_r`` and ``Test_f``.
        most: largest number of remaining samples that train an attacker, drawn at random.
        seed: seed of the attacks.
        device: where the model runs.
    """
    sets = {"remain": removal.remain, "forget": removal.forget, "others": removal.others, "unseen": removal.unseen}
    logits = {name: all_logits(model, data, device=device) for name, data in sets.items()}
    right = {name: _right(logits[name], data.labels) for name, data in sets.items()}
    draw = torch.randperm(len(removal.remain), generator=torch.Generator().manual_seed(seed))[:most]
    losses = {name: per_sample_loss(logits[name], data.labels) for name, data in sets.items()}
    found = {
        "Train_r": _mean(right["remain"]),
        "Train_f": _mean(right["forget"]),
        "Test": _mean(torch.cat([right["others"], right["unseen"]])),
    }
    if apart:
        found |= {"Test_r": _mean(right["others"]), "Test_f": _mean(right["unseen"])}
    attacked = ("others", "forget", "unseen")
    for name, attack, values in (("attack", membership_attack, logits), ("loss attack", loss_attack, losses)):
        found[name] = attack(values["remain"][draw], *(values[each] for each in attacked), seed=seed)
    return found


def _right(logits: Tensor, labels: object) -> Tensor:
    return logits.argmax(1) == torch.as_tensor(labels)


def _mean(right: Tensor) -> float:
    return float(right.double().mean())
