"""Distillation plugins: the model from before the experience teaches the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from mmcl.batch import length_mask, moved
from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.models.heads.growing import ArrivedClasses
from mmcl.objectives.distill import feature_distillation, logit_distillation
from mmcl.strategies.teacher import teacher_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class LogitDistillation(SupervisedPlugin):
    """Distil the teacher's probabilities of earlier classes (LwF, Li and Hoiem 2016).

    ``loss = cross-entropy + weight * logit_distillation(student, teacher)`` over all samples of the batch and the
    classes that the teacher knows.

    Args:
        weight: weight of the logit distillation; 0 turns it off.
        temperature: temperature of the softmaxes of student and teacher.
    """

    def __init__(self, weight: NonNegative = 1.0, temperature: Positive = 2.0) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise ConfigError(f"weight is {weight}, temperature {temperature}: expected weight >= 0, temperature > 0")
        self.weight = weight
        self.temperature = temperature
        self.needs_teacher = weight > 0
        self._known = ArrivedClasses()

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Forget the classes that the last experience's teacher knew."""
        self._known = ArrivedClasses()

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distillation to the loss."""
        teacher = teacher_of(strategy)
        if teacher is None or self.weight == 0:
            return
        with torch.no_grad():
            target = teacher(strategy.mbatch).logits
        known = self._known(target)
        term = logit_distillation(strategy.mb_output[:, known], target[:, known], self.temperature)
        strategy.add_loss("distillation", term, self.weight)


class AudioDistillation(SupervisedPlugin):
    """Distil the teacher's audio encodings of rehearsal samples (audio-KD, Cappellazzo et al., arXiv 2305.13899).

    ``loss = cross-entropy + weight * mean (s - t)^2`` over the steps of rehearsal samples and over dimensions, where s
    and t are the encodings of student and teacher. Differs from the paper: the paper does not state its norm. This
    norm is from the authors' earlier work on classifiers (arXiv 2211.08161), where the weight follows the share of
    rehearsal samples in the batch.

    Args:
        weight: weight of the audio distillation; 0 turns it off.

    Raises:
        ConfigError: the weight is negative; or, when training begins, the model has no decoder.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = _check_weight(weight, "audio")
        self.needs_teacher = weight > 0

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has a decoder."""
        require_decoder(strategy.model, "audio distillation")

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distillation to the loss."""
        teacher, past = teacher_of(strategy), strategy.rehearsed
        if teacher is None or self.weight == 0 or not strategy.rehearses:
            return
        if not past:
            return strategy.add_loss("audio_kd", strategy.loss.new_zeros(()), self.weight, count=0)
        with torch.no_grad():
            target = teacher.encode(strategy.mbatch.take(past)).sequence
        encoded, places = strategy.output.encoded, moved(torch.tensor(past), target.device)
        mask = length_mask(encoded.lengths[places], target.shape[1])
        student = encoded.sequence[places, : target.shape[1]]  # padded to the new samples, which may be longer
        term = feature_distillation(student[mask], target[mask])
        strategy.add_loss("audio_kd", term, self.weight, count=mask.sum())


class TokenDistillation(SupervisedPlugin):
    """Distil the teacher's token probabilities of rehearsal samples (token-KD, Cappellazzo et al., arXiv 2305.13899).

    ``loss = cross-entropy + weight * mean KL(teacher || student)`` over the tokens of rehearsal samples. Each KL
    divergence is over the whole vocabulary, given the true preceding tokens. Its gradient equals that of the published
    cross-entropy with the teacher's probabilities. Differs from the paper: a mean in place of sums.

    Args:
        weight: weight of the token distillation; 0 turns it off.

    Raises:
        ConfigError: the weight is negative; or, when training begins, the model has no decoder.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = _check_weight(weight, "token")
        self.needs_teacher = weight > 0

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has a decoder."""
        require_decoder(strategy.model, "token distillation")

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distillation to the loss."""
        teacher, past = teacher_of(strategy), strategy.rehearsed
        if teacher is None or self.weight == 0 or not strategy.rehearses:
            return
        if not past:
            return strategy.add_loss("token_kd", strategy.loss.new_zeros(()), self.weight, count=0)
        places = moved(torch.tensor(past), strategy.device)
        targets = strategy.output.targets[places]
        with torch.no_grad():
            teacher_logits = teacher.teacher_forced(teacher.encode(strategy.mbatch.take(past)), targets)
        student, mask = strategy.output.logits[places], targets != -100
        term = logit_distillation(student[mask], teacher_logits[mask], 1.0)
        strategy.add_loss("token_kd", term, self.weight, count=mask.sum())


def require_decoder(model: nn.Module, method: str) -> None:
    """Check that a model has a decoder.

    Raises:
        ConfigError: it has none.
    """
    if not hasattr(model, "teacher_forced"):
        raise ConfigError(f"{method} got a {type(model).__name__}, expected a model with a decoder: SLUSeq2Seq")


def _check_weight(weight: float, kind: str) -> float:
    if weight < 0:
        raise ConfigError(f"weight of the {kind} distillation is {weight}, expected 0 or more")
    return weight
