"""M3CoL: a plugin that contrasts mixed views of samples with their other views."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Literal

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.config.numbers import NonNegative, Share
from mmcl.errors import ConfigError
from mmcl.objectives.clip import CLIPLoss
from mmcl.objectives.kernel.base import Dense
from mmcl.objectives.kernel.two_way import two_way_info_nce
from mmcl.objectives.m3co import M3CoLoss
from mmcl.objectives.soft_clip import SoftClipLoss

if TYPE_CHECKING:
    from mmcl.models import MultimodalClassifier
    from mmcl.strategies.template import MMCLTemplate

CONTRASTS = ("m3col", "m3co", "soft_clip", "clip", "none")


class M3CoL(SupervisedPlugin):
    """Add M3CoL's terms to the loss of a :class:`~mmcl.models.MultimodalClassifier`.

    ``loss = CE(fusion) + view_weight * sum_m CE(view m) + weight * contrast``. The contrast is a sum over ordered pairs
    of views. Its terms are

    * M3Co (:class:`~mmcl.objectives.M3CoLoss`) in the first ``int(share * epochs)`` epochs of an experience: mixtures
      of the first view against the unmixed second one;
    * MultiSClip (:class:`~mmcl.objectives.SoftClipLoss`) in the epochs that follow.

    Pairs are (1, 2), (2, 3), ..., (M, 1), or all ordered pairs. With two views, both are the same.

    M3CoL, Kumar et al., arXiv 2409.17777; schedule and weights as in the released code. Unless ``released`` is set, it
    differs from that code in the ways that the objectives document.

    Args:
        contrast: ``"m3col"``, the schedule; ``"m3co"``, ``"soft_clip"`` or ``"clip"`` in all epochs; or ``"none"``.
        weight: weight of the contrast between views.
        view_weight: weight of the cross-entropy of each view alone.
        share: share of the epochs, from the first, that use M3Co.
        pairs: pairs of views that are contrasted: ``"cyclic"`` or ``"all"``.
        mix: values that M3Co mixes: ``"encodings"`` of all views, as in the released code, or ``"inputs"`` of all
            views but texts, as in the paper.
        released: mix both sides of a pair, as in M3CoL's released code; the target of a row that is mixed with itself
            is then 1 - lam.

    Raises:
        ConfigError: the contrast is unknown, or a weight or the share is out of range; or, when training begins, the
            model has no views.
    """

    def __init__(
        self,
        contrast: str = "m3col",
        *,
        weight: NonNegative = 0.1,
        view_weight: NonNegative = 1.0,
        share: Share = 0.33,
        pairs: Literal["cyclic", "all"] = "cyclic",
        mix: Literal["encodings", "inputs"] = "encodings",
        released: bool = False,
    ) -> None:
        super().__init__()
        if contrast not in CONTRASTS:
            raise ConfigError(f"contrast is '{contrast}', expected one of {', '.join(CONTRASTS)}")
        if min(weight, view_weight) < 0 or not 0 <= share <= 1:
            raise ConfigError(
                f"weight={weight}, view_weight={view_weight}, share={share}: expected weights of 0 or more, and a "
                "share of 0 to 1"
            )
        self.contrast, self.weight, self.view_weight = contrast, weight, view_weight
        self.share, self.pairs, self.mix, self.released = share, pairs, mix, released
        self.m3co, self.soft_clip, self.clip = M3CoLoss(), SoftClipLoss(), CLIPLoss()

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has views."""
        if not hasattr(strategy.model, "check_alike"):
            raise ConfigError(
                f"M3CoL got a {type(strategy.model).__name__}, expected a model with views: MultimodalClassifier"
            )

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the cross-entropy of the views and the contrast to the loss."""
        output, labels = strategy.output, strategy.mb_y
        if self.view_weight:
            losses = (cross_entropy(logits, labels) for logits in output.view_logits.values())
            strategy.add_loss("views", sum(losses, start=strategy.loss.new_zeros(())), self.view_weight)
        if self.contrast == "none" or self.weight == 0 or len(output.views) < 2 or len(labels) < 2:
            return
        strategy.model.check_alike("the contrast")
        name = self.contrast
        if name == "m3col":
            name = "m3co" if strategy.epoch < int(self.share * strategy.train_epochs) else "soft_clip"
        with strategy.training_step.objective_autocast():
            contrast = self._sum(name, strategy.model, strategy.mbatch, output.views)
        strategy.add_loss(name, contrast, self.weight)

    def _sum(self, name: str, model: MultimodalClassifier, batch: Batch, views: dict[str, Tensor]) -> Tensor:
        pairs = ordered_pairs(list(views), self.pairs)
        if name != "m3co":
            objective = self.soft_clip if name == "soft_clip" else self.clip
            return torch.stack([objective(views[one], views[other]) for one, other in pairs]).sum()
        mixed = {view: self._mixed(view, model, batch, views[view]) for view in dict(pairs)}
        if not self.released:
            return torch.stack([self.m3co.from_mixed(mixed[a][0], views[b], *mixed[a][1:]) for a, b in pairs]).sum()
        return torch.stack([_as_released(*mixed[a], mixed[b][0], self.m3co) for a, b in pairs]).sum()

    def _mixed(
        self, view: str, model: MultimodalClassifier, batch: Batch, encoding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encodings of a mixed view, each row's partner, and each row's own share ``lam``."""
        if self.mix == "encodings" or model.encoders[view].modality == "text":
            return self.m3co.mix(encoding)
        features, lengths = model.frozen_features(view, batch)
        mixed, permutation, lam = self.m3co.mix(features)
        longer = torch.where(lam < 1, torch.maximum(lengths, lengths[permutation]), lengths)
        return model.encode(view, mixed, longer), permutation, lam


def ordered_pairs(views: Sequence[str], which: Literal["cyclic", "all"] = "cyclic") -> list[tuple[str, str]]:
    """Return pairs of each view with the next and of the last with the first, or all ordered pairs.

    >>> ordered_pairs(["audio", "image"]), len(ordered_pairs(["mrna", "methylation", "mirna"], "all"))
    ([('audio', 'image'), ('image', 'audio')], 6)
    """
    return list(permutations(views, 2)) if which == "all" else list(zip(views, [*views[1:], views[0]], strict=True))


def _as_released(mixed: Tensor, permutation: Tensor, lam: Tensor, other: Tensor, objective: M3CoLoss) -> Tensor:
    """M3Co between two mixed views, where the target of a row mixed with itself is 1 - lam."""
    targets = torch.diag(lam)
    targets[torch.arange(len(lam), device=lam.device), permutation] = 1 - lam
    pairs, as_m3co = Dense(targets), {"normalize_rows": False, "skip_empty": False}
    forward, backward = two_way_info_nce(mixed, other, pairs, pairs, temperature=objective.temperature, **as_m3co)
    return (forward + backward) / 2
