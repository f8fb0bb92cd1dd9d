"""Distillation: the model as it was before the experience teaches the one that is trained."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from mmcl.batch import length_mask
from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.objectives.distill import feature_distillation, logit_distillation
from mmcl.strategies.teacher import teacher_of


class LogitDistillation(SupervisedPlugin):
    """Distil the teacher's probabilities of earlier classes (LwF, Li and Hoiem 2016).

    ``loss = cross-entropy + weight * logit_distillation(student, teacher)``, on every sample of the batch, over the
    classes that the teacher knows.

    Args:
        weight: weight of the distillation; 0 turns it off.
        temperature: temperature of both softmaxes.
    """

    def __init__(self, weight: NonNegative = 1.0, temperature: Positive = 2.0) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise ConfigError(f"weight is {weight}, temperature {temperature}: expected weight >= 0, temperature > 0")
        self.weight = weight
        self.temperature = temperature
        self.needs_teacher = weight > 0

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the term."""
        teacher = teacher_of(strategy)
        if teacher is None or self.weight == 0:
            return
        with torch.no_grad():
            target = teacher(strategy.mbatch).logits
        # A class that had not arrived has logit minus infinity; NaN is for the loss to name.
        known = (~target.isneginf()).any(0).nonzero().flatten()
        term = logit_distillation(strategy.mb_output[:, known], target[:, known], self.temperature)
        strategy.add_loss("distillation", term, self.weight)


class AudioDistillation(SupervisedPlugin):
    """Keep what the decoder hears of rehearsal samples (audio-KD, Cappellazzo et al., arXiv 2305.13899).

    ``loss = cross-entropy + weight * mean over the steps of rehearsal samples and over dimensions of (s - t)^2``, s and
    t being what student and teacher encode. Differs from the paper: its norm is not known; this is that of the authors'
    earlier work on classifiers (arXiv 2211.08161), whose weight follows the share of rehearsal samples in the batch.

    Args:
        weight: of the term; 0 leaves training as it is without the plugin.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = _checked(weight, "audio")
        self.needs_teacher = weight > 0

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a model without a decoder."""
        require_decoder(strategy.model, "audio distillation")

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the term."""
        teacher, is_rehearsal = teacher_of(strategy), strategy.mbatch["is_rehearsal"]
        if teacher is None or self.weight == 0 or not strategy.rehearses:
            return
        if not is_rehearsal.any():
            return strategy.add_loss("audio_kd", strategy.loss.new_zeros(()), self.weight, count=0)
        with torch.no_grad():
            taught = teacher.encode(strategy.mbatch.select(is_rehearsal)).sequence
        encoded = strategy.output.encoded
        heard = length_mask(encoded.lengths[is_rehearsal], taught.shape[1])
        student = encoded.sequence[is_rehearsal, : taught.shape[1]]  # new samples may be longer
        term = feature_distillation(student[heard], taught[heard])
        strategy.add_loss("audio_kd", term, self.weight, count=int(heard.sum()))


class TokenDistillation(SupervisedPlugin):
    """Keep the probabilities of the next token of rehearsal samples (token-KD, Cappellazzo et al., arXiv 2305.13899).

    ``loss = cross-entropy + weight * mean over the tokens of rehearsal samples of KL(teacher || student)``, over the
    whole vocabulary, both after the true tokens before; its gradient is that of the published cross-entropy with the
    teacher's probabilities. Differs from the paper: a mean in place of sums.

    Args:
        weight: of the term; 0 leaves training as it is without the plugin.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = _checked(weight, "token")
        self.needs_teacher = weight > 0

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a model without a decoder."""
        require_decoder(strategy.model, "token distillation")

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the term."""
        teacher, is_rehearsal = teacher_of(strategy), strategy.mbatch["is_rehearsal"]
        if teacher is None or self.weight == 0 or not strategy.rehearses:
            return
        if not is_rehearsal.any():
            return strategy.add_loss("token_kd", strategy.loss.new_zeros(()), self.weight, count=0)
        targets = strategy.output.targets[is_rehearsal]
        with torch.no_grad():
            taught = teacher.teacher_forced(teacher.encode(strategy.mbatch.select(is_rehearsal)), targets)
        student, counted = strategy.output.logits[is_rehearsal], targets != -100
        term = logit_distillation(student[counted], taught[counted], 1.0)
        strategy.add_loss("token_kd", term, self.weight, count=int(counted.sum()))


def require_decoder(model: Any, what: str) -> None:
    """Refuse a model that writes no tokens."""
    if not hasattr(model, "teacher_forced"):
        raise ConfigError(f"{what} got a {type(model).__name__}, expected a model that writes tokens: SLUSeq2Seq")


def _checked(weight: float, what: str) -> float:
    if weight < 0:
        raise ConfigError(f"the weight of {what} distillation is {weight}, expected 0 or more")
    return weight
