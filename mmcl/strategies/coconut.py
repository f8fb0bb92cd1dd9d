"""COCONUT: continual contrastive learning of spoken language understanding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl import distributed
from mmcl.batch import moved
from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.objectives.mm import MMLoss
from mmcl.objectives.nspt import NSPTLoss
from mmcl.strategies.coconut_terms import is_small, joint_terms
from mmcl.strategies.teacher import TeacherProjections, teacher_of

if TYPE_CHECKING:
    from mmcl.batch import Batch
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
        self._taught: TeacherProjections | None = None

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Drop the teacher's projections of the last experience."""
        self._taught = None

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add MM and NSPT to the loss."""
        weight = self._nspt_weight(strategy)
        if self.mm_weight == 0 and weight == 0:
            return
        model, batch, past = strategy.model, strategy.mbatch, strategy.rehearsed
        audio, text = model.project_audio(strategy.output.embedding), model.project_text(batch)
        taught = self._targets(strategy, batch, past) if weight and past else None
        if is_small(audio) and not self.mm.gather:
            terms = self._joint_terms(audio, text, strategy.mb_y, past, taught)
        else:
            with strategy.training_step.objective_autocast():
                terms = self._separate_terms(audio, text, batch, past, taught, distils=weight != 0)
        for name, term in terms.items():
            strategy.add_loss(name, term, self.mm_weight if name == "mm" else weight, gathered=self.mm.gather)

    def _joint_terms(
        self, audio: Tensor, text: Tensor, labels: Tensor, past: list[int], taught: Tensor | None
    ) -> dict[str, Tensor]:
        anchors = range(len(audio)) if self.mm_anchors == "all" else sorted({*range(len(audio))} - {*past})
        settings: Any = {"temperature": self.mm.temperature, "proper": self.nspt.denominator == "proper"}
        terms = joint_terms(audio, text, labels, anchors if self.mm_weight else (), past, taught, **settings)
        named = dict(zip(("mm", "nspt_audio", "nspt_text"), terms, strict=False))
        return named if self.mm_weight else {name: term for name, term in named.items() if name != "mm"}

    def _separate_terms(
        self, audio: Tensor, text: Tensor, batch: Batch, past: list[int], taught: Tensor | None, *, distils: bool
    ) -> dict[str, Tensor]:
        labels, is_rehearsal, terms = batch["label"], batch["is_rehearsal"], {}
        if self.mm_weight:
            terms["mm"] = self.mm(audio, text, labels, None if self.mm_anchors == "all" else ~is_rehearsal)
        if distils:
            places = moved(torch.tensor(past, dtype=torch.long), audio.device)
            for number, (name, student) in enumerate((("nspt_audio", audio), ("nspt_text", text))):
                teacher = torch.zeros_like(student, dtype=torch.float32)
                if taught is not None:
                    teacher[places] = taught[number].to(teacher)
                terms[name] = self.nspt(student, teacher.to(student), labels, is_rehearsal)
        return terms

    def _targets(self, strategy: MMCLTemplate, batch: Batch, past: list[int]) -> Tensor | None:
        """Return the teacher's projections of the rehearsal samples; None without a teacher."""
        if self._taught is None and (teacher := teacher_of(strategy)) is not None:
            self._taught = TeacherProjections(strategy, teacher)
        return None if self._taught is None else self._taught.of(batch, past)

    def _nspt_weight(self, strategy: MMCLTemplate) -> float:
        """Weight of NSPT in this step: 0 without a teacher, or if no process has a sample from the memory."""
        if teacher_of(strategy) is None or not strategy.rehearses:
            return 0.0
        if self.nspt_weight is not None:
            return self.nspt_weight
        experience = strategy.experience
        return len(experience.previous_classes) / len(experience.classes_seen_so_far)
