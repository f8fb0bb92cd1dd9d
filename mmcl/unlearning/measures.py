"""What a model that has unlearnt is judged by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcl.metrics.unlearning import loss_attack, membership_attack, per_sample_loss
from mmcl.unlearning.parts import all_logits
from mmcl.unlearning.removal import Removal

#: Measures whose mean difference from Retrain's is the distance to it.
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
    """Return accuracies and what attackers find out, as fractions.

    ``Train_r`` and ``Train_f`` are accuracies on what remains and what is forgotten (of noisy labels: how often the
    wrong label is named), ``Test`` that on the test data, with ``apart`` also ``Test_r`` and ``Test_f`` on test samples
    unlike and like those that are forgotten. ``attack`` is :func:`~mmcl.metrics.unlearning.membership_attack`,
    ``loss attack`` is :func:`~mmcl.metrics.unlearning.loss_attack`; half of the time is what a guess is worth.

    Args:
        model: that has unlearnt, or any other.
        removal: what it was trained on, and what it was to forget.
        apart: measure the test data in two parts as well.
        most: remaining samples that the attacker learns from, drawn by ``seed``.
        seed: of the attacks.
        device: where to compute.
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
    asked = ("others", "forget", "unseen")
    for name, attack, values in (("attack", membership_attack, logits), ("loss attack", loss_attack, losses)):
        found[name] = attack(values["remain"][draw], *(values[each] for each in asked), seed=seed)
    return found


def _right(logits: Tensor, labels: object) -> Tensor:
    return logits.argmax(1) == torch.as_tensor(labels)


def _mean(right: Tensor) -> float:
    return float(right.double().mean())
