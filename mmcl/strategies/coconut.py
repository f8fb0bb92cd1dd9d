"""COCONUT: continual contrastive learning of spoken language understanding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from avalanche.core import SupervisedPlugin

from mmcl import distributed
from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.objectives.mm import MMLoss
from mmcl.objectives.nspt import NSPTLoss
from mmcl.strategies.teacher import teacher_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class Coconut(SupervisedPlugin):
    """Add COCONUT's two contrastive terms to training with rehearsal.

    ``loss = cross-entropy + mm_weight * MM + nspt_weight * (NSPT(audio) + NSPT(text))`` with

    * MM (:class:`~mmcl.objectives.MMLoss`): audio against text, with the new samples as anchors, in every experience;
    * NSPT (:class:`~mmcl.objectives.NSPTLoss`): student against teacher, with the rehearsal samples as anchors, from
      the second experience on.

    COCONUT, Cappellazzo et al., arXiv 2310.02699, equation 7. The model must have an audio-text space. In
    :class:`~mmcl.models.SLUSeq2Seq`, as in the paper, a text is the decoder's embedding of the intent's token. Differs
    from the paper: in :class:`~mmcl.models.SLUClassifier`, a text is the transcript or the words of the label.

    Args:
        mm_weight: weight of MM, the audio-text contrast.
        nspt_weight: weight of NSPT, the contrastive distillation; None for past / (past + new classes).
        temperature: temperature of both contrasts.
        denominator: denominator of NSPT, see :class:`~mmcl.objectives.NSPTLoss`.
        mm_anchors: anchors of MM: ``"new"`` samples as in the paper, or ``"all"`` samples of the batch.
    """

    def __init__(
        self,
        mm_weight: NonNegative = 0.1,
        nspt_weight: NonNegative | None = None,
        temperature: Positive = 0.1,
        denominator: Literal["literal", "proper"] = "literal",
        mm_anchors: Literal["new", "all"] = "new",
    ) -> None:
        super().__init__()
        if mm_weight < 0 or (nspt_weight or 0) < 0 or temperature <= 0:
            raise ConfigError(
                f"mm_weight is {mm_weight}, nspt_weight {nspt_weight}, temperature {temperature}: "
                "expected weights >= 0 and a temperature > 0"
            )
        self.mm_weight = mm_weight
        self.nspt_weight = nspt_weight
        self.mm_anchors = mm_anchors
        gather = distributed.world_size() > 1
        self.mm = MMLoss(temperature, gather=gather)
        self.nspt = NSPTLoss(temperature, denominator, gather=gather)
        self.needs_teacher = nspt_weight != 0

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add MM and NSPT to the loss."""
        batch, model, teacher = strategy.mbatch, strategy.model, teacher_of(strategy)
        weight = self._nspt_weight(strategy) if teacher is not None else 0.0
        is_rehearsal, labels = batch["is_rehearsal"], batch["label"]
        if self.mm_weight == 0 and (weight == 0 or not strategy.rehearses):
            return
        audio, text = model.project_audio(strategy.output.embedding), model.project_text(batch)
        if self.mm_weight:
            anchors = None if self.mm_anchors == "all" else ~is_rehearsal
            strategy.add_loss("mm", self.mm(audio, text, labels, anchors), self.mm_weight, gathered=self.mm.gather)
        if teacher is None or weight == 0 or not strategy.rehearses:
            return
        teacher_audio, teacher_text = torch.zeros_like(audio), torch.zeros_like(text)
        if is_rehearsal.any():
            past = batch.select(is_rehearsal)
            with torch.no_grad():
                teacher_audio[is_rehearsal] = teacher.project_audio(teacher.embed(past))
                teacher_text[is_rehearsal] = teacher.project_text(past)
        for name, student, target in (("nspt_audio", audio, teacher_audio), ("nspt_text", text, teacher_text)):
            term = self.nspt(student, target, labels, is_rehearsal)
            strategy.add_loss(name, term, weight, gathered=self.nspt.gather)

    def _nspt_weight(self, strategy: MMCLTemplate) -> float:
        if self.nspt_weight is not None:
            return self.nspt_weight
        experience = strategy.experience
        return len(experience.previous_classes) / len(experience.classes_seen_so_far)
